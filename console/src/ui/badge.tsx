/** States of things, told by a word, a shape and a colour, so that none of them is needed. */
import { breakerStates, outcomes, states } from "../api/words.ts";
import { MessageState, Outcome } from "../gen/postwire/v1/message_pb.ts";
import { BreakerState } from "../gen/postwire/v1/provider_service_pb.ts";

export type Tone = "good" | "busy" | "warn" | "bad" | "idle";

/** A shape for each tone: a disc, a ring, a triangle, a square, a dash. */
const SHAPES: Record<Tone, string> = {
  good: "M6 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8z",
  busy: "M6 1.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zm0 2.200a2.300 2.300 0 1 1 0 4.600 2.300 2.300 0 0 1 0-4.600z",
  warn: "M6 1.500L11 10.500H1z",
  bad: "M2 2h8v8H2z",
  idle: "M2 5h8v2H2z",
};

export function Badge({ tone, children }: { tone: Tone; children: string }) {
  return (
    <span class={`badge badge-${tone}`}>
      <svg viewBox="0 0 12 12" aria-hidden="true" focusable="false">
        <path d={SHAPES[tone]} fill-rule="evenodd" />
      </svg>
      {children}
    </span>
  );
}

const OF_STATE: Partial<Record<MessageState, Tone>> = {
  [MessageState.QUEUED]: "busy",
  [MessageState.SENDING]: "busy",
  [MessageState.SENT]: "good",
  [MessageState.DELIVERED]: "good",
  [MessageState.UNDELIVERED]: "bad",
  [MessageState.FAILED]: "bad",
  [MessageState.UNCERTAIN]: "warn",
  [MessageState.EXPIRED]: "bad",
  [MessageState.CANCELLED]: "idle",
};

export function StateBadge({ state }: { state: MessageState }) {
  return <Badge tone={OF_STATE[state] ?? "idle"}>{states.of(state)}</Badge>;
}

const OF_OUTCOME: Partial<Record<Outcome, Tone>> = {
  [Outcome.SUCCESS]: "good",
  [Outcome.RATE_LIMITED]: "warn",
  [Outcome.ERROR]: "bad",
  [Outcome.REJECTED]: "bad",
  [Outcome.UNCERTAIN]: "warn",
};

/** The outcome of an attempt; one without any is under way. */
export function OutcomeBadge({ outcome }: { outcome: Outcome }) {
  if (outcome === Outcome.UNSPECIFIED) return <Badge tone="busy">under way</Badge>;
  return <Badge tone={OF_OUTCOME[outcome] ?? "idle"}>{outcomes.of(outcome).replace("_", " ")}</Badge>;
}

const OF_BREAKER: Partial<Record<BreakerState, Tone>> = {
  [BreakerState.CLOSED]: "good",
  [BreakerState.OPEN]: "bad",
  [BreakerState.HALF_OPEN]: "warn",
  [BreakerState.FORCED_OPEN]: "idle",
};

/** A breaker's state; one that is forced open is called what operators did to it. */
export function BreakerBadge({ state }: { state: BreakerState }) {
  const word = state === BreakerState.FORCED_OPEN ? "drained" : breakerStates.of(state).replace("_", " ");
  return <Badge tone={OF_BREAKER[state] ?? "idle"}>{word}</Badge>;
}

import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { dispatch, providers as providerClient } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/errors.ts";
import { formatCount } from "../api/times.ts";
import type { ExplainRouteResponse, RouteCandidate } from "../gen/postwire/v1/dispatch_service_pb.ts";
import { parseLabel } from "../live/message_filter.ts";
import { Badge } from "../ui/badge.tsx";
import { Removable } from "../ui/chips.tsx";
import { Field, problemOf } from "../ui/field.tsx";
import { OneOf } from "../ui/one_of.tsx";
import { EmptyState, ErrorPanel, Fact, Facts, Loading, PageHeader, Panel } from "../ui/panels.tsx";
import { Countdown, LocalTime } from "../ui/time.tsx";
import { anyOf, encodingOf, obstacleOf, shareOf, tiersOf, verdictOf } from "./route_words.ts";
import "./route.css";

type ChannelName = "sms" | "mms" | "email";

const CHANNELS: readonly { value: ChannelName; word: string; to: string }[] = [
  { value: "sms", word: "SMS", to: "+15005550006" },
  { value: "mms", word: "MMS", to: "+15005550006" },
  { value: "email", word: "Email", to: "success@simulator.postwire.test" },
];

const SAMPLE = "Your code is 123456.";

interface Draft {
  channel: ChannelName;
  to: string;
  sender: string;
  text: string;
  provider: string;
  labels: Record<string, string>;
}

interface Answer {
  /** When the server was asked, by this machine's clock. */
  at: number;
  explained: ExplainRouteResponse;
}

/** What is asked: nothing of it is kept, and none of it stands in the address, since recipients are nobody's business. */
export function RoutePage() {
  const draft = useSignal<Draft>({
    channel: "sms",
    to: CHANNELS[0]?.to ?? "",
    sender: "",
    text: SAMPLE,
    provider: "",
    labels: {},
  });
  const answer = useSignal<Answer | undefined>(undefined);
  const failure = useSignal<Failure | undefined>(undefined);
  const running = useSignal(false);
  const shown = useRef<HTMLDivElement>(null);
  // Where there is little room the answer is below the form.
  useEffect(() => shown.current?.scrollIntoView({ block: "nearest" }), [answer.value, failure.value]);

  const ask = async () => {
    if (running.value) return;
    running.value = true;
    try {
      const explained = await dispatch.explainRoute(requestOf(draft.value));
      answer.value = { at: Date.now(), explained };
      failure.value = undefined;
    } catch (error) {
      failure.value = failureOf(error);
      answer.value = undefined;
    } finally {
      running.value = false;
    }
  };

  return (
    <>
      <PageHeader title="Route">
        <span class="muted">Who would carry a message now. Nothing is sent.</span>
      </PageHeader>
      <div class="route-parts">
        <Panel title="Message">
          <Form draft={draft} running={running.value} violations={failure.value} onSubmit={ask} />
        </Panel>
        <div class="route-answer" aria-live="polite" ref={shown}>
          {failure.value && <ErrorPanel title="There is no route for this message" failure={failure.value} />}
          {answer.value && <Explained answer={answer.value} again={ask} />}
          {!answer.value &&
            !failure.value &&
            (running.value ? (
              <Loading what="the route" />
            ) : (
              <EmptyState title="Ask who would carry a message.">
                Its channel, its recipient, its sender and its labels decide.
              </EmptyState>
            ))}
        </div>
      </div>
    </>
  );
}

function requestOf(draft: Draft) {
  const { to, sender, text } = draft;
  const content = {
    sms: { case: "sms" as const, value: { to, sender, body: text } },
    mms: { case: "mms" as const, value: { to, sender, body: text } },
    email: { case: "email" as const, value: { to: to.split(/[\s,;]+/).filter(Boolean), sender, text } },
  };
  return {
    message: { content: content[draft.channel], labels: draft.labels },
    options: { providerName: draft.provider },
  };
}

interface FormProps {
  draft: Signal<Draft>;
  running: boolean;
  violations: Failure | undefined;
  onSubmit: () => void;
}

function Form({ draft, running, violations, onSubmit }: FormProps) {
  const { channel, to, sender, text, provider } = draft.value;
  const change = (changes: Partial<Draft>) => {
    draft.value = { ...draft.value, ...changes };
  };
  const choose = (next: ChannelName) => {
    const sample = (name: ChannelName) => CHANNELS.find((one) => one.value === name)?.to ?? "";
    change({ channel: next, ...((!to || to === sample(channel)) && { to: sample(next) }), provider: "" });
  };
  return (
    <form
      class="route-form"
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit();
      }}
    >
      <OneOf name="Channel" choices={CHANNELS} chosen={channel} onChange={choose} />
      <Field
        name="to"
        label={channel === "email" ? "To" : "To, as +15005550006"}
        hint={
          channel === "email"
            ? "Domains decide where rules have them. Several: with spaces."
            : "The beginning decides where rules have prefixes."
        }
        value={to}
        problem={problemOf(violations, ".to")}
        onInput={(value) => change({ to: value })}
      />
      <Field
        name="sender"
        label="From"
        optional
        value={sender}
        problem={problemOf(violations, ".sender")}
        onInput={(value) => change({ sender: value })}
      />
      <Field
        name="text"
        label="Text"
        lines={3}
        value={text}
        problem={problemOf(violations, ".body", ".text", ".content")}
        onInput={(value) => change({ text: value })}
      />
      <Labels draft={draft} />
      <Pinned channel={channel} provider={provider} change={change} problem={problemOf(violations, "provider_name")} />
      <button type="submit" class="button button-primary" disabled={running}>
        {running ? "Asking …" : "Explain the route"}
      </button>
    </form>
  );
}

function Labels({ draft }: { draft: Signal<Draft> }) {
  const text = useSignal("");
  const wrong = useSignal("");
  const { labels } = draft.value;
  const set = (next: Record<string, string>) => {
    draft.value = { ...draft.value, labels: next };
  };
  const add = () => {
    const label = parseLabel(text.value);
    wrong.value = label ? "" : "Write key=value.";
    if (!label) return;
    set({ ...labels, [label[0]]: label[1] });
    text.value = "";
  };
  return (
    <div class="field">
      <label for="route-label">
        Labels <span class="muted">(optional)</span>
      </label>
      {Object.keys(labels).length > 0 && (
        <div class="route-labels">
          {Object.entries(labels).map(([key, value]) => (
            <Removable
              key={key}
              what={`the label ${key}`}
              onRemove={() => {
                const { [key]: _, ...rest } = labels;
                set(rest);
              }}
            >
              {`${key}=${value}`}
            </Removable>
          ))}
        </div>
      )}
      <div class="route-add">
        <input
          id="route-label"
          placeholder="team=billing"
          autocomplete="off"
          spellcheck={false}
          aria-invalid={wrong.value !== ""}
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            wrong.value = "";
          }}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || !text.value) return;
            event.preventDefault();
            add();
          }}
        />
        <button type="button" class="button" onClick={add}>
          Add
        </button>
      </div>
      {wrong.value && <p class="field-problem">{wrong.value}</p>}
    </div>
  );
}

interface PinnedProps {
  channel: ChannelName;
  provider: string;
  problem: string;
  change: (changes: Partial<Draft>) => void;
}

function Pinned({ channel, provider, problem, change }: PinnedProps) {
  const names = useSignal<readonly { name: string; channels: readonly number[] }[]>([]);
  useEffect(() => {
    // Without an answer there is nobody to choose; the route can be asked for all the same.
    providerClient.listProviders({}).then(
      (response) => {
        names.value = response.providers;
      },
      () => {},
    );
  }, [names]);
  const number = { sms: 1, mms: 2, email: 3 }[channel];
  return (
    <div class="field">
      <label for="route-provider">Provider</label>
      <select
        id="route-provider"
        value={provider}
        aria-invalid={problem !== ""}
        onChange={(event) => change({ provider: event.currentTarget.value })}
      >
        <option value="">As the route decides</option>
        {names.value
          .filter((one) => one.channels.includes(number))
          .map((one) => (
            <option key={one.name} value={one.name}>
              {one.name} alone
            </option>
          ))}
      </select>
      {problem && <p class="field-problem">{problem}</p>}
    </div>
  );
}

function Explained({ answer, again }: { answer: Answer; again: () => void }) {
  const { explained, at } = answer;
  const tiers = tiersOf(explained);
  return (
    <>
      <Panel
        title="Now"
        aside={
          <span class="route-asked muted">
            asked at <LocalTime at={at} />
            <button type="button" class="button button-small" onClick={again}>
              Ask again
            </button>
          </span>
        }
      >
        <div class="route-verdict">
          <Conclusion explained={explained} />
          <Facts>
            <Fact name="route">
              <code>{explained.routeKey}</code>
            </Fact>
            <Fact name="configured in">
              {explained.rule ? <code>{explained.rule}</code> : <span class="muted">nowhere: it is pinned</span>}
            </Fact>
            <Fact name="matched on">
              {explained.matchedOn.length > 0 ? (
                explained.matchedOn.map((one) => (
                  <div key={one}>
                    <code>{one}</code>
                  </div>
                ))
              ) : (
                <span class="muted">takes every message</span>
              )}
            </Fact>
            {explained.smsSegments > 0 && (
              <Fact name="segments">
                <strong class="number">{formatCount(explained.smsSegments)}</strong>{" "}
                <span class="muted">{encodingOf(explained.smsEncoding)}</span>
              </Fact>
            )}
          </Facts>
        </div>
      </Panel>
      <ol class="tiers">
        {tiers.map(({ tier, candidates }, index) => (
          <li key={tier}>
            <Panel
              title={`Tier ${tier}`}
              aside={<span class="muted">{tierNote(index, tiers.length, explained.overflow)}</span>}
            >
              <ul class="candidates">
                {candidates.map((candidate) => (
                  <li key={candidate.providerName}>
                    <Candidate candidate={candidate} tier={candidates} />
                  </li>
                ))}
              </ul>
            </Panel>
          </li>
        ))}
      </ol>
    </>
  );
}

function tierNote(index: number, count: number, overflow: boolean): string {
  if (count === 1) return "the only one";
  if (index === 0) return "tried first";
  return overflow ? "when nobody before takes it, or those are at their limits" : "when nobody before can take it";
}

function Conclusion({ explained }: { explained: ExplainRouteResponse }) {
  const verdict = verdictOf(explained);
  const names = (candidates: readonly RouteCandidate[]) => anyOf(candidates.map((one) => one.providerName));
  switch (verdict.kind) {
    case "carried":
      return (
        <p class="conclusion">
          <Badge tone="good">carried</Badge> <strong>{names(verdict.by)}</strong> would carry it now
          {verdict.tier > 1 && `, in tier ${verdict.tier}: nobody before can`}.
        </p>
      );
    case "waits":
      return (
        <p class="conclusion">
          <Badge tone="busy">waits</Badge> It would wait for <strong>{names(verdict.for)}</strong>, at the limits now.
        </p>
      );
    case "parked":
      return (
        <p class="conclusion">
          <Badge tone="bad">parked</Badge> Nobody would take it now: it would be accepted, and wait until one is back.
        </p>
      );
  }
}

function Candidate({ candidate, tier }: { candidate: RouteCandidate; tier: readonly RouteCandidate[] }) {
  const obstacle = obstacleOf(candidate);
  const share = shareOf(candidate, tier);
  return (
    <>
      <p class="candidate-name">
        <strong>{candidate.providerName}</strong>
        {obstacle ? <Badge tone={obstacle.tone}>{obstacle.word}</Badge> : <Badge tone="good">takes it</Badge>}
        {tier.length > 1 && share > 0 && <span class="muted number">{share} % of the tier</span>}
      </p>
      {obstacle && (
        <p>
          {obstacle.why} <span class="muted">{obstacle.comes}</span>
        </p>
      )}
      {candidate.eligibleTime && !candidate.eligible && (
        <p class="muted">
          Over <Countdown to={candidate.eligibleTime} due="by now" />.
        </p>
      )}
    </>
  );
}

/** What the answer of `ExplainRoute` means, in words. */
import {
  type ExplainRouteResponse,
  type RouteCandidate,
  RouteObstacle,
  SmsEncoding,
} from "../gen/postwire/v1/dispatch_service_pb.ts";
import type { Tone } from "../ui/badge.tsx";

export interface Obstacle {
  tone: Tone;
  /** For a badge. */
  word: string;
  /** Why it takes no message now. */
  why: string;
  /** What becomes of messages that come to it. */
  comes: string;
}

const PASSED_OVER = "Messages go to the next one.";
const WAITED_FOR = "Messages wait for it, unless another of its tier takes them.";

const OBSTACLES: Partial<Record<RouteObstacle, Obstacle>> = {
  [RouteObstacle.OPEN]: {
    tone: "bad",
    word: "open",
    why: "Its breaker is open, since too many calls failed.",
    comes: PASSED_OVER,
  },
  [RouteObstacle.HALF_OPEN]: {
    tone: "warn",
    word: "half open",
    why: "Its breaker is half-open, and every probe is out.",
    comes: PASSED_OVER,
  },
  [RouteObstacle.DRAINED]: {
    tone: "idle",
    word: "drained",
    why: "An operator has drained it: it is out of service until it is resumed.",
    comes: PASSED_OVER,
  },
  [RouteObstacle.COOLING_DOWN]: {
    tone: "warn",
    word: "cooling down",
    why: "It has throttled us, and is left alone for a while.",
    comes: PASSED_OVER,
  },
  [RouteObstacle.RETRY_BUDGET]: {
    tone: "warn",
    word: "no repeats",
    why: "It is in trouble, and messages that it has had before are kept from it.",
    comes: "Such messages go to the next one.",
  },
  [RouteObstacle.CONCURRENCY_LIMIT]: {
    tone: "busy",
    word: "busy",
    why: "As many attempts are under way at it as its max_concurrent allows.",
    comes: WAITED_FOR,
  },
  [RouteObstacle.RATE_LIMIT]: {
    tone: "busy",
    word: "at its rate",
    why: "It has had as many messages a second as its rate allows.",
    comes: WAITED_FOR,
  },
  [RouteObstacle.UNSUITABLE]: {
    tone: "idle",
    word: "unsuitable",
    why: "It cannot carry this message, whatever happens: for its sender, its size or something in it.",
    comes: "It is left out of this message’s route.",
  },
  [RouteObstacle.UNAVAILABLE]: {
    tone: "bad",
    word: "unavailable",
    why: "It has not been reached since the server started, which goes on trying.",
    comes: PASSED_OVER,
  },
  [RouteObstacle.MISCONFIGURED]: {
    tone: "bad",
    word: "misconfigured",
    why: "It does not accept the account or the key that it is configured with.",
    comes: `${PASSED_OVER} It is tried now and then.`,
  },
};

/** What keeps a candidate from taking the message; undefined where nothing does. */
export function obstacleOf(candidate: RouteCandidate): Obstacle | undefined {
  if (candidate.eligible) return undefined;
  return (
    OBSTACLES[candidate.obstacle] ?? {
      tone: "idle",
      word: `obstacle ${candidate.obstacle}`,
      why: "The server gives a reason that this console does not know.",
      comes: "",
    }
  );
}

const LIMITS: ReadonlySet<RouteObstacle> = new Set([RouteObstacle.CONCURRENCY_LIMIT, RouteObstacle.RATE_LIMIT]);

export type Verdict =
  /** One of these takes it now. */
  | { kind: "carried"; by: RouteCandidate[]; tier: number }
  /** It waits for one of these, which are at their limits. */
  | { kind: "waits"; for: RouteCandidate[]; tier: number }
  /** Nobody takes it, and none is waited for: it is parked until one is back. */
  | { kind: "parked" };

/** Who would carry it: the first tier with somebody who can, unless one before it has somebody to wait for. */
export function verdictOf(answer: ExplainRouteResponse): Verdict {
  let waited: Verdict | undefined;
  for (const { tier, candidates } of tiersOf(answer)) {
    const able = candidates.filter((candidate) => candidate.eligible);
    if (able.length > 0) return { kind: "carried", by: able, tier };
    const limited = candidates.filter((candidate) => LIMITS.has(candidate.obstacle));
    if (limited.length === 0) continue;
    waited ??= { kind: "waits", for: limited, tier };
    if (!answer.overflow) return waited;
  }
  return waited ?? { kind: "parked" };
}

export function tiersOf(answer: ExplainRouteResponse): { tier: number; candidates: RouteCandidate[] }[] {
  const tiers = new Map<number, RouteCandidate[]>();
  for (const candidate of answer.candidates) {
    const known = tiers.get(candidate.tier);
    if (known) known.push(candidate);
    else tiers.set(candidate.tier, [candidate]);
  }
  return [...tiers].sort(([one], [other]) => one - other).map(([tier, candidates]) => ({ tier, candidates }));
}

/** A candidate's share of what its tier takes, in percent, of those that can take anything of it. */
export function shareOf(candidate: RouteCandidate, tier: readonly RouteCandidate[]): number {
  const total = tier.reduce((sum, one) => sum + (one.obstacle === RouteObstacle.UNSUITABLE ? 0 : one.weight), 0);
  return total === 0 || candidate.obstacle === RouteObstacle.UNSUITABLE
    ? 0
    : Math.round((100 * candidate.weight) / total);
}

/** Names as in a sentence: `a`, `a or b`, `a, b or c`. */
export function anyOf(names: readonly string[]): string {
  if (names.length < 2) return names[0] ?? "";
  return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

export function encodingOf(encoding: SmsEncoding): string {
  switch (encoding) {
    case SmsEncoding.GSM_7BIT:
      return "GSM 7-bit: 160 characters, or 153 to a segment";
    case SmsEncoding.UCS2:
      return "UCS-2, since some characters are not in GSM’s alphabet: 70 characters, or 67 to a segment";
    default:
      return "";
  }
}

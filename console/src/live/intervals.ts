/** Counts of what happened, in intervals of 5 s, and what they come to a minute. */

import { millis } from "../api/times.ts";
import type { StatsInterval } from "../gen/postwire/v1/admin_service_pb.ts";

export const STEP_MS = 5_000;
export const SHOWN_MS = 15 * 60_000;
const A_MINUTE = 60_000 / STEP_MS;

/** What is counted of a channel, in the order in which it happens to a message. */
export const KINDS = ["accepted", "sent", "delivered", "failed", "uncertain"] as const;
export type Kind = (typeof KINDS)[number];
export type Counts = Record<Kind, number>;

const NONE: Counts = { accepted: 0, sent: 0, delivered: 0, failed: 0, uncertain: 0 };

/** What a chart draws: a point every 5 s, each with what happened in the minute before it. */
export interface Series {
  /** Seconds since 1970: the end of each interval. */
  times: number[];
  /** Null where not all of that minute is known. */
  rates: Record<Kind, (number | null)[]>;
}

export class Intervals {
  readonly #byStart = new Map<number, Map<number, Counts>>();
  #knownFrom: number | undefined;

  clear(): void {
    this.#byStart.clear();
    this.#knownFrom = undefined;
  }

  /** Take intervals; one that is there already is replaced. Those that are too old to be shown go. */
  add(added: readonly StatsInterval[], now: number): void {
    this.#knownFrom ??= lastStart(now) + STEP_MS - SHOWN_MS;
    for (const interval of added) {
      if (!interval.startTime) continue;
      const byChannel = new Map<number, Counts>();
      for (const stats of interval.channels) {
        const { accepted, sent, delivered, failed, uncertain } = stats;
        byChannel.set(stats.channel, {
          accepted: Number(accepted),
          sent: Number(sent),
          delivered: Number(delivered),
          failed: Number(failed),
          uncertain: Number(uncertain),
        });
      }
      this.#byStart.set(millis(interval.startTime), byChannel);
    }
    for (const start of this.#byStart.keys()) if (start < now - SHOWN_MS - 60_000) this.#byStart.delete(start);
  }

  /** The channels on which anything happened. */
  channels(): number[] {
    return [...new Set([...this.#byStart.values()].flatMap((byChannel) => [...byChannel.keys()]))].sort();
  }

  #at(start: number, channel: number): Counts {
    return this.#byStart.get(start)?.get(channel) ?? NONE;
  }

  /** What happened on a channel in a time that is over at `end` (exclusive). */
  sum(channel: number, from: number, end: number): Counts {
    const total = { ...NONE };
    for (let start = Math.ceil(from / STEP_MS) * STEP_MS; start < end; start += STEP_MS) {
      const counts = this.#at(start, channel);
      for (const kind of KINDS) total[kind] += counts[kind];
    }
    return total;
  }

  /** What happened on a channel in the minute up to now. */
  lastMinute(channel: number, now: number): Counts {
    return this.sum(channel, lastStart(now) - 60_000 + STEP_MS, now);
  }

  /** A channel's last 15 min. */
  series(channel: number, now: number): Series {
    const last = lastStart(now);
    const first = last - SHOWN_MS + STEP_MS;
    const times: number[] = [];
    const rates: Series["rates"] = { accepted: [], sent: [], delivered: [], failed: [], uncertain: [] };
    const window = { ...NONE };
    const known = this.#knownFrom ?? 0;
    for (let start = first - 60_000 + STEP_MS; start <= last; start += STEP_MS) {
      const entering = this.#at(start, channel);
      const leaving = this.#at(start - A_MINUTE * STEP_MS, channel);
      for (const kind of KINDS) {
        window[kind] += entering[kind] - (start - 60_000 >= first - 60_000 + STEP_MS ? leaving[kind] : 0);
        if (start >= first) rates[kind].push(start - 60_000 + STEP_MS >= known ? window[kind] : null);
      }
      if (start >= first) times.push((start + STEP_MS) / 1_000);
    }
    return { times, rates };
  }

  /** A channel's last 15 min by the minute, newest first: when each began, and its counts. */
  minutes(channel: number, now: number): { start: number; counts: Counts }[] {
    const end = Math.floor(now / 60_000) * 60_000 + 60_000;
    return Array.from({ length: SHOWN_MS / 60_000 }, (_, index) => {
      const start = end - (index + 1) * 60_000;
      return { start, counts: this.sum(channel, start, start + 60_000) };
    });
  }
}

/** When the interval began that is not over yet. */
function lastStart(now: number): number {
  return Math.floor(now / STEP_MS) * STEP_MS;
}

/** What happened to a message, in the order in which it did. */
import { durationMillis, formatCount, millis } from "../api/times.ts";
import {
  type Attempt,
  type Message,
  MessageState,
  type Note,
  type Receipt,
  type RecipientStatus,
} from "../gen/postwire/v1/message_pb.ts";

export type Happening =
  | { kind: "accepted" }
  | { kind: "attempt"; attempt: Attempt }
  /** Receipts that say the same of several recipients at once are told once. */
  | { kind: "receipt"; receipt: Receipt; recipients: number[] }
  | { kind: "note"; note: Note }
  | { kind: "settled"; state: MessageState }
  /** Not yet. */
  | { kind: "next" }
  | { kind: "expires" };

export interface Entry {
  /** Milliseconds since 1970. */
  time: number;
  /** Milliseconds since it was accepted. */
  after: number;
  happening: Happening;
}

/** Receipts of a burst, as for an email to many. */
const TOGETHER_MS = 1_000;

export function isSettled(state: MessageState): boolean {
  return state !== MessageState.QUEUED && state !== MessageState.SENDING && state !== MessageState.UNSPECIFIED;
}

/** What happened, oldest first; behind it what is to come, for a message that is not settled. */
export function timeline(message: Message): Entry[] {
  const accepted = message.createTime ? millis(message.createTime) : 0;
  const happened: { time: number; happening: Happening }[] = [];
  for (const attempt of message.attempts) {
    if (attempt.startTime) happened.push({ time: millis(attempt.startTime), happening: { kind: "attempt", attempt } });
  }
  happened.push(...receipts(message));
  if (message.note?.time)
    happened.push({ time: millis(message.note.time), happening: { kind: "note", note: message.note } });
  if (message.state === MessageState.EXPIRED && message.updateTime) {
    happened.push({ time: millis(message.updateTime), happening: { kind: "settled", state: message.state } });
  }
  happened.sort((one, other) => one.time - other.time);
  const entries = [{ time: accepted, happening: { kind: "accepted" } as Happening }, ...happened];
  if (!isSettled(message.state)) {
    if (message.state === MessageState.QUEUED && message.nextAttemptTime) {
      entries.push({ time: millis(message.nextAttemptTime), happening: { kind: "next" } });
    }
    if (message.expireTime) entries.push({ time: millis(message.expireTime), happening: { kind: "expires" } });
  }
  return entries.map((entry) => ({ ...entry, after: entry.time - accepted }));
}

function receipts(message: Message): { time: number; happening: Happening }[] {
  const told: { time: number; receipt: Receipt; recipients: number[] }[] = [];
  for (const receipt of message.receipts) {
    if (!receipt.receiveTime) continue;
    const time = millis(receipt.receiveTime);
    const index = receipt.recipientIndex;
    const same = told.find(
      (one) =>
        index !== undefined &&
        one.recipients.length > 0 &&
        one.receipt.state === receipt.state &&
        one.receipt.attemptNumber === receipt.attemptNumber &&
        one.receipt.errorCode === receipt.errorCode &&
        time - one.time < TOGETHER_MS,
    );
    if (same && index !== undefined) same.recipients.push(index);
    else told.push({ time, receipt, recipients: index === undefined ? [] : [index] });
  }
  return told.map(({ time, receipt, recipients }) => ({ time, happening: { kind: "receipt", receipt, recipients } }));
}

/** How long it was not known what comes next: from the end of what was before (an attempt takes its time) to an entry. */
export function waitBefore(entry: Entry, before: Entry | undefined): number {
  if (!before) return 0;
  const took =
    before.happening.kind === "attempt" && before.happening.attempt.duration
      ? durationMillis(before.happening.attempt.duration)
      : 0;
  return Math.max(0, entry.time - before.time - took);
}

/** Recipients by number, from 1 as people count, with those that follow each other in short: `1–3, 7`. */
export function recipientNumbers(indices: readonly number[]): string {
  const sorted = [...new Set(indices)].sort((one, other) => one - other);
  const parts: string[] = [];
  for (let start = 0; start < sorted.length; ) {
    let end = start;
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end += 1;
    const [first, last] = [(sorted[start] ?? 0) + 1, (sorted[end] ?? 0) + 1];
    parts.push(end === start ? `${first}` : end === start + 1 ? `${first}, ${last}` : `${first}–${last}`);
    start = end + 1;
  }
  return parts.join(", ");
}

/** Where a trace is shown: the address of the settings with the trace's id; "" where there is none. */
export function traceLink(address: string, traceId: string): string {
  return address && traceId ? address.replaceAll("{trace_id}", encodeURIComponent(traceId)) : "";
}

/** How many of the recipients have it: `10 of 12 delivered`. */
export function deliveredOf(recipients: readonly RecipientStatus[]): string {
  const delivered = recipients.filter((one) => one.state === MessageState.DELIVERED).length;
  return `${formatCount(delivered)} of ${formatCount(recipients.length)} delivered`;
}

/** Where it stands, and what comes of that, in a sentence. */
export function standing(message: Message): string {
  const provider = message.providerName || "a provider";
  const several = message.recipients.length > 1;
  const tries = message.attempts.length;
  const after = tries > 1 ? `after ${tries} attempts` : tries === 1 ? "after one attempt" : "without an attempt";
  switch (message.state) {
    case MessageState.QUEUED:
      if (tries > 0) return "It waits for its next attempt.";
      return message.nextAttemptTime ? "It waits for its time, or for a provider." : "It waits for a provider.";
    case MessageState.SENDING:
      return `An attempt at ${provider} is under way.`;
    case MessageState.SENT:
      return `Taken by ${provider}. Whether it was delivered is not known yet.`;
    case MessageState.DELIVERED:
      return `Taken by ${provider}, which reported its delivery.`;
    case MessageState.UNDELIVERED:
      return several
        ? `Taken by ${provider}, which reported that it could not be delivered to all: ${deliveredOf(message.recipients)}.`
        : `Taken by ${provider}, which reported that it could not be delivered.`;
    case MessageState.FAILED:
      return `It was not sent, ${after}, and is not tried again.`;
    case MessageState.UNCERTAIN:
      return "It may or may not have been sent, and is not tried again by itself. Find out, and resolve it.";
    case MessageState.EXPIRED:
      return `Its time ran out ${after}, before a provider took it.`;
    case MessageState.CANCELLED:
      return "It was cancelled before a provider took it.";
    default:
      return "";
  }
}

/** The rows of a list of messages, newest first: pages of older ones are put behind, and changes into their place. */
import type { Message } from "../gen/postwire/v1/message_pb.ts";

/** How many are kept, so that a page that stays open for days does not grow. */
export const MAX_ROWS = 20_000;

export class MessageRows {
  /** Newest first: ids are UUIDs of version 7, which sort by the time of acceptance. */
  rows: readonly Message[] = [];
  /** Whether there are no older ones. */
  complete = false;
  /** Whether older ones were let go, or not taken, since there is room for no more. */
  full = false;
  /** More has come while rows were held than is kept: the list is to be read anew. */
  overflowed = false;

  readonly #admits: (message: Message) => boolean;
  readonly #limit: number;
  /** What has come while rows are held. */
  #held = new Map<string, Message>();
  /** What has changed since the page that is under way was asked for: it may have been read before. */
  #since: Map<string, Message> | undefined;

  constructor(admits: (message: Message) => boolean, limit = MAX_ROWS) {
    this.#admits = admits;
    this.#limit = limit;
  }

  /** How many are held back. */
  get held(): number {
    return this.#held.size;
  }

  /** Where a message is; -1 where it is not. */
  indexOf(id: string): number {
    let low = 0;
    let high = this.rows.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const here = this.rows[middle]?.messageId ?? "";
      if (here === id) return middle;
      if (here > id) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** A page is asked for: changes from now on may not be in it. */
  beginPage(): void {
    this.#since = new Map();
  }

  /** Begin anew with the first page. */
  replace(page: readonly Message[], complete: boolean): void {
    const later = [...this.#held.values(), ...(this.#since?.values() ?? [])];
    this.rows = [];
    this.full = false;
    this.overflowed = false;
    this.#held.clear();
    this.append(page, complete);
    this.apply(later, false);
  }

  /** Put a page behind the rest. */
  append(page: readonly Message[], complete: boolean): void {
    const since = this.#since;
    this.#since = undefined;
    this.complete = complete;
    this.#merge(page.map((message) => newer(message, since?.get(message.messageId))).filter(this.#admits));
  }

  /** Take messages that have changed, or come. With `hold` no row moves: what comes is held back, and what the filter
   * admits no longer stays where it is until `release`. */
  apply(changed: readonly Message[], hold: boolean): void {
    const latest = new Map<string, Message>();
    for (const message of changed) latest.set(message.messageId, newer(message, latest.get(message.messageId)));
    const next = [...this.rows];
    const added: Message[] = [];
    let left = false;
    for (const [id, message] of latest) {
      this.#note(message);
      const index = this.indexOf(id);
      const known = next[index];
      if (known) {
        next[index] = newer(known, message);
        left ||= !this.#admits(message);
      } else if (this.#isBehind(id)) continue;
      else if (!this.#admits(message)) this.#held.delete(id);
      else if (hold) this.#held.set(id, newer(message, this.#held.get(id)));
      else added.push(message);
    }
    this.rows = next;
    if (!hold) this.#merge(added, left);
    else if (this.#held.size > this.#limit) {
      this.overflowed = true;
      this.#held = new Map([...this.#held].slice(-this.#limit));
    }
  }

  /** Let in what was held back, and take out what the filter admits no longer. */
  release(): void {
    const held = [...this.#held.values()];
    this.#held.clear();
    this.#merge(held, true);
  }

  /** Older than what is loaded: it comes with its page. */
  #isBehind(id: string): boolean {
    const last = this.rows.at(-1);
    return !this.complete && last !== undefined && id < last.messageId;
  }

  #note(message: Message): void {
    const since = this.#since;
    if (since && since.size < this.#limit) since.set(message.messageId, newer(message, since.get(message.messageId)));
  }

  #merge(added: readonly Message[], tidy = false): void {
    const rows = tidy ? this.rows.filter(this.#admits) : [...this.rows];
    const index = new Map(added.map((message) => [message.messageId, message]));
    for (const [position, known] of rows.entries()) {
      const same = index.get(known.messageId);
      if (!same) continue;
      rows[position] = newer(known, same);
      index.delete(known.messageId);
    }
    const last = rows.at(-1);
    const fresh = [...index.values()].sort(byNewest);
    rows.push(...fresh);
    // A page comes in its order, behind the rest.
    if (last && fresh[0] && byNewest(last, fresh[0]) > 0) rows.sort(byNewest);
    if (rows.length > this.#limit || (rows.length === this.#limit && !this.complete)) {
      rows.length = this.#limit;
      this.full = true;
      this.complete = false;
    }
    this.rows = rows;
  }
}

function byNewest(one: Message, other: Message): number {
  if (one.messageId === other.messageId) return 0;
  return one.messageId > other.messageId ? -1 : 1;
}

/** The later of two records of one message. */
function newer(one: Message, other: Message | undefined): Message {
  return other && other.revision > one.revision ? other : one;
}

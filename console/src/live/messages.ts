/** A list of messages: its pages, and what changes while somebody looks. */
import { effect, signal } from "@preact/signals";
import { type Failure, failureOf } from "../api/errors.ts";
import type { Feed, FeedCall, FeedOptions } from "../api/feed.ts";
import type { ListMessagesResponse, WatchMessagesResponse } from "../gen/postwire/v1/dispatch_service_pb.ts";
import type { Message } from "../gen/postwire/v1/message_pb.ts";
import { admits, type Filter, toWire, watchedFilter } from "./message_filter.ts";
import { MessageRows } from "./message_rows.ts";

const FIRST_PAGE = 100;
const PAGE = 500;
/** A page may be short: so many are wanted before somebody is shown that there is no need for more yet. */
const WANTED = 100;
/** Changes are shown together, a few times a second. */
const FLUSH_MS = 150;
const MAX_QUEUED = 5_000;

export type Loading =
  /** Older ones are asked for: how many pages were read, and how many messages were found in them. */
  | { kind: "loading"; pages: number; found: number }
  | { kind: "idle" }
  | { kind: "stopped" }
  | { kind: "failed"; failure: Failure }
  /** There is no older one. */
  | { kind: "end" }
  /** There may be older ones, but there is no room for more. */
  | { kind: "full" };

type WireFilter = ReturnType<typeof toWire>;

/** What a list needs of the contract. */
export interface MessageCalls {
  listMessages(
    request: { filter: WireFilter; pageSize: number; pageToken: string },
    call: { signal: AbortSignal },
  ): Promise<ListMessagesResponse>;
  watchMessages(
    request: { filter: WireFilter; resumeToken: string },
    call: FeedCall,
  ): AsyncIterable<WatchMessagesResponse>;
}

export class MessageList {
  /** Rises whenever `rows` has changed. */
  readonly changes = signal(0);
  readonly loading = signal<Loading>({ kind: "loading", pages: 0, found: 0 });
  /** Whether anything was read yet. */
  readonly loaded = signal(false);
  readonly rows: MessageRows;

  readonly #filter: Filter;
  readonly #calls: MessageCalls;
  #hold = false;
  #feed: Feed | undefined;
  #endEffect = () => {};
  #resumeToken = "";
  #resumed = false;
  #pageToken = "";
  #reading: AbortController | undefined;
  #queue: Message[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(filter: Filter, calls: MessageCalls, limit?: number) {
    this.#filter = filter;
    this.#calls = calls;
    this.rows = new MessageRows((message) => admits(filter, message), limit);
  }

  /** Follow what changes, and read the first page where none was read yet. */
  open(watch: (options: FeedOptions<WatchMessagesResponse>) => Feed): void {
    // A list that was left before anything was read begins anew.
    if (!this.loaded.peek()) this.#resumeToken = "";
    const feed = watch({
      open: (call) => {
        this.#resumed = this.#resumeToken !== "";
        return this.#calls.watchMessages(
          { filter: toWire(watchedFilter(this.#filter)), resumeToken: this.#resumeToken },
          call,
        );
      },
      // What happened between a page and a stream that begins after it would be missed: the page is read behind.
      opened: () => {
        if (!this.#resumed) void this.reload();
      },
      received: (response) => {
        this.#resumeToken = response.resumeToken || this.#resumeToken;
        if (response.message) this.#take(response.message);
      },
      expired: () => {
        this.#resumeToken = "";
      },
    });
    this.#feed = feed;
    this.#endEffect = effect(() => {
      const { kind } = feed.status.value;
      if ((kind === "lost" || kind === "refused") && !this.loaded.peek() && !this.#reading) void this.reload();
    });
  }

  close(): void {
    this.#endEffect();
    this.#feed?.close();
    this.#feed = undefined;
    if (this.loading.peek().kind === "loading") this.stop();
    this.#flush();
  }

  /** Whether rows stay where they are. When they need not any longer, what was held back comes in. */
  set hold(hold: boolean) {
    if (this.#hold === hold) return;
    this.#hold = hold;
    if (!hold) this.release();
  }

  /** Show what was held back. */
  release(): void {
    this.#flush();
    if (this.rows.overflowed) void this.reload();
    else {
      this.rows.release();
      this.#settle();
    }
  }

  /** Show what a call has answered, without waiting for the stream. */
  show(message: Message): void {
    this.#take(message);
  }

  /** Read the first page, in place of all that was read. */
  async reload(): Promise<void> {
    this.#pageToken = "";
    await this.#read(true);
  }

  /** Read older ones, until there are enough for a while. */
  async more(): Promise<void> {
    const { kind } = this.loading.peek();
    if (kind === "idle" || kind === "stopped" || kind === "failed") await this.#read(!this.loaded.peek());
  }

  stop(): void {
    this.#reading?.abort();
    this.#reading = undefined;
    this.loading.value = { kind: "stopped" };
  }

  async #read(anew: boolean): Promise<void> {
    this.#reading?.abort();
    const reading = new AbortController();
    this.#reading = reading;
    let pages = 0;
    let found = 0;
    let first = anew;
    const filter = toWire(this.#filter);
    this.loading.value = { kind: "loading", pages, found };
    try {
      do {
        this.rows.beginPage();
        const page = await this.#calls.listMessages(
          { filter, pageSize: first ? FIRST_PAGE : PAGE, pageToken: this.#pageToken },
          { signal: reading.signal },
        );
        if (reading !== this.#reading) return;
        this.#pageToken = page.nextPageToken;
        if (first) this.rows.replace(page.messages, !this.#pageToken);
        else this.rows.append(page.messages, !this.#pageToken);
        first = false;
        pages += 1;
        found += page.messages.length;
        this.loaded.value = true;
        this.loading.value = { kind: "loading", pages, found };
        this.changes.value += 1;
      } while (this.#pageToken && found < WANTED && !this.rows.full);
      this.#reading = undefined;
      this.loading.value = { kind: "idle" };
      this.#settle();
    } catch (error) {
      if (reading !== this.#reading) return;
      this.#reading = undefined;
      this.loading.value = { kind: "failed", failure: failureOf(error) };
    }
  }

  #take(message: Message): void {
    this.#queue.push(message);
    if (this.#queue.length >= MAX_QUEUED) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#queue.length === 0) return;
    const changed = this.#queue;
    this.#queue = [];
    this.rows.apply(changed, this.#hold);
    this.#settle();
  }

  #settle(): void {
    this.changes.value += 1;
    if (this.#reading) return;
    if (this.rows.full) this.loading.value = { kind: "full" };
    else if (this.rows.complete && this.loaded.peek()) this.loading.value = { kind: "end" };
  }
}

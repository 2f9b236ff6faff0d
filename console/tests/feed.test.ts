import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { delayBefore, type FeedEnvironment, HIDDEN_MS, openFeed, SILENCE_MS } from "../src/api/feed.ts";

/** A browser whose time passes when a test says so. */
class Browser implements FeedEnvironment {
  time = 0;
  away = false;
  readonly #timers = new Map<number, { at: number; action: () => void }>();
  readonly #listeners = new Set<() => void>();
  #last = 0;

  now = () => this.time;
  random = () => 1;
  hidden = () => this.away;

  after(ms: number, action: () => void) {
    const id = ++this.#last;
    this.#timers.set(id, { at: this.time + ms, action });
    return () => void this.#timers.delete(id);
  }

  onVisibility(action: () => void) {
    this.#listeners.add(action);
    return () => void this.#listeners.delete(action);
  }

  async pass(ms: number) {
    this.time += ms;
    for (const [id, timer] of this.#timers) {
      if (timer.at > this.time) continue;
      this.#timers.delete(id);
      timer.action();
    }
    await settled();
  }

  async look(away: boolean) {
    this.away = away;
    for (const listener of this.#listeners) listener();
    await settled();
  }
}

/** Whatever promises were due is done. */
function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A server: each opening is a stream that the test feeds, breaks and ends. */
class Streams {
  readonly opened: Stream[] = [];

  open = ({ signal }: { signal: AbortSignal }) => {
    const stream = new Stream(signal);
    this.opened.push(stream);
    return stream;
  };

  get last() {
    const stream = this.opened.at(-1);
    assert.ok(stream, "nothing was opened");
    return stream;
  }
}

class Stream implements AsyncIterable<string> {
  readonly #signal: AbortSignal;
  #give: ((result: IteratorResult<string>) => void) | undefined;
  #fail: ((error: unknown) => void) | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.fail(new ConnectError("gone", Code.Canceled)));
  }

  get aborted() {
    return this.#signal.aborted;
  }

  [Symbol.asyncIterator]() {
    return {
      next: () =>
        new Promise<IteratorResult<string>>((resolve, reject) => {
          this.#give = resolve;
          this.#fail = reject;
        }),
    };
  }

  async give(value: string) {
    this.#give?.({ value, done: false });
    await settled();
  }

  async end() {
    this.#give?.({ value: undefined, done: true });
    await settled();
  }

  fail(error: unknown) {
    this.#fail?.(error);
  }
}

function follow(options: { expired?: () => void } = {}) {
  const browser = new Browser();
  const streams = new Streams();
  const got: string[] = [];
  const feed = openFeed<string>({ open: streams.open, received: (item) => got.push(item), ...options }, browser);
  return { browser, streams, got, feed };
}

test("what arrives is handed on, and the feed is live", async () => {
  const { streams, got, feed } = follow();
  assert.equal(feed.status.value.kind, "connecting");
  await settled();
  await streams.last.give("one");
  await streams.last.give("two");
  assert.deepEqual(got, ["one", "two"]);
  assert.equal(feed.status.value.kind, "live");
});

test("a stream that ends is opened again, later each time, until something arrives", async () => {
  const { browser, streams, feed } = follow();
  await settled();
  for (const delay of [500, 1_000, 2_000]) {
    await streams.last.end();
    assert.deepEqual(
      feed.status.value.kind === "lost" ? feed.status.value.retryAt - browser.time : feed.status.value.kind,
      delay,
    );
    const before = streams.opened.length;
    await browser.pass(delay - 1);
    assert.equal(streams.opened.length, before);
    await browser.pass(1);
    assert.equal(streams.opened.length, before + 1);
  }
  await streams.last.give("one");
  await streams.last.end();
  assert.equal(feed.status.value.kind === "lost" && feed.status.value.retryAt - browser.time, 500);
});

test("a server that is silent for longer than its signs of life is lost", async () => {
  const { browser, streams, feed } = follow();
  await settled();
  await streams.last.give("one");
  await browser.pass(SILENCE_MS - 1);
  assert.equal(feed.status.value.kind, "live");
  await streams.last.give("two");
  await browser.pass(SILENCE_MS - 1);
  assert.equal(feed.status.value.kind, "live");
  await browser.pass(1);
  assert.equal(feed.status.value.kind, "lost");
  assert.ok(streams.last.aborted);
});

test("what would be refused again is not tried again, unless somebody asks for it", async () => {
  const { browser, streams, feed } = follow();
  await settled();
  streams.last.fail(new ConnectError("no", Code.PermissionDenied));
  await settled();
  assert.equal(feed.status.value.kind, "refused");
  await browser.pass(3_600_000);
  assert.equal(streams.opened.length, 1);
  feed.retry();
  assert.equal(streams.opened.length, 2);
});

test("a tab that nobody looks at lets its stream go after a while, and has it again when somebody does", async () => {
  const { browser, streams, feed } = follow();
  await settled();
  await streams.last.give("one");
  await browser.look(true);
  await browser.pass(HIDDEN_MS - 1);
  assert.equal(feed.status.value.kind, "live");
  await browser.pass(1);
  assert.equal(feed.status.value.kind, "paused");
  assert.ok(streams.last.aborted);
  await browser.pass(3_600_000);
  assert.equal(streams.opened.length, 1);
  await browser.look(false);
  assert.equal(streams.opened.length, 2);
});

test("a tab that is looked away from for a moment keeps its stream", async () => {
  const { browser, streams, feed } = follow();
  await settled();
  await streams.last.give("one");
  await browser.look(true);
  await browser.look(false);
  await browser.pass(HIDDEN_MS);
  assert.equal(feed.status.value.kind, "live");
  assert.equal(streams.opened.length, 1);
});

test("a resume token that is too old is forgotten, and the stream opened without", async () => {
  let forgotten = 0;
  const { streams, feed } = follow({ expired: () => (forgotten += 1) });
  await settled();
  streams.last.fail(new ConnectError("too old", Code.OutOfRange));
  await settled();
  assert.equal(forgotten, 1);
  assert.equal(streams.opened.length, 2);
  streams.last.fail(new ConnectError("too old", Code.OutOfRange));
  await settled();
  assert.equal(feed.status.value.kind, "refused", "it would go on for ever");
});

test("a resume token may have grown too old while the server was away", async () => {
  let forgotten = 0;
  const { browser, streams, feed } = follow({ expired: () => (forgotten += 1) });
  await settled();
  await streams.last.give("one");
  await streams.last.end();
  await browser.pass(500);
  streams.last.fail(new ConnectError("away", Code.Unavailable));
  await settled();
  await browser.pass(1_000);
  streams.last.fail(new ConnectError("too old", Code.OutOfRange));
  await settled();
  await streams.last.give("two");
  assert.equal(forgotten, 1);
  assert.equal(feed.status.value.kind, "live");
  streams.last.fail(new ConnectError("too old", Code.OutOfRange));
  await settled();
  assert.equal(forgotten, 2, "another time");
});

test("a feed that is closed opens nothing and hands nothing on", async () => {
  const { browser, streams, got, feed } = follow();
  await settled();
  const stream = streams.last;
  feed.close();
  await stream.give("late");
  await browser.look(true);
  await browser.look(false);
  await browser.pass(3_600_000);
  assert.deepEqual(got, []);
  assert.equal(streams.opened.length, 1);
});

test("delays double up to a bound, and chance takes at most half of them", () => {
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 50].map((number) => delayBefore(number, 1)),
    [500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000],
  );
  assert.equal(delayBefore(2, 0), 1_000);
});

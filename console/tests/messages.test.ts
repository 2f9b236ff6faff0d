import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { signal } from "@preact/signals";
import type { FeedOptions, FeedStatus } from "../src/api/feed.ts";
import {
  ListMessagesResponseSchema,
  type WatchMessagesResponse,
  WatchMessagesResponseSchema,
} from "../src/gen/postwire/v1/dispatch_service_pb.ts";
import { type Message, MessageSchema } from "../src/gen/postwire/v1/message_pb.ts";
import { EVERYTHING } from "../src/live/message_filter.ts";
import { type MessageCalls, MessageList } from "../src/live/messages.ts";

function message(number: number, revision = 1): Message {
  return create(MessageSchema, { messageId: String(number).padStart(6, "0"), revision: BigInt(revision) });
}

/** A server whose pages a test gives, and whose stream it feeds. */
class Server implements MessageCalls {
  readonly pages: ((messages: Message[], next?: string) => Promise<void>)[] = [];
  readonly asked: string[] = [];
  readonly watched: string[] = [];
  readonly status = signal<FeedStatus>({ kind: "connecting" });
  fail: (error: unknown) => void = () => {};
  #options: FeedOptions<WatchMessagesResponse> | undefined;

  listMessages: MessageCalls["listMessages"] = ({ pageToken }, { signal: aborted }) => {
    this.asked.push(pageToken);
    return new Promise((resolve, reject) => {
      this.fail = reject;
      aborted.addEventListener("abort", () => reject(new ConnectError("aborted", Code.Canceled)));
      this.pages.push(async (messages, nextPageToken = "") => {
        resolve(create(ListMessagesResponseSchema, { messages, nextPageToken }));
        await settled();
      });
    });
  };

  watchMessages: MessageCalls["watchMessages"] = ({ resumeToken }) => {
    this.watched.push(resumeToken);
    return { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) };
  };

  watch = (options: FeedOptions<WatchMessagesResponse>) => {
    this.#options = options;
    this.connect();
    return { status: this.status, retry() {}, close() {} };
  };

  /** A stream begins. */
  connect() {
    this.#options?.open({ signal: new AbortController().signal, onHeader() {} });
  }

  /** What the stream gives first, or next. */
  give(resumeToken: string, changed?: Message, first = false) {
    if (first) this.#options?.opened?.();
    this.#options?.received(create(WatchMessagesResponseSchema, { resumeToken, ...(changed && { message: changed }) }));
  }

  expire() {
    this.#options?.expired?.();
    this.connect();
  }

  async answer(messages: Message[], next?: string) {
    await this.pages.shift()?.(messages, next);
  }
}

function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

async function opened(first: Message[], next = "") {
  const server = new Server();
  const list = new MessageList(EVERYTHING, server);
  list.open(server.watch);
  server.give("t1", undefined, true);
  await server.answer(first, next);
  return { server, list };
}

const shown = (list: MessageList) => list.rows.rows.map((one) => `${Number(one.messageId)}.${one.revision}`).join(" ");

test("the first page is read behind the beginning of the stream, so that nothing falls between them", async () => {
  const server = new Server();
  const list = new MessageList(EVERYTHING, server);
  list.open(server.watch);
  assert.deepEqual(server.asked, []);
  server.give("t1", undefined, true);
  server.give("t2", message(3));
  await server.answer([message(2), message(1)]);
  list.release();
  assert.equal(shown(list), "3.1 2.1 1.1");
  assert.equal(list.loading.value.kind, "end");
});

test("the page is read as well where the stream does not come", async () => {
  const server = new Server();
  const list = new MessageList(EVERYTHING, server);
  list.open(server.watch);
  server.status.value = { kind: "refused", failure: { code: "", reason: "", text: "", violations: [], retryAfter: 0 } };
  await server.answer([message(1)]);
  assert.equal(shown(list), "1.1");
});

test("a stream that comes back goes on by its token, and nothing is read again", async () => {
  const { server, list } = await opened([message(1)]);
  server.give("t2", message(2));
  server.connect();
  server.give("t3", message(3), true);
  list.release();
  assert.deepEqual(server.watched, ["", "t2"]);
  assert.deepEqual(server.asked, [""]);
  assert.equal(shown(list), "3.1 2.1 1.1");
});

test("a token that is too old has the list be read anew", async () => {
  const { server, list } = await opened([message(1)]);
  server.expire();
  server.give("t9", undefined, true);
  await server.answer([message(5), message(4)]);
  assert.deepEqual(server.watched, ["", ""]);
  assert.equal(shown(list), "5.1 4.1");
});

test("pages that are short or empty are followed by others, until there are enough or somebody stops", async () => {
  const { server, list } = await opened([], "p1");
  await server.answer([message(9)], "p2");
  assert.deepEqual(list.loading.value, { kind: "loading", pages: 2, found: 1 });
  list.stop();
  assert.equal(list.loading.peek().kind, "stopped");
  await server.answer([message(8)], "p3");
  assert.equal(shown(list), "9.1", "what comes after that is not taken");
  const going = list.more();
  server.pages.length = 1;
  assert.equal(server.asked.at(-1), "p2");
  server.fail(new ConnectError("gone", Code.Unavailable));
  await going;
  assert.equal(list.loading.peek().kind, "failed");
});

test("rows are held while somebody is at others, and come when he is back", async () => {
  const { server, list } = await opened([message(1)]);
  list.hold = true;
  server.give("t2", message(2));
  await new Promise((resolve) => list.changes.subscribe(() => list.rows.held && resolve(undefined)));
  assert.equal(shown(list), "1.1");
  list.hold = false;
  assert.equal(shown(list), "2.1 1.1");
});

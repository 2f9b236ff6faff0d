import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Message, MessageSchema, MessageState } from "../src/gen/postwire/v1/message_pb.ts";
import { MessageRows } from "../src/live/message_rows.ts";

/** A message whose id sorts by `number`. */
function message(number: number, revision = 1, state = MessageState.QUEUED): Message {
  return create(MessageSchema, { messageId: String(number).padStart(6, "0"), revision: BigInt(revision), state });
}

function shown(rows: MessageRows): string {
  return rows.rows.map((one) => `${Number(one.messageId)}.${one.revision}`).join(" ");
}

const queued = (one: Message) => one.state === MessageState.QUEUED;

function loaded(numbers: readonly number[], complete = true, limit?: number, admits = queued): MessageRows {
  const rows = new MessageRows(admits, limit);
  rows.beginPage();
  rows.replace(
    numbers.map((number) => message(number)),
    complete,
  );
  return rows;
}

test("pages are put behind each other, and what comes is put in front", () => {
  const rows = loaded([5, 4], false);
  rows.beginPage();
  rows.append([message(3), message(2)], true);
  rows.apply([message(7), message(6)], false);
  assert.equal(shown(rows), "7.1 6.1 5.1 4.1 3.1 2.1");
  assert.equal(rows.indexOf("000003"), 4);
  assert.equal(rows.indexOf("000009"), -1);
});

test("the later of two records stays, whichever comes first", () => {
  const rows = loaded([5, 4]);
  rows.apply([message(5, 3)], false);
  rows.apply([message(5, 2)], false);
  assert.equal(shown(rows), "5.3 4.1");
});

test("a change that comes while a page is under way is not lost to what the page had read before", () => {
  const rows = loaded([5], false);
  rows.beginPage();
  rows.apply([message(3, 2), message(2, 2, MessageState.SENT)], false);
  assert.equal(shown(rows), "5.1", "they come with their page");
  rows.append([message(4), message(3), message(2)], true);
  assert.equal(shown(rows), "5.1 4.1 3.2");
});

test("what comes while the first page is read stays", () => {
  const rows = loaded([5, 4]);
  rows.beginPage();
  rows.apply([message(6), message(4, 2)], false);
  rows.replace([message(5), message(4)], true);
  assert.equal(shown(rows), "6.1 5.1 4.2");
});

test("held rows stay where they are, show what becomes of them, and let in the others when they are released", () => {
  const rows = loaded([5, 4]);
  rows.apply([message(6), message(4, 2, MessageState.SENT)], true);
  rows.apply([message(6, 2), message(7)], true);
  assert.equal(shown(rows), "5.1 4.2");
  assert.equal(rows.held, 2);
  rows.apply([message(7, 2, MessageState.SENT)], true);
  assert.equal(rows.held, 1, "it would not be in the list any more");
  rows.release();
  assert.equal(shown(rows), "6.2 5.1");
  assert.equal(rows.held, 0);
});

test("what the filter admits no longer leaves, and what it admits from now on comes to its place", () => {
  const rows = loaded([8, 5, 2]);
  rows.apply([message(5, 2, MessageState.SENT), message(4, 4)], false);
  assert.equal(shown(rows), "8.1 4.4 2.1");
});

test("no more are kept than there is room for, and the newest stay", () => {
  const rows = loaded([3, 2, 1], true, 3);
  assert.ok(!rows.full);
  rows.apply([message(5), message(4)], false);
  assert.equal(shown(rows), "5.1 4.1 3.1");
  assert.ok(rows.full && !rows.complete);
  rows.apply([message(1, 2)], false);
  assert.equal(shown(rows), "5.1 4.1 3.1", "what was let go stays away");
});

test("a list that is held for long is read anew instead of growing", () => {
  const rows = loaded([1], true, 3);
  rows.apply(
    [2, 3, 4, 5, 6].map((number) => message(number)),
    true,
  );
  assert.ok(rows.overflowed);
  assert.equal(rows.held, 3);
});

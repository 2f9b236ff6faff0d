import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { MessageSchema, MessageState, NoteAction, Outcome, ReceiptState } from "../src/gen/postwire/v1/message_pb.ts";
import {
  deliveredOf,
  isSettled,
  recipientNumbers,
  standing,
  timeline,
  traceLink,
  waitBefore,
} from "../src/pages/timeline.ts";

const START = Date.UTC(2026, 10, 30, 12);
const at = (ms: number) => timestampFromMs(START + ms);
const make = (init: MessageInitShape<typeof MessageSchema>) => create(MessageSchema, { createTime: at(0), ...init });

test("what happened is told in its order, with what is to come behind it", () => {
  const entries = timeline(
    make({
      state: MessageState.QUEUED,
      attempts: [
        { number: 1, startTime: at(2), duration: durationFromMs(100), outcome: Outcome.ERROR },
        { number: 2, startTime: at(2_000), duration: durationFromMs(50), outcome: Outcome.UNCERTAIN },
      ],
      receipts: [{ state: ReceiptState.ACCEPTED, attemptNumber: 1, receiveTime: at(1_000) }],
      nextAttemptTime: at(9_000),
      expireTime: at(60_000),
    }),
  );
  assert.deepEqual(
    entries.map(({ after, happening }) => `${after} ${happening.kind}`),
    ["0 accepted", "2 attempt", "1000 receipt", "2000 attempt", "9000 next", "60000 expires"],
  );
  const [accepted, first, receipt] = entries;
  assert.ok(accepted && first && receipt);
  assert.equal(waitBefore(first, accepted), 2);
  assert.equal(waitBefore(receipt, first), 898, "an attempt takes its time");
});

test("a settled message has nothing to come, and shows what was done to it", () => {
  const entries = timeline(
    make({
      state: MessageState.CANCELLED,
      expireTime: at(60_000),
      note: { action: NoteAction.CANCEL, reason: "wrong text", time: at(500) },
    }),
  );
  assert.deepEqual(
    entries.map(({ happening }) => happening.kind),
    ["accepted", "note"],
  );
  const expired = timeline(make({ state: MessageState.EXPIRED, updateTime: at(60_000) }));
  assert.equal(expired.at(-1)?.happening.kind, "settled");
});

test("receipts that say the same of several recipients at once are told once", () => {
  const receipt = (index: number, ms: number, state = ReceiptState.DELIVERED) => ({
    state,
    attemptNumber: 1,
    receiveTime: at(ms),
    recipientIndex: index,
  });
  const told = timeline(
    make({
      receipts: [
        receipt(0, 100),
        receipt(1, 150),
        receipt(2, 160, ReceiptState.UNDELIVERED),
        receipt(3, 170),
        receipt(4, 9_000),
      ],
    }),
  ).flatMap(({ happening }) => (happening.kind === "receipt" ? [happening.recipients] : []));
  assert.deepEqual(told, [[0, 1, 3], [2], [4]]);
});

test("recipients are counted from 1, and those in a row are told in short", () => {
  assert.equal(recipientNumbers([0]), "1");
  assert.equal(recipientNumbers([4, 0, 1, 2, 7, 8]), "1–3, 5, 8, 9");
  assert.equal(recipientNumbers([]), "");
});

test("a trace has an address where the settings have one", () => {
  assert.equal(traceLink("https://jaeger.test/trace/{trace_id}", "ab12"), "https://jaeger.test/trace/ab12");
  assert.equal(traceLink("", "ab12"), "");
  assert.equal(traceLink("https://jaeger.test/trace/{trace_id}", ""), "");
});

test("every state is said in a sentence", () => {
  for (const [number, name] of Object.entries(MessageState)) {
    if (typeof name !== "string" || number === "0") continue;
    assert.match(standing(make({ state: Number(number), providerName: "sms-a" })), /^[A-Z].*\.$/, name);
  }
  const recipients = [{ state: MessageState.DELIVERED }, { state: MessageState.UNDELIVERED }];
  const partly = make({ state: MessageState.UNDELIVERED, recipients });
  assert.equal(deliveredOf(partly.recipients), "1 of 2 delivered");
  assert.match(standing(partly), /not be delivered to all: 1 of 2 delivered/);
  assert.ok(isSettled(MessageState.SENT) && !isSettled(MessageState.QUEUED));
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Channel, MessageSchema, MessageState } from "../src/gen/postwire/v1/message_pb.ts";
import {
  admits,
  countParts,
  EVERYTHING,
  filterQuery,
  messagesPath,
  parseFilter,
  parseLabel,
  toWire,
  watchedFilter,
} from "../src/live/message_filter.ts";

const FULL =
  "channel=sms&channel=email&state=failed&provider=sms-a&label=team%3Dbilling&label=note%3Da%3Db" +
  "&from=2026-11-30T12%3A00%3A00.000Z&to=2026-11-30T13%3A00%3A00.000Z&request_id=order-1";

test("a filter goes into the address and comes out of it again", () => {
  const { filter, problems } = parseFilter(new URLSearchParams(FULL));
  assert.deepEqual(problems, []);
  assert.deepEqual(filter, {
    channels: [Channel.SMS, Channel.EMAIL],
    states: [MessageState.FAILED],
    providers: ["sms-a"],
    labels: { team: "billing", note: "a=b" },
    from: Date.UTC(2026, 10, 30, 12),
    to: Date.UTC(2026, 10, 30, 13),
    requestIds: ["order-1"],
  });
  assert.equal(
    messagesPath(filter),
    `messages?${FULL.replace("state=failed&", "").replace("&provider", "&state=failed&provider")}`,
  );
  assert.equal(countParts(filter), 8);
  assert.deepEqual(parseFilter(new URLSearchParams()).filter, EVERYTHING);
  assert.equal(filterQuery(EVERYTHING).from, undefined);
});

test("what cannot be meant is told, and the rest is kept", () => {
  const { filter, problems } = parseFilter(
    new URLSearchParams("state=lost&state=sent&channel=unspecified&from=noon&label=billing&label=%3Dx"),
  );
  assert.deepEqual(filter, { ...EVERYTHING, states: [MessageState.SENT] });
  assert.equal(problems.length, 5);
  assert.match(problems.join("\n"), /no state “lost”/);
  assert.match(problems.join("\n"), /“noon” is no time/);
});

test("a label has a key, and any value", () => {
  assert.deepEqual(parseLabel("team = billing"), ["team", "billing"]);
  assert.deepEqual(parseLabel("team="), ["team", ""]);
  assert.equal(parseLabel("billing"), undefined);
});

test("what a message can come out of is not left to the server, which would not tell", () => {
  const { filter } = parseFilter(new URLSearchParams(FULL.replace("failed", "queued")));
  assert.deepEqual(watchedFilter(filter), { ...filter, states: [], providers: [] });
  const settled = { ...filter, states: [MessageState.FAILED, MessageState.DELIVERED] };
  assert.equal(watchedFilter(settled), settled);
  const providers = { ...EVERYTHING, providers: ["sms-a"] };
  assert.deepEqual(watchedFilter(providers), EVERYTHING);
});

test("a filter admits what the server would", () => {
  const { filter } = parseFilter(new URLSearchParams(FULL));
  const fitting = {
    channel: Channel.SMS,
    state: MessageState.FAILED,
    providerName: "sms-a",
    requestId: "order-1",
    labels: { team: "billing", note: "a=b", more: "x" },
    createTime: timestampFromMs(Date.UTC(2026, 10, 30, 12)),
  };
  assert.ok(admits(filter, create(MessageSchema, fitting)));
  assert.ok(admits(EVERYTHING, create(MessageSchema)));
  const others = [
    { channel: Channel.MMS },
    { state: MessageState.SENT },
    { providerName: "" },
    { requestId: "order-2" },
    { labels: { team: "billing" } },
    { createTime: timestampFromMs(Date.UTC(2026, 10, 30, 13)) },
    { createTime: timestampFromMs(Date.UTC(2026, 10, 30, 12) - 1) },
  ];
  for (const other of others) assert.ok(!admits(filter, create(MessageSchema, { ...fitting, ...other })));
});

test("what the server is asked has only what is given", () => {
  assert.ok(!("createTimeFrom" in toWire(EVERYTHING)));
  assert.equal(toWire({ ...EVERYTHING, from: 5_000 }).createTimeFrom?.seconds, 5n);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { breakerStates, states } from "../src/api/words.ts";
import { MessageState } from "../src/gen/postwire/v1/message_pb.ts";
import { BreakerState } from "../src/gen/postwire/v1/provider_service_pb.ts";

test("enums are told in the words of commands and metrics, and read from them", () => {
  assert.equal(states.of(MessageState.SENT), "sent");
  assert.equal(breakerStates.of(BreakerState.HALF_OPEN), "half_open");
  assert.equal(states.parse("delivered"), MessageState.DELIVERED);
  assert.equal(states.parse("unspecified"), undefined);
  assert.equal(states.parse("constructor"), undefined);
});

test("what a newer server says is told as far as it goes", () => {
  assert.equal(states.of(99 as MessageState), "unknown (99)");
});

test("all of an enum is without what is never sent", () => {
  assert.deepEqual(states.all.map(({ word }) => word).slice(0, 3), ["queued", "sending", "sent"]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { failureOf, isForGood, isUnauthenticated } from "../src/api/errors.ts";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.ts";

test("a refusal is told in full: code, reason, text and each bad field", () => {
  const error = new ConnectError("2 fields are wrong", Code.InvalidArgument, undefined, [
    { desc: ErrorInfoSchema, value: { domain: "postwire", reason: "INVALID_MESSAGE" } },
    { desc: BadRequestSchema, value: { fieldViolations: [{ field: "message.sms.to", description: "is required" }] } },
  ]);
  assert.deepEqual(failureOf(error), {
    code: "INVALID_ARGUMENT",
    reason: "INVALID_MESSAGE",
    text: "2 fields are wrong",
    violations: [{ field: "message.sms.to", description: "is required" }],
    retryAfter: undefined,
  });
});

test("when to come back is told in milliseconds", () => {
  const error = new ConnectError("later", Code.ResourceExhausted, undefined, [
    { desc: RetryInfoSchema, value: { retryDelay: { seconds: 1n, nanos: 500_000_000 } } },
  ]);
  assert.equal(failureOf(error).retryAfter, 1_500);
});

test("a reason of somebody else's is none of ours", () => {
  const error = new ConnectError("no", Code.NotFound, undefined, [
    { desc: ErrorInfoSchema, value: { domain: "example.com", reason: "NOT_HERE" } },
  ]);
  assert.equal(failureOf(error).reason, "");
});

test("what did not reach the server is as if it were away, and worth another try", () => {
  const failure = failureOf(new TypeError("Failed to fetch"));
  assert.deepEqual([failure.code, failure.text], ["UNAVAILABLE", "Failed to fetch"]);
  assert.equal(isForGood(new TypeError("Failed to fetch")), false);
});

test("what would be refused again is known", () => {
  assert.ok(isForGood(new ConnectError("no", Code.PermissionDenied)));
  assert.ok(!isForGood(new ConnectError("no", Code.Unavailable)));
  assert.ok(!isForGood(new ConnectError("no", Code.Internal)));
  assert.ok(isUnauthenticated(new ConnectError("who", Code.Unauthenticated)));
  assert.ok(!isUnauthenticated(new Error("who")));
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  ExplainRouteResponseSchema,
  RouteCandidateSchema,
  RouteObstacle,
} from "../src/gen/postwire/v1/dispatch_service_pb.ts";
import { anyOf, obstacleOf, shareOf, tiersOf, verdictOf } from "../src/pages/route_words.ts";

const OBSTACLES = Object.entries(RouteObstacle).filter(
  ([, name]) => typeof name === "string" && name !== "UNSPECIFIED",
);

/** A route: each tier with its candidates, by name, and what keeps it. */
function route(tiers: Record<string, keyof typeof RouteObstacle | "">[], overflow = false) {
  return create(ExplainRouteResponseSchema, {
    overflow,
    candidates: tiers.flatMap((tier, index) =>
      Object.entries(tier).map(([providerName, obstacle]) => ({
        providerName,
        tier: index + 1,
        weight: 1,
        eligible: obstacle === "",
        obstacle: obstacle === "" ? RouteObstacle.UNSPECIFIED : RouteObstacle[obstacle],
      })),
    ),
  });
}

function verdict(...of: Parameters<typeof route>): string {
  const found = verdictOf(route(...of));
  const names = found.kind === "carried" ? found.by : found.kind === "waits" ? found.for : [];
  return [found.kind, ...names.map((one) => one.providerName)].join(" ");
}

test("there are words for every obstacle, and for one of a newer server", () => {
  for (const [number] of OBSTACLES) {
    const found = obstacleOf(create(RouteCandidateSchema, { obstacle: Number(number) }));
    assert.ok(found?.word && found.why && found.comes, RouteObstacle[Number(number)]);
    assert.ok(!found.word.startsWith("obstacle"), RouteObstacle[Number(number)]);
  }
  assert.match(obstacleOf(create(RouteCandidateSchema, { obstacle: 99 as RouteObstacle }))?.why ?? "", /does not know/);
  assert.equal(obstacleOf(create(RouteCandidateSchema, { eligible: true })), undefined);
});

test("the first tier with somebody who can carries it", () => {
  assert.equal(verdict([{ a: "", b: "" }, { c: "" }]), "carried a b");
  assert.equal(verdict([{ a: "OPEN" }, { c: "" }]), "carried c");
  assert.equal(verdict([{ a: "RATE_LIMIT", b: "" }]), "carried b");
});

test("who is at its limits is waited for, unless messages go on", () => {
  assert.equal(verdict([{ a: "CONCURRENCY_LIMIT" }, { c: "" }]), "waits a");
  assert.equal(verdict([{ a: "CONCURRENCY_LIMIT" }, { c: "" }], true), "carried c");
  assert.equal(verdict([{ a: "CONCURRENCY_LIMIT" }, { c: "DRAINED" }], true), "waits a");
  assert.equal(verdict([{ a: "OPEN" }, { c: "DRAINED" }]), "parked");
  assert.equal(verdict([]), "parked");
});

test("a share is of those that can carry anything of it", () => {
  const [tier] = tiersOf(route([{ a: "", b: "OPEN", c: "UNSUITABLE" }]));
  assert.deepEqual(
    tier?.candidates.map((one) => shareOf(one, tier.candidates)),
    [50, 50, 0],
  );
});

test("names are told as in a sentence", () => {
  assert.equal(anyOf([]), "");
  assert.equal(anyOf(["a"]), "a");
  assert.equal(anyOf(["a", "b", "c"]), "a, b or c");
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { distanceTo, rangeOf } from "../src/ui/window.ts";

test("the rows in the page are those in sight and some beyond, however long the list is", () => {
  assert.deepEqual(rangeOf(0, 600, 30, 10_000, 5), { start: 0, end: 25 });
  assert.deepEqual(rangeOf(150_000, 600, 30, 10_000, 5), { start: 4_995, end: 5_025 });
  assert.deepEqual(rangeOf(300_000 - 600, 600, 30, 10_000, 5), { start: 9_975, end: 10_000 });
});

test("a list above or below what is in sight has none or few of its rows there", () => {
  assert.deepEqual(rangeOf(-2_000, 600, 30, 10_000, 5), { start: 0, end: 0 });
  assert.deepEqual(rangeOf(9_000, 600, 30, 10, 5), { start: 10, end: 10 });
  assert.deepEqual(rangeOf(0, 600, 30, 0), { start: 0, end: 0 });
});

test("a row is scrolled to only as far as it takes, and not below what covers it", () => {
  assert.equal(distanceTo(10, 0, 600, 30, 40), 0);
  assert.equal(distanceTo(20, 0, 600, 30, 40), 30);
  assert.equal(distanceTo(0, 90, 600, 30, 40), -130);
  assert.equal(distanceTo(3, 90, 600, 30, 40), -40);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAbsolute, formatBytes, formatDuration, formatRelative } from "../src/api/times.ts";

test("durations read in their largest units", () => {
  const cases: [number, string][] = [
    [20, "20 ms"],
    [1_500, "1.5 s"],
    [3_000, "3 s"],
    [59_999, "59 s"],
    [65_000, "1 min 5 s"],
    [60_000, "1 min"],
    [725_000, "12 min"],
    [4 * 3_600_000, "4 h"],
    [90_061_000, "1 d 1 h"],
  ];
  for (const [ms, text] of cases) assert.equal(formatDuration(ms), text);
});

test("times are told from now", () => {
  assert.equal(formatRelative(1_000, 2_000), "now");
  assert.equal(formatRelative(0, 59_000), "59 s ago");
  assert.equal(formatRelative(0, 125_000), "2 min ago");
  assert.equal(formatRelative(20_000, 0), "in 20 s");
  assert.equal(formatRelative(0, 3 * 86_400_000), "3 d ago");
});

test("a time in full has its zone", () => {
  assert.match(formatAbsolute(0), /^19(70-01-01|69-12-31) \d\d:\d\d:00\.000 [+-]\d\d:\d\d$/);
});

test("bytes read in units of 1,024", () => {
  assert.deepEqual([0, 1_023, 1_536, 50 * 1024 * 1024].map(formatBytes), [
    "0 bytes",
    "1023 bytes",
    "1.5 KiB",
    "50 MiB",
  ]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { StatsIntervalSchema } from "../src/gen/postwire/v1/admin_service_pb.ts";
import { Channel } from "../src/gen/postwire/v1/message_pb.ts";
import { Intervals, SHOWN_MS } from "../src/live/intervals.ts";

const NOW = 1_800_000_000_000 + 2_000; // 2 s into an interval

function interval(secondsAgo: number, accepted: number, channel = Channel.SMS) {
  return create(StatsIntervalSchema, {
    startTime: timestampFromMs(NOW - 2_000 - secondsAgo * 1_000),
    channels: [{ channel, accepted: BigInt(accepted) }],
  });
}

function rates(intervals: Intervals, now = NOW) {
  return intervals.series(Channel.SMS, now).rates.accepted;
}

test("a point is what happened in the minute before it", () => {
  const intervals = new Intervals();
  intervals.add([interval(60, 1), interval(55, 10), interval(0, 100)], NOW);
  assert.deepEqual(rates(intervals).slice(-2), [11, 110]);
  assert.equal(rates(intervals).length, 180);
  assert.equal(intervals.lastMinute(Channel.SMS, NOW).accepted, 110);
});

test("time passes without anything happening", () => {
  const intervals = new Intervals();
  intervals.add([interval(0, 100)], NOW);
  assert.equal(rates(intervals, NOW + 55_000).at(-1), 100);
  assert.equal(rates(intervals, NOW + 60_000).at(-1), 0);
});

test("an interval that comes again replaces what was", () => {
  const intervals = new Intervals();
  intervals.add([interval(0, 3)], NOW);
  intervals.add([interval(0, 5)], NOW);
  assert.equal(rates(intervals).at(-1), 5);
});

test("where not all of a minute is known there is no point", () => {
  const intervals = new Intervals();
  intervals.add([interval(890, 7)], NOW);
  assert.deepEqual(rates(intervals).slice(0, 13), [...Array(11).fill(null), 7, 7]);
  intervals.add([], NOW + 60_000);
  assert.equal(rates(intervals, NOW + 60_000)[0], 7);
});

test("what is too old to be shown is forgotten", () => {
  const intervals = new Intervals();
  intervals.add([interval(0, 7, Channel.MMS)], NOW);
  assert.deepEqual(intervals.channels(), [Channel.MMS]);
  intervals.add([], NOW + SHOWN_MS + 61_000);
  assert.deepEqual(intervals.channels(), []);
});

test("minutes are whole ones, newest first, and their sum is what happened", () => {
  const intervals = new Intervals();
  intervals.add([interval(0, 1), interval(5, 2), interval(300, 4)], NOW);
  const minutes = intervals.minutes(Channel.SMS, NOW);
  assert.equal(minutes.length, 15);
  assert.ok(minutes.every((minute) => minute.start % 60_000 === 0));
  assert.ok((minutes[0]?.start ?? 0) > (minutes[1]?.start ?? 0));
  assert.equal(
    minutes.reduce((sum, minute) => sum + minute.counts.accepted, 0),
    7,
  );
});

test("channels are kept apart", () => {
  const intervals = new Intervals();
  intervals.add([interval(0, 1, Channel.EMAIL)], NOW);
  assert.equal(rates(intervals).at(-1), 0);
  assert.equal(intervals.series(Channel.EMAIL, NOW).rates.accepted.at(-1), 1);
});

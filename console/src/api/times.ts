/** Times and durations as people read them. */
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";

/** Milliseconds since 1970. */
export function millis(time: Timestamp): number {
  return Number(time.seconds) * 1000 + time.nanos / 1e6;
}

export function durationMillis(duration: Duration): number {
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

const STEPS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
] as const;

/** A duration in its largest unit, and the next one where there is little of the first: `1 min 5 s`, `3 d`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(Math.floor(ms / 100) / 10).toString()} s`;
  for (const [index, [size, unit]] of STEPS.entries()) {
    if (ms < size) continue;
    const whole = Math.floor(ms / size);
    const next = STEPS[index + 1];
    const rest = next && whole < 10 ? Math.floor((ms % size) / next[0]) : 0;
    return next && rest ? `${whole} ${unit} ${rest} ${next[1]}` : `${whole} ${unit}`;
  }
  return `${Math.round(ms)} ms`;
}

/** How long ago, or in how long: `3 min ago`, `in 20 s`, `now`. */
export function formatRelative(time: number, now: number): string {
  const difference = Math.floor((time - now) / 1_000) * 1_000;
  if (Math.abs(difference) < 2_000) return "now";
  const [size, unit] = STEPS.find(([step]) => Math.abs(difference) >= step) ?? STEPS[3];
  const count = Math.floor(Math.abs(difference) / size);
  return difference > 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const secondsFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** `14:03`, in the time of whoever looks. */
export function formatClock(time: number, seconds = false): string {
  return (seconds ? secondsFormat : clockFormat).format(time);
}

/** All of a time: `2026-11-30 14:03:22.120 +01:00`. */
export function formatAbsolute(time: number): string {
  const date = new Date(time);
  const two = (value: number) => String(value).padStart(2, "0");
  const zone = -date.getTimezoneOffset();
  const sign = zone < 0 ? "-" : "+";
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const fraction = String(date.getMilliseconds()).padStart(3, "0");
  return `${day} ${clock}.${fraction} ${sign}${two(Math.floor(Math.abs(zone) / 60))}:${two(Math.abs(zone) % 60)}`;
}

const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const yearFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** `14:03:22`, or `14:03:22.120`, in the time of whoever looks; `29 Nov 14:03:22` on another day than now. */
export function formatLocal(time: number, now: number, fraction = false): string {
  const then = new Date(time);
  const today = new Date(now);
  const ms = fraction ? `.${String(then.getMilliseconds()).padStart(3, "0")}` : "";
  const clock = `${secondsFormat.format(then)}${ms}`;
  if (then.toDateString() === today.toDateString()) return clock;
  const sameYear = then.getFullYear() === today.getFullYear();
  return `${(sameYear ? dayFormat : yearFormat).format(then)} ${clock}`;
}

/** `2026-11-30 13:03:22.120 UTC`. */
export function formatUtc(time: number): string {
  return `${new Date(time).toISOString().replace("T", " ").slice(0, 23)} UTC`;
}

const BYTES = ["bytes", "KiB", "MiB", "GiB", "TiB"];

export function formatBytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < BYTES.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${BYTES[unit]}`;
}

const countFormat = new Intl.NumberFormat("en-GB");

/** `1,000,000`. */
export function formatCount(count: number | bigint): string {
  return countFormat.format(count);
}

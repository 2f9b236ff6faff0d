/** A time, relative and going on, with all of it as the title. */
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { useComputed } from "@preact/signals";
import { now } from "../api/clock.ts";
import {
  formatAbsolute,
  formatDuration,
  formatLocal,
  formatRelative,
  formatUtc,
  millis as millisOf,
} from "../api/times.ts";

export function Time({ at }: { at: Timestamp | number | undefined }) {
  const time = at === undefined ? 0 : typeof at === "number" ? at : millisOf(at);
  // The text alone is compared: a time that still reads the same is not drawn again.
  const text = useComputed(() => formatRelative(time, now.value));
  if (at === undefined) return <span class="muted">–</span>;
  return (
    <time dateTime={new Date(time).toISOString()} title={formatAbsolute(time)}>
      {text.value}
    </time>
  );
}

/** What is left until a time: `12 s`, and then `due`. It changes each second, so that it is not read out. */
export function Countdown({ to, due = "due" }: { to: Timestamp; due?: string }) {
  const time = millisOf(to);
  const left = Math.ceil((time - now.value) / 1_000) * 1_000;
  return (
    <time class="number" dateTime={new Date(time).toISOString()} title={formatAbsolute(time)}>
      {left > 0 ? `in ${formatDuration(left).replace(/\.0 /, " ")}` : due}
    </time>
  );
}

/** A time by the reader's clock, with the day where it is another, and in UTC as the title, as logs have it. */
export function LocalTime({ at, millis = false }: { at: Timestamp | number | undefined; millis?: boolean }) {
  if (at === undefined) return <span class="muted">–</span>;
  const time = typeof at === "number" ? at : millisOf(at);
  return (
    <time class="number" dateTime={new Date(time).toISOString()} title={formatUtc(time)}>
      {formatLocal(time, now.peek(), millis)}
    </time>
  );
}

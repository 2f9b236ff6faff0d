/** The time at the server, which may not be this machine's, and a clock that ticks once a second while somebody looks. */
import { signal } from "@preact/signals";

let offset = 0;

/** The milliseconds since 1970 at the server, as far as it has said. */
export function serverNow(): number {
  return Date.now() + offset;
}

/** Learn the server's time from a response's `Date`, which has whole seconds: less than two of them is no difference. */
export function noteServerTime(date: string | null): void {
  if (!date) return;
  const difference = Date.parse(date) + 500 - Date.now();
  if (Number.isFinite(difference)) offset = Math.abs(difference) < 2_000 ? 0 : difference;
}

/** The server's time, anew each second while the page is looked at. */
export const now = signal(serverNow());

if (typeof document !== "undefined") {
  setInterval(() => {
    if (!document.hidden) now.value = serverNow();
  }, 1_000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) now.value = serverNow();
  });
}

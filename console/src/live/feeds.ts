/** The streams that the page has open, and what the shell says of them. */
import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Failure } from "../api/errors.ts";
import { type Feed, type FeedOptions, openFeed } from "../api/feed.ts";

const open = signal<readonly Feed[]>([]);

export type Connection = { kind: "none" | "connecting" | "live" } | { kind: "lost"; retryAt: number };

/** The worst of all streams: one that is lost makes what the page shows old. */
export const connection = computed<Connection>(() => {
  const statuses = open.value.map((feed) => feed.status.value);
  const lost = statuses.flatMap((status) => (status.kind === "lost" ? [status.retryAt] : []));
  if (lost.length) return { kind: "lost", retryAt: Math.min(...lost) };
  if (statuses.some((status) => status.kind === "connecting")) return { kind: "connecting" };
  return { kind: statuses.some((status) => status.kind === "live") ? "live" : "none" };
});

/** Why streams of the page are refused for good: see `ui/refused`. */
export const refusals = computed<readonly Failure[]>(() =>
  open.value.flatMap((feed) => (feed.status.value.kind === "refused" ? [feed.status.value.failure] : [])),
);

/** Try all that are lost again at once. */
export function retryAll(): void {
  for (const feed of open.peek()) feed.retry();
}

window.addEventListener("online", retryAll);

/** Open a stream that the shell reports on; close it by the feed that is returned. */
export function watch<T>(options: FeedOptions<T>): Feed {
  const feed = openFeed(options);
  open.value = [...open.peek(), feed];
  return {
    ...feed,
    close() {
      feed.close();
      open.value = open.peek().filter((other) => other !== feed);
    },
  };
}

/** Keep a stream open while a component is shown; anew whenever `inputs` change. Its status: `connection`, or `watch`. */
export function useFeed<T>(options: () => FeedOptions<T>, inputs: readonly unknown[]): void {
  useEffect(() => {
    const feed = watch(options());
    return () => feed.close();
  }, inputs);
}

/** Something live that several components show: open while any of them is, and for all of them one stream. */
export class Shared {
  #users = 0;
  #feed: Feed | undefined;
  readonly #open: () => Feed;

  constructor(open: () => Feed) {
    this.#open = open;
  }

  /** Keep it open while the component is shown. */
  use(): void {
    useEffect(() => {
      this.#users += 1;
      this.#feed ??= this.#open();
      return () => {
        this.#users -= 1;
        if (this.#users > 0) return;
        this.#feed?.close();
        this.#feed = undefined;
      };
    }, []);
  }
}

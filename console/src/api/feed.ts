/** A stream of the server that is opened again when it breaks, for as long as somebody looks. */

import { Code, ConnectError } from "@connectrpc/connect";
import { type Signal, signal } from "@preact/signals";
import { type Failure, failureOf, isForGood } from "./errors.ts";

/** The server gives a sign of life every 15 s; who is silent for longer than this is gone. */
export const SILENCE_MS = 20_000;
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 5_000;
/** For how long a tab that nobody looks at keeps its streams: a browser opens six connections to a server at most. */
export const HIDDEN_MS = 10_000;

export type FeedStatus =
  | { kind: "connecting" }
  | { kind: "live" }
  /** Nobody looks at the page; the stream is opened again when somebody does. */
  | { kind: "paused" }
  /** It broke, and is opened again at that time (`Date.now()`). */
  | { kind: "lost"; retryAt: number; failure: Failure }
  /** It would be refused again. */
  | { kind: "refused"; failure: Failure };

export interface FeedCall {
  signal: AbortSignal;
  onHeader(): void;
}

export interface FeedOptions<T> {
  /** Calls the method, with these options for the call; with the last resume token, where there is one. */
  open(call: FeedCall): AsyncIterable<T>;
  /** Takes what arrives. */
  received(item: T): void;
  /** A stream begins anew, so that what it gives first replaces what was. Not called where nothing arrives. */
  opened?(): void;
  /** The resume token is too old: forget it, and read what was missed. Without this such a stream is refused. */
  expired?(): void;
}

export interface Feed {
  status: Signal<FeedStatus>;
  /** Try again at once, if it is lost or refused. */
  retry(): void;
  close(): void;
}

/** What a feed needs of the browser. */
export interface FeedEnvironment {
  now(): number;
  after(ms: number, action: () => void): () => void;
  random(): number;
  hidden(): boolean;
  /** Calls when the page is hidden or shown; returns what ends that. */
  onVisibility(action: () => void): () => void;
}

const browser: FeedEnvironment = {
  now: () => Date.now(),
  after(ms, action) {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
  random: Math.random,
  hidden: () => document.hidden,
  onVisibility(action) {
    document.addEventListener("visibilitychange", action);
    return () => document.removeEventListener("visibilitychange", action);
  },
};

/** How long to wait before try `number` (from 0), with jitter: between half and all of a doubling delay. */
export function delayBefore(number: number, random: number): number {
  return Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(number, 10)) * (0.5 + random / 2);
}

export function openFeed<T>(options: FeedOptions<T>, environment: FeedEnvironment = browser): Feed {
  const status = signal<FeedStatus>({ kind: "connecting" });
  let current: AbortController | undefined;
  let cancelTimer = () => {};
  let failures = 0;
  /** The token was forgotten, and nothing has arrived since: to forget it again would help nobody. */
  let anew = false;
  let closed = false;

  const stop = () => {
    current?.abort();
    current = undefined;
    cancelTimer();
    cancelTimer = () => {};
  };

  const run = async (controller: AbortController) => {
    let cancelSilence = () => {};
    let silent = false;
    const listen = () => {
      cancelSilence();
      cancelSilence = environment.after(SILENCE_MS, () => {
        silent = true;
        controller.abort();
      });
    };
    let ended: unknown = new ConnectError("The server has ended the stream.", Code.Unavailable);
    const heard = () => {
      if (controller !== current) return;
      listen();
      if (status.peek().kind !== "live") status.value = { kind: "live" };
    };
    try {
      listen();
      let first = true;
      for await (const item of options.open({ signal: controller.signal, onHeader: heard })) {
        if (controller !== current) return;
        heard();
        if (first) options.opened?.();
        first = false;
        failures = 0;
        anew = false;
        options.received(item);
      }
    } catch (error) {
      ended = error;
    } finally {
      cancelSilence();
    }
    if (controller !== current) return;
    if (silent) ended = new ConnectError("Nothing was heard of the server for 20 s.", Code.Unavailable);
    lost(ended);
  };

  const lost = (error: unknown) => {
    current = undefined;
    if (options.expired && !anew && error instanceof ConnectError && error.code === Code.OutOfRange) {
      anew = true;
      options.expired();
      start();
    } else if (isForGood(error)) {
      status.value = { kind: "refused", failure: failureOf(error) };
    } else {
      const delay = delayBefore(failures, environment.random());
      failures += 1;
      status.value = { kind: "lost", retryAt: environment.now() + delay, failure: failureOf(error) };
      cancelTimer = environment.after(delay, start);
    }
  };

  const start = () => {
    stop();
    if (closed) return;
    if (environment.hidden()) {
      status.value = { kind: "paused" };
      return;
    }
    if (status.peek().kind !== "lost") status.value = { kind: "connecting" };
    current = new AbortController();
    void run(current);
  };

  const looked = () => {
    const { kind } = status.peek();
    if (environment.hidden()) {
      if (kind === "refused" || kind === "paused") return;
      cancelHiding();
      cancelHiding = environment.after(HIDDEN_MS, () => {
        stop();
        status.value = { kind: "paused" };
      });
    } else {
      cancelHiding();
      if (kind === "paused" || kind === "lost") start();
    }
  };
  let cancelHiding = () => {};
  const forget = environment.onVisibility(looked);

  start();
  return {
    status,
    retry() {
      const { kind } = status.peek();
      if (kind === "lost" || kind === "refused") start();
    },
    close() {
      closed = true;
      stop();
      cancelHiding();
      forget();
    },
  };
}

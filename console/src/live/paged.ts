/** A list that comes page by page, newest first: the first at once, each other when it is asked for. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type Failure, failureOf } from "../api/errors.ts";

export interface Page<Row> {
  rows: readonly Row[];
  /** What to ask for the next page with; "" on the last. */
  next: string;
}

export interface Paged<Row> {
  rows: readonly Row[];
  /** Whether there may be more. */
  more: boolean;
  loading: boolean;
  failure: Failure | undefined;
}

/** At most so many pages in one go: a page may be short, or empty, though more follow. */
const EMPTY_PAGES = 20;

const NOTHING = { rows: [], more: false, loading: true, failure: undefined };

/** Load a list, and anew whenever `inputs` change. Rows of before that come late are left out. */
export function usePaged<Row>(
  load: (token: string) => Promise<Page<Row>>,
  inputs: readonly unknown[],
): { state: Signal<Paged<Row>>; more: () => void; again: () => void } {
  const state = useSignal<Paged<Row>>(NOTHING);
  const token = useRef("");
  const turn = useRef(0);

  const go = async (from: string, kept: readonly Row[]) => {
    turn.current += 1;
    const mine = turn.current;
    state.value = { ...state.peek(), rows: kept, loading: true, failure: undefined };
    try {
      const found: Row[] = [];
      let next = from;
      for (let page = 0; page < EMPTY_PAGES; page += 1) {
        const got = await load(next);
        if (turn.current !== mine) return;
        found.push(...got.rows);
        next = got.next;
        if (!next || found.length > 0) break;
      }
      token.current = next;
      state.value = { rows: [...kept, ...found], more: next !== "", loading: false, failure: undefined };
    } catch (error) {
      if (turn.current === mine) state.value = { ...state.peek(), loading: false, failure: failureOf(error) };
    }
  };
  const again = () => void go("", []);
  useEffect(() => {
    again();
    return () => {
      turn.current += 1;
    };
  }, inputs);
  return { state, more: () => void go(token.current, state.peek().rows), again };
}

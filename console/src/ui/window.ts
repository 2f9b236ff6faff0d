/** Long lists: only the rows that can be seen are in the page, which scrolls as if all of them were. */
import { type Signal, useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";

/** Rows beyond what can be seen, so that a quick scroll does not show nothing. */
const SPARE = 10;

export interface Range {
  start: number;
  end: number;
}

/** Which rows are in the page: `scrolled` pixels of the list are above what can be seen of `height` pixels. */
export function rangeOf(scrolled: number, height: number, row: number, count: number, spare = SPARE): Range {
  const first = Math.floor(scrolled / row) - spare;
  const last = Math.ceil((scrolled + height) / row) + spare;
  const start = Math.max(0, Math.min(first, count));
  return { start, end: Math.max(start, Math.min(last, count)) };
}

/** How far to scroll so that a row can be seen below `covered` pixels at the top; 0 where it can be already. */
export function distanceTo(index: number, scrolled: number, height: number, row: number, covered: number): number {
  const top = index * row - scrolled;
  if (top < covered) return top - covered;
  return Math.max(0, top + row - height);
}

/** The rows of a list that are to be in the page, while it scrolls. `moved` is told where the list is: see `rangeOf`. */
export function useRange(
  list: RefObject<HTMLElement | null>,
  row: number,
  count: number,
  moved: (scrolled: number) => void,
): Signal<Range> {
  const range = useSignal<Range>(rangeOf(0, window.innerHeight, row, count));
  useLayoutEffect(() => {
    let frame = 0;
    const look = () => {
      frame = 0;
      const element = list.current;
      if (!element) return;
      const scrolled = -element.getBoundingClientRect().top;
      const next = rangeOf(scrolled, window.innerHeight, row, count);
      const shown = range.peek();
      if (next.start !== shown.start || next.end !== shown.end) range.value = next;
      moved(scrolled);
    };
    const soon = () => {
      frame ||= requestAnimationFrame(look);
    };
    look();
    window.addEventListener("scroll", soon, { passive: true });
    window.addEventListener("resize", soon);
    return () => {
      cancelAnimationFrame(frame);
      window.removeEventListener("scroll", soon);
      window.removeEventListener("resize", soon);
    };
  }, [row, count, moved]);
  return range;
}

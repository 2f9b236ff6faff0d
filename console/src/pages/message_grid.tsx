/** The rows of a list of messages, of which only those are in the page that can be seen.
 *
 * A grid by its roles, since rows of a table cannot be left out; the grid has the focus, and says which row is meant.
 */
import type { Signal } from "@preact/signals";
import { Component, type RefObject } from "preact";
import { useCallback, useEffect, useRef } from "preact/hooks";
import { formatCount } from "../api/times.ts";
import { channels, outcomes } from "../api/words.ts";
import { Link, navigate } from "../app/router.tsx";
import { useShortcuts } from "../app/shortcuts.ts";
import { type Message, MessageState, Outcome } from "../gen/postwire/v1/message_pb.ts";
import { StateBadge } from "../ui/badge.tsx";
import { Countdown, LocalTime } from "../ui/time.tsx";
import { distanceTo, useRange } from "../ui/window.ts";

interface GridProps {
  rows: readonly Message[];
  /** Whether these are all there are. */
  complete: boolean;
  /** The id of the row that keys act on. */
  active: Signal<string>;
  row: number;
  /** Told how far the list is scrolled, and whether its end can nearly be seen. */
  moved: (scrolled: number, nearEnd: boolean) => void;
}

const COLUMNS = ["Accepted", "State", "Channel", "Provider", "Last attempt", "Labels", "Message"] as const;

export function MessageGrid({ rows, complete, active, row, moved }: GridProps) {
  const grid = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const count = rows.length;
  const range = useRange(
    list,
    row,
    count,
    useCallback(
      (scrolled) => moved(scrolled, (count + 10) * row - scrolled < 2 * window.innerHeight),
      [moved, count, row],
    ),
  );
  const { start, end } = range.value;
  const index = rows.findIndex((message) => message.messageId === active.value);

  const go = (to: number) => {
    const next = Math.max(0, Math.min(to, count - 1));
    const message = rows[next];
    if (!message) return;
    active.value = message.messageId;
    grid.current?.focus({ preventScroll: true });
    show(list, next, row);
  };
  const step = (by: number) => go(index < 0 ? firstSeen(list, row) : index + by);
  const latest = useRef(step);
  latest.current = step;
  useShortcuts(() => [
    { keys: "j", does: "Next message", run: () => latest.current(1) },
    { keys: "k", does: "Message before", run: () => latest.current(-1) },
  ]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(window.innerHeight / row) - 3);
    const keys: Record<string, () => void> = {
      ArrowDown: () => step(1),
      ArrowUp: () => step(-1),
      PageDown: () => step(page),
      PageUp: () => step(-page),
      Home: () => go(0),
      End: () => go(count - 1),
      Enter: () => {
        if (index >= 0) navigate(`messages/${active.value}`);
      },
      Escape: () => {
        active.value = "";
      },
    };
    const does = keys[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  };

  return (
    <div
      ref={grid}
      role="grid"
      class="grid"
      tabIndex={0}
      aria-label="Messages, newest first"
      aria-rowcount={complete ? count + 1 : -1}
      aria-activedescendant={index >= start && index < end ? rowId(active.value) : undefined}
      onKeyDown={onKeyDown}
      onFocus={() => {
        // By a key, and not because something in it was clicked.
        if (index < 0 && grid.current?.matches(":focus-visible")) {
          active.value = rows[firstSeen(list, row)]?.messageId ?? "";
        }
      }}
    >
      <div role="rowgroup" class="grid-head">
        <div role="row" class="grid-row" aria-rowindex={1}>
          {COLUMNS.map((title) => (
            <span key={title} role="columnheader">
              {title}
            </span>
          ))}
        </div>
      </div>
      <div ref={list} role="rowgroup" class="grid-rows" style={{ height: `${count * row}px` }}>
        {rows.slice(start, end).map((message, offset) => (
          <Row
            key={message.messageId}
            message={message}
            position={start + offset}
            top={(start + offset) * row}
            active={message.messageId === active.value}
          />
        ))}
      </div>
    </div>
  );
}

function rowId(id: string): string {
  return `message-${id}`;
}

/** How many pixels at the top are covered by what stays there. */
function covered(): number {
  return document.querySelector(".grid-head")?.getBoundingClientRect().height ?? 0;
}

function show(list: RefObject<HTMLElement | null>, index: number, row: number): void {
  const scrolled = -(list.current?.getBoundingClientRect().top ?? 0);
  const distance = distanceTo(index, scrolled, window.innerHeight, row, covered() + topBar());
  if (distance) window.scrollBy(0, distance);
}

function firstSeen(list: RefObject<HTMLElement | null>, row: number): number {
  const top = list.current?.getBoundingClientRect().top ?? 0;
  return Math.max(0, Math.ceil((covered() + topBar() - top) / row));
}

/** On narrow screens the navigation stays at the top. */
function topBar(): number {
  const bar = document.querySelector(".bar")?.getBoundingClientRect();
  return bar && bar.width > window.innerWidth / 2 ? bar.height : 0;
}

interface RowProps {
  message: Message;
  position: number;
  /** Where it is in the list, in pixels: a scroll leaves those where they are that stay, and draws the others. */
  top: number;
  active: boolean;
}

/** Drawn anew only where something of it has changed. */
class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const { message, position, top, active } = this.props;
    return next.message !== message || next.position !== position || next.top !== top || next.active !== active;
  }

  override render({ message, position, top, active }: RowProps) {
    const id = message.messageId;
    return (
      <div
        role="row"
        id={rowId(id)}
        class={active ? "grid-row grid-row-active" : "grid-row"}
        style={{ top: `${top}px` }}
        aria-rowindex={position + 2}
        aria-selected={active}
      >
        <span role="gridcell" class="cell-time number">
          <LocalTime at={message.createTime} />
        </span>
        <span role="gridcell" class="cell-state">
          <StateBadge state={message.state} />
        </span>
        <span role="gridcell" class="cell-channel">
          {channels.of(message.channel)}
        </span>
        <span role="gridcell" class="cell-provider">
          {message.providerName || <span class="muted">–</span>}
        </span>
        <span role="gridcell" class="cell-last muted">
          <LastAttempt message={message} />
        </span>
        <span role="gridcell" class="cell-labels muted">
          {Object.entries(message.labels)
            .sort()
            .map(([key, value]) => `${key}=${value}`)
            .join(" ")}
        </span>
        <span role="gridcell" class="cell-id">
          <Link to={`messages/${id}`} class="row-link" tabIndex={-1}>
            <span class="id-head">{id.slice(0, -12)}</span>
            <span class="id-tail">{id.slice(-12)}</span>
          </Link>
        </span>
      </div>
    );
  }
}

/** How it went, where that is worth a word: an outcome other than success, a code, more attempts than one. */
function LastAttempt({ message }: { message: Message }) {
  const { attempts, outcome, errorCode } = message;
  const words = [];
  if (attempts.length > 1) words.push(`${formatCount(attempts.length)} attempts`);
  if (outcome !== Outcome.UNSPECIFIED && outcome !== Outcome.SUCCESS)
    words.push(outcomes.of(outcome).replace("_", " "));
  if (errorCode) words.push(errorCode);
  return (
    <>
      {words.join(" · ")}
      {message.state === MessageState.QUEUED && message.nextAttemptTime && (
        <>
          {words.length > 0 && " · "}next <Countdown to={message.nextAttemptTime} />
        </>
      )}
    </>
  );
}

/** The height of a row: two lines where there is little room. */
export function rowHeight(): number {
  const size = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
  return size * (narrow.matches ? 4 : 2.125);
}

export const narrow = window.matchMedia("(max-width: 50rem)");

/** Have the height of rows follow the width of the window. */
export function useRowHeight(height: Signal<number>): void {
  useEffect(() => {
    const measure = () => {
      height.value = rowHeight();
    };
    narrow.addEventListener("change", measure);
    return () => narrow.removeEventListener("change", measure);
  }, [height]);
}

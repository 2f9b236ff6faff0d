import { type Signal, useComputed, useSignal } from "@preact/signals";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { dispatch } from "../api/clients.ts";
import { formatAbsolute, formatCount, millis } from "../api/times.ts";
import { query, setQuery } from "../app/router.tsx";
import { tenant } from "../app/session.ts";
import { useShortcuts } from "../app/shortcuts.ts";
import { watch } from "../live/feeds.ts";
import { countParts, type Filter, filterQuery, parseFilter } from "../live/message_filter.ts";
import { MAX_ROWS } from "../live/message_rows.ts";
import { MessageList } from "../live/messages.ts";
import { Icon } from "../ui/icon.tsx";
import { EmptyState, ErrorPanel, Loading, PageHeader } from "../ui/panels.tsx";
import { Refused } from "../ui/refused.tsx";
import { Filters } from "./message_filters.tsx";
import { MessageGrid, rowHeight, useRowHeight } from "./message_grid.tsx";
import "./messages.css";

/** For how long a list is kept that nobody looks at, so that the way back from a message leads to where it was. */
const KEEP_MS = 5 * 60_000;

interface Kept {
  key: string;
  list: MessageList;
  active: string;
  scrollY: number;
  at: number;
}

let kept: Kept | undefined;

export function MessagesPage() {
  const search = query.value.toString();
  const { filter, problems } = useMemo(() => parseFilter(query.peek()), [search]);
  // A list is of one filter: for another there is another.
  const key = `${tenant.value} ${JSON.stringify(filterQuery(filter))}`;
  return <Listed key={key} id={key} filter={filter} problems={problems} />;
}

function Listed({ id, filter, problems }: { id: string; filter: Filter; problems: readonly string[] }) {
  const before = useMemo(() => (kept?.key === id && Date.now() - kept.at < KEEP_MS ? kept : undefined), [id]);
  const list = useMemo(() => before?.list ?? new MessageList(filter, dispatch), [before, filter]);
  const active = useSignal(before?.active ?? "");
  const row = useSignal(rowHeight());
  const held = useSignal(0);
  const top = useRef<HTMLDivElement>(null);
  useRowHeight(row);

  useEffect(() => {
    list.open(watch);
    return () => list.close();
  }, [list]);

  useLayoutEffect(() => {
    if (before) window.scrollTo(0, before.scrollY);
    let scrollY = window.scrollY;
    const note = () => {
      scrollY = window.scrollY;
    };
    window.addEventListener("scroll", note, { passive: true });
    return () => {
      window.removeEventListener("scroll", note);
      kept = { key: id, list, active: active.peek(), scrollY, at: Date.now() };
    };
  }, [id, list, before, active]);

  // The shell moves the focus to the heading once the page is drawn, and this comes behind it.
  useEffect(() => {
    if (!before) return undefined;
    const timer = setTimeout(() => restore(before));
    return () => clearTimeout(timer);
  }, [before]);

  const moved = useCallback(
    (scrolled: number, nearEnd: boolean) => {
      // Rows move by themselves only while somebody looks at the newest ones, and none is picked.
      list.hold = scrolled > row.peek() / 2 || active.peek() !== "";
      if (nearEnd && list.loading.peek().kind === "idle") void list.more();
    },
    [list, row, active],
  );

  const toTop = useCallback(() => {
    active.value = "";
    list.hold = false;
    list.release();
    top.current?.scrollIntoView({ block: "nearest" });
    window.scrollTo(0, 0);
  }, [list, active]);

  useEffect(
    () =>
      active.subscribe((picked) => {
        if (picked) list.hold = true;
      }),
    [active, list],
  );

  useShortcuts(() => [
    { keys: "n", does: "Show new messages, at the top", run: toTop },
    { keys: "/", does: "Find a message by its id", run: () => document.getElementById("search")?.focus() },
  ]);

  useEffect(
    () =>
      list.changes.subscribe(() => {
        held.value = list.rows.held;
      }),
    [list, held],
  );

  const seen = useComputed(() => {
    list.changes.value;
    return [...new Set(list.rows.rows.slice(0, 500).map((message) => message.providerName))].sort().join("\n");
  });

  return (
    <>
      <PageHeader title="Messages">
        <Count list={list} />
      </PageHeader>
      <Refused />
      {problems.map((problem) => (
        <p key={problem} class="notice-line" role="alert">
          <Icon name="warning" /> {problem} It is left out of the filter.
        </p>
      ))}
      <Filters filter={filter} seen={seen.value.split("\n")} />
      <section class="panel messages" aria-label="List of messages" ref={top}>
        <div class="new-rows">
          {held.value > 0 && (
            <button type="button" class="button button-primary" onClick={toTop}>
              {formatCount(held.value)} new
            </button>
          )}
        </div>
        <Rows list={list} active={active} row={row} moved={moved} narrowed={countParts(filter) > 0} />
      </section>
      <End list={list} />
    </>
  );
}

/** Go to where the list was left. */
function restore(before: Kept): void {
  window.scrollTo(0, before.scrollY);
  if (before.active) document.querySelector<HTMLElement>(".grid")?.focus({ preventScroll: true });
}

interface RowsProps {
  list: MessageList;
  active: Signal<string>;
  row: Signal<number>;
  moved: (scrolled: number, nearEnd: boolean) => void;
  narrowed: boolean;
}

function Rows({ list, active, row, moved, narrowed }: RowsProps) {
  list.changes.value;
  const { rows, complete } = list.rows;
  const { kind } = list.loading.value;
  if (rows.length > 0) {
    return <MessageGrid rows={rows} complete={complete} active={active} row={row.value} moved={moved} />;
  }
  if (kind === "end") {
    return narrowed ? (
      <EmptyState title="No message is like this.">One that comes and is will be shown here.</EmptyState>
    ) : (
      <EmptyState title="There are no messages yet.">One that is accepted is shown here at once.</EmptyState>
    );
  }
  return kind === "loading" && !list.loaded.value ? <Loading what="messages" /> : null;
}

function Count({ list }: { list: MessageList }) {
  list.changes.value;
  if (!list.loaded.value) return null;
  const { length } = list.rows.rows;
  return (
    <span class="muted number">
      {formatCount(length)} {length === 1 ? "message" : "messages"}
      {!list.rows.complete && " loaded"}
    </span>
  );
}

/** What stands below the last row: what is under way, and how it can go on. */
function End({ list }: { list: MessageList }) {
  const state = list.loading.value;
  const goOn = () => void list.more();
  switch (state.kind) {
    case "loading":
      if (!list.loaded.value) return null;
      return (
        <div class="list-end" role="status">
          <span class="muted">
            Looking for older messages …
            {state.pages > 1 && ` ${formatCount(state.pages)} pages read, ${formatCount(state.found)} found.`}
          </span>
          <button type="button" class="button button-small" onClick={() => list.stop()}>
            Stop
          </button>
        </div>
      );
    case "idle":
    case "stopped":
      return (
        <div class="list-end">
          <span class="muted">{state.kind === "stopped" ? "Stopped. There may be older messages." : ""}</span>
          <button type="button" class="button button-small" onClick={goOn}>
            {state.kind === "stopped" ? "Go on" : "Load older messages"}
          </button>
        </div>
      );
    case "failed":
      return <ErrorPanel title="Messages could not be read" failure={state.failure} retry={goOn} />;
    case "full":
      return <Full list={list} />;
    case "end":
      return list.rows.rows.length > 0 ? <p class="list-end muted">These are all.</p> : null;
  }
}

function Full({ list }: { list: MessageList }) {
  list.changes.value;
  const last = list.rows.rows.at(-1)?.createTime;
  if (!last) return null;
  // Those of the same millisecond are shown again.
  const to = Math.floor(millis(last)) + 1;
  return (
    <div class="list-end">
      <span class="muted">
        {formatCount(MAX_ROWS)} messages are the most that are shown at once, back to {formatAbsolute(to)}.
      </span>
      <button
        type="button"
        class="button button-small"
        onClick={() => {
          setQuery({ to: new Date(to).toISOString() }, { replace: false });
          window.scrollTo(0, 0);
        }}
      >
        Show older ones
      </button>
    </div>
  );
}

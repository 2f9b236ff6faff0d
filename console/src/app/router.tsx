/** Where the console is: a path under /console/ and a query, both in the address, so that a link leads to what was seen. */
import { batch, computed, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

const BASE = "/console/";

const location_ = signal(read());

/** The path under the base, without slashes around it: `` is the overview, `messages/0190…` a message. */
export const path = computed(() => location_.value.path);
/** What stands behind the question mark. It is not to be changed: `setQuery` does that. */
export const query = computed(() => new URLSearchParams(location_.value.search));
/** Counts the moves to another page, so that the focus can follow them. */
export const moves = signal(0);

function read() {
  const { pathname, search } = window.location;
  const under = pathname.startsWith(BASE) ? pathname.slice(BASE.length) : "";
  return { path: under.replace(/^\/+|\/+$/g, ""), search };
}

function settle(): void {
  const next = read();
  batch(() => {
    if (next.path !== location_.value.path) moves.value += 1;
    location_.value = next;
  });
}

window.addEventListener("popstate", settle);

/** The address of a path of the console, for a link. Parts that come from outside go through `encodeURIComponent` first. */
export function href(to: string): string {
  return BASE + to;
}

/** How many pages of the console are behind this one in the browser's history. */
function depth(): number {
  const state: unknown = history.state;
  return typeof state === "object" && state && "depth" in state && typeof state.depth === "number" ? state.depth : 0;
}

function put(url: string, replace: boolean | undefined): void {
  if (replace) history.replaceState({ depth: depth() }, "", url);
  else history.pushState({ depth: depth() + 1 }, "", url);
  settle();
}

/** Go back to the page before, or to another where this is the first. */
export function back(otherwise: string): void {
  if (depth() > 0) history.back();
  else navigate(otherwise);
}

/** Go to a page: `navigate("messages?state=failed")`. */
export function navigate(to: string, options: { replace?: boolean } = {}): void {
  put(href(to), options.replace);
  if (!options.replace) window.scrollTo(0, 0);
}

/** Change parts of the query, and leave the others: `undefined` or "" takes a part out, a list gives it several times. */
export function setQuery(
  changes: Record<string, string | readonly string[] | undefined>,
  options: { replace?: boolean } = { replace: true },
): void {
  const next = new URLSearchParams(location_.value.search);
  for (const [key, value] of Object.entries(changes)) {
    next.delete(key);
    for (const one of typeof value === "string" ? [value] : (value ?? [])) if (one) next.append(key, one);
  }
  const text = next.toString();
  put(href(location_.value.path) + (text ? `?${text}` : ""), options.replace);
}

/** The parameters of a path as a pattern has them (`messages/:id`), or undefined where it is another page. */
export function match(pattern: string, actual: string): Record<string, string> | undefined {
  const wanted = pattern.split("/");
  const given = actual.split("/");
  if (wanted.length !== given.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const value = given[index] ?? "";
    if (part.startsWith(":")) {
      if (!value) return undefined;
      try {
        params[part.slice(1)] = decodeURIComponent(value);
      } catch {
        return undefined;
      }
    } else if (part !== value) return undefined;
  }
  return params;
}

interface LinkProps {
  to: string;
  children: ComponentChildren;
  class?: string | undefined;
  title?: string | undefined;
  tabIndex?: number | undefined;
  "aria-current"?: "page" | undefined;
  "aria-label"?: string | undefined;
}

/** A link to a page of the console. It is one, so that it opens in another tab as any does. */
export function Link({ to, children, ...rest }: LinkProps) {
  return (
    <a
      {...rest}
      href={href(to)}
      onClick={(event: MouseEvent) => {
        if (event.defaultPrevented || event.button !== 0) return;
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        navigate(to);
      }}
    >
      {children}
    </a>
  );
}

/** The frames that pages put things in, and what they show in place of them. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Failure } from "../api/errors.ts";
import { Icon } from "./icon.tsx";

/** The heading of a page. The shell moves the focus there when somebody comes to the page. */
export function PageHeader({ title, children }: { title: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="page-header">
      <h1 tabIndex={-1}>{title}</h1>
      {children && <div class="page-actions">{children}</div>}
    </header>
  );
}

/** A part of a page, with a heading that names it. */
export function Panel(props: {
  title: string;
  aside?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}) {
  const id = useId();
  return (
    <section class={`panel ${props.class ?? ""}`} aria-labelledby={id}>
      <header class="panel-header">
        <h2 id={id}>{props.title}</h2>
        {props.aside && <div class="panel-aside">{props.aside}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** Nothing to show, why, and what to do about it. */
export function EmptyState({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <div class="muted">{children}</div>}
    </div>
  );
}

/** What has not arrived yet. */
export function Loading({ what }: { what: string }) {
  return (
    <p class="loading muted" role="status">
      Loading {what} …
    </p>
  );
}

/** A refused call: its text, code, reason and each bad field. `retry` shows a button. */
export function ErrorPanel(props: { failure: Failure; title?: string; retry?: () => void }) {
  const { failure } = props;
  return (
    <div class="error-panel" role="alert">
      <Icon name="warning" />
      <div>
        <p class="error-title">{props.title ?? "That did not work"}</p>
        <p>{failure.text}</p>
        {failure.violations.length > 0 && (
          <ul class="violations">
            {failure.violations.map((violation) => (
              <li key={violation.field}>
                <code>{violation.field}</code> {violation.description}
              </li>
            ))}
          </ul>
        )}
        <p class="error-code">
          <code>{failure.code}</code>
          {failure.reason && <code>{failure.reason}</code>}
        </p>
        {props.retry && (
          <button type="button" class="button" onClick={props.retry}>
            Try again
          </button>
        )}
      </div>
    </div>
  );
}

/** A name and a value, several of them: `<Facts><Fact name="kind">mock</Fact></Facts>`. */
export function Facts({ children }: { children: ComponentChildren }) {
  return <dl class="facts">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

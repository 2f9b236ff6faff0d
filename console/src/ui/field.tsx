/** A field of a form, with its name, a hint, and what the server says is wrong with it. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Failure } from "../api/errors.ts";

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  /** What the field is called in the browser's own memory of forms, and nothing else. */
  name?: string;
  hint?: ComponentChildren;
  problem?: string;
  optional?: boolean;
  placeholder?: string;
  /** How many lines it has; one by default. */
  lines?: number;
}

export function Field(props: FieldProps) {
  const id = useId();
  const { label, value, problem = "", hint, optional, lines } = props;
  const common = {
    id,
    name: props.name ?? label.toLowerCase(),
    value,
    placeholder: props.placeholder,
    autocomplete: "off",
    "aria-invalid": problem !== "",
    "aria-describedby": `${id}-note`,
    onInput: (event: { currentTarget: { value: string } }) => props.onInput(event.currentTarget.value),
  };
  return (
    <div class="field">
      <label for={id}>
        {label} {optional && <span class="muted">(optional)</span>}
      </label>
      {lines ? <textarea {...common} rows={lines} /> : <input {...common} type="text" spellcheck={false} />}
      <p id={`${id}-note`} class={problem ? "field-problem" : "field-hint"}>
        {problem || hint}
      </p>
    </div>
  );
}

/** What the server says is wrong with a field, found by the end of its path: `.to` finds `message.email.to[0]`. */
export function problemOf(failure: Failure | undefined, ...ends: readonly string[]): string {
  const found = failure?.violations.find(({ field }) =>
    ends.some((end) => field.replace(/\[\d+\]/g, "").endsWith(end)),
  );
  return found?.description ?? "";
}

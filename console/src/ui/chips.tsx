/** Choices that stand beside each other, any number of which can be made. */
import type { ComponentChildren } from "preact";
import { Icon } from "./icon.tsx";
import "./chips.css";

export interface Choice<T> {
  value: T;
  word: string;
}

interface ChipsProps<T> {
  name: string;
  choices: readonly Choice<T>[];
  chosen: readonly T[];
  onChange: (chosen: T[]) => void;
}

export function Chips<T extends string | number>({ name, choices, chosen, onChange }: ChipsProps<T>) {
  return (
    <fieldset class="chips">
      <legend>{name}</legend>
      <div>
        {choices.map(({ value, word }) => (
          <label key={value} class="chip">
            <input
              type="checkbox"
              checked={chosen.includes(value)}
              onChange={(event) =>
                onChange(event.currentTarget.checked ? [...chosen, value] : chosen.filter((other) => other !== value))
              }
            />
            {word}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

/** Something that was given, and can be taken out again. */
export function Removable({
  children,
  what,
  onRemove,
}: {
  children: ComponentChildren;
  what: string;
  onRemove: () => void;
}) {
  return (
    <span class="removable">
      <code>{children}</code>
      <button type="button" aria-label={`Take out ${what}`} onClick={onRemove}>
        <Icon name="close" />
      </button>
    </span>
  );
}

/** Choices that stand beside each other, one of which is made. */
import { useId } from "preact/hooks";
import type { Choice } from "./chips.tsx";
import "./one_of.css";

interface OneOfProps<T> {
  name: string;
  choices: readonly Choice<T>[];
  chosen: T;
  onChange: (chosen: T) => void;
}

export function OneOf<T extends string>({ name, choices, chosen, onChange }: OneOfProps<T>) {
  const id = useId();
  return (
    <fieldset class="one-of">
      <legend>{name}</legend>
      <div>
        {choices.map(({ value, word }) => (
          <label key={value}>
            <input type="radio" name={id} checked={chosen === value} onChange={() => onChange(value)} />
            {word}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

/** Keys that do something anywhere on the page, unless something is being typed. They can be turned off, since who
 * speaks to his browser types words. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

export interface Shortcut {
  /** One key or two, one after the other: `?`, `g o`, `Escape`. */
  keys: string;
  /** What it does, for the list of them. */
  does: string;
  run(): void;
}

const OFF = "postwire.shortcuts-off";
/** How long the second of two keys may take. */
const SEQUENCE_MS = 1_200;

export const shortcuts = signal<readonly Shortcut[]>([]);
export const shortcutsOn = signal(localStorage.getItem(OFF) === null);

export function turnShortcuts(on: boolean): void {
  if (on) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "1");
  shortcutsOn.value = on;
}

/** Have keys do something while a component is shown. */
export function useShortcuts(added: () => readonly Shortcut[], inputs: readonly unknown[] = []): void {
  useEffect(() => {
    const mine = added();
    shortcuts.value = [...shortcuts.peek(), ...mine];
    return () => {
      shortcuts.value = shortcuts.peek().filter((one) => !mine.includes(one));
    };
  }, inputs);
}

let first = "";
let firstAt = 0;

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches("input, textarea, select"));
}

window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !shortcutsOn.peek()) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (event.key.length !== 1 && event.key !== "Escape") return;
  const sequence = event.timeStamp - firstAt < SEQUENCE_MS && first ? `${first} ${event.key}` : event.key;
  const known = shortcuts.peek();
  const found = known.find((one) => one.keys === sequence) ?? known.find((one) => one.keys === event.key);
  first = "";
  if (found) {
    event.preventDefault();
    found.run();
  } else if (known.some((one) => one.keys.startsWith(`${event.key} `))) {
    first = event.key;
    firstAt = event.timeStamp;
  }
});

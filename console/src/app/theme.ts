/** Light or dark: as the system has it, or as was chosen here. */
import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "postwire.theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(dark.matches);
dark.addEventListener("change", (event) => {
  systemDark.value = event.matches;
});

const stored = localStorage.getItem(KEY);
export const theme = signal<Theme>(stored === "light" || stored === "dark" ? stored : "system");

/** What is shown: `light` or `dark`. What draws on a canvas has to draw anew when this changes. */
export const shownTheme = signal<"light" | "dark">("light");

effect(() => {
  const chosen = theme.value;
  const shown = chosen === "system" ? (systemDark.value ? "dark" : "light") : chosen;
  document.documentElement.dataset.theme = shown;
  shownTheme.value = shown;
});

export function chooseTheme(chosen: Theme): void {
  if (chosen === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, chosen);
  theme.value = chosen;
}

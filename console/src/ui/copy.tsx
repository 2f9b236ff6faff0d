/** A button that copies a text. */
import { useSignal } from "@preact/signals";
import { Icon } from "./icon.tsx";
import { notify } from "./notices.tsx";

export function CopyButton({ text, what }: { text: string; what: string }) {
  const done = useSignal(false);
  const copy = async () => {
    try {
      // Only there where the page is on HTTPS or on this machine.
      await navigator.clipboard.writeText(text);
      done.value = true;
      setTimeout(() => {
        done.value = false;
      }, 1_500);
    } catch {
      notify(`The browser does not let the console copy: ${text}`, "bad");
    }
  };
  return (
    <button type="button" class="icon-button" aria-label={`Copy ${what}`} title={`Copy ${what}`} onClick={copy}>
      <Icon name={done.value ? "check" : "copy"} />
    </button>
  );
}

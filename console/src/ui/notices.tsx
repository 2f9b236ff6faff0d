/** Short notices of what was done: read out politely, and gone by themselves unless something went wrong. */
import { signal } from "@preact/signals";
import { Icon } from "./icon.tsx";

interface Notice {
  id: number;
  tone: "good" | "bad";
  text: string;
}

const STAY_MS = 6_000;
let last = 0;
const notices = signal<readonly Notice[]>([]);

function dismiss(id: number): void {
  notices.value = notices.peek().filter((notice) => notice.id !== id);
}

/** Say what was done: `notify("sms-mms is drained")`. What went wrong (`bad`) stays until it is dismissed. */
export function notify(text: string, tone: Notice["tone"] = "good"): void {
  last += 1;
  const id = last;
  notices.value = [...notices.peek().slice(-3), { id, tone, text }];
  if (tone === "good") setTimeout(() => dismiss(id), STAY_MS);
}

/** Where notices appear; the shell has it once. */
export function Notices() {
  return (
    <div class="notices" role="status" aria-label="Notices">
      {notices.value.map((notice) => (
        <div key={notice.id} class={`notice notice-${notice.tone}`}>
          <Icon name={notice.tone === "good" ? "check" : "warning"} />
          <p>{notice.text}</p>
          <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => dismiss(notice.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}

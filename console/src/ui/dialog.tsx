/** Dialogs, by the element that browsers have for them: focus stays inside, Escape closes, and goes back to where it was. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { type Failure, failureOf } from "../api/errors.ts";
import { Icon } from "./icon.tsx";
import { ErrorPanel } from "./panels.tsx";

export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby={id} onClose={props.onClose}>
      <header class="dialog-header">
        <h2 id={id}>{props.title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick={props.onClose}>
          <Icon name="close" />
        </button>
      </header>
      {props.children}
    </dialog>
  );
}

export interface Confirmation {
  /** The question: `Drain sms-mms?` */
  title: string;
  /** What will happen, in full. */
  effect: ComponentChildren;
  /** What the button says: `Drain sms-mms`, never `OK`. */
  action: string;
  danger?: boolean;
  /** Whether a reason can be given, for the record of what was done. */
  reason?: boolean;
  /** Does it. A failure is shown in the dialog, which stays. */
  run: (reason: string) => Promise<void>;
}

/** Asks before something is done that others feel. */
export function ConfirmDialog({ ask, onClose }: { ask: Confirmation; onClose: () => void }) {
  const id = useId();
  const reason = useSignal("");
  const running = useSignal(false);
  const failure = useSignal<Failure | undefined>(undefined);
  const input = useRef<HTMLInputElement>(null);
  const cancel = useRef<HTMLButtonElement>(null);
  useEffect(() => (input.current ?? cancel.current)?.focus(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (running.value) return;
    running.value = true;
    failure.value = undefined;
    try {
      await ask.run(reason.value.trim());
      onClose();
    } catch (error) {
      failure.value = failureOf(error);
    } finally {
      running.value = false;
    }
  };
  return (
    <Dialog title={ask.title} onClose={onClose}>
      <form onSubmit={submit}>
        <div class="dialog-body">
          <div class="effect">{ask.effect}</div>
          {ask.reason && (
            <div class="field">
              <label for={id}>
                Reason <span class="muted">(kept in the record, optional)</span>
              </label>
              <input
                ref={input}
                id={id}
                name="reason"
                maxLength={256}
                autocomplete="off"
                value={reason.value}
                onInput={(event) => {
                  reason.value = event.currentTarget.value;
                }}
              />
            </div>
          )}
          {failure.value && <ErrorPanel failure={failure.value} />}
        </div>
        <footer class="dialog-actions">
          <button ref={cancel} type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button
            type="submit"
            class={`button ${ask.danger ? "button-danger" : "button-primary"}`}
            disabled={running.value}
          >
            {running.value ? "Working …" : ask.action}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

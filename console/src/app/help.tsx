/** The list of keys. */
import { Dialog } from "../ui/dialog.tsx";
import { shortcuts, shortcutsOn, turnShortcuts } from "./shortcuts.ts";

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <div class="dialog-body">
        <dl class="keys">
          {shortcuts.value.map((shortcut) => (
            <div key={shortcut.keys}>
              <dt>
                {shortcut.keys.split(" ").map((key) => (
                  <kbd key={key}>{key === "Escape" ? "Esc" : key}</kbd>
                ))}
              </dt>
              <dd>{shortcut.does}</dd>
            </div>
          ))}
          <div>
            <dt>
              <kbd>Esc</kbd>
            </dt>
            <dd>Close a dialog</dd>
          </div>
        </dl>
        <label class="check">
          <input
            type="checkbox"
            checked={shortcutsOn.value}
            onChange={(event) => turnShortcuts(event.currentTarget.checked)}
          />
          Single keys do this (off: for speech input)
        </label>
      </div>
    </Dialog>
  );
}

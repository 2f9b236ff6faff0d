/** What is shown while nobody has signed in, or while the server does not answer. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Failure } from "../api/errors.ts";
import { Icon } from "../ui/icon.tsx";
import { ErrorPanel } from "../ui/panels.tsx";
import { begin, signIn } from "./entry.ts";

export function SignIn({ problem }: { problem: string }) {
  const key = useSignal("");
  const wrong = useSignal(problem);
  const running = useSignal(false);
  const field = useRef<HTMLInputElement>(null);

  useEffect(() => {
    document.title = "Sign in · Postwire";
    field.current?.focus();
  }, []);

  const submit = async (event: Event) => {
    event.preventDefault();
    const given = key.value.trim();
    if (running.value || !given) {
      if (!given) wrong.value = "Enter an API key or a token.";
      field.current?.focus();
      return;
    }
    running.value = true;
    const problemNow = await signIn(given);
    running.value = false;
    wrong.value = problemNow;
    if (problemNow) field.current?.select();
  };

  return (
    <main class="gate">
      <form class="gate-card" onSubmit={submit}>
        <p class="brand">
          <span class="mark" aria-hidden="true" />
          Postwire
        </p>
        <h1>Sign in</h1>
        <p class="muted">This server asks who calls. The key stays in this tab, and is gone when you close it.</p>
        <div class="field">
          <label for="key">API key or token</label>
          <input
            ref={field}
            id="key"
            type="password"
            autocomplete="off"
            spellcheck={false}
            aria-invalid={wrong.value !== ""}
            aria-describedby="key-problem"
            value={key.value}
            onInput={(event) => {
              key.value = event.currentTarget.value;
            }}
          />
          <p id="key-problem" class="field-problem" role="alert">
            {wrong.value && (
              <>
                <Icon name="warning" /> {wrong.value}
              </>
            )}
          </p>
        </div>
        <button type="submit" class="button button-primary button-wide" disabled={running.value}>
          {running.value ? "Signing in …" : "Sign in"}
        </button>
      </form>
    </main>
  );
}

export function Starting({ failure }: { failure: Failure | undefined }) {
  return (
    <main class="gate">
      <div class="gate-card">
        <p class="brand">
          <span class="mark" aria-hidden="true" />
          Postwire
        </p>
        {failure ? (
          <>
            <h1>The server does not answer</h1>
            <ErrorPanel title="It is asked again until it does" failure={failure} retry={() => void begin()} />
          </>
        ) : (
          <p class="muted">Starting …</p>
        )}
      </div>
    </main>
  );
}

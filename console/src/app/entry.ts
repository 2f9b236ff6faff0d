/** Finding out who looks, when the page opens and when a key is given. */
import { signal } from "@preact/signals";
import { admin } from "../api/clients.ts";
import { noteServerTime } from "../api/clock.ts";
import { failureOf, isForGood, isUnauthenticated } from "../api/errors.ts";
import { delayBefore } from "../api/feed.ts";
import type { GetCallerResponse } from "../gen/postwire/v1/admin_service_pb.ts";
import { KEY, type Settings, session, settings, signOut, why } from "./session.ts";

const WRONG = "The server does not accept this key: it is wrong, has expired, or was taken out.";

/** Sign in by a key. Returns what is wrong with it, for people; "" where it was taken. */
export async function signIn(key: string): Promise<string> {
  sessionStorage.setItem(KEY, key);
  try {
    session.value = { kind: "signed-in", caller: await getCaller() };
    return "";
  } catch (error) {
    sessionStorage.removeItem(KEY);
    return isUnauthenticated(error) ? WRONG : failureOf(error).text;
  }
}

async function getCaller(): Promise<GetCallerResponse> {
  return admin.getCaller({});
}

async function readSettings(): Promise<Settings> {
  const response = await fetch("/console/settings.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`The server answers ${response.status} for the console's settings.`);
  noteServerTime(response.headers.get("date"));
  return response.json();
}

/** Whether the server has become another version since the page was opened, whose console may be another one, too. */
export const outdated = signal(false);

/** Look whether it has, after it was away. */
export async function compareVersion(): Promise<void> {
  try {
    outdated.value = (await readSettings()).version !== settings.peek().version;
  } catch {
    // It is away again: it is compared when it is back.
  }
}

let asking = false;
let wake = () => {};

/** Find out who looks. Asks until the server answers, and at once where it is waiting to ask again. */
export async function begin(): Promise<void> {
  if (asking) return wake();
  asking = true;
  try {
    await ask();
  } finally {
    asking = false;
  }
}

async function ask(): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      settings.value = await readSettings();
      if (settings.peek().authenticates && !sessionStorage.getItem(KEY)) {
        session.value = { kind: "signed-out", problem: "" };
      } else session.value = { kind: "signed-in", caller: await getCaller() };
      return;
    } catch (error) {
      if (isUnauthenticated(error)) return signOut(why(error));
      session.value = { kind: "unreachable", failure: failureOf(error) };
      if (isForGood(error)) return;
    }
    await new Promise<void>((resolve) => {
      wake = resolve;
      setTimeout(resolve, delayBefore(tries, Math.random()));
    });
  }
}

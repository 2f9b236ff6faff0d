/** Who looks: the key in this tab, what the server says of its caller, and how the console is set up. */
import { batch, computed, signal } from "@preact/signals";
import { type Failure, failureOf } from "../api/errors.ts";
import type { Credentials } from "../api/transport.ts";
import type { GetCallerResponse } from "../gen/postwire/v1/admin_service_pb.ts";

export type Role = "send" | "read" | "operate" | "admin";

/** What the server says of the console before anybody has signed in. */
export interface Settings {
  compose: boolean;
  trace_url: string;
  authenticates: boolean;
  version: string;
}

export type Session =
  | { kind: "starting" }
  /** The server does not answer; it is asked again. */
  | { kind: "unreachable"; failure: Failure }
  /** Nobody has signed in, or what he signed in with is not taken (any more). */
  | { kind: "signed-out"; problem: string }
  | { kind: "signed-in"; caller: GetCallerResponse };

// A tab's own, and gone with it: a key that is kept in the browser is a key that is found there.
export const KEY = "postwire.key";
const TENANT = "postwire.tenant";

export const settings = signal<Settings>({ compose: false, trace_url: "", authenticates: false, version: "" });
export const session = signal<Session>({ kind: "starting" });
/** For which tenant an administrator acts; "" is the server's choice. */
export const tenant = signal(sessionStorage.getItem(TENANT) ?? "");

export const caller = computed(() => (session.value.kind === "signed-in" ? session.value.caller : undefined));

/** Whether the caller has one of these roles; an administrator has all of them. */
export function may(...roles: readonly Role[]): boolean {
  const has = caller.value?.roles ?? [];
  return has.includes("admin") || roles.some((role) => has.includes(role));
}

/** Why the caller may not, for people; "" where he may. */
export function whyNot(...roles: readonly Role[]): string {
  if (may(...roles)) return "";
  return `This needs the role ${roles.join(" or ")}, which ${caller.value?.principal || "the caller"} does not have.`;
}

export const credentials: Credentials = {
  key: () => sessionStorage.getItem(KEY) ?? undefined,
  tenant: () => tenant.peek() || undefined,
  refused(key, error) {
    // Another key may have been given since that call began.
    if (session.peek().kind === "signed-in" && (sessionStorage.getItem(KEY) ?? undefined) === key) signOut(why(error));
  },
};

const ENDED =
  "The key is not accepted any more: it has expired, or was taken out. Sign in again to go on where you were.";
const MISSING = "The server asks who calls now. Sign in to go on.";

/** Why the key of a call was refused, for people. */
export function why(error: unknown): string {
  return failureOf(error).reason === "NO_CREDENTIALS" ? MISSING : ENDED;
}

/** Forget the key, and ask for one. The page's address stays. */
export function signOut(problem = ""): void {
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(TENANT);
  batch(() => {
    tenant.value = "";
    session.value = { kind: "signed-out", problem };
  });
}

/** Sign out as asked to: nothing that was read stays in the page's memory. */
export function leave(): void {
  signOut();
  window.location.reload();
}

/** Act for a tenant from now on; "" for the server's choice. */
export function actFor(name: string): void {
  if (name) sessionStorage.setItem(TENANT, name);
  else sessionStorage.removeItem(TENANT);
  tenant.value = name;
}

/** Every page of the console: where it is, what it is called, and who may see it. A page is added here. */
import type { ComponentType } from "preact";
import { AuditPage } from "../pages/audit.tsx";
import { ComposePage } from "../pages/compose.tsx";
import { InboxPage } from "../pages/inbox.tsx";
import { MessagePage } from "../pages/message.tsx";
import { MessagesPage } from "../pages/messages.tsx";
import { OverviewPage } from "../pages/overview.tsx";
import { ProvidersPage } from "../pages/providers.tsx";
import { RoutePage } from "../pages/route.tsx";
import { SuppressionsPage } from "../pages/suppressions.tsx";
import { TenantsPage } from "../pages/tenants.tsx";
import type { IconName } from "../ui/icon.tsx";
import { match } from "./router.tsx";
import { may, type Role, type Settings, settings } from "./session.ts";

export interface PageProps {
  /** What the path's `:parts` are. */
  params: Record<string, string>;
}

export interface Page {
  /** Under /console/, with `:parts`: `messages/:id`. */
  path: string;
  /** The title of the browser's tab, and the name in the navigation. */
  title: string;
  view: ComponentType<PageProps>;
  /** One of these is needed; an administrator has them all. Without any the page is everybody's. */
  roles: readonly Role[];
  /** Whether the server offers it at all. */
  offered?: (settings: Settings) => boolean;
  /** Where it stands in the navigation, and the key after `g` that leads there. A page without is reached from another. */
  nav?: { group: "Watch" | "Try" | "Manage"; icon: IconName; key: string };
}

export const PAGES: readonly Page[] = [
  {
    path: "",
    title: "Overview",
    view: OverviewPage,
    roles: ["operate"],
    nav: { group: "Watch", icon: "overview", key: "o" },
  },
  {
    path: "providers",
    title: "Providers",
    view: ProvidersPage,
    roles: ["operate"],
    nav: { group: "Watch", icon: "providers", key: "p" },
  },
  {
    path: "messages",
    title: "Messages",
    view: MessagesPage,
    roles: ["read"],
    nav: { group: "Watch", icon: "messages", key: "m" },
  },
  { path: "messages/:id", title: "Message", view: MessagePage, roles: ["send", "read"] },
  {
    path: "route",
    title: "Route",
    view: RoutePage,
    roles: ["operate"],
    nav: { group: "Try", icon: "route", key: "r" },
  },
  {
    path: "compose",
    title: "Compose",
    view: ComposePage,
    roles: ["send"],
    offered: (settings) => settings.compose,
    nav: { group: "Try", icon: "compose", key: "c" },
  },
  {
    path: "inbox",
    title: "Inbox",
    view: InboxPage,
    roles: ["send", "read"],
    nav: { group: "Try", icon: "inbox", key: "i" },
  },
  {
    path: "suppressions",
    title: "Suppressions",
    view: SuppressionsPage,
    roles: ["operate"],
    nav: { group: "Manage", icon: "suppressions", key: "s" },
  },
  {
    path: "tenants",
    title: "Tenants",
    view: TenantsPage,
    roles: ["admin"],
    nav: { group: "Manage", icon: "tenants", key: "t" },
  },
  {
    path: "audit",
    title: "Audit",
    view: AuditPage,
    roles: ["admin"],
    nav: { group: "Manage", icon: "audit", key: "a" },
  },
];

export function offeredPages(): readonly Page[] {
  return PAGES.filter((page) => page.offered?.(settings.value) ?? true);
}

/** Whether the caller may see a page. */
export function maySee(page: Page): boolean {
  return page.roles.length === 0 || may(...page.roles);
}

export function findPage(path: string): { page: Page; params: Record<string, string> } | undefined {
  for (const page of offeredPages()) {
    const params = match(page.path, path);
    if (params) return { page, params };
  }
  return undefined;
}

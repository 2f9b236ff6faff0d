/** What is around every page: the navigation, who looks, whether what is shown is live, and the way to each by keys. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { now } from "../api/clock.ts";
import { connection, retryAll } from "../live/feeds.ts";
import { Icon } from "../ui/icon.tsx";
import { Notices } from "../ui/notices.tsx";
import { EmptyState, PageHeader } from "../ui/panels.tsx";
import { compareVersion, outdated } from "./entry.ts";
import { Help } from "./help.tsx";
import { findPage, maySee, offeredPages, type Page } from "./pages.ts";
import { Link, moves, navigate, path } from "./router.tsx";
import { caller, leave, settings, tenant, whyNot } from "./session.ts";
import { useShortcuts } from "./shortcuts.ts";
import { chooseTheme, type Theme, theme } from "./theme.ts";

const GROUPS = ["Watch", "Try", "Manage"] as const;

export function Shell() {
  const helping = useSignal(false);
  const menuOpen = useSignal(false);
  const found = findPage(path.value);
  const title = found?.page.title ?? "Not found";

  useEffect(() => {
    document.title = `${title} · Postwire`;
  }, [title]);

  // Who comes to the console, and not to this page, is led to one that he may see.
  const astray = found?.page.path === "" && !maySee(found.page);
  useEffect(() => {
    const other = offeredPages().find((page) => page.nav && maySee(page));
    if (astray && moves.peek() === 0 && other) navigate(other.path, { replace: true });
  }, [astray]);

  const move = moves.value;
  useEffect(() => {
    menuOpen.value = false;
    if (move > 0) document.querySelector<HTMLElement>("main h1")?.focus();
  }, [move, menuOpen]);

  useShortcuts(() => [
    ...offeredPages().flatMap((page) =>
      page.nav ? [{ keys: `g ${page.nav.key}`, does: `Go to ${page.title}`, run: () => navigate(page.path) }] : [],
    ),
    {
      keys: "?",
      does: "Show these shortcuts",
      run: () => {
        helping.value = true;
      },
    },
  ]);

  return (
    <div class="shell">
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="bar" data-open={menuOpen.value}>
        <div class="brand-row">
          <Link to="" class="brand">
            <span class="mark" aria-hidden="true" />
            Postwire
          </Link>
          <Live />
          <button
            type="button"
            class="icon-button menu-button"
            aria-label="Menu"
            aria-expanded={menuOpen.value}
            aria-controls="menu"
            onClick={() => {
              menuOpen.value = !menuOpen.value;
            }}
          >
            <Icon name={menuOpen.value ? "close" : "menu"} />
          </button>
        </div>
        <div id="menu" class="menu">
          <Navigation current={found?.page} />
          <Account
            onHelp={() => {
              helping.value = true;
            }}
          />
        </div>
      </header>
      <div class="content">
        <Lost />
        <main id="main" tabIndex={-1}>
          {!found && (
            <>
              <PageHeader title="Not found" />
              <EmptyState title="There is no such page.">
                <Link to="">Go to the overview</Link>
              </EmptyState>
            </>
          )}
          {found && !maySee(found.page) && (
            <>
              <PageHeader title={title} />
              <EmptyState title="You may not see this page.">{whyNot(...found.page.roles)}</EmptyState>
            </>
          )}
          {/* Anew for another tenant: nothing of the one before is to be left. */}
          {found && maySee(found.page) && (
            <found.page.view key={`${found.page.path} ${tenant.value}`} params={found.params} />
          )}
        </main>
      </div>
      <Notices />
      {helping.value && (
        <Help
          onClose={() => {
            helping.value = false;
          }}
        />
      )}
    </div>
  );
}

function Navigation({ current }: { current: Page | undefined }) {
  const pages = offeredPages();
  const section = current?.nav ? current.path : current?.path.split("/")[0];
  return (
    <nav aria-label="Pages">
      {GROUPS.map((group) => {
        const here = pages.filter((page) => page.nav?.group === group);
        if (here.length === 0) return null;
        return (
          <div key={group}>
            <h2 class="nav-group" id={`nav-${group}`}>
              {group}
            </h2>
            <ul aria-labelledby={`nav-${group}`}>
              {here.map((page) => (
                <li key={page.path}>
                  <NavigationItem page={page} current={page.path === section} />
                </li>
              ))}
            </ul>
          </div>
        );
      })}
    </nav>
  );
}

function NavigationItem({ page, current }: { page: Page; current: boolean }) {
  const allowed = maySee(page);
  return (
    <Link
      to={page.path}
      class={allowed ? "nav-item" : "nav-item nav-item-locked"}
      aria-current={current ? "page" : undefined}
      title={allowed ? undefined : whyNot(...page.roles)}
    >
      {page.nav && <Icon name={page.nav.icon} />}
      <span>{page.title}</span>
      {!allowed && (
        <span class="nav-lock">
          <Icon name="lock" />
          <span class="visually-hidden">needs the role {page.roles.join(" or ")}</span>
        </span>
      )}
    </Link>
  );
}

/** Whether what the page shows goes on by itself. */
function Live() {
  const { kind } = connection.value;
  if (kind === "none") return null;
  const text = { connecting: "Connecting", live: "Live", lost: "Stale" }[kind];
  return <span class={`live live-${kind}`}>{text}</span>;
}

/** The stream is lost. Said once when it happens and once when it is over; the seconds in between are not read out. */
function Lost() {
  const state = connection.value;
  const lost = state.kind === "lost";
  const wasLost = useRef(false);
  useEffect(() => {
    if (lost) wasLost.current = true;
    else if (wasLost.current && state.kind === "live") {
      wasLost.current = false;
      void compareVersion();
    }
  }, [lost, state.kind]);
  return (
    <div class="lost-region">
      {outdated.value && (
        <div class="lost" role="status">
          <Icon name="refresh" />
          <p>The server is another version now. What is shown may be wrong until you load the page again.</p>
          <button type="button" class="button button-small" onClick={() => window.location.reload()}>
            Load again
          </button>
        </div>
      )}
      <p class="visually-hidden" role="status">
        {lost ? "Connection lost, retrying. What is shown may be old." : ""}
      </p>
      {lost && (
        <div class="lost">
          <Icon name="warning" />
          <p>
            Connection lost, retrying. What is shown may be old. <RetryIn at={state.retryAt} />
          </p>
          <button type="button" class="button button-small" onClick={retryAll}>
            Retry now
          </button>
        </div>
      )}
    </div>
  );
}

function RetryIn({ at }: { at: number }) {
  // The retry is by this machine's clock; `now` is read for its ticks alone.
  const left = now.value ? Math.ceil((at - Date.now()) / 1_000) : 0;
  return <span class="muted number">{left > 0 ? `Next try in ${left} s.` : "Trying …"}</span>;
}

const THEMES: readonly { value: Theme; label: string; icon: "system" | "sun" | "moon" }[] = [
  { value: "system", label: "As the system", icon: "system" },
  { value: "light", label: "Light", icon: "sun" },
  { value: "dark", label: "Dark", icon: "moon" },
];

export function ThemeChoice() {
  return (
    <fieldset class="theme">
      <legend class="visually-hidden">Theme</legend>
      {THEMES.map(({ value, label, icon }) => (
        <label key={value} title={label}>
          <input
            type="radio"
            name="theme"
            value={value}
            aria-label={label}
            checked={theme.value === value}
            onChange={() => chooseTheme(value)}
          />
          <Icon name={icon} />
        </label>
      ))}
    </fieldset>
  );
}

function Account({ onHelp }: { onHelp: () => void }) {
  const who = caller.value;
  const { authenticates, version } = settings.value;
  return (
    <section class="account" aria-label="Session">
      {who && (
        <div class="who">
          <p class="who-name" title={`Signed in as ${who.principal}`}>
            {who.principal}
          </p>
          <p class="muted">
            {who.roles.includes("admin") ? "admin" : who.roles.join(", ")}
            {authenticates && `, for ${tenant.value || who.tenant}`}
          </p>
        </div>
      )}
      <div class="account-row">
        <ThemeChoice />
        <button
          type="button"
          class="icon-button"
          aria-label="Keyboard shortcuts"
          title="Keyboard shortcuts (?)"
          onClick={onHelp}
        >
          <Icon name="keyboard" />
        </button>
        {authenticates && (
          <button type="button" class="icon-button" aria-label="Sign out" title="Sign out" onClick={leave}>
            <Icon name="out" />
          </button>
        )}
      </div>
      <p class="muted version">Postwire {who?.serverVersion || version}</p>
    </section>
  );
}

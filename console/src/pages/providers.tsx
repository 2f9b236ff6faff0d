import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { providers as client } from "../api/clients.ts";
import { durationMillis, formatCount, formatDuration } from "../api/times.ts";
import { availabilities, channels, noteActions, receiptStates } from "../api/words.ts";
import { Link, query, setQuery } from "../app/router.tsx";
import { whyNot } from "../app/session.ts";
import { useShortcuts } from "../app/shortcuts.ts";
import { NoteAction } from "../gen/postwire/v1/message_pb.ts";
import { Availability, BreakerState, type Provider } from "../gen/postwire/v1/provider_service_pb.ts";
import { isOut, providers, showProvider, useProviders } from "../live/providers.ts";
import { Badge, BreakerBadge } from "../ui/badge.tsx";
import { type Confirmation, ConfirmDialog } from "../ui/dialog.tsx";
import { notify } from "../ui/notices.tsx";
import { EmptyState, Fact, Facts, Loading, PageHeader } from "../ui/panels.tsx";
import { Refused } from "../ui/refused.tsx";
import { Countdown, Time } from "../ui/time.tsx";
import "./providers.css";

export function ProvidersPage() {
  useProviders();
  const asked = useSignal<Confirmation | undefined>(undefined);
  const known = providers.value;
  const wanted = known?.filter(isWanted);
  const ask = (question: Confirmation) => {
    asked.value = question;
  };
  return (
    <>
      <PageHeader title="Providers">{known && <span class="muted">{summary(known)}</span>}</PageHeader>
      <Refused />
      {known && (known.length > FEW || isFiltered()) && <Filter />}
      {!known && <Loading what="providers" />}
      {known?.length === 0 && <EmptyState title="There is no provider.">The configuration declares none.</EmptyState>}
      {known && known.length > 0 && wanted?.length === 0 && (
        <EmptyState title="No provider matches.">
          {known.length === 1 ? "The provider" : `All ${known.length}`} would be shown{" "}
          <Link to="providers">without a filter</Link>.
        </EmptyState>
      )}
      <ul class="providers" aria-label="Providers">
        {wanted?.map((provider) => (
          <li key={provider.name}>
            <ProviderItem provider={provider} ask={ask} />
          </li>
        ))}
      </ul>
      {asked.value && (
        <ConfirmDialog
          ask={asked.value}
          onClose={() => {
            asked.value = undefined;
          }}
        />
      )}
    </>
  );
}

/** With how many providers there is something to look for. */
const FEW = 6;

function isFiltered(): boolean {
  return query.value.has("out") || query.value.has("q");
}

function isWanted(provider: Provider): boolean {
  const text = (query.value.get("q") ?? "").toLowerCase();
  if (query.value.has("out") && !isOut(provider)) return false;
  return [provider.name, provider.kind, ...provider.channels.map(channels.of)].some((word) => word.includes(text));
}

function Filter() {
  const field = useRef<HTMLInputElement>(null);
  useShortcuts(() => [{ keys: "/", does: "Find a provider", run: () => field.current?.focus() }]);
  return (
    <search class="filter">
      <input
        ref={field}
        type="search"
        aria-label="Find by name, kind or channel"
        placeholder="Name, kind or channel"
        value={query.value.get("q") ?? ""}
        onInput={(event) => setQuery({ q: event.currentTarget.value })}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={query.value.has("out")}
          onChange={(event) => setQuery({ out: event.currentTarget.checked ? "1" : "" })}
        />
        Out of service alone
      </label>
    </search>
  );
}

function summary(known: readonly Provider[]): string {
  const serving = known.filter((provider) => !isOut(provider)).length;
  return `${serving} of ${known.length} in service`;
}

/** Draws one anew only if it has changed: there may be a thousand, of which one does. */
function ProviderItem({ provider, ask }: { provider: Provider; ask: (question: Confirmation) => void }) {
  return useMemo(() => <ProviderCard provider={provider} ask={ask} />, [provider]);
}

function ProviderCard({ provider, ask }: { provider: Provider; ask: (question: Confirmation) => void }) {
  const state = provider.breaker?.state ?? BreakerState.UNSPECIFIED;
  const heading = `provider-${provider.name}`;
  return (
    <article class={`provider provider-${BreakerState[state].toLowerCase()}`} aria-labelledby={heading}>
      <header class="provider-header">
        <h2 id={heading}>{provider.name}</h2>
        <BreakerBadge state={state} />
        {provider.availability !== Availability.AVAILABLE && (
          <Badge tone="bad">{availabilities.of(provider.availability)}</Badge>
        )}
        {provider.capabilities.includes("simulated") && <Badge tone="idle">simulated</Badge>}
        <p class="muted">
          {provider.kind} · {provider.channels.map(channels.of).join(", ")}
        </p>
        <Actions provider={provider} ask={ask} />
      </header>
      <Explanation provider={provider} />
      <Facts>
        <Fact name="In flight">
          <span class="number">{formatCount(provider.inFlight)}</span>{" "}
          {provider.maxConcurrent > 0 && <span class="muted">of {formatCount(provider.maxConcurrent)}</span>}
        </Fact>
        <Fact name="Rate">
          {provider.rate === undefined ? <span class="muted">no limit</span> : `${formatCount(provider.rate)} a second`}
        </Fact>
        <Window provider={provider} />
        <Fact name="Receipts">
          <Receipts provider={provider} />
        </Fact>
        {provider.receiptDelay && (
          <Fact name="They come after">{formatDuration(durationMillis(provider.receiptDelay))}</Fact>
        )}
        {provider.capabilities.includes("simulated") && (
          <Fact name={provider.seeded ? "Seed, chosen" : "Seed, from the system"}>
            <code>{String(provider.seed)}</code>
          </Fact>
        )}
      </Facts>
    </article>
  );
}

const DONE: Partial<Record<NoteAction, string>> = {
  [NoteAction.DRAIN]: "drained",
  [NoteAction.RESUME]: "resumed",
  [NoteAction.RESET]: "reset",
};

/** Why it is not in service, and what comes next. */
function Explanation({ provider }: { provider: Provider }) {
  const { breaker, note } = provider;
  const lines = [];
  if (breaker?.state === BreakerState.OPEN && breaker.nextProbeTime) {
    lines.push(
      <p key="probe">
        Too many calls failed: nothing is sent here. Next probe{" "}
        <Countdown to={breaker.nextProbeTime} due="when a message comes" />.
      </p>,
    );
  }
  if (breaker?.state === BreakerState.HALF_OPEN)
    lines.push(<p key="half">A probe finds out whether it works again.</p>);
  if (breaker?.state === BreakerState.FORCED_OPEN) lines.push(<p key="drained">Out of service until it is resumed.</p>);
  if (provider.availability === Availability.UNAVAILABLE) {
    lines.push(<p key="away">Not reached since the server started. The server goes on trying.</p>);
  }
  if (provider.availability === Availability.MISCONFIGURED) {
    lines.push(<p key="account">It does not accept the account or the key that it is configured with.</p>);
  }
  if (provider.unservedRouteKeys.length > 0) {
    lines.push(
      <p key="unserved" class="warn">
        Messages wait, since every provider of these routes is drained: {provider.unservedRouteKeys.join(", ")}.
      </p>,
    );
  }
  if (note && note.action !== NoteAction.UNSPECIFIED) {
    lines.push(
      <p key="note" class="muted">
        Last {DONE[note.action] ?? noteActions.of(note.action)} <Time at={note.time} />
        {note.reason && <>, “{note.reason}”</>}
      </p>,
    );
  }
  return lines.length > 0 ? <div class="explanation">{lines}</div> : null;
}

/** What the breaker has seen in its window. */
function Window({ provider }: { provider: Provider }) {
  const { breaker } = provider;
  if (!breaker) return null;
  const { calls, failures, slowCalls, failureRatio } = breaker;
  return (
    <Fact name="Failed, of the last calls">
      {calls === 0 ? (
        <span class="muted">no calls</span>
      ) : (
        <span class="ratio">
          <span class="number">
            {formatCount(failures)} of {formatCount(calls)}
          </span>
          <meter
            class="gauge"
            min={0}
            max={1}
            low={0.2}
            high={0.5}
            optimum={0}
            value={failureRatio}
            aria-label={`Failed calls of ${provider.name}`}
          />
          <span class="number muted">{Math.round(failureRatio * 100)} %</span>
        </span>
      )}
      {slowCalls > 0 && <p class="muted number">{formatCount(slowCalls)} slow</p>}
    </Fact>
  );
}

function Receipts({ provider }: { provider: Provider }) {
  if (provider.receipts.length === 0) return <span class="muted">none</span>;
  return (
    <ul class="receipts">
      {provider.receipts.map((receipt) => (
        <li key={receipt.state}>
          <span class="number">{formatCount(receipt.count)}</span> {receiptStates.of(receipt.state).replace("_", " ")}
        </li>
      ))}
    </ul>
  );
}

function Actions({ provider, ask }: { provider: Provider; ask: (question: Confirmation) => void }) {
  const { name } = provider;
  const drained = provider.breaker?.state === BreakerState.FORCED_OPEN;
  const denied = whyNot("operate");
  const buttons = drained ? [] : [{ label: `Reset the breaker of ${name}`, text: "Reset", question: reset }];
  // The last one stays the same element, so that the focus is still on it when one has become the other.
  buttons.push(
    drained
      ? { label: `Resume ${name}`, text: "Resume", question: resume }
      : { label: `Drain ${name}`, text: "Drain", question: drain },
  );
  return (
    <div class="provider-actions">
      {buttons.map(({ label, text, question }) => (
        <button
          key={text === "Reset" ? text : "last"}
          type="button"
          class="button"
          aria-label={label}
          disabled={denied !== ""}
          title={denied || undefined}
          onClick={() => ask(question(provider))}
        >
          {text}
        </button>
      ))}
    </div>
  );
}

function carries(provider: Provider): string {
  return provider.channels.map(channels.of).join(", ");
}

function resume(provider: Provider): Confirmation {
  const { name } = provider;
  return {
    title: `Resume ${name}?`,
    effect: (
      <p>
        <strong>{name}</strong> takes messages again ({carries(provider)}), with an empty window. What waits for it is
        sent at once.
      </p>
    ),
    action: `Resume ${name}`,
    reason: true,
    async run(reason) {
      showProvider((await client.resumeProvider({ name, reason })).provider);
      notify(`${name} is in service again.`);
    },
  };
}

function reset(provider: Provider): Confirmation {
  const { name } = provider;
  return {
    title: `Reset the breaker of ${name}?`,
    effect: (
      <p>
        The breaker of <strong>{name}</strong> closes with an empty window, whatever it has seen: all messages may go
        there at once ({carries(provider)}). If it still fails, some of them fail with it until the breaker opens again.
      </p>
    ),
    action: "Reset the breaker",
    reason: true,
    async run(reason) {
      showProvider((await client.resetBreaker({ name, reason })).provider);
      notify(`The breaker of ${name} is reset.`);
    },
  };
}

function drain(provider: Provider): Confirmation {
  const { name } = provider;
  return {
    title: `Drain ${name}?`,
    effect: (
      <>
        <p>
          No attempt starts at <strong>{name}</strong> from now on ({carries(provider)}). {underWay(provider.inFlight)}{" "}
          Messages go to the other providers of their routes, and wait where there is none.
        </p>
        <p>It stays so over a restart of the server, until it is resumed.</p>
      </>
    ),
    action: `Drain ${name}`,
    danger: true,
    reason: true,
    async run(reason) {
      showProvider((await client.drainProvider({ name, reason })).provider);
      notify(`${name} is drained.`);
    },
  };
}

function underWay(count: number): string {
  if (count === 0) return "None is under way.";
  return count === 1
    ? "The one that is under way is left to end."
    : `The ${formatCount(count)} under way are left to end.`;
}

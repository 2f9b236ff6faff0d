import { useSignal } from "@preact/signals";
import { providers as client } from "../api/clients.ts";
import { formatCount } from "../api/times.ts";
import { availabilities, channels, noteActions, receiptStates } from "../api/words.ts";
import { may, whyNot } from "../app/session.ts";
import { NoteAction } from "../gen/postwire/v1/message_pb.ts";
import { Availability, BreakerState, type Provider } from "../gen/postwire/v1/provider_service_pb.ts";
import { providers, showProvider, useProviders } from "../live/providers.ts";
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
  const ask = (question: Confirmation) => {
    asked.value = question;
  };
  return (
    <>
      <PageHeader title="Providers">{known && <span class="muted">{summary(known)}</span>}</PageHeader>
      <Refused />
      {!known && <Loading what="providers" />}
      {known?.length === 0 && <EmptyState title="There is no provider.">The configuration declares none.</EmptyState>}
      <ul class="providers" aria-label="Providers">
        {known?.map((provider) => (
          <li key={provider.name}>
            <ProviderCard provider={provider} ask={ask} />
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

function summary(known: readonly Provider[]): string {
  const closed = known.filter((provider) => provider.breaker?.state === BreakerState.CLOSED).length;
  return `${closed} of ${known.length} in service`;
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
        <Actions provider={provider} ask={ask} />
      </header>
      <Explanation provider={provider} />
      <Facts>
        <Fact name="kind">{provider.kind}</Fact>
        <Fact name="channels">{provider.channels.map(channels.of).join(", ")}</Fact>
        <Fact name="in flight">
          <span class="number">{formatCount(provider.inFlight)}</span>
        </Fact>
        <Window provider={provider} />
        <Fact name="receipts">
          <Receipts provider={provider} />
        </Fact>
        {provider.capabilities.includes("simulated") && (
          <Fact name="seed">
            <code>{String(provider.seed)}</code>{" "}
            <span class="muted">{provider.seeded ? "chosen" : "from the system"}</span>
          </Fact>
        )}
      </Facts>
    </article>
  );
}

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
        Last: {noteActions.of(note.action)} <Time at={note.time} />
        {note.reason && <>, “{note.reason}”</>}
      </p>,
    );
  }
  return lines.length > 0 ? <div class="explanation">{lines}</div> : null;
}

/** What the breaker has seen. */
function Window({ provider }: { provider: Provider }) {
  const { breaker } = provider;
  if (!breaker) return null;
  const percent = Math.round(breaker.failureRatio * 100);
  return (
    <>
      <Fact name="breaker’s window">
        <span class="number">{formatCount(breaker.calls)}</span> calls
        {breaker.slowCalls > 0 && (
          <>
            , <span class="number">{formatCount(breaker.slowCalls)}</span> slow
          </>
        )}
      </Fact>
      <Fact name="failures">
        <span class="ratio">
          <span class="number">{percent} %</span>
          <meter
            class="gauge"
            min={0}
            max={1}
            low={0.2}
            high={0.5}
            optimum={0}
            value={breaker.failureRatio}
            aria-label={`Failures of ${provider.name}`}
          />
          <span class="muted number">
            {formatCount(breaker.failures)} of {formatCount(breaker.calls)}
          </span>
        </span>
      </Fact>
    </>
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
  const carries = provider.channels.map(channels.of).join(", ");
  return (
    <div class="provider-actions">
      {drained ? (
        <button
          type="button"
          class="button"
          aria-label={`Resume ${name}`}
          disabled={!may("operate")}
          title={denied || undefined}
          onClick={() =>
            ask({
              title: `Resume ${name}?`,
              effect: (
                <p>
                  <strong>{name}</strong> takes messages again ({carries}), with an empty window. What waits for it is
                  sent at once.
                </p>
              ),
              action: `Resume ${name}`,
              reason: true,
              async run(reason) {
                showProvider((await client.resumeProvider({ name, reason })).provider);
                notify(`${name} is in service again.`);
              },
            })
          }
        >
          Resume
        </button>
      ) : (
        <>
          <button
            type="button"
            class="button"
            aria-label={`Reset the breaker of ${name}`}
            disabled={!may("operate")}
            title={denied || undefined}
            onClick={() =>
              ask({
                title: `Reset the breaker of ${name}?`,
                effect: (
                  <p>
                    The breaker of <strong>{name}</strong> closes with an empty window, whatever it has seen: all
                    messages may go there at once ({carries}). If it still fails, some of them fail with it until the
                    breaker opens again.
                  </p>
                ),
                action: "Reset the breaker",
                reason: true,
                async run(reason) {
                  showProvider((await client.resetBreaker({ name, reason })).provider);
                  notify(`The breaker of ${name} is reset.`);
                },
              })
            }
          >
            Reset
          </button>
          <button
            type="button"
            class="button"
            aria-label={`Drain ${name}`}
            disabled={!may("operate")}
            title={denied || undefined}
            onClick={() =>
              ask({
                title: `Drain ${name}?`,
                effect: (
                  <>
                    <p>
                      No attempt starts at <strong>{name}</strong> from now on ({carries}); the{" "}
                      {formatCount(provider.inFlight)} under way are left to end. Messages go to the other providers of
                      their routes, and wait where there is none.
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
              })
            }
          >
            Drain
          </button>
        </>
      )}
    </div>
  );
}

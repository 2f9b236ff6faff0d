import { useComputed, useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type uPlot from "uplot";
import { now } from "../api/clock.ts";
import { formatBytes, formatClock, formatCount, formatDuration, millis } from "../api/times.ts";
import { channels as channelWords } from "../api/words.ts";
import { Link } from "../app/router.tsx";
import { Channel } from "../gen/postwire/v1/message_pb.ts";
import { Availability, BreakerState } from "../gen/postwire/v1/provider_service_pb.ts";
import { type Counts, KINDS, type Kind } from "../live/intervals.ts";
import { isOut, providers, useProviders } from "../live/providers.ts";
import { backlog, changes, intervals, nodes, statsNow, useStats } from "../live/stats.ts";
import { Badge, BreakerBadge } from "../ui/badge.tsx";
import { Chart, type Line } from "../ui/chart.tsx";
import { EmptyState, Loading, PageHeader, Panel } from "../ui/panels.tsx";
import { Refused } from "../ui/refused.tsx";
import { Countdown, Time } from "../ui/time.tsx";
import "./overview.css";

const LINES: readonly (Line & { name: Kind })[] = [
  { name: "accepted", color: "--series-accepted", dash: [4, 3] },
  { name: "sent", color: "--series-sent" },
  { name: "delivered", color: "--series-delivered", dash: [8, 3] },
  { name: "failed", color: "--series-failed", width: 2 },
  { name: "uncertain", color: "--series-uncertain", dash: [2, 2], width: 2 },
];

const TITLES: Record<number, string> = {
  [Channel.SMS]: "SMS",
  [Channel.MMS]: "MMS",
  [Channel.EMAIL]: "Email",
};

export function OverviewPage() {
  useStats();
  useProviders();
  return (
    <>
      <PageHeader title="Overview">
        <Scope />
      </PageHeader>
      <Refused />
      <Standing />
      <div class="overview-channels">
        <Channels />
      </div>
    </>
  );
}

/** Of what the figures are: one server, since it started. */
function Scope() {
  const known = nodes.value;
  const [first] = known;
  if (!first) return null;
  return (
    <p class="muted">
      {known.length === 1 ? (
        <>
          Since {first.name} started, <Time at={first.startTime} />
        </>
      ) : (
        `Rates are those of the node that answers, one of ${known.length}`
      )}
    </p>
  );
}

/** What an operator looks at first: what waits, who is open, and the store. */
function Standing() {
  const waits = backlog.value;
  return (
    <div class="standing">
      <Panel title="Waiting">{waits ? <Waiting /> : <Loading what="what waits" />}</Panel>
      <Panel title="Out of service" aside={<Link to="providers">All providers</Link>}>
        <OutOfService />
      </Panel>
      <Panel title="Store">
        {waits ? (
          <div class="tile">
            <p class="figure">
              <Badge tone={waits.storeAvailable ? "good" : "bad"}>
                {waits.storeAvailable ? "writable" : "not writable"}
              </Badge>
            </p>
            <p class="muted">
              {waits.storeAvailable
                ? waits.storeBytes > 0n
                  ? `${formatBytes(Number(waits.storeBytes))} on disk`
                  : "Takes what is written"
                : "Messages are refused until it takes writes again."}
            </p>
          </div>
        ) : (
          <Loading what="the store" />
        )}
      </Panel>
    </div>
  );
}

function Waiting() {
  const waits = backlog.value;
  if (!waits) return null;
  const share = waits.maxUnsettled > 0n ? Number(waits.unsettled) / Number(waits.maxUnsettled) : 0;
  return (
    <div class="tile">
      <p class="figure">
        <strong>{formatCount(waits.due)}</strong> <span class="muted">due</span>
        {waits.oldestDueTime && (
          <>
            <span class="figure-gap" />
            <strong>
              {formatDuration(Math.max(0, Math.floor((now.value - millis(waits.oldestDueTime)) / 1_000) * 1_000))}
            </strong>{" "}
            <span class="muted">the oldest</span>
          </>
        )}
      </p>
      <p class="muted">
        {formatCount(waits.unsettled)} unsettled, of {formatCount(waits.maxUnsettled)} that may be
      </p>
      <meter
        class="gauge"
        min={0}
        max={1}
        low={0.5}
        high={0.8}
        optimum={0}
        value={share}
        aria-label="Unsettled messages, of those that may be"
      />
    </div>
  );
}

function OutOfService() {
  const known = providers.value;
  if (!known) return <Loading what="providers" />;
  const out = known.filter(isOut);
  if (out.length === 0) {
    return (
      <div class="tile">
        <p class="figure">
          <Badge tone="good">none</Badge>
        </p>
        <p class="muted">
          {known.length === 1 ? "The provider takes" : `All ${known.length} providers take`} messages.
        </p>
      </div>
    );
  }
  return (
    <ul class="out">
      {out.map((provider) => (
        <li key={provider.name}>
          <span class="out-name">{provider.name}</span>
          <BreakerBadge state={provider.breaker?.state ?? BreakerState.UNSPECIFIED} />
          {provider.availability === Availability.UNAVAILABLE && <Badge tone="bad">unavailable</Badge>}
          {provider.availability === Availability.MISCONFIGURED && <Badge tone="bad">misconfigured</Badge>}
          {provider.breaker?.state === BreakerState.OPEN && provider.breaker.nextProbeTime && (
            <span class="muted">
              probe <Countdown to={provider.breaker.nextProbeTime} />
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}

/** The channels that are carried, and those on which something has happened. */
function Channels() {
  const carried = useComputed(() => {
    changes.value;
    const declared = (providers.value ?? []).flatMap((provider) => provider.channels as number[]);
    return [...new Set([...declared, ...intervals.channels()])].sort();
  });
  if (carried.value.length === 0) {
    if (!providers.value) return <Loading what="figures" />;
    return <EmptyState title="No channel is carried.">The configuration declares no provider.</EmptyState>;
  }
  return (
    <>
      {carried.value.map((channel) => (
        <ChannelPanel key={channel} channel={channel} />
      ))}
    </>
  );
}

function ChannelPanel({ channel }: { channel: number }) {
  const title = TITLES[channel] ?? channelWords.of(channel);
  const pointed = useSignal<number | undefined>(undefined);
  // Every 5 s a new interval begins, whether or not anything happens in it.
  const step = Math.floor(now.value / 5_000);
  const change = changes.value;
  const series = useMemo(() => intervals.series(channel, statsNow()), [channel, step, change]);
  const shown = LINES.filter((line) => line.name !== "uncertain" || series.rates.uncertain.some(Boolean));
  const names = shown.map((line) => line.name).join(" ");
  const lines = useMemo(() => shown, [names]);
  const data = useMemo(
    () => [series.times, ...lines.map((line) => drawn(line.name, series.rates[line.name]))] as uPlot.AlignedData,
    [series, lines],
  );
  const last = series.times.length - 1;
  const at = pointed.value !== undefined && pointed.value <= last ? pointed.value : undefined;
  const rates = Object.fromEntries(KINDS.map((kind) => [kind, series.rates[kind][at ?? last] ?? 0])) as Counts;
  return (
    <Panel
      title={title}
      class="channel"
      aside={
        <span class="muted number">
          {at === undefined
            ? "in the last minute"
            : `in the minute to ${formatClock((series.times[at] ?? 0) * 1_000, true)}`}
        </span>
      }
    >
      <ul class="legend">
        {lines.map((line) => (
          <li key={line.name}>
            <span class={`swatch swatch-${line.name}`} aria-hidden="true" />
            <span class="legend-value number">{formatCount(rates[line.name])}</span>
            <span class="legend-name">{line.name}</span>
          </li>
        ))}
      </ul>
      <Chart
        lines={lines}
        data={data}
        sync="overview"
        onPoint={(index) => {
          pointed.value = index;
        }}
      />
      <Minutes channel={channel} title={title} />
    </Panel>
  );
}

/** The points of a line. One of what went wrong is not there while nothing did: a red line along the bottom alarms. */
function drawn(kind: Kind, rates: readonly (number | null)[]): (number | null)[] {
  if (kind !== "failed" && kind !== "uncertain") return [...rates];
  return rates.map((rate, index) => (rate || rates[index - 1] || rates[index + 1] ? rate : null));
}

/** The same as the chart in words and figures: for who cannot see it, or wants to know exactly. */
function Minutes({ channel, title }: { channel: number; title: string }) {
  const open = useSignal(false);
  const minute = Math.floor(now.value / 60_000);
  const change = changes.value;
  const rows = useMemo(() => intervals.minutes(channel, statsNow()), [channel, minute, change]);
  const total = { accepted: 0, sent: 0, delivered: 0, failed: 0, uncertain: 0 };
  for (const row of rows) for (const kind of KINDS) total[kind] += row.counts[kind];
  return (
    <details
      class="minutes"
      onToggle={(event) => {
        open.value = event.currentTarget.open;
      }}
    >
      <summary>
        {title}, last 15 min:{" "}
        {KINDS.filter((kind) => kind !== "uncertain" || total.uncertain > 0)
          .map((kind) => `${formatCount(total[kind])} ${kind}`)
          .join(", ")}
      </summary>
      {open.value && (
        <table class="table table-plain">
          <caption class="visually-hidden">{title} by the minute, newest first</caption>
          <thead>
            <tr>
              <th scope="col">from</th>
              {KINDS.map((kind) => (
                <th key={kind} scope="col" class="number">
                  {kind}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.start}>
                <th scope="row">{formatClock(row.start)}</th>
                {KINDS.map((kind) => (
                  <td key={kind} class="number">
                    {formatCount(row.counts[kind])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </details>
  );
}

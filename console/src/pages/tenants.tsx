import { admin } from "../api/clients.ts";
import { formatCount } from "../api/times.ts";
import { priorities } from "../api/words.ts";
import { actFor, tenant as acting, caller } from "../app/session.ts";
import type { Tenant } from "../gen/postwire/v1/admin_service_pb.ts";
import { usePaged } from "../live/paged.ts";
import { notify } from "../ui/notices.tsx";
import { PagedEnd } from "../ui/paged.tsx";
import { EmptyState, PageHeader } from "../ui/panels.tsx";
import { type Column, Table } from "../ui/table.tsx";
import "./manage.css";

/** A count, and how much there may be of it. */
function Used({ name, used, most }: { name: string; used: bigint; most: bigint | undefined }) {
  if (most === undefined) return <span class="number">{formatCount(used)}</span>;
  return (
    <span class="used">
      <span class="number">
        {formatCount(used)} <span class="muted">of {formatCount(most)}</span>
      </span>
      <meter
        class="gauge"
        min={0}
        max={1}
        low={0.5}
        high={0.8}
        optimum={0}
        value={most > 0n ? Number(used) / Number(most) : 1}
        aria-label={name}
      />
    </span>
  );
}

function rateOf(tenant: Tenant): string {
  if (tenant.rate === undefined) return "any";
  return `${tenant.rate}/s${tenant.burst === undefined ? "" : `, ${formatCount(tenant.burst)} at once`}`;
}

function Act({ name }: { name: string }) {
  const current = acting.value || caller.value?.tenant;
  if (name === current) return <span class="muted">you act for it</span>;
  return (
    <button
      type="button"
      class="button button-small"
      aria-label={`Act for ${name}`}
      onClick={() => {
        actFor(name);
        notify(`Pages show what belongs to ${name} now.`);
      }}
    >
      Act for it
    </button>
  );
}

const COLUMNS: readonly Column<Tenant>[] = [
  { title: "tenant", cell: (tenant) => tenant.name, heads: true },
  {
    title: "unsettled",
    cell: (tenant) => (
      <Used name={`Unsettled messages of ${tenant.name}`} used={tenant.unsettled} most={tenant.maxUnsettled} />
    ),
  },
  {
    title: "in flight",
    cell: (tenant) => (
      <Used name={`Messages of ${tenant.name} in flight`} used={tenant.inFlight} most={tenant.maxInFlight} />
    ),
  },
  { title: "rate", cell: rateOf },
  { title: "weight", cell: (tenant) => formatCount(tenant.weight), number: true },
  { title: "highest priority", cell: (tenant) => priorities.of(tenant.maxPriority) },
  { title: "pages", cell: (tenant) => <Act name={tenant.name} /> },
];

export function TenantsPage() {
  const { state, more, again } = usePaged(async () => ({ rows: (await admin.listTenants({})).tenants, next: "" }), []);
  const { rows, loading, failure } = state.value;
  return (
    <>
      <PageHeader title="Tenants">
        <button type="button" class="button" onClick={again}>
          Refresh
        </button>
      </PageHeader>
      {rows.length > 0 && (
        <Table caption="Tenants, by their names" columns={COLUMNS} rows={rows} rowKey={(tenant) => tenant.name} />
      )}
      {rows.length === 0 && !loading && !failure && (
        <EmptyState title="There are no tenants.">
          The configuration declares none (<code>[tenants.NAME]</code>): callers are not told apart.
        </EmptyState>
      )}
      <PagedEnd state={state.value} what="tenants" more={more} again={again} />
    </>
  );
}

import { admin } from "../api/clients.ts";
import { query, setQuery } from "../app/router.tsx";
import { AdminService, type AuditEvent } from "../gen/postwire/v1/admin_service_pb.ts";
import { DispatchService } from "../gen/postwire/v1/dispatch_service_pb.ts";
import { ProviderService } from "../gen/postwire/v1/provider_service_pb.ts";
import { SuppressionService } from "../gen/postwire/v1/suppression_service_pb.ts";
import { usePaged } from "../live/paged.ts";
import { Badge } from "../ui/badge.tsx";
import { Field } from "../ui/field.tsx";
import { PagedEnd } from "../ui/paged.tsx";
import { EmptyState, PageHeader } from "../ui/panels.tsx";
import { type Column, Table } from "../ui/table.tsx";
import { Time } from "../ui/time.tsx";
import "./manage.css";

const SIZE = 100;

/** The methods that change something besides by dispatching. */
const METHODS: readonly string[] = [
  ...["DrainProvider", "ResumeProvider", "ResetBreaker", "UpdateMockProvider"].map(
    (name) => `${ProviderService.typeName}/${name}`,
  ),
  ...["CancelMessage", "ResolveMessage", "EraseMessages"].map((name) => `${DispatchService.typeName}/${name}`),
  ...["AddSuppressions", "RemoveSuppressions"].map((name) => `${SuppressionService.typeName}/${name}`),
  `${AdminService.typeName}/StartRekey`,
];

const nameOf = (method: string) => method.replace(/^.*\//, "");

const COLUMNS: readonly Column<AuditEvent>[] = [
  { title: "when", cell: (event) => <Time at={event.time} />, heads: true },
  { title: "who", cell: (event) => event.principal },
  { title: "did", cell: (event) => <code title={event.method}>{nameOf(event.method)}</code> },
  { title: "to", cell: (event) => <span class="breaks">{event.target || "–"}</span> },
  {
    title: "result",
    cell: (event) =>
      event.result === "OK" ? (
        <Badge tone="good">OK</Badge>
      ) : (
        <Badge tone="bad">{event.result.toLowerCase().replaceAll("_", " ")}</Badge>
      ),
  },
  { title: "tenant", cell: (event) => event.tenant || <span class="muted">–</span> },
  { title: "reason", cell: (event) => event.reason || <span class="muted">–</span> },
];

export function AuditPage() {
  const tenant = query.value.get("tenant") ?? "";
  const method = query.value.get("method") ?? "";
  const { state, more, again } = usePaged(
    async (token) => {
      const found = await admin.listAuditEvents({ tenant, method, pageSize: SIZE, pageToken: token });
      return { rows: found.events, next: found.nextPageToken };
    },
    [tenant, method],
  );
  const { rows, loading, failure } = state.value;
  return (
    <>
      <PageHeader title="Audit">
        <button type="button" class="button" onClick={again}>
          Refresh
        </button>
      </PageHeader>
      <search class="filters">
        <div class="field">
          <label for="audit-method">What was done</label>
          <select
            id="audit-method"
            value={method}
            onChange={(event) => setQuery({ method: event.currentTarget.value })}
          >
            <option value="">anything</option>
            {METHODS.map((one) => (
              <option key={one} value={one}>
                {nameOf(one)}
              </option>
            ))}
          </select>
        </div>
        <Field label="Tenant" placeholder="any" value={tenant} onInput={(value) => setQuery({ tenant: value })} />
      </search>
      {rows.length > 0 && (
        <Table
          caption="What was changed, besides by dispatching, newest first"
          columns={COLUMNS}
          rows={rows}
          rowKey={(event) => `${event.time?.seconds}.${event.time?.nanos} ${event.principal} ${event.target}`}
        />
      )}
      {rows.length === 0 && !loading && !failure && (
        <EmptyState title="Nothing was changed.">
          What is drained, cancelled, resolved or erased stands here.
        </EmptyState>
      )}
      <PagedEnd state={state.value} what="what was done" more={more} again={again} />
    </>
  );
}

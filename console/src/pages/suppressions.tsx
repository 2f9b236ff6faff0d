import { useSignal } from "@preact/signals";
import { suppressions as client } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/errors.ts";
import { suppressionReasons } from "../api/words.ts";
import { type Suppression, SuppressionReason } from "../gen/postwire/v1/suppression_service_pb.ts";
import { usePaged } from "../live/paged.ts";
import { Badge } from "../ui/badge.tsx";
import { type Confirmation, ConfirmDialog } from "../ui/dialog.tsx";
import { Field } from "../ui/field.tsx";
import { notify } from "../ui/notices.tsx";
import { PagedEnd } from "../ui/paged.tsx";
import { EmptyState, ErrorPanel, PageHeader, Panel } from "../ui/panels.tsx";
import { type Column, Table } from "../ui/table.tsx";
import { Time } from "../ui/time.tsx";
import "./manage.css";

const SIZE = 100;

const reasonOf = (one: Suppression) => suppressionReasons.of(one.reason).replaceAll("_", " ");

const COLUMNS: readonly Column<Suppression>[] = [
  { title: "added", cell: (one) => <Time at={one.createTime} />, heads: true },
  { title: "reason", cell: reasonOf },
  { title: "from", cell: (one) => one.source || <span class="muted">–</span> },
  { title: "sender", cell: (one) => one.sender || <span class="muted">any</span> },
  { title: "until", cell: (one) => (one.expireTime ? <Time at={one.expireTime} /> : "for good") },
];

export function SuppressionsPage() {
  const { state, more, again } = usePaged(async (token) => {
    const found = await client.listSuppressions({ pageSize: SIZE, pageToken: token });
    return { rows: found.suppressions, next: found.nextPageToken };
  }, []);
  const { rows, loading, failure } = state.value;
  return (
    <>
      <PageHeader title="Suppressions" />
      <div class="parts">
        <Panel title="One address">
          <OneAddress onChanged={again} />
        </Panel>
        <Panel
          title="All, newest first"
          aside={<span class="muted">without their addresses, which are kept as hashes</span>}
        >
          {rows.length > 0 && (
            <Table
              caption="What is suppressed, newest first"
              columns={COLUMNS}
              rows={rows}
              rowKey={(one) => `${one.createTime?.seconds}.${one.createTime?.nanos} ${one.sender} ${one.source}`}
            />
          )}
          {rows.length === 0 && !loading && !failure && (
            <EmptyState title="No address is suppressed.">
              What bounces for good, complains or opts out comes here by itself.
            </EmptyState>
          )}
          <PagedEnd state={state.value} what="suppressions" more={more} again={again} />
        </Panel>
      </div>
    </>
  );
}

interface Answer {
  address: string;
  found: readonly Suppression[];
}

/** Look an address up, add it or take it out. It stands in no link and in nothing that the browser keeps. */
function OneAddress({ onChanged }: { onChanged: () => void }) {
  const address = useSignal("");
  const reason = useSignal(SuppressionReason.OPT_OUT);
  const running = useSignal(false);
  const failure = useSignal<Failure | undefined>(undefined);
  const answer = useSignal<Answer | undefined>(undefined);
  const asked = useSignal<Confirmation | undefined>(undefined);

  const check = async () => {
    const given = address.value.trim();
    if (running.value) return;
    running.value = true;
    try {
      const { suppressions: found } = await client.checkSuppressions({ addresses: given ? [given] : [] });
      answer.value = { address: given, found };
      failure.value = undefined;
    } catch (error) {
      failure.value = failureOf(error);
      answer.value = undefined;
    } finally {
      running.value = false;
    }
  };
  const changed = async (text: string) => {
    notify(text);
    onChanged();
    await check();
  };
  const add = (given: string) => {
    asked.value = {
      title: "Suppress this address?",
      effect: (
        <p>
          Nothing is sent to <strong>{given}</strong> any more, from any sender, until it is taken out.
        </p>
      ),
      action: "Suppress it",
      danger: true,
      async run() {
        await client.addSuppressions({ suppressions: [{ address: given, reason: reason.value, source: "console" }] });
        await changed("The address is suppressed.");
      },
    };
  };
  const remove = (given: string) => {
    asked.value = {
      title: "Take this address out?",
      effect: (
        <p>
          Messages go to <strong>{given}</strong> again, for every sender that it was suppressed for. Whoever has opted
          out or complained may not want that.
        </p>
      ),
      action: "Take it out",
      danger: true,
      async run() {
        await client.removeSuppressions({ addresses: [given] });
        await changed("The address is taken out.");
      },
    };
  };

  return (
    <div class="one-address">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void check();
        }}
      >
        <Field
          label="Phone number or email address"
          placeholder="+15005550006"
          value={address.value}
          onInput={(value) => {
            address.value = value;
            answer.value = undefined;
          }}
        />
        <button type="submit" class="button button-primary" disabled={running.value}>
          Look it up
        </button>
      </form>
      <div aria-live="polite" class="one-answer">
        {failure.value && <ErrorPanel failure={failure.value} />}
        {answer.value &&
          (answer.value.found.length > 0 ? (
            <>
              <p>
                <Badge tone="warn">suppressed</Badge>
              </p>
              <ul class="found">
                {answer.value.found.map((one) => (
                  <li key={one.sender}>
                    {reasonOf(one)}
                    {one.source && <span class="muted">, from {one.source}</span>}
                    <span class="muted">, {one.sender ? `for ${one.sender}` : "for any sender"}, </span>
                    <Time at={one.createTime} />
                  </li>
                ))}
              </ul>
              <button type="button" class="button" onClick={() => answer.value && remove(answer.value.address)}>
                Take it out
              </button>
            </>
          ) : (
            <>
              <p>
                <Badge tone="good">not suppressed</Badge>
              </p>
              <div class="field">
                <label for="suppression-reason">Reason</label>
                <select
                  id="suppression-reason"
                  value={reason.value}
                  onChange={(event) => {
                    reason.value = Number(event.currentTarget.value);
                  }}
                >
                  {suppressionReasons.all.map(({ value, word }) => (
                    <option key={value} value={value}>
                      {word.replaceAll("_", " ")}
                    </option>
                  ))}
                </select>
              </div>
              <button type="button" class="button" onClick={() => answer.value && add(answer.value.address)}>
                Suppress it
              </button>
            </>
          ))}
      </div>
      {asked.value && (
        <ConfirmDialog
          ask={asked.value}
          onClose={() => {
            asked.value = undefined;
          }}
        />
      )}
    </div>
  );
}

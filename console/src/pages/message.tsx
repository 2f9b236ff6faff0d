import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { dispatch } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/errors.ts";
import { formatCount } from "../api/times.ts";
import { channels, outcomes } from "../api/words.ts";
import type { PageProps } from "../app/pages.ts";
import { back, Link } from "../app/router.tsx";
import { may } from "../app/session.ts";
import { useShortcuts } from "../app/shortcuts.ts";
import { type Message, MessageState, Outcome, type RecipientStatus } from "../gen/postwire/v1/message_pb.ts";
import { useFeed } from "../live/feeds.ts";
import { messagesPath } from "../live/message_filter.ts";
import { StateBadge } from "../ui/badge.tsx";
import { CopyButton } from "../ui/copy.tsx";
import { type Confirmation, ConfirmDialog } from "../ui/dialog.tsx";
import { EmptyState, ErrorPanel, Fact, Facts, Loading, PageHeader, Panel } from "../ui/panels.tsx";
import { Refused } from "../ui/refused.tsx";
import { Table } from "../ui/table.tsx";
import { Countdown, LocalTime, Time } from "../ui/time.tsx";
import { MessageActions } from "./message_actions.tsx";
import { Timeline } from "./message_timeline.tsx";
import { deliveredOf, isSettled, standing } from "./timeline.ts";
import "./message.css";

/** The latest record of a message, whatever brought it. */
type Shown = Signal<Message | undefined>;

function show(shown: Shown, message: Message | undefined): void {
  const known = shown.peek();
  if (message && (!known || message.revision >= known.revision)) shown.value = message;
}

export function MessagePage({ params }: PageProps) {
  const id = params.id ?? "";
  const shown = useSignal<Message | undefined>(undefined);
  useShortcuts(() => [{ keys: "Escape", does: "Go back to the messages", run: () => back("messages") }]);
  return may("read") ? <Watched key={id} id={id} shown={shown} /> : <Read key={id} id={id} shown={shown} />;
}

/** For who may read: as it changes. */
function Watched({ id, shown }: { id: string; shown: Shown }) {
  const missing = useSignal(false);
  useFeed(
    () => ({
      open: (call) => dispatch.watchMessages({ messageIds: [id] }, call),
      received: ({ message }) => show(shown, message),
    }),
    [id],
  );
  // A stream that is refused says so only once; what is wrong with the id is said by the call for it.
  const failure = useRead(id, shown);
  missing.value = failure.value?.code === "NOT_FOUND" || failure.value?.code === "INVALID_ARGUMENT";
  return (
    <Frame shown={shown} failure={failure.value}>
      {!missing.value && <Refused />}
    </Frame>
  );
}

/** For who may only send: as it is when asked for. */
function Read({ id, shown }: { id: string; shown: Shown }) {
  const failure = useRead(id, shown);
  return <Frame shown={shown} failure={failure.value} />;
}

function useRead(id: string, shown: Shown): Signal<Failure | undefined> {
  const failure = useSignal<Failure | undefined>(undefined);
  useEffect(() => {
    const reading = new AbortController();
    dispatch.getMessage({ messageId: id }, { signal: reading.signal }).then(
      ({ message }) => show(shown, message),
      (error) => {
        if (!reading.signal.aborted) failure.value = failureOf(error);
      },
    );
    return () => reading.abort();
  }, [id, shown, failure]);
  return failure;
}

function Frame(props: { shown: Shown; failure: Failure | undefined; children?: ComponentChildren }) {
  const asked = useSignal<Confirmation | undefined>(undefined);
  const message = props.shown.value;
  return (
    <>
      <PageHeader title={<span class="message-title">Message {message && <StateBadge state={message.state} />}</span>}>
        <button type="button" class="button" onClick={() => back("messages")}>
          Back
        </button>
        {message && (
          <MessageActions
            message={message}
            ask={(question) => {
              asked.value = question;
            }}
            done={(changed) => show(props.shown, changed)}
          />
        )}
      </PageHeader>
      {props.children}
      {message ? <Content message={message} /> : <Absent failure={props.failure} />}
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

function Absent({ failure }: { failure: Failure | undefined }) {
  if (!failure) return <Loading what="the message" />;
  if (failure.code !== "NOT_FOUND") return <ErrorPanel title="The message cannot be shown" failure={failure} />;
  return (
    <EmptyState title="There is no such message.">
      <p>
        It was never accepted here, is another tenant’s, or is gone: settled messages are kept for a while.{" "}
        <Link to="messages">All messages</Link>
      </p>
    </EmptyState>
  );
}

function Content({ message }: { message: Message }) {
  return (
    <>
      <p class="standing-line">
        {standing(message)}{" "}
        {message.state === MessageState.QUEUED && message.nextAttemptTime && (
          <>
            Next <Countdown to={message.nextAttemptTime} />.
          </>
        )}
      </p>
      <div class="message-parts">
        <div class="message-column">
          <Panel title="Time line">
            <Timeline message={message} />
          </Panel>
          {message.recipients.length > 0 && (
            <Panel title="Recipients" aside={<span class="muted">{deliveredOf(message.recipients)}</span>}>
              <Recipients recipients={message.recipients} />
            </Panel>
          )}
        </div>
        <Panel title="Record" aside={<span class="muted number">revision {String(message.revision)}</span>}>
          <Record message={message} />
        </Panel>
      </div>
    </>
  );
}

function Record({ message }: { message: Message }) {
  const labels = Object.entries(message.labels);
  return (
    <div class="record">
      <Id name="message id" id={message.messageId} />
      <Id name="request id" id={message.requestId} />
      {message.providerMessageId && <Id name="provider’s id" id={message.providerMessageId} />}
      <Facts>
        <Fact name="channel">{channels.of(message.channel)}</Fact>
        <Fact name="provider">{message.providerName || <span class="muted">none yet</span>}</Fact>
        {message.errorCode && (
          <Fact name="code">
            <code>{message.errorCode}</code>
          </Fact>
        )}
        <Fact name="accepted">
          <LocalTime at={message.createTime} /> <span class="muted">(</span>
          <Time at={message.createTime} />
          <span class="muted">)</span>
        </Fact>
        <Fact name="last change">
          <LocalTime at={message.updateTime} />
        </Fact>
        {!isSettled(message.state) && (
          <Fact name="expires">
            <LocalTime at={message.expireTime} />
          </Fact>
        )}
      </Facts>
      <div>
        <p class="muted small">labels</p>
        {labels.length > 0 ? (
          <ul class="labels">
            {labels.map(([key, value]) => (
              <li key={key}>
                <LabelLink name={key} value={value} />
              </li>
            ))}
          </ul>
        ) : (
          <p class="muted">none</p>
        )}
      </div>
    </div>
  );
}

function Id({ name, id }: { name: string; id: string }) {
  return (
    <div class="id-line">
      <span class="muted small">{name}</span>
      <code>{id}</code>
      <CopyButton text={id} what={name} />
    </div>
  );
}

function LabelLink({ name, value }: { name: string; value: string }) {
  if (!may("read")) return <code class="label">{`${name}=${value}`}</code>;
  return (
    <Link to={messagesPath({ labels: { [name]: value } })} class="label" title="Messages with this label">
      <code>{`${name}=${value}`}</code>
    </Link>
  );
}

/** An email may have a thousand; those in trouble come first. */
const RECIPIENTS_SHOWN = 25;
const CALM: ReadonlySet<MessageState> = new Set([MessageState.DELIVERED, MessageState.SENT]);

function Recipients({ recipients }: { recipients: readonly RecipientStatus[] }) {
  const all = useSignal(false);
  const sorted = [...recipients].sort(
    (one, other) => Number(CALM.has(one.state)) - Number(CALM.has(other.state)) || one.index - other.index,
  );
  const rows = all.value ? sorted : sorted.slice(0, RECIPIENTS_SHOWN);
  return (
    <>
      <Table
        caption="Where it stands with each recipient, by position"
        columns={[
          { title: "Recipient", heads: true, cell: (one: RecipientStatus) => `#${one.index + 1}` },
          { title: "State", cell: (one) => <StateBadge state={one.state} /> },
          {
            title: "Last attempt",
            cell: (one) =>
              one.outcome === Outcome.UNSPECIFIED ? (
                <span class="muted">–</span>
              ) : (
                outcomes.of(one.outcome).replace("_", " ")
              ),
          },
          {
            title: "Code",
            cell: (one) => (one.errorCode ? <code>{one.errorCode}</code> : <span class="muted">–</span>),
          },
        ]}
        rows={rows}
        rowKey={(one) => String(one.index)}
      />
      <p class="panel-note muted">
        By position in to, cc and bcc: addresses are in no record.{" "}
        {rows.length < recipients.length && (
          <button
            type="button"
            class="button button-small"
            onClick={() => {
              all.value = true;
            }}
          >
            Show all {formatCount(recipients.length)}
          </button>
        )}
      </p>
    </>
  );
}

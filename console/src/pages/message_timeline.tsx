/** What happened to a message, one below the other, with how long it took in between. */
import type { ComponentChildren } from "preact";
import { durationMillis, formatDuration } from "../api/times.ts";
import { noteActions, receiptStates } from "../api/words.ts";
import { settings } from "../app/session.ts";
import {
  type Attempt,
  type Message,
  type Note,
  Outcome,
  type Receipt,
  ReceiptState,
} from "../gen/postwire/v1/message_pb.ts";
import { Badge, OutcomeBadge, StateBadge, type Tone } from "../ui/badge.tsx";
import { CopyButton } from "../ui/copy.tsx";
import { Icon } from "../ui/icon.tsx";
import { LocalTime } from "../ui/time.tsx";
import { type Entry, recipientNumbers, timeline, traceLink, waitBefore } from "./timeline.ts";

/** From here on a pause is worth a line of its own. */
const PAUSE_MS = 500;

export function Timeline({ message }: { message: Message }) {
  const entries = timeline(message);
  return (
    <ol class="timeline">
      {entries.map((entry, index) => {
        const pause = waitBefore(entry, entries[index - 1]);
        return (
          <Item
            key={key(entry, index)}
            entry={entry}
            pause={pause >= PAUSE_MS ? pause : 0}
            several={message.recipients.length > 1}
          />
        );
      })}
    </ol>
  );
}

function key(entry: Entry, index: number): string {
  return entry.happening.kind === "attempt"
    ? `attempt ${entry.happening.attempt.number}`
    : `${entry.happening.kind} ${index}`;
}

function Item({ entry, pause, several }: { entry: Entry; pause: number; several: boolean }) {
  const { happening } = entry;
  const future = happening.kind === "next" || happening.kind === "expires";
  return (
    <li class={`happening happening-${happening.kind}`} data-future={future}>
      {pause > 0 && !future && <p class="pause muted">{formatDuration(pause)} later</p>}
      <div class="happening-row">
        <span class="happening-time number">
          <LocalTime at={entry.time} millis={!future} />
        </span>
        <div class="happening-what">
          <What happening={happening} several={several} />
        </div>
      </div>
    </li>
  );
}

function What({ happening, several }: { happening: Entry["happening"]; several: boolean }) {
  switch (happening.kind) {
    case "accepted":
      return <Line title="Accepted" />;
    case "attempt":
      return <AttemptLine attempt={happening.attempt} />;
    case "receipt":
      return <ReceiptLine receipt={happening.receipt} recipients={happening.recipients} several={several} />;
    case "note":
      return <NoteLine note={happening.note} />;
    case "settled":
      return <Line title="Its time ran out" badge={<StateBadge state={happening.state} />} />;
    case "next":
      return <Line title="Next attempt is due" />;
    case "expires":
      return <Line title="No attempt starts after this" />;
  }
}

function Line(props: { title: ComponentChildren; badge?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <>
      <p class="happening-title">
        <strong>{props.title}</strong> {props.badge}
      </p>
      {props.children}
    </>
  );
}

function AttemptLine({ attempt }: { attempt: Attempt }) {
  const link = traceLink(settings.value.trace_url, attempt.traceId);
  return (
    <Line
      title={
        <>
          Attempt {attempt.number} at {attempt.providerName}
        </>
      }
      badge={<OutcomeBadge outcome={attempt.outcome} />}
    >
      {attempt.receiptOverdue && <p>Made because no receipt of an earlier attempt had come in time.</p>}
      {attempt.detail && <p>{attempt.detail}</p>}
      <p class="happening-facts muted">
        {attempt.duration && <span>took {formatDuration(durationMillis(attempt.duration))}</span>}
        {attempt.errorCode && (
          <span>
            code <code>{attempt.errorCode}</code>
          </span>
        )}
        {attempt.providerMessageId && (
          <span>
            its id <code>{attempt.providerMessageId}</code>
          </span>
        )}
        {link && (
          <a href={link} target="_blank" rel="noreferrer">
            Trace <Icon name="external" />
            <span class="visually-hidden">of attempt {attempt.number}, in another tab</span>
          </a>
        )}
        {!link && attempt.traceId && attempt.outcome !== Outcome.UNSPECIFIED && (
          <span class="trace">
            trace <code>{attempt.traceId}</code>
            <CopyButton text={attempt.traceId} what={`the trace id of attempt ${attempt.number}`} />
          </span>
        )}
      </p>
    </Line>
  );
}

const TONES: Partial<Record<ReceiptState, Tone>> = {
  [ReceiptState.ACCEPTED]: "busy",
  [ReceiptState.DELIVERED]: "good",
  [ReceiptState.UNDELIVERED]: "bad",
  [ReceiptState.COMPLAINED]: "warn",
  [ReceiptState.OPTED_OUT]: "warn",
};

function ReceiptLine({ receipt, recipients, several }: { receipt: Receipt; recipients: number[]; several: boolean }) {
  const whom = recipients.length === 0 ? "all of them" : recipientNumbers(recipients);
  return (
    <Line
      title={<>Receipt of {receipt.providerName}</>}
      badge={<Badge tone={TONES[receipt.state] ?? "idle"}>{receiptStates.of(receipt.state).replace("_", " ")}</Badge>}
    >
      <p class="happening-facts muted">
        <span>of attempt {receipt.attemptNumber}</span>
        {several && (
          <span>
            {recipients.length === 1 ? "recipient" : "recipients"} {whom}
          </span>
        )}
        {receipt.errorCode && (
          <span>
            code <code>{receipt.errorCode}</code>
          </span>
        )}
      </p>
    </Line>
  );
}

function NoteLine({ note }: { note: Note }) {
  const done = { cancel: "Cancelled", resolve: "Resolved" }[noteActions.of(note.action)] ?? noteActions.of(note.action);
  return <Line title={`${done} by hand`}>{note.reason && <p>“{note.reason}”</p>}</Line>;
}

import { type Signal, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { dispatch } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/errors.ts";
import { formatCount } from "../api/times.ts";
import { Link } from "../app/router.tsx";
import { may } from "../app/session.ts";
import { type Message, WaitFor } from "../gen/postwire/v1/message_pb.ts";
import { OutcomeBadge, StateBadge } from "../ui/badge.tsx";
import { Field, problemOf } from "../ui/field.tsx";
import { OneOf } from "../ui/one_of.tsx";
import { ErrorPanel, Fact, Facts, PageHeader, Panel } from "../ui/panels.tsx";
import { segmentsOf } from "./segments.ts";
import "./compose.css";

type ChannelName = "sms" | "mms" | "email";

const CHANNELS: readonly { value: ChannelName; word: string }[] = [
  { value: "sms", word: "SMS" },
  { value: "mms", word: "MMS" },
  { value: "email", word: "Email" },
];

const EMPTY = { channel: "sms" as ChannelName, to: "", sender: "", subject: "", text: "", html: "", media: "" };
type Draft = typeof EMPTY;

/** What is written stands in no address and in nothing that the browser keeps. */
export function ComposePage() {
  const draft = useSignal<Draft>(EMPTY);
  const running = useSignal(false);
  const failure = useSignal<Failure | undefined>(undefined);
  const sent = useSignal<Message | undefined>(undefined);
  // One message has one id, however often its button is pressed: a repeat sends nothing twice.
  const request = useRef<{ id: string; of: Draft } | undefined>(undefined);

  const send = async () => {
    if (running.value) return;
    running.value = true;
    failure.value = undefined;
    sent.value = undefined;
    if (request.current?.of !== draft.value) request.current = { id: newRequestId(), of: draft.value };
    try {
      const { message } = await dispatch.dispatch(
        { message: messageOf(draft.value), requestId: request.current.id, options: { waitFor: WaitFor.OUTCOME } },
        { timeoutMs: 10_000 },
      );
      sent.value = message;
      draft.value = { ...EMPTY, channel: draft.value.channel };
    } catch (error) {
      failure.value = failureOf(error);
    } finally {
      running.value = false;
    }
  };

  return (
    <>
      <PageHeader title="Compose">
        <span class="muted">Sends one message, as any caller does.</span>
      </PageHeader>
      <div class="compose">
        <Panel title="Message">
          <Form draft={draft} running={running.value} failure={failure.value} onSubmit={send} />
        </Panel>
        <div aria-live="polite" class="compose-answer">
          {failure.value && <ErrorPanel title={titleOf(failure.value)} failure={failure.value} />}
          {sent.value && <Sent message={sent.value} />}
        </div>
      </div>
    </>
  );
}

/** Not by `randomUUID`, which a page that came without TLS does not have. */
function newRequestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `console-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function titleOf(failure: Failure): string {
  const unknown = failure.code === "UNAVAILABLE" || failure.code === "DEADLINE_EXCEEDED" || failure.code === "INTERNAL";
  return unknown
    ? "It is not known whether it was accepted: send it again, which sends nothing twice"
    : "Nothing was sent";
}

const listOf = (text: string) => text.split(/[\s,;]+/).filter(Boolean);

function messageOf({ channel, to, sender, subject, text, html, media }: Draft) {
  switch (channel) {
    case "sms":
      return { content: { case: "sms" as const, value: { to: to.trim(), sender, body: text } } };
    case "mms": {
      const source = (url: string) => ({ source: { case: "url" as const, value: url } });
      return {
        content: {
          case: "mms" as const,
          value: { to: to.trim(), sender, body: text, media: listOf(media).map(source) },
        },
      };
    }
    case "email":
      return { content: { case: "email" as const, value: { to: listOf(to), sender, subject, text, html } } };
  }
}

function Form(props: { draft: Signal<Draft>; running: boolean; failure: Failure | undefined; onSubmit: () => void }) {
  const { draft, running, failure } = props;
  const { channel, to, sender, subject, text, html, media } = draft.value;
  const set = (name: keyof Draft) => (value: string) => {
    draft.value = { ...draft.value, [name]: value };
  };
  return (
    <form
      class="compose-form"
      onSubmit={(event) => {
        event.preventDefault();
        props.onSubmit();
      }}
    >
      <OneOf
        name="Channel"
        choices={CHANNELS}
        chosen={channel}
        onChange={(value) => {
          draft.value = { ...draft.value, channel: value };
        }}
      />
      <Field
        label="To"
        value={to}
        hint={channel === "email" ? "Several: with spaces or commas." : "A phone number, as +15005550006."}
        problem={problemOf(failure, ".to")}
        onInput={set("to")}
      />
      <Field
        label="From"
        optional
        hint="Left out: the provider’s own."
        value={sender}
        problem={problemOf(failure, ".sender")}
        onInput={set("sender")}
      />
      {channel === "email" && (
        <Field label="Subject" value={subject} problem={problemOf(failure, ".subject")} onInput={set("subject")} />
      )}
      <Field
        label="Text"
        lines={5}
        value={text}
        hint={channel === "sms" ? <Count text={text} /> : undefined}
        problem={problemOf(failure, ".body", ".text", "email")}
        onInput={set("text")}
      />
      {channel === "mms" && (
        <Field
          label="Media"
          name="media"
          hint="Addresses that begin with https://, one below the other."
          lines={2}
          value={media}
          problem={problemOf(failure, ".media", ".url")}
          onInput={set("media")}
        />
      )}
      {channel === "email" && (
        <Field
          label="HTML"
          optional
          lines={5}
          value={html}
          problem={problemOf(failure, ".html")}
          onInput={set("html")}
        />
      )}
      <button type="submit" class="button button-primary" disabled={running}>
        {running ? "Sending …" : "Send it"}
      </button>
    </form>
  );
}

/** Each segment is charged for, so that they are counted as they are typed. */
function Count({ text }: { text: string }) {
  const { encoding, count, left, cause } = segmentsOf(text);
  return (
    <span>
      <strong class="number">{formatCount(count)}</strong> {count === 1 ? "segment" : "segments"}, {encoding}, room for{" "}
      <span class="number">{formatCount(left)}</span> more
      {cause && (
        <>
          ; <q>{cause}</q> is not in the GSM alphabet
        </>
      )}
    </span>
  );
}

function Sent({ message }: { message: Message }) {
  return (
    <Panel title="Accepted">
      <div class="compose-sent">
        <Facts>
          <Fact name="state">
            <StateBadge state={message.state} />
          </Fact>
          <Fact name="outcome">
            <OutcomeBadge outcome={message.outcome} />
          </Fact>
          <Fact name="provider">{message.providerName || "–"}</Fact>
          <Fact name="message id">
            {may("send", "read") ? (
              <Link to={`messages/${encodeURIComponent(message.messageId)}`}>{message.messageId}</Link>
            ) : (
              message.messageId
            )}
          </Fact>
        </Facts>
      </div>
    </Panel>
  );
}

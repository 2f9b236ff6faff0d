/** A message of the inbox: as a row of the list, and opened. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { formatBytes } from "../api/times.ts";
import { Link } from "../app/router.tsx";
import type { InboxMessage } from "../gen/postwire/v1/inbox_service_pb.ts";
import { CopyButton } from "../ui/copy.tsx";
import { Icon } from "../ui/icon.tsx";
import { OneOf } from "../ui/one_of.tsx";
import { Fact, Facts } from "../ui/panels.tsx";
import { Time } from "../ui/time.tsx";

type Form = "html" | "text";

const FORMS: readonly { value: Form; word: string }[] = [
  { value: "html", word: "HTML" },
  { value: "text", word: "Text" },
];

interface Parts {
  channel: string;
  to: readonly string[];
  sender: string;
  subject: string;
  text: string;
}

/** What of a message every channel has. */
export function partsOf(message: InboxMessage): Parts {
  const content = message.message?.content;
  switch (content?.case) {
    case "sms":
    case "mms": {
      const { to, sender, body } = content.value;
      return { channel: content.case, to: [to], sender, subject: "", text: body };
    }
    case "email": {
      const { to, cc, bcc, sender, subject, text, html } = content.value;
      const all = [...to, ...cc, ...bcc];
      const some = message.recipientIndices;
      return {
        channel: "email",
        to: some.length > 0 ? some.flatMap((index) => all[index] ?? []) : all,
        sender,
        subject,
        text: text || (html ? "(HTML alone)" : ""),
      };
    }
    default:
      return { channel: "unknown", to: [], sender: "", subject: "", text: "" };
  }
}

export function Row({ message, open, onOpen }: { message: InboxMessage; open: boolean; onOpen: () => void }) {
  const { channel, to, subject, text } = partsOf(message);
  return (
    <button type="button" class={`inbox-row inbox-${channel}`} aria-expanded={open} onClick={onOpen}>
      <span class="inbox-head">
        <strong>{to.join(", ")}</strong>
        <span class="muted">
          {channel} · <Time at={message.receiveTime} />
        </span>
      </span>
      {channel === "email" ? (
        <span class="inbox-lines">
          <span class="inbox-subject">{subject || "(no subject)"}</span>
          <span class="inbox-excerpt muted">{text}</span>
        </span>
      ) : (
        <span class="bubble">{text || "(media alone)"}</span>
      )}
      {message.files.length > 0 && (
        <span class="muted">{message.files.length === 1 ? "1 file" : `${message.files.length} files`}</span>
      )}
    </button>
  );
}

export function Opened({ message, onClose }: { message: InboxMessage; onClose: () => void }) {
  const { channel, to, sender, subject, text } = partsOf(message);
  const content = message.message?.content;
  const email = content?.case === "email" ? content.value : undefined;
  const form = useSignal<Form>(message.previewPath ? "html" : "text");
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  return (
    <section class="panel inbox-message" aria-label="The message">
      <header class="panel-header">
        <h2 ref={heading} tabIndex={-1}>
          {channel === "email" ? subject || "(no subject)" : `To ${to.join(", ")}`}
        </h2>
        <button type="button" class="icon-button" aria-label="Close the message" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <div class="inbox-body">
        <Facts>
          <Fact name="to">{to.join(", ") || "–"}</Fact>
          <Fact name="from">{sender || <span class="muted">the provider’s own</span>}</Fact>
          <Fact name="taken by">{message.providerName}</Fact>
          <Fact name="when">
            <Time at={message.receiveTime} />
          </Fact>
          <Fact name="message">
            <Link to={`messages/${encodeURIComponent(message.messageId)}`}>its record</Link>{" "}
            <CopyButton text={message.messageId} what="the message id" />
          </Fact>
        </Facts>
        {message.previewPath && (
          <OneOf
            name="Show it as"
            choices={FORMS}
            chosen={form.value}
            onChange={(value) => {
              form.value = value;
            }}
          />
        )}
        {message.previewPath && form.value === "html" ? (
          // Nothing in it runs, is fetched or can be sent: the server's policy for this answer, and `sandbox`, see to that.
          <iframe class="preview" title="The email, as HTML" sandbox="" src={message.previewPath} />
        ) : channel === "email" ? (
          <pre class="inbox-text">{text || "(no text)"}</pre>
        ) : (
          <p class="bubble">{text || "(media alone)"}</p>
        )}
        {message.truncated && <p class="muted">It is longer than what is kept of it.</p>}
        {email && Object.keys(email.headers).length > 0 && (
          <details>
            <summary>Headers</summary>
            <Facts>
              {Object.entries(email.headers).map(([name, value]) => (
                <Fact key={name} name={name}>
                  {value}
                </Fact>
              ))}
            </Facts>
          </details>
        )}
        {message.files.length > 0 && (
          <ul class="files" aria-label="Files">
            {message.files.map((file, index) => (
              <li key={index}>
                {file.fileName || "(without a name)"}{" "}
                <span class="muted">
                  {file.contentType}
                  {file.sizeBytes > 0n && `, ${formatBytes(Number(file.sizeBytes))}`}
                </span>
              </li>
            ))}
          </ul>
        )}
      </div>
    </section>
  );
}

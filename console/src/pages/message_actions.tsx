/** What an operator can do to a message, each with a question that names what comes of it. */
import { dispatch } from "../api/clients.ts";
import { may, whyNot } from "../app/session.ts";
import { Resolution } from "../gen/postwire/v1/dispatch_service_pb.ts";
import { type Message, MessageState, Outcome } from "../gen/postwire/v1/message_pb.ts";
import type { Confirmation } from "../ui/dialog.tsx";
import { notify } from "../ui/notices.tsx";

interface ActionsProps {
  message: Message;
  ask: (question: Confirmation) => void;
  done: (message: Message | undefined) => void;
}

export function MessageActions({ message, ask, done }: ActionsProps) {
  switch (message.state) {
    case MessageState.QUEUED:
      return <Action name="Cancel the message …" needs="send" onClick={() => ask(cancellation(message, done))} />;
    case MessageState.UNCERTAIN:
      return (
        <>
          <Action name="It was sent …" needs="operate" onClick={() => ask(resolution(message, true, done))} />
          <Action name="It was not sent …" needs="operate" onClick={() => ask(resolution(message, false, done))} />
        </>
      );
    default:
      return null;
  }
}

function Action(props: { name: string; needs: "send" | "operate"; onClick: () => void }) {
  return (
    <button
      type="button"
      class="button"
      disabled={!may(props.needs)}
      title={whyNot(props.needs) || undefined}
      onClick={props.onClick}
    >
      {props.name}
    </button>
  );
}

/** Whether an earlier attempt may have sent it: then nobody can say that it was not. */
function mayBeSent(message: Message): boolean {
  return message.attempts.some((attempt) => attempt.outcome === Outcome.UNCERTAIN);
}

function cancellation(message: Message, done: ActionsProps["done"]): Confirmation {
  const { messageId } = message;
  return {
    title: "Cancel this message?",
    effect: mayBeSent(message) ? (
      <p>
        No further attempt is made. An earlier one may have sent it, so that it becomes <strong>uncertain</strong> and
        not cancelled: somebody has to find out, and resolve it.
      </p>
    ) : (
      <>
        <p>
          Nothing is sent, and it becomes <strong>cancelled</strong> for good. If an attempt begins before the server
          has heard of this, it is refused, and the message goes its way.
        </p>
        <p>Its caller sees it as cancelled; the same request id gives this message again, and sends nothing.</p>
      </>
    ),
    action: "Cancel the message",
    danger: true,
    reason: true,
    async run(reason) {
      const answer = await dispatch.cancelMessage({ messageId, reason });
      done(answer.message);
      notify(
        answer.message?.state === MessageState.UNCERTAIN
          ? "No further attempt is made. It may have been sent: the message is uncertain."
          : "The message is cancelled.",
      );
    },
  };
}

function resolution(message: Message, sent: boolean, done: ActionsProps["done"]): Confirmation {
  const { messageId } = message;
  return {
    title: sent ? "Was this message sent?" : "Was this message not sent?",
    effect: sent ? (
      <p>
        It becomes <strong>sent</strong> for good, as if a provider had taken it. Nothing is sent by this.
      </p>
    ) : (
      <>
        <p>
          It becomes <strong>failed</strong> for good, and is not tried again: who still wants it sent dispatches it
          anew, with another request id.
        </p>
        <p>If it was sent after all, its recipient then has it twice.</p>
      </>
    ),
    action: sent ? "Resolve as sent" : "Resolve as failed",
    danger: !sent,
    reason: true,
    async run(reason) {
      const answer = await dispatch.resolveMessage({
        messageId,
        reason,
        resolution: sent ? Resolution.SENT : Resolution.FAILED,
      });
      done(answer.message);
      notify(sent ? "The message is resolved as sent." : "The message is resolved as failed.");
    },
  };
}

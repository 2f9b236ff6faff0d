// What the example does, step by step. Each step gives what there is to show of it.
import { randomUUID } from "node:crypto";

import { status } from "@grpc/grpc-js";

import type { Postwire } from "./client.js";
import { isServiceError, refused, type Refusal } from "./errors.js";
import { DispatchStreamRequest } from "./gen/postwire/v1/dispatch_service.js";
import { ErrorReason } from "./gen/postwire/v1/error_reason.js";
import { Channel, MessageState, Outcome, WaitFor, type Message } from "./gen/postwire/v1/message.js";

export type Step =
  | ({ step: "dispatch" | "forced" } & ReturnType<typeof summary>)
  | ({ step: "invalid" } & Refusal)
  | ({ step: "conflict" | "not_found" } & Omit<Refusal, "violations">)
  | { step: "retry"; request_id: string; message_id: string; repeated_message_id: string; tries: number }
  | { step: "stream"; messages: Record<string, string>; rejections: ({ sequence: number } & Refusal)[] }
  | { step: "watch"; message_id: string; request_id: string; states: string[]; revisions: number[] };

const PHONE = "+15005550006"; // at this one a mock provider succeeds
const REJECTED_PHONE = "+15005550001"; // and this one it rejects

export async function* steps(postwire: Postwire): AsyncGenerator<Step> {
  const requestId = randomUUID();
  yield* dispatch(postwire, requestId);
  yield await forced(postwire);
  yield await invalid(postwire);
  yield await conflict(postwire, requestId);
  yield await notFound(postwire);
  yield await retry(postwire);
  yield await stream(postwire);
  yield await watch(postwire);
}

/** One message per channel. */
async function* dispatch(postwire: Postwire, firstId: string): AsyncGenerator<Step> {
  const sms = { to: PHONE, body: "Your code is 493 027." };
  yield { step: "dispatch", ...summary(await postwire.dispatch({ requestId: firstId, message: { sms } })) };

  const mms = { to: PHONE, body: "Your table", media: [{ url: "https://example.com/table.jpg" }] };
  yield { step: "dispatch", ...summary(await postwire.dispatch({ requestId: randomUUID(), message: { mms } })) };

  const email = { to: ["success@simulator.postwire.test"], subject: "Your receipt", text: "Thank you." };
  yield { step: "dispatch", ...summary(await postwire.dispatch({ requestId: randomUUID(), message: { email } })) };
}

/** A message that its provider rejects is no error of the call: the state says what happened. */
async function forced(postwire: Postwire): Promise<Step> {
  const sms = { to: REJECTED_PHONE, body: "Hello" };
  return { step: "forced", ...summary(await postwire.dispatch({ requestId: randomUUID(), message: { sms } })) };
}

/** A bad request is refused, and every bad field is named. */
async function invalid(postwire: Postwire): Promise<Step> {
  const call = postwire.dispatch({ requestId: randomUUID(), message: { sms: { to: "12", body: "" } } });
  return { step: "invalid", ...(await refused(call, status.INVALID_ARGUMENT)) };
}

/** A request id belongs to one message: another body is refused. */
async function conflict(postwire: Postwire, requestId: string): Promise<Step> {
  const call = postwire.dispatch({ requestId, message: { sms: { to: PHONE, body: "Another body" } } });
  const { code, reason } = await refused(call, status.ALREADY_EXISTS);
  return { step: "conflict", code, reason };
}

async function notFound(postwire: Postwire): Promise<Step> {
  const call = postwire.getMessage("00000000-0000-7000-8000-000000000000");
  const { code, reason } = await refused(call, status.NOT_FOUND);
  return { step: "not_found", code, reason };
}

/** When a call runs out of time, nobody knows whether the message was accepted. Repeat it with the same request id. */
async function retry(postwire: Postwire): Promise<Step> {
  const request = { requestId: randomUUID(), message: { sms: { to: PHONE, body: "Only once" } } };
  for (let tries = 1; ; tries++) {
    try {
      const { messageId: message_id } = await postwire.dispatch(request, tries === 1 ? 0.001 : 10);
      const { messageId: repeated_message_id } = await postwire.dispatch(request);
      return { step: "retry", request_id: request.requestId, message_id, repeated_message_id, tries };
    } catch (error) {
      if (!isServiceError(error) || error.code !== status.DEADLINE_EXCEEDED || tries === 5) throw error;
    }
  }
}

/** A thousand messages over one call, in frames of a hundred. One is bad, which the others do not notice. */
async function stream(postwire: Postwire): Promise<Step> {
  const requests = Array.from({ length: 1_000 }, (_, sequence) => ({
    requestId: randomUUID(),
    message: { sms: { to: sequence === 500 ? "12" : PHONE, body: `Message ${sequence}` } },
  }));
  function* frames() {
    for (let start = 0; start < requests.length; start += 100)
      yield DispatchStreamRequest.create({ requests: requests.slice(start, start + 100) });
  }

  const messages: Record<string, string> = {};
  const rejections: ({ sequence: number } & Refusal)[] = [];
  for await (const { sequence, message, rejection } of postwire.dispatchStream(frames())) {
    if (rejection) {
      const violations = rejection.fieldViolations.map(({ field }) => field);
      const refusal = { code: status[rejection.code]!, reason: ErrorReason[rejection.reason], violations };
      rejections.push({ sequence: Number(sequence), ...refusal });
    } else if (message?.state === MessageState.SENT) {
      messages[message.requestId] = message.messageId;
    }
  }
  return { step: "stream", messages, rejections };
}

/** A message that waits for its time, watched until it is sent. */
async function watch(postwire: Postwire): Promise<Step> {
  const { messageId: message_id, requestId: request_id } = await postwire.dispatch({
    requestId: randomUUID(),
    message: { sms: { to: PHONE, body: "The train leaves." } },
    options: { waitFor: WaitFor.ACCEPTANCE, sendTime: new Date(Date.now() + 1_000) },
  });
  const states: string[] = [];
  const revisions: number[] = [];
  for await (const { message } of postwire.watchMessages([message_id])) {
    if (!message) continue; // a sign of life
    states.push(MessageState[message.state]);
    revisions.push(Number(message.revision));
    if (message.state === MessageState.SENT) break; // which cancels the call
  }
  return { step: "watch", message_id, request_id, states, revisions };
}

function summary(message: Message) {
  return {
    channel: Channel[message.channel].toLowerCase(),
    request_id: message.requestId,
    message_id: message.messageId,
    state: MessageState[message.state],
    provider_name: message.providerName,
    outcome: Outcome[message.outcome],
  };
}

"""What a client has to do in earnest: `python example.py [--json]`, against the server that `POSTWIRE_TARGET` names."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from contextlib import aclosing
from typing import Any, NoReturn

from postwire_client import (
    AsyncClient,
    DispatchOptions,
    DispatchRequest,
    Email,
    Media,
    MessageState,
    Mms,
    OutboundMessage,
    Outcome,
    PostwireError,
    Sms,
    TryAgain,
    WaitFor,
)

TARGET = os.environ.get("POSTWIRE_TARGET", "127.0.0.1:50051")
AS_JSON = "--json" in sys.argv[1:]

PHONE = "+15005550006"
ADDRESS = "success@simulator.postwire.test"
REJECTED = "+15005550001"
NOBODY = "00000000-0000-7000-8000-000000000000"


async def main() -> None:
    # The timeout is for each call with its retries: what the server cannot take just now, the client repeats by itself.
    async with AsyncClient(TARGET, timeout=15) as client:
        first_id = await dispatch(client)
        await forced(client)
        await invalid(client)
        await conflict(client, first_id)
        await not_found(client)
        await retry(client)
        await stream(client)
        await watch(client)


async def dispatch(client: AsyncClient) -> str:
    """One message per channel. Returns the request id of the first."""
    messages = {
        "sms": sms("Your code is 493 027."),
        "mms": OutboundMessage(mms=Mms(to=PHONE, media=[Media(url="https://example.com/door.jpg")])),
        "email": OutboundMessage(email=Email(to=[ADDRESS], subject="Your receipt", text="Thank you.")),
    }
    request_ids = {channel: new_request_id() for channel in messages}
    for channel, message in messages.items():
        sent = await client.dispatch(message, request_id=request_ids[channel])
        state = short(MessageState, sent.state)
        report(
            f"dispatch   {channel:<5}  {state:<8}  {sent.provider_name:<8}  {sent.message_id}",
            step="dispatch",
            channel=channel,
            request_id=sent.request_id,
            message_id=sent.message_id,
            state=state,
            provider_name=sent.provider_name,
            outcome=short(Outcome, sent.outcome),
        )
    return request_ids["sms"]


async def forced(client: AsyncClient) -> None:
    """A provider that fails is no error of the call: the record says what has happened."""
    failed = await client.dispatch(sms("Hello", to=REJECTED), request_id=new_request_id())
    state, outcome = short(MessageState, failed.state), short(Outcome, failed.outcome)
    report(
        f"forced     sms    {state:<8}  {outcome} by {failed.provider_name}",
        step="forced",
        channel="sms",
        request_id=failed.request_id,
        message_id=failed.message_id,
        state=state,
        provider_name=failed.provider_name,
        outcome=outcome,
    )


async def invalid(client: AsyncClient) -> None:
    """What is wrong with a message is named, field by field."""
    try:
        await client.dispatch(sms("", to="12"))
    except PostwireError as error:
        fields = [violation.field for violation in error.violations]
        report(
            f"invalid    {error.code.name}  {error.reason}  {', '.join(fields)}",
            step="invalid",
            code=error.code.name,
            reason=error.reason,
            violations=fields,
        )
    else:
        refused_nothing()


async def conflict(client: AsyncClient, request_id: str) -> None:
    """A request id stands for one message, and no other."""
    try:
        await client.dispatch(sms("Something else."), request_id=request_id)
    except PostwireError as error:
        report_refusal("conflict", error)
    else:
        refused_nothing()


async def not_found(client: AsyncClient) -> None:
    try:
        await client.get_message(NOBODY)
    except PostwireError as error:
        report_refusal("not_found", error)
    else:
        refused_nothing()


async def retry(client: AsyncClient) -> None:
    """After a call whose end is not known, the same request id again: it is sent once, however often it is called."""
    request_id, tries = new_request_id(), 0
    while True:
        tries += 1
        try:
            # No time at all, at first. Whether the message was accepted, nobody knows.
            sent = await client.dispatch(sms("Hello"), request_id=request_id, timeout=0.001 if tries == 1 else None)
            break
        except TryAgain:
            if tries == 10:
                raise
    again = await client.dispatch(sms("Hello"), request_id=request_id)
    report(
        f"retry      {again.message_id}  after {tries} tries",
        step="retry",
        request_id=request_id,
        message_id=sent.message_id,
        repeated_message_id=again.message_id,
        tries=tries,
    )


async def stream(client: AsyncClient) -> None:
    """Many messages over one stream. One that is refused ends nothing, and a stream that breaks is taken up again."""
    requests = (
        DispatchRequest(message=sms(f"Number {n}", to="12" if n == 500 else PHONE), request_id=new_request_id())
        for n in range(1_000)
    )
    messages: dict[str, str] = {}
    states: set[str] = set()
    rejections: list[dict[str, Any]] = []
    async for result in client.dispatch_many(requests, frame_size=100):
        if result.message:
            messages[result.request.request_id] = result.message.message_id
            states.add(short(MessageState, result.message.state))
        elif error := result.error:
            fields = [violation.field for violation in error.violations]
            rejections.append(
                {"sequence": result.index, "code": error.code.name, "reason": error.reason, "violations": fields}
            )
    reported = [f"{one['sequence']} {one['code']} {one['reason']} {', '.join(one['violations'])}" for one in rejections]
    report(
        f"stream     {len(messages)} {'/'.join(states)}, {len(rejections)} refused: {'; '.join(reported)}",
        step="stream",
        messages=messages,
        rejections=rejections,
    )


async def watch(client: AsyncClient) -> None:
    """A message that is sent later, from its acceptance on."""
    options = DispatchOptions(wait_for=WaitFor.WAIT_FOR_ACCEPTANCE)
    options.send_time.GetCurrentTime()
    options.send_time.seconds += 1
    queued = await client.dispatch(sms("Later"), request_id=new_request_id(), options=options)
    states, revisions = [], []
    async with aclosing(client.watch_messages([queued.message_id])) as changes:  # which ends the call
        async for message, _ in changes:
            states.append(short(MessageState, message.state))
            revisions.append(message.revision)
            if message.state == MessageState.MESSAGE_STATE_SENT:
                break
    report(
        f"watch      {' → '.join(states)}",
        step="watch",
        message_id=queued.message_id,
        request_id=queued.request_id,
        states=states,
        revisions=revisions,
    )


def sms(body: str, to: str = PHONE) -> OutboundMessage:
    return OutboundMessage(sms=Sms(to=to, body=body))


def new_request_id() -> str:
    return str(uuid.uuid4())


def short(enum: Any, value: int) -> str:
    """The name of a value without its prefix: `SENT` for `MESSAGE_STATE_SENT`."""
    name: str = enum.Name(value)
    return name.removeprefix(enum.Name(0).removesuffix("UNSPECIFIED"))


def report(line: str, **fields: Any) -> None:
    print(json.dumps(fields) if AS_JSON else line, flush=True)


def report_refusal(step: str, error: PostwireError) -> None:
    report(f"{step:<9}  {error.code.name}  {error.reason}", step=step, code=error.code.name, reason=error.reason)


def refused_nothing() -> NoReturn:
    sys.exit("example: the server took what it has to refuse")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except TryAgain as error:
        sys.exit(f"example: no answer from {TARGET}: {error.message}")
    except PostwireError as error:
        sys.exit(f"example: {error}")

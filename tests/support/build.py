"""Well-formed values for tests to start from. Each takes what the test is about, and fills in the rest."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.support.clock import START

from postwire.core import canonical, lifecycle
from postwire.core.ids import MessageIds
from postwire.core.message import (
    DEFAULT_TENANT,
    EMPTY,
    Content,
    DispatchCommand,
    DispatchOptions,
    Email,
    MessageRecord,
    Mms,
    OutboundMessage,
    Sms,
    WaitFor,
)
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import NewMessage

HOUR = 3_600_000_000
"""In µs."""

SUCCESS = DispatchResult(Outcome.SUCCESS, provider_message_id="vendor-1")

_ids = MessageIds(random.Random(0).getrandbits)
_numbers = itertools.count(1)


def new_id() -> str:
    """A message id that no other call gives."""
    return _ids.next(START)


def new_request_id() -> str:
    """A request id that no other call gives."""
    return f"request-{next(_numbers)}"


def sms(body: str = "Your code is 123456") -> Sms:
    return Sms(to="+15005550100", body=body)


def mms(body: str = "Look") -> Mms:
    return Mms(to="+15005550100", body=body)


def email(*to: str, text: str = "Hello", **fields: Any) -> Email:
    return Email(to=to or ("ada@example.com",), subject="Hello", text=text, **fields)


def command(
    content: Content | None = None,
    *,
    request_id: str = "",
    labels: Mapping[str, str] = EMPTY,
    wait_for: WaitFor = WaitFor.OUTCOME,
    size: int = 100,
    tenant: str = DEFAULT_TENANT,
    **options: Any,
) -> DispatchCommand:
    """A call of `Dispatch`; what is not named here goes into its options."""
    return DispatchCommand(
        OutboundMessage(content or sms(), labels), request_id, DispatchOptions(**options), wait_for, size, tenant
    )


def accepted(
    of: DispatchCommand | None = None,
    *,
    provider_name: str = "sms-mms",
    queue: str = "",
    now: int = START,
    trace_id: str = "",
) -> MessageRecord:
    """The record of a message that was just accepted: attempt 1 is open; or it is queued, without a provider."""
    of = of or command()
    return lifecycle.accept(
        of,
        message_id=new_id(),
        queue=queue or of.message.channel.value,
        provider_name=provider_name,
        now=now,
        expire_after=4 * HOUR,
        trace_id=trace_id,
    )


POLICY = lifecycle.Policy(max_attempts=5)


def ended(
    record: MessageRecord,
    result: DispatchResult = SUCCESS,
    *,
    after: int = 20_000,
    policy: lifecycle.Policy = POLICY,
    retry_after: int = 1_000_000,
) -> MessageRecord:
    """The record once its open attempt has ended, `after` µs later; where more is to follow it is queued again."""
    now = record.update_time + after
    closed, next_step = lifecycle.close_attempt(record, result, policy, now=now, duration=after)
    return (
        closed if next_step is lifecycle.NextStep.NOTHING else lifecycle.requeue(closed, now=now, due=now + retry_after)
    )


def retried(record: MessageRecord, provider_name: str = "sms-mms", *, after: int = 20_000) -> MessageRecord:
    """The record of a queued message once its next attempt is open."""
    return lifecycle.open_attempt(record, provider_name, now=record.update_time + after)


def new_message(of: DispatchCommand | None = None, *, record: MessageRecord | None = None) -> NewMessage:
    """What the outbox is asked to accept."""
    of = of or command()
    content = canonical.encode_message(of.message)
    digest = canonical.payload_hash(content, canonical.encode_options(of.options))
    return NewMessage(record or accepted(of), content, digest, of.options)


def repeated(new: NewMessage) -> NewMessage:
    """The same call again, as the server makes it: the same request id and payload, an id of its own."""
    return replace(new, record=replace(new.record, message_id=new_id()))

"""The life of a message: which event leads from which state to which.

Pure: a function takes a record and `now` (µs since the epoch) and returns the record as it then is. Nothing else in the
program decides a state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from postwire.core.message import (
    Attempt,
    Channel,
    DispatchCommand,
    Email,
    MessageRecord,
    MessageState,
    RecipientStatus,
)
from postwire.core.outcome import DispatchResult, Outcome

_AFTER: Final = {
    Outcome.SUCCESS: MessageState.SENT,
    Outcome.REJECTED: MessageState.FAILED,
    Outcome.ERROR: MessageState.FAILED,
    Outcome.RATE_LIMITED: MessageState.FAILED,
    Outcome.UNCERTAIN: MessageState.UNCERTAIN,
}
"""What the last attempt's outcome makes of a message, or of a recipient, for which no attempt is left."""

MAX_TOLD: Final = 512
"""How many characters of an id, a code or a detail of a vendor are kept."""

_PRECEDENCE: Final = (
    MessageState.SENDING,
    MessageState.QUEUED,
    MessageState.UNCERTAIN,
    MessageState.FAILED,
    MessageState.SENT,
)
"""A message's state is the first of these that any of its recipients has."""


def accept(
    command: DispatchCommand,
    *,
    message_id: str,
    provider_name: str,
    now: int,
    expire_after: int,
    trace_id: str = "",
) -> MessageRecord:
    """A message accepted and due, with attempt 1 open at `provider_name`. `expire_after` is in µs."""
    content = command.message.content
    return MessageRecord(
        message_id=message_id,
        request_id=command.request_id or message_id,
        channel=command.message.channel,
        state=MessageState.SENDING,
        create_time=now,
        update_time=now,
        expire_time=command.options.expire_time or now + expire_after,
        attempts=(Attempt(number=1, provider_name=provider_name, start_time=now, trace_id=trace_id),),
        recipients=(
            tuple(RecipientStatus(i, MessageState.SENDING) for i in range(len(content.recipients)))
            if isinstance(content, Email)
            else ()
        ),
        labels=command.message.labels,
    )


def close_attempt(record: MessageRecord, result: DispatchResult, *, now: int, duration: int) -> MessageRecord:
    """The record after its open attempt, the last one, ended with `result` after `duration` µs.

    Raises:
        ValueError: no attempt is open, or the result speaks of another number of recipients.
    """
    attempt = record.attempts[-1] if record.attempts else None
    if record.state is not MessageState.SENDING or attempt is None or attempt.outcome is not None:
        raise ValueError("no attempt is open")
    recipients = _recipients_after(record, result) if record.recipients or result.recipients else ()
    closed = Attempt(
        number=attempt.number,
        provider_name=attempt.provider_name,
        start_time=attempt.start_time,
        outcome=result.outcome,
        duration=duration,
        provider_message_id=_told(result.provider_message_id),
        error_code=_told(result.error_code),
        detail=_told(result.detail),
        trace_id=attempt.trace_id,
    )
    return replace(
        record,
        state=state_of(recipients) if recipients else _AFTER[result.outcome],
        update_time=max(now, record.update_time),
        attempts=(*record.attempts[:-1], closed),
        recipients=recipients,
        revision=record.revision + 1,
    )


def _told(text: str) -> str:
    """What a vendor says, as it can be kept: of bounded length, and without halves of characters."""
    text = text[:MAX_TOLD]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _recipients_after(record: MessageRecord, result: DispatchResult) -> tuple[RecipientStatus, ...]:
    if not result.recipients:
        state = _AFTER[result.outcome]
        return tuple(
            RecipientStatus(recipient.index, state, result.outcome, _told(result.error_code))
            for recipient in record.recipients
        )
    if record.channel is not Channel.EMAIL or len(result.recipients) != len(record.recipients):
        raise ValueError(
            f"the result speaks of {len(result.recipients)} recipients, the message has {len(record.recipients)}"
        )
    return tuple(
        RecipientStatus(index, _AFTER[one.outcome], one.outcome, _told(one.error_code))
        for index, one in enumerate(result.recipients)
    )


def state_of(recipients: tuple[RecipientStatus, ...]) -> MessageState:
    """The state of a message whose recipients, at least one, stand as given."""
    states = {recipient.state for recipient in recipients}
    return next(state for state in _PRECEDENCE if state in states)

"""The life of a message: which event leads from which state to which.

    – ──accept──▶ SENDING ──close_attempt──▶ SENT, FAILED, UNCERTAIN
    │                │ ▲ └──open_attempt──▶ SENDING       failover: the next attempt, in the same commit
    │         requeue│ │open_attempt
    └──accept──▶  QUEUED ──expire──▶ EXPIRED    ──cancel──▶ CANCELLED    ──suppress──▶ FAILED
                                  (UNCERTAIN where an earlier attempt was: a denial would be a lie)
    UNCERTAIN ──resolve──▶ SENT, FAILED
    SENT ──core.follow_up──▶ SENT

What providers report later is in `receipt_states`, and who must not be written to in `suppressing`.

Pure: a function takes a record and `now` (µs since the epoch, by the wall clock, which is `ahead` µs ahead of the due
clock) and returns the record as it then is. Nothing else in the program decides a state. A message without recipients
of its own (SMS, MMS) is treated as having one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from postwire.core.message import (
    Attempt,
    DeliveryGuarantee,
    DispatchCommand,
    DispatchOptions,
    Email,
    MessageRecord,
    MessageState,
    Note,
    NoteAction,
    RecipientStatus,
)
from postwire.core.outcome import UNCOUNTED, DispatchResult, Outcome, RecipientResult
from postwire.core.values import Word, frozen
from postwire.core.waiting import deadline

MAX_VENDOR_IDS: Final = 4096
"""How many characters are kept of a vendor's id of a message: of a long SMS that is one for each of 49 segments."""

MAX_VENDOR_TEXT: Final = 512
"""How many characters of an id, a code or a detail of a vendor are kept."""

ORPHANED: Final = DispatchResult(
    Outcome.UNCERTAIN, error_code="orphaned", detail="the server ended while the attempt was under way"
)
"""How an attempt ended that belongs to an earlier boot."""

RESTORED: Final = DispatchResult(
    Outcome.UNCERTAIN,
    error_code="restored",
    detail="the store was put back from a copy, and what became of the message since is not known",
)
"""How the attempt ended that a message may have had since the copy was made from which its store was restored."""

DAMAGED: Final = DispatchResult(
    Outcome.REJECTED,
    error_code="content_damaged",
    detail="what the store keeps of the content was changed or is lost, and nobody was asked to send it",
)
"""How the attempt ended of a message that nobody can read any more."""

_PRECEDENCE: Final = (
    MessageState.SENDING,
    MessageState.QUEUED,
    MessageState.UNCERTAIN,
    MessageState.EXPIRED,
    MessageState.CANCELLED,
    MessageState.FAILED,
    MessageState.UNDELIVERED,
    MessageState.SENT,
    MessageState.DELIVERED,
)
"""A message's state is the first of these that any of its recipients has."""

_UNRESOLVED: Final = (MessageState.SENDING, MessageState.QUEUED)


@frozen
class Policy:
    """How long a message is tried: `max_attempts` counts every attempt but those whose outcome is `UNCOUNTED`."""

    max_attempts: int
    delivery_guarantee: DeliveryGuarantee = DeliveryGuarantee.AT_LEAST_ONCE


class NextStep(Word):
    """What the end of an attempt asks for."""

    NOTHING = "nothing"
    """The message is settled."""
    FAIL_OVER = "fail_over"
    """It was surely not sent: another provider may try at once. With nobody left it is requeued."""
    TRY_AGAIN = "try_again"
    """It may have been sent: only the same provider may try at once, if it deduplicates. Else it is requeued."""
    DEFER = "defer"
    """The provider puts it off: nobody is asked at once. It is requeued for much later."""


def accept(
    command: DispatchCommand,
    *,
    message_id: str,
    queue: str,
    now: int,
    expire_after: int,
    provider_name: str = "",
    trace_id: str = "",
    ahead: int = 0,
) -> MessageRecord:
    """A message accepted: with attempt 1 open at `provider_name`, or else waiting in `queue`. `expire_after` in µs.

    What is scheduled has its default expiry by the same clock as its `send_time`, so that one never passes the other.
    """
    content, options = command.message.content, command.options
    due = now - ahead
    send_time = options.send_time if options.send_time is not None and options.send_time > now else None
    state = MessageState.SENDING if provider_name else MessageState.QUEUED
    recipients: tuple[RecipientStatus, ...] = ()
    if isinstance(content, Email):
        recipients = tuple(RecipientStatus(i, state) for i in range(len(content.recipients)))
    # By position as far as that can be read: to match names takes Python 3.11 longer than to make the record.
    return MessageRecord(
        message_id,
        command.request_id or message_id,
        command.message.channel,
        state,
        now,
        now,
        expire_time_of(options, now=now, expire_after=expire_after),
        (Attempt(1, provider_name, now, trace_id=trace_id),) if provider_name else (),
        recipients,
        command.message.labels,
        next_attempt_time=None if provider_name else send_time or due,
        queue=queue,
        send_time=options.send_time,
        deadline=None if options.expire_time or send_time else due + expire_after,
        tenant=command.tenant,
    )


def expire_time_of(options: DispatchOptions, *, now: int, expire_after: int) -> int:
    """When a message accepted now expires: as its caller says, or else `expire_after` µs after it may be sent."""
    return options.expire_time or max(now, options.send_time or 0) + expire_after


def open_attempt(record: MessageRecord, provider_name: str, *, now: int, trace_id: str = "") -> MessageRecord:
    """The record with its next attempt open: of a message that is queued, or whose last attempt has just failed.

    Raises:
        ValueError: it is settled, or an attempt is open.
    """
    if record.settled or is_open(record):
        raise ValueError("no attempt can be opened")
    attempt = Attempt(
        len(record.attempts) + 1,
        provider_name,
        max(now, record.update_time),
        trace_id=trace_id,
        positions=unresolved(record) if record.recipients else None,
    )
    return _changed(
        record,
        MessageState.SENDING,
        now,
        attempts=(*record.attempts, attempt),
        recipients=_moved(record.recipients, _UNRESOLVED, MessageState.SENDING),
        next_attempt_time=None,
        error_code="",
    )


def close_attempt(
    record: MessageRecord, result: DispatchResult, policy: Policy, *, now: int, duration: int | None, ahead: int = 0
) -> tuple[MessageRecord, NextStep]:
    """The record after its open attempt, the last one, ended with `result` after `duration` µs, and what is to follow.

    Where more is to follow the record is only half of a change: `open_attempt` or `requeue` makes it whole. The result
    speaks of the recipients that were unresolved, in their order.

    Raises:
        ValueError: no attempt is open, or the result speaks of another number of recipients.
    """
    if record.settled or not is_open(record):
        raise ValueError("no attempt is open")
    attempts = (*record.attempts[:-1], closed(record.attempts[-1], result, duration))
    if not record.recipients and result.outcome is Outcome.SUCCESS and not result.recipients:
        # What nearly every message comes to, without what follows.
        return _changed(record, MessageState.SENT, now, attempts=attempts), NextStep.NOTHING
    is_spent = sum(one.outcome not in UNCOUNTED for one in attempts) >= policy.max_attempts
    is_late = now - ahead >= deadline(record, ahead)
    statuses = record.recipients or (_only_recipient(record),)
    results = _results(statuses, result)
    after: list[RecipientStatus] = []
    for status in statuses:
        if status.state is not MessageState.SENDING:
            after.append(status)
            continue
        one = next(results)
        maybe_sent = status.maybe_sent or one.outcome is Outcome.UNCERTAIN
        state = _state_after(one.outcome, policy, maybe_sent=maybe_sent, is_spent=is_spent, is_late=is_late)
        after.append(
            RecipientStatus(
                status.index,
                state,
                one.outcome,
                _bounded(one.error_code),
                maybe_sent,
                _bounded(one.provider_message_id),
            )
        )
    ended = _changed(
        record,
        state_of(after),
        now,
        attempts=attempts,
        recipients=tuple(after) if record.recipients else (),
    )
    return ended, _next_step(ended, after)


def next_step(record: MessageRecord) -> NextStep:
    """What a record asks for whose last attempt is closed: as `close_attempt` says it, and perhaps changed since."""
    if record.recipients:
        return _next_step(record, record.recipients)
    return _next_step(record, [replace(_only_recipient(record), outcome=record.attempts[-1].outcome)])


def _next_step(record: MessageRecord, statuses: Iterable[RecipientStatus]) -> NextStep:
    if record.settled:
        return NextStep.NOTHING
    pending = {one.outcome for one in statuses if one.state is MessageState.SENDING}
    if Outcome.UNCERTAIN in pending:
        return NextStep.TRY_AGAIN
    return NextStep.DEFER if Outcome.DEFERRED in pending else NextStep.FAIL_OVER


def requeue(record: MessageRecord, *, now: int, due: int) -> MessageRecord:
    """The record of a message whose last attempt is closed, and that waits for its next one until `due` (due clock)."""
    if record.settled or is_open(record):
        raise ValueError("it cannot go back to its queue")
    return _changed(
        record,
        MessageState.QUEUED,
        now,
        recipients=_moved(record.recipients, _UNRESOLVED, MessageState.QUEUED),
        next_attempt_time=due,
    )


def give_up(record: MessageRecord, error_code: str, *, now: int) -> MessageRecord:
    """The record of a message whose last attempt is closed, and whose other recipients nobody can send it to."""
    after = tuple(
        replace(one, state=MessageState.UNCERTAIN if one.maybe_sent else MessageState.FAILED, error_code=error_code)
        if one.state in _UNRESOLVED
        else one
        for one in record.recipients
    )
    return _changed(record, state_of(after), now, recipients=after, next_attempt_time=None)


def drop_attempt(record: MessageRecord, *, now: int, due: int) -> MessageRecord:
    """The record of a message whose open attempt was surely never handed over: as if it had not been opened."""
    if not is_open(record):
        raise ValueError("no attempt is open")
    return requeue(replace(record, attempts=record.attempts[:-1]), now=now, due=due)


def expire(record: MessageRecord, *, now: int) -> MessageRecord:
    """The record of a queued message whose time has run out."""
    return _ended_in_queue(record, MessageState.EXPIRED, now)


def cancel(record: MessageRecord, *, now: int, reason: str = "") -> MessageRecord:
    """The record of a queued message that its caller takes back, for a `reason` of his own."""
    return _ended_in_queue(record, MessageState.CANCELLED, now, Note(NoteAction.CANCEL, reason, now))


def resolve(record: MessageRecord, *, sent: bool, now: int, reason: str = "") -> MessageRecord:
    """The record of an uncertain message, once somebody has found out whether it was sent; `reason` says how."""
    if record.state is not MessageState.UNCERTAIN:
        raise ValueError("it is not uncertain")
    state = MessageState.SENT if sent else MessageState.FAILED
    recipients = _moved(record.recipients, (MessageState.UNCERTAIN,), state)
    note = Note(NoteAction.RESOLVE, reason, now)
    return _changed(record, state_of(recipients) if recipients else state, now, recipients=recipients, note=note)


def restored(record: MessageRecord, options: DispatchOptions, *, now: int) -> tuple[MessageRecord, MessageRecord]:
    """The records of an unsettled message whose store was put back from a copy: with an attempt open, and once that has
    ended as `RESTORED`. It is on record at the provider that was last asked, or else at the one that is pinned, if any.

    How often it was tried since is not known, so `max_attempts` does not end it here: only its time may, or that it is
    to be sent once at the most.
    """
    provider_name = record.attempts[-1].provider_name if record.attempts else options.provider_name or ""
    opened = record if is_open(record) else open_attempt(record, provider_name, now=now)
    policy = Policy(len(opened.attempts) + 1, options.delivery_guarantee)
    ended, next_step = close_attempt(opened, RESTORED, policy, now=now, duration=None)
    if next_step is not NextStep.NOTHING:
        due = now if record.next_attempt_time is None else record.next_attempt_time
        ended = requeue(ended, now=now, due=due)
    return opened, ended


def is_open(record: MessageRecord) -> bool:
    """Whether an attempt is under way: of a message that is SENDING, or a further one (see `core.follow_up`)."""
    return bool(record.attempts) and record.attempts[-1].outcome is None


def unresolved(record: MessageRecord) -> tuple[int, ...] | None:
    """The positions of the recipients that an attempt is for; None where that is all of them, as of a further one."""
    if record.settled:
        return None
    pending = tuple(one.index for one in record.recipients if one.state in _UNRESOLVED)
    return None if len(pending) == len(record.recipients) else pending


def state_of(recipients: Iterable[RecipientStatus]) -> MessageState:
    """The state of a message whose recipients, at least one, stand as given."""
    states = {recipient.state for recipient in recipients}
    return next(state for state in _PRECEDENCE if state in states)


def _state_after(outcome: Outcome, policy: Policy, *, maybe_sent: bool, is_spent: bool, is_late: bool) -> MessageState:
    """Where a recipient stands after an attempt; `SENDING` where more is to follow."""
    if outcome is Outcome.SUCCESS:
        return MessageState.SENT
    not_sent = MessageState.UNCERTAIN if maybe_sent else MessageState.FAILED
    if outcome is Outcome.REJECTED or is_spent:
        return not_sent
    if outcome is Outcome.UNCERTAIN and (is_late or policy.delivery_guarantee is DeliveryGuarantee.AT_MOST_ONCE):
        return MessageState.UNCERTAIN
    return MessageState.SENDING


def _only_recipient(record: MessageRecord) -> RecipientStatus:
    maybe_sent = any(attempt.outcome is Outcome.UNCERTAIN for attempt in record.attempts)
    return RecipientStatus(0, MessageState.SENDING, maybe_sent=maybe_sent)


def _results(statuses: Iterable[RecipientStatus], result: DispatchResult) -> Iterator[RecipientResult]:
    count = sum(status.state is MessageState.SENDING for status in statuses)
    if not result.recipients:
        return iter([RecipientResult(result.outcome, result.error_code)] * count)
    if len(result.recipients) != count:
        raise ValueError(f"the result speaks of {len(result.recipients)} recipients, the attempt was for {count}")
    return iter(result.recipients)


def _ended_in_queue(record: MessageRecord, state: MessageState, now: int, note: Note | None = None) -> MessageRecord:
    if record.state is not MessageState.QUEUED:
        raise ValueError("it is not queued")
    statuses = record.recipients or (_only_recipient(record),)
    after = tuple(
        replace(one, state=MessageState.UNCERTAIN if one.maybe_sent else state) if one.state in _UNRESOLVED else one
        for one in statuses
    )
    return _changed(
        record, state_of(after), now, recipients=after if record.recipients else (), next_attempt_time=None, note=note
    )


def _moved(
    recipients: tuple[RecipientStatus, ...], sources: tuple[MessageState, ...], target: MessageState
) -> tuple[RecipientStatus, ...]:
    if not recipients:
        return ()
    return tuple(replace(one, state=target) if one.state in sources else one for one in recipients)


def closed(attempt: Attempt, result: DispatchResult, duration: int | None) -> Attempt:
    """An open attempt once it has ended with `result` after `duration` µs."""
    detail = result.detail
    if not detail and result.recipients:
        detail = next((one.detail for one in result.recipients if one.detail), "")
    return Attempt(
        attempt.number,
        attempt.provider_name,
        attempt.start_time,
        result.outcome,
        duration,
        _bounded(result.provider_message_id, MAX_VENDOR_IDS),
        _bounded(result.error_code),
        _bounded(detail),
        attempt.trace_id,
        attempt.positions,
        attempt.receipt_overdue,
    )


_KEPT: Final = object()


def _changed(
    record: MessageRecord,
    state: MessageState,
    now: int,
    *,
    attempts: tuple[Attempt, ...] | None = None,
    recipients: tuple[RecipientStatus, ...] | None = None,
    next_attempt_time: int | object | None = _KEPT,
    note: Note | None = None,
    error_code: str | None = None,
) -> MessageRecord:
    # Written out, since `replace` takes three times as long and every message comes by here.
    return MessageRecord(
        record.message_id,
        record.request_id,
        record.channel,
        state,
        record.create_time,
        max(now, record.update_time),
        record.expire_time,
        record.attempts if attempts is None else attempts,
        record.recipients if recipients is None else recipients,
        record.labels,
        record.next_attempt_time if next_attempt_time is _KEPT else next_attempt_time,  # type: ignore[arg-type]
        record.revision + 1,
        record.queue,
        note or record.note,
        record.send_time,
        record.deadline,
        record.tenant,
        record.receipts,
        record.error_code if error_code is None else error_code,
    )


def _bounded(text: str, most: int = MAX_VENDOR_TEXT) -> str:
    """What a vendor says, as it can be kept: of bounded length, and without halves of characters."""
    if not text:
        return ""
    text = text[:most]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")

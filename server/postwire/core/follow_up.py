"""Further attempts for a message that was sent, where no receipt has come within the `delivered_within` of its route.

    SENT ──expect_receipt──▶ waiting ──open_attempt──▶ under way ──close_attempt──▶ SENT
                             │    ▲                      │  │
      a receipt, an erasure, │    └────drop_attempt──────┘  └─expect_receipt, open_attempt, or nothing more─▶
      nobody left, too late  │    ◀──put_off──
                             ▼
                     no more follows (`end`)

The state is `SENT` all along, since no settled message becomes unsettled: a further attempt is one more chance, and
whatever comes of it takes nothing back. Only a receipt makes it `DELIVERED` or `UNDELIVERED`, and that is not decided
here. What tells these apart is `MessageRecord.follow_up_time`: None where nothing follows, a time (µs, due clock) while
a receipt is waited for, and `UNDER_WAY` while the attempt is open.

Pure, as `core.lifecycle`, whose terms these are. `ahead` is by how much (µs) the wall clock is ahead of the due clock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from postwire.core.lifecycle import NextStep, Policy, closed
from postwire.core.message import MAX_TIME, Attempt, DeliveryGuarantee, MessageRecord, MessageState
from postwire.core.outcome import UNCOUNTED, DispatchResult, Outcome
from postwire.core.waiting import deadline

UNDER_WAY: Final = MAX_TIME
"""The `follow_up_time` of a message whose further attempt is open: no time that ever comes."""

_LEAST_PAUSE: Final = 1_000_000
_LONGEST_PAUSE: Final = 30_000_000
_PART: Final = 16

_MAYBE_SENT: Final = frozenset({Outcome.SUCCESS, Outcome.UNCERTAIN})


def is_waiting(record: MessageRecord) -> bool:
    """Whether a further attempt is made unless a receipt comes."""
    return record.follow_up_time is not None and record.follow_up_time != UNDER_WAY


def is_under_way(record: MessageRecord) -> bool:
    """Whether a further attempt is open."""
    return record.follow_up_time == UNDER_WAY


def is_last_word(before: MessageRecord, after: MessageRecord) -> bool:
    """Whether a message was still to be sent, to somebody or once more, and is not any longer."""
    return after.settled and after.follow_up_time is None and not (before.settled and before.follow_up_time is None)


def tried(record: MessageRecord) -> list[str]:
    """The providers that have had the message, first to last: no further attempt is made at one of them."""
    return list(dict.fromkeys(attempt.provider_name for attempt in record.attempts))


def may_follow(record: MessageRecord, policy: Policy, names: Collection[str], *, at: int, ahead: int = 0) -> bool:
    """Whether a further attempt may be made `at` a time (µs, due clock), at one of the providers `names`.

    It is for callers who would rather have a message twice than not at all. An email to several recipients has none:
    who has had it would have it once more because of the others.
    """
    return (
        record.state is MessageState.SENT
        and policy.delivery_guarantee is DeliveryGuarantee.AT_LEAST_ONCE
        and len(record.recipients) <= 1
        and sum(one.outcome not in UNCOUNTED for one in record.attempts) < policy.max_attempts
        and not {*names} <= {*tried(record)}
        and at < deadline(record, ahead)
    )


def expect_receipt(
    record: MessageRecord, policy: Policy, names: Collection[str], *, until: int, ahead: int = 0
) -> MessageRecord:
    """The record of a message whose last attempt has just been closed, and that a receipt is expected of `until` a time
    (µs, due clock); as it is where no further attempt could follow then. It is part of the change that closes the
    attempt."""
    if not may_follow(record, policy, names, at=until, ahead=ahead):
        return record
    return replace(record, follow_up_time=until)


def open_attempt(record: MessageRecord, provider_name: str, *, now: int, trace_id: str = "") -> MessageRecord:
    """The record with a further attempt open.

    Raises:
        ValueError: it is not `SENT`, or an attempt is open.
    """
    if record.state is not MessageState.SENT or is_under_way(record):
        raise ValueError("no further attempt can be opened")
    time = max(now, record.update_time)
    attempt = Attempt(len(record.attempts) + 1, provider_name, time, trace_id=trace_id, receipt_overdue=True)
    return _changed(record, now, follow_up_time=UNDER_WAY, attempts=(*record.attempts, attempt))


def close_attempt(
    record: MessageRecord, result: DispatchResult, *, now: int, duration: int | None
) -> tuple[MessageRecord, NextStep]:
    """The record after its further attempt ended with `result` after `duration` µs, and what is to follow.

    It stays `SENT`. With `FAIL_OVER`, the provider has surely not sent it, and the next one may be asked at once; it is
    a whole change all the same. A message that was `rejected` is not tried elsewhere, as it is not before it was sent.
    What may have been sent has its time to be delivered, as after any other attempt.

    Raises:
        ValueError: no further attempt is open.
    """
    if not is_under_way(record):
        raise ValueError("no further attempt is open")
    attempts = (*record.attempts[:-1], closed(record.attempts[-1], result, duration))
    recipients = record.recipients
    if recipients and result.outcome is Outcome.SUCCESS and result.recipients:
        ours, theirs = recipients[0], result.recipients[0]
        recipients = (replace(ours, provider_message_id=theirs.provider_message_id or ours.provider_message_id),)
    ended = _changed(record, now, follow_up_time=None, attempts=attempts, recipients=recipients)
    is_over = result.outcome in _MAYBE_SENT or result.outcome is Outcome.REJECTED
    return ended, NextStep.NOTHING if is_over else NextStep.FAIL_OVER


def drop_attempt(record: MessageRecord, *, now: int, due: int) -> MessageRecord:
    """The record whose further attempt was surely never handed over: it waits until `due` (µs, due clock)."""
    if not is_under_way(record):
        raise ValueError("no further attempt is open")
    return _changed(record, now, follow_up_time=due, attempts=record.attempts[:-1])


def end(record: MessageRecord, *, now: int) -> MessageRecord:
    """The record of a message that no further attempt is made for."""
    return _changed(record, now, follow_up_time=None)


def may_have_reached(outcome: Outcome | None, *, takes_receipts: bool) -> bool:
    """Whether a receipt is to be waited for after an attempt with this outcome, before the next provider is asked.

    Of a provider that sends no receipts none can be missing: what it has taken is taken to be delivered. But where that
    is not known either, the time of the others goes on.
    """
    return outcome is Outcome.UNCERTAIN or (outcome is Outcome.SUCCESS and takes_receipts)


def retry_time(record: MessageRecord, *, now: int, due: int) -> int:
    """When (µs, due clock) it is tried again whether somebody is free for a further attempt. Soon at first: what it is
    for is no use later; and the longer nobody is, the less often."""
    waited = now - record.attempts[-1].start_time
    return due + min(max(waited // _PART, _LEAST_PAUSE), _LONGEST_PAUSE)


def _changed(record: MessageRecord, now: int, **changes: object) -> MessageRecord:
    return replace(
        record,
        update_time=max(now, record.update_time),
        revision=record.revision + 1,
        **changes,  # type: ignore[arg-type]
    )

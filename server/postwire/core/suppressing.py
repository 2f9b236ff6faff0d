"""What becomes of a message whose recipients must not be written to: the part of `lifecycle` that is about them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from postwire.core import lifecycle
from postwire.core.message import UNSETTLED, MessageRecord, MessageState, RecipientStatus
from postwire.core.outcome import Outcome
from postwire.core.suppression import SUPPRESSED


def suppress(record: MessageRecord, positions: Collection[int], *, now: int) -> MessageRecord:
    """The record of a message once its recipients at these positions are found to be suppressed; one without recipients
    of its own has one, at 0. It is queued, or its open attempt was never handed over: that is for the others then, and
    where there are none, as if it had not been opened.
    """
    if record.settled:
        raise ValueError("it is settled")
    after = tuple(
        _suppressed(one) if one.index in positions and one.state in UNSETTLED else one
        for one in record.recipients or (_only_recipient(record),)
    )
    state, attempts = lifecycle.state_of(after), record.attempts
    recipients = after if record.recipients else ()
    changed = replace(
        record,
        state=state,
        update_time=max(now, record.update_time),
        revision=record.revision + 1,
        recipients=recipients,
    )
    if state not in UNSETTLED:
        if lifecycle.is_open(record):
            attempts = attempts[:-1]
        return replace(changed, attempts=attempts, next_attempt_time=None, error_code=SUPPRESSED)
    if lifecycle.is_open(record):
        attempts = (*attempts[:-1], replace(attempts[-1], positions=lifecycle.unresolved(changed)))
    return replace(changed, attempts=attempts)


def _suppressed(one: RecipientStatus) -> RecipientStatus:
    state = MessageState.UNCERTAIN if one.maybe_sent else MessageState.FAILED
    return replace(one, state=state, outcome=Outcome.REJECTED, error_code=SUPPRESSED)


def _only_recipient(record: MessageRecord) -> RecipientStatus:
    maybe_sent = any(attempt.outcome is Outcome.UNCERTAIN for attempt in record.attempts)
    return RecipientStatus(0, record.state, maybe_sent=maybe_sent)

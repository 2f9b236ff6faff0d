"""The transitions of a pass: of a message that is to be sent, as `core.lifecycle` has them; or of one that was sent and
is being sent once more, as `core.follow_up` has them."""

from __future__ import annotations

from postwire.core import follow_up, lifecycle
from postwire.core.lifecycle import NextStep, Policy
from postwire.core.message import MessageRecord, MessageState
from postwire.core.outcome import DispatchResult
from postwire.core.routing import Route
from postwire.delivery import attempt
from postwire.providers.base import Provider


def open_attempt(record: MessageRecord, provider_name: str, *, now: int, trace_id: str) -> MessageRecord:
    """The record with its next attempt open."""
    opened = follow_up.open_attempt if record.settled else lifecycle.open_attempt
    return opened(record, provider_name, now=now, trace_id=trace_id)


def close_attempt(
    record: MessageRecord,
    result: DispatchResult,
    policy: Policy,
    provider: Provider,
    *,
    now: int,
    duration: int,
    ahead: int,
) -> tuple[MessageRecord, NextStep]:
    """The record after its open attempt at a provider, and what is to follow."""

    try:
        return _close(record, result, policy, now, duration, ahead)
    except Exception as error:  # the provider's code gave something that is no result of this message
        return _close(record, attempt.fault(provider, error), policy, now, duration, ahead)


def _close(
    record: MessageRecord, result: DispatchResult, policy: Policy, now: int, duration: int, ahead: int
) -> tuple[MessageRecord, NextStep]:
    if record.settled:
        return follow_up.close_attempt(record, result, now=now, duration=duration)
    return lifecycle.close_attempt(record, result, policy, now=now, duration=duration, ahead=ahead)


def drop_attempt(record: MessageRecord, *, now: int, due: int) -> MessageRecord:
    """The record whose open attempt was surely never handed over: its message waits until `due` (µs, due clock)."""
    drop = follow_up.drop_attempt if record.settled else lifecycle.drop_attempt
    return drop(record, now=now, due=due)


def without_open(record: MessageRecord) -> MessageRecord:
    """The record before its open attempt was opened, in the change that both closes one and opens another; of a message
    that is to be sent."""
    closed = lifecycle.drop_attempt(record, now=record.update_time, due=record.update_time)
    assert closed.state is MessageState.QUEUED
    return closed


def next_step(before: MessageRecord, after: MessageRecord, asked: NextStep) -> NextStep:
    """What follows an attempt whose end has asked for something, once receipts are applied as well."""
    if before.settled:
        return asked if after.state is MessageState.SENT else NextStep.NOTHING
    return lifecycle.next_step(after)


def expect_receipt(
    record: MessageRecord,
    asked: NextStep,
    policy: Policy,
    route: Route,
    *,
    takes_receipts: bool,
    now: int,
    due: int,
) -> tuple[MessageRecord, NextStep]:
    """Have a message wait for a receipt of its last attempt, or for the next provider where that has failed; returns
    what follows then. Whether its provider `takes_receipts` decides whether there is one to wait for."""
    if follow_up.may_have_reached(record.attempts[-1].outcome, takes_receipts=takes_receipts):
        until = due + int((route.delivered_within or 0.0) * 1e6)
    elif asked is NextStep.FAIL_OVER:
        until = follow_up.retry_time(record, now=now, due=due)
    else:
        return record, asked
    record = follow_up.expect_receipt(record, policy, route.names, until=until, ahead=now - due)
    return record, asked if follow_up.is_waiting(record) else NextStep.NOTHING

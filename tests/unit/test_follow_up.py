"""What a missing receipt leads to, one step at a time: nothing that was sent is ever taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import START

from postwire.core import follow_up, lifecycle, receipt_states
from postwire.core.follow_up import UNDER_WAY
from postwire.core.lifecycle import NextStep, Policy
from postwire.core.message import DeliveryGuarantee, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.core.receipts import KeptReceipt, ReceiptState

POLICY = Policy(max_attempts=5)
NAMES = ("a", "b", "c")
SECOND = 1_000_000
SENT = MessageState.SENT


def sent(*outcomes: Outcome, of: MessageRecord | None = None) -> MessageRecord:
    """A message that was sent by the provider a, after attempts there with these outcomes."""
    record = of or build.accepted(provider_name="a")
    for outcome in (*outcomes, Outcome.SUCCESS):
        record, next_step = lifecycle.close_attempt(record, DispatchResult(outcome), POLICY, now=START, duration=1)
        if next_step is not NextStep.NOTHING:
            record = lifecycle.open_attempt(record, "a", now=START)
    assert record.state is SENT
    return record


def waiting(record: MessageRecord | None = None) -> MessageRecord:
    found = follow_up.expect_receipt(record or sent(), POLICY, NAMES, until=START + 45 * SECOND)
    assert follow_up.is_waiting(found)
    return found


def under_way(provider_name: str = "b") -> MessageRecord:
    return follow_up.open_attempt(waiting(), provider_name, now=START + 45 * SECOND, trace_id="ab" * 16)


def test_a_message_that_was_sent_waits_for_its_receipt_in_the_same_change() -> None:
    before = sent()
    after = follow_up.expect_receipt(before, POLICY, NAMES, until=START + 9)
    assert after == replace(before, follow_up_time=START + 9)
    assert (follow_up.is_waiting(after), follow_up.is_under_way(after), lifecycle.is_open(after)) == (
        True,
        False,
        False,
    )
    assert not follow_up.is_waiting(before)


@pytest.mark.parametrize(
    ("record", "policy", "names", "at"),
    [
        (sent(), Policy(5, DeliveryGuarantee.AT_MOST_ONCE), NAMES, START),
        (sent(), Policy(1), NAMES, START),
        (sent(Outcome.ERROR), Policy(2), NAMES, START),
        (sent(), POLICY, ("a",), START),
        (sent(), POLICY, NAMES, START + 4 * build.HOUR),
        (replace(sent(), state=MessageState.DELIVERED), POLICY, NAMES, START),
        (replace(sent(), state=MessageState.UNDELIVERED), POLICY, NAMES, START),
        (replace(sent(), state=MessageState.UNCERTAIN), POLICY, NAMES, START),
        (build.accepted(provider_name="a"), POLICY, NAMES, START),
        (sent(of=build.accepted(build.command(build.email("a@b.test", "c@d.test")))), POLICY, NAMES, START),
    ],
    ids=[
        "at most once",
        "one attempt",
        "spent",
        "no other",
        "too late",
        "delivered",
        "undelivered",
        "uncertain",
        "sending",
        "several recipients",
    ],
)
def test_nobody_else_is_asked(record: MessageRecord, policy: Policy, names: tuple[str, ...], at: int) -> None:
    assert not follow_up.may_follow(record, policy, names, at=at)
    assert follow_up.expect_receipt(record, policy, names, until=at) is record


def test_what_was_throttled_is_no_attempt_that_counts() -> None:
    assert follow_up.may_follow(sent(Outcome.RATE_LIMITED), Policy(2), NAMES, at=START)


def test_an_email_to_one_recipient_has_further_attempts() -> None:
    record = sent(of=build.accepted(build.command(build.email("a@b.test")), provider_name="a"))
    assert follow_up.may_follow(record, POLICY, NAMES, at=START)
    opened = follow_up.open_attempt(waiting(record), "b", now=START)
    assert lifecycle.unresolved(opened) is None, "the attempt is for all of them, who are one"
    result = DispatchResult(Outcome.SUCCESS, recipients=(RecipientResult(Outcome.SUCCESS, "", "vendor-2"),))
    ended, _ = follow_up.close_attempt(opened, result, now=START, duration=1)
    assert [(one.state, one.provider_message_id) for one in ended.recipients] == [(SENT, "vendor-2")]


def test_a_further_attempt_is_open_and_the_message_is_sent_all_the_same() -> None:
    before, opened = waiting(), under_way()
    assert (opened.state, opened.settled, opened.follow_up_time) == (SENT, True, UNDER_WAY)
    assert (opened.revision, opened.update_time) == (before.revision + 1, START + 45 * SECOND)
    attempt = opened.attempts[-1]
    assert (attempt.number, attempt.provider_name, attempt.outcome, attempt.receipt_overdue) == (2, "b", None, True)
    assert lifecycle.is_open(opened), "nobody else is to change it"
    assert follow_up.tried(opened) == ["a", "b"]
    with pytest.raises(ValueError, match="no further attempt can be opened"):
        follow_up.open_attempt(opened, "c", now=START)
    with pytest.raises(ValueError, match="no attempt is open"):
        lifecycle.close_attempt(opened, build.SUCCESS, POLICY, now=START, duration=1)


@pytest.mark.parametrize("outcome", Outcome)
def test_it_stays_sent_whatever_comes_of_it(outcome: Outcome) -> None:
    opened = under_way()
    ended, next_step = follow_up.close_attempt(opened, DispatchResult(outcome), now=START, duration=7)
    assert (ended.state, ended.follow_up_time, ended.revision) == (SENT, None, opened.revision + 1)
    assert (ended.attempts[-1].outcome, ended.attempts[-1].receipt_overdue) == (outcome, True)
    goes_on = outcome not in (Outcome.SUCCESS, Outcome.UNCERTAIN, Outcome.REJECTED)
    assert next_step is (NextStep.FAIL_OVER if goes_on else NextStep.NOTHING)


@pytest.mark.parametrize("state", [ReceiptState.DELIVERED, ReceiptState.UNDELIVERED])
def test_a_receipt_of_the_only_attempt_ends_it(state: ReceiptState) -> None:
    after = receipt_states.apply(waiting(), [KeptReceipt(1, "a", 1, state, START)], now=START)
    assert (after.state.value, after.follow_up_time) == (state.value, None)


@pytest.mark.parametrize("state", ReceiptState)
def test_a_receipt_waits_for_the_end_of_the_further_attempt(state: ReceiptState) -> None:
    opened = under_way()
    assert receipt_states.apply(opened, [KeptReceipt(1, "a", 1, state, START)], now=START) is opened


def test_what_the_first_did_not_deliver_the_second_may() -> None:
    """`undelivered` counts only where no other attempt is successful: then the time of that one goes on."""
    ended, _ = follow_up.close_attempt(under_way(), build.SUCCESS, now=START, duration=1)
    record = follow_up.expect_receipt(ended, POLICY, NAMES, until=START + 90 * SECOND)
    first, second = [
        KeptReceipt(number, name, number, ReceiptState.UNDELIVERED, START) for number, name in ((1, "a"), (2, "b"))
    ]
    after = receipt_states.apply(record, [first], now=START)
    assert (after.state, after.follow_up_time) == (SENT, START + 90 * SECOND)
    after = receipt_states.apply(after, [replace(first, is_applied=True), second], now=START)
    assert (after.state, after.follow_up_time) == (MessageState.UNDELIVERED, None)
    delivered = replace(second, number=3, state=ReceiptState.DELIVERED)
    after = receipt_states.apply(record, [first, delivered], now=START)
    assert (after.state, after.follow_up_time) == (MessageState.DELIVERED, None)


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.SUCCESS])
def test_what_nobody_delivered_is_undelivered(outcome: Outcome) -> None:
    ended, _ = follow_up.close_attempt(under_way(), DispatchResult(outcome), now=START, duration=1)
    after = receipt_states.apply(ended, [KeptReceipt(1, "a", 1, ReceiptState.UNDELIVERED, START)], now=START)
    assert (after.state, after.follow_up_time) == (MessageState.UNDELIVERED, None)


def test_only_an_open_one_can_end() -> None:
    with pytest.raises(ValueError, match="no further attempt is open"):
        follow_up.close_attempt(waiting(), build.SUCCESS, now=START, duration=1)
    with pytest.raises(ValueError, match="no further attempt is open"):
        follow_up.drop_attempt(waiting(), now=START, due=START)


def test_one_that_was_never_handed_over_is_as_if_it_had_not_been() -> None:
    opened = under_way()
    dropped = follow_up.drop_attempt(opened, now=START, due=START + 5)
    assert (dropped.attempts, dropped.follow_up_time) == (waiting().attempts, START + 5)
    assert dropped.revision == opened.revision + 1


def test_it_ends_where_nobody_can_follow_up() -> None:
    ended = follow_up.end(waiting(), now=START)
    assert (ended.state, ended.follow_up_time, ended.attempts) == (SENT, None, waiting().attempts)


@pytest.mark.parametrize(
    ("outcome", "takes_receipts", "expected"),
    [
        (Outcome.SUCCESS, True, True),
        (Outcome.SUCCESS, False, False),
        (Outcome.UNCERTAIN, True, True),
        (Outcome.UNCERTAIN, False, True),
        (Outcome.ERROR, True, False),
        (Outcome.REJECTED, True, False),
        (None, True, False),
    ],
)
def test_a_receipt_is_missed_of_who_sends_them(outcome: Outcome | None, takes_receipts: bool, expected: bool) -> None:
    assert follow_up.may_have_reached(outcome, takes_receipts=takes_receipts) is expected


@pytest.mark.parametrize(
    ("waited", "pause"), [(0, 1), (16, 1), (45, 2.8125), (160, 10), (480, 30), (10_000, 30), (-60, 1)]
)
def test_the_longer_nobody_is_free_the_less_often_it_is_tried(waited: float, pause: float) -> None:
    record = waiting()
    now = record.attempts[-1].start_time + int(waited * SECOND)
    assert follow_up.retry_time(record, now=now, due=START) == START + int(pause * SECOND)


@given(st.lists(st.sampled_from(Outcome), max_size=6), st.integers(1, 6))
def test_no_provider_has_it_twice_and_no_more_attempts_are_made_than_allowed(
    outcomes: list[Outcome], max_attempts: int
) -> None:
    policy, record = Policy(max_attempts), sent()
    for outcome in outcomes:
        record = follow_up.expect_receipt(record, policy, NAMES, until=START)
        if not follow_up.is_waiting(record):
            break
        name = next(name for name in NAMES if name not in follow_up.tried(record))
        record = follow_up.open_attempt(record, name, now=START)
        record, _ = follow_up.close_attempt(record, DispatchResult(outcome), now=START, duration=1)
    names = [one.provider_name for one in record.attempts]
    counted = [
        one
        for one in record.attempts
        if one.outcome not in (Outcome.RATE_LIMITED, Outcome.DEFERRED, Outcome.MISCONFIGURED)
    ]
    assert len(set(names)) == len(names)
    assert len(counted) <= max(max_attempts, 1)
    assert record.state is SENT

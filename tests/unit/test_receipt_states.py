"""What receipts make of a message: the table of states, for each of its recipients, parts and attempts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.receipts import kept

from postwire.core import lifecycle, receipt_states
from postwire.core.lifecycle import NextStep
from postwire.core.message import Attempt, MessageRecord, MessageState, RecipientStatus
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import KeptReceipt, MessageReceipt, ReceiptState

S, R = MessageState, ReceiptState
NOW: Final = START + 50

TABLE: Final = {
    (S.QUEUED, R.ACCEPTED): S.SENT,
    (S.UNCERTAIN, R.ACCEPTED): S.SENT,
    (S.QUEUED, R.DELIVERED): S.DELIVERED,
    (S.SENT, R.DELIVERED): S.DELIVERED,
    (S.UNCERTAIN, R.DELIVERED): S.DELIVERED,
    (S.UNDELIVERED, R.DELIVERED): S.DELIVERED,
    (S.QUEUED, R.UNDELIVERED): S.UNDELIVERED,
    (S.SENT, R.UNDELIVERED): S.UNDELIVERED,
    (S.UNCERTAIN, R.UNDELIVERED): S.UNDELIVERED,
}
"""What is not here stays as it is."""


def sms(state: MessageState, *attempts: Attempt) -> MessageRecord:
    """A message whose attempts, if none are given, are one at `p`."""
    outcome = {S.SENT: Outcome.SUCCESS, S.DELIVERED: Outcome.SUCCESS}.get(state, Outcome.UNCERTAIN)
    attempts = attempts or (Attempt(1, "p", START, outcome, 5),)
    due = START + 9 if state is S.QUEUED else None
    return replace(build.accepted(), state=state, attempts=attempts, next_attempt_time=due)


def email(*recipients: RecipientStatus, attempts: tuple[Attempt, ...] = ()) -> MessageRecord:
    record = build.accepted(build.command(build.email(*(f"{at}@example.com" for at in range(len(recipients))))))
    attempts = attempts or (Attempt(1, "p", START, Outcome.SUCCESS, 5),)
    return replace(record, state=lifecycle.state_of(recipients), attempts=attempts, recipients=recipients)


def after(record: MessageRecord, *receipts: KeptReceipt, **given: frozenset[str]) -> MessageRecord:
    return receipt_states.apply(record, receipts, now=NOW, **given)


def tried(number: int, outcome: Outcome, provider_name: str = "p", positions: tuple[int, ...] | None = None) -> Attempt:
    return Attempt(number, provider_name, START, outcome, 5, positions=positions)


@pytest.mark.parametrize(
    ("state", "reported"), [(one, reported) for one in S if one is not S.SENDING for reported in R]
)
def test_the_table_of_states(state: MessageState, reported: ReceiptState) -> None:
    before = sms(state)
    found = after(before, kept(reported, code="c"))
    assert found.state is TABLE.get((state, reported), state)
    assert found.receipts == (MessageReceipt("p", 1, reported, "c", START + 1),)
    assert found.revision == before.revision + 1
    assert found.update_time == NOW
    assert found.attempts == before.attempts, "what the attempt came to is not rewritten"
    if found.state is not before.state:
        assert (found.next_attempt_time, found.error_code) == (None, "c")
    else:
        assert (found.next_attempt_time, found.error_code) == (before.next_attempt_time, "")


@pytest.mark.parametrize("outcome", Outcome)
def test_it_overrules_any_outcome_of_its_attempt(outcome: Outcome) -> None:
    before = sms(S.QUEUED, tried(1, outcome))
    assert after(before, kept(R.DELIVERED)).state is S.DELIVERED
    assert after(before, kept(R.ACCEPTED)).state is S.SENT


@pytest.mark.parametrize("reported", R)
def test_nothing_touches_a_message_while_an_attempt_is_open(reported: ReceiptState) -> None:
    record = build.accepted(provider_name="p")
    assert after(record, kept(reported)) is record


def test_one_that_is_listed_already_changes_nothing() -> None:
    once = after(sms(S.SENT), kept(R.DELIVERED, code="c"))
    assert after(once, kept(R.DELIVERED, code="c", receive_time=START + 9)) is once
    assert after(once, kept(R.DELIVERED, code="d")).receipts[1].error_code == "d"


def test_the_last_twenty_are_listed() -> None:
    found = after(sms(S.SENT), *(kept(R.ACCEPTED, code=str(at)) for at in range(25)))
    assert [one.error_code for one in found.receipts] == [str(at) for at in range(5, 25)]


def test_one_that_is_applied_is_not_listed_again() -> None:
    applied = [kept(R.ACCEPTED, code=str(at), is_applied=True) for at in range(25)]
    before = sms(S.SENT)
    assert after(before, *applied) is before


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_order_of_receipts_does_not_matter(order: tuple[int, ...]) -> None:
    receipts = [kept(R.ACCEPTED), kept(R.UNDELIVERED, code="x"), kept(R.DELIVERED)]
    record = sms(S.UNCERTAIN)
    for at in order:
        record = after(record, receipts[at])
    assert record.state is S.DELIVERED


# Several attempts.


def test_delivered_of_any_wins() -> None:
    record = sms(S.UNCERTAIN, tried(1, Outcome.UNCERTAIN), tried(2, Outcome.UNCERTAIN, "q"))
    for receipts in itertools.permutations((kept(R.DELIVERED), kept(R.UNDELIVERED, 2, provider_name="q"))):
        assert after(record, *receipts).state is S.DELIVERED


def test_undelivered_counts_where_no_other_attempt_is_successful() -> None:
    record = sms(S.SENT, tried(1, Outcome.UNCERTAIN), tried(2, Outcome.SUCCESS, "q"))
    first, second = kept(R.UNDELIVERED, code="1"), kept(R.UNDELIVERED, 2, provider_name="q", code="2")
    once = after(record, first)
    assert (once.state, once.error_code) == (S.SENT, "")
    twice = after(once, replace(first, is_applied=True), second)
    assert (twice.state, twice.error_code) == (S.UNDELIVERED, "2")


def test_one_that_was_reported_accepted_is_successful() -> None:
    record = sms(S.UNCERTAIN, tried(1, Outcome.UNCERTAIN), tried(2, Outcome.UNCERTAIN, "q"))
    assert after(record, kept(R.ACCEPTED), kept(R.UNDELIVERED, 2, provider_name="q")).state is S.SENT
    assert after(record, kept(R.UNDELIVERED, 2, provider_name="q")).state is S.UNDELIVERED


def test_attempts_that_are_one_to_the_vendor_are_one() -> None:
    """The reference is that of the first of them, and the second was the one that was answered."""
    record = sms(S.SENT, tried(1, Outcome.UNCERTAIN), tried(2, Outcome.SUCCESS))
    assert after(record, kept(R.UNDELIVERED)).state is S.SENT
    assert after(record, kept(R.UNDELIVERED), deduplicating=frozenset({"p"})).state is S.UNDELIVERED


def test_a_receipt_of_an_attempt_that_was_taken_back_is_passed_over() -> None:
    record = sms(S.QUEUED, tried(1, Outcome.ERROR))
    assert after(record, kept(R.DELIVERED, 2)) is record
    assert after(record, kept(R.DELIVERED, provider_name="q")) is record


# Several recipients.


def test_each_recipient_has_its_own() -> None:
    record = email(*(RecipientStatus(at, S.SENT, Outcome.SUCCESS) for at in range(3)))
    record = after(record, kept(R.DELIVERED, recipient_index=0), kept(R.UNDELIVERED, recipient_index=2, code="5.1.1"))
    assert [one.state for one in record.recipients] == [S.DELIVERED, S.SENT, S.UNDELIVERED]
    assert [one.error_code for one in record.recipients] == ["", "", "5.1.1"]
    assert (record.state, record.error_code) == (S.UNDELIVERED, "5.1.1")
    assert [one.recipient_index for one in record.receipts] == [0, 2]


def test_one_without_a_recipient_is_about_all_of_its_attempt() -> None:
    attempts = (tried(1, Outcome.ERROR), tried(2, Outcome.SUCCESS, positions=(1,)))
    statuses = RecipientStatus(0, S.SENT, Outcome.SUCCESS), RecipientStatus(1, S.SENT, Outcome.SUCCESS)
    record = after(email(*statuses, attempts=attempts), kept(R.DELIVERED, 2))
    assert [one.state for one in record.recipients] == [S.SENT, S.DELIVERED]
    assert record.state is S.SENT


def test_one_about_somebody_who_is_not_found_is_listed() -> None:
    before = email(*(RecipientStatus(at, S.SENT, Outcome.SUCCESS) for at in range(2)))
    found = after(before, kept(R.DELIVERED, is_unmatched=True))
    assert (found.state, found.recipients) == (S.SENT, before.recipients)
    assert len(found.receipts) == 1


def test_what_one_recipient_has_come_to_stays_where_another_has_failed() -> None:
    before = email(RecipientStatus(0, S.FAILED, Outcome.REJECTED, "550"), RecipientStatus(1, S.SENT, Outcome.SUCCESS))
    found = after(before, kept(R.DELIVERED))
    assert [one.state for one in found.recipients] == [S.FAILED, S.DELIVERED]
    assert (found.state, found.error_code) == (S.FAILED, "")


class Looked(KeptReceipt):
    """A receipt that counts how often it is looked at."""

    times = 0

    def __getattribute__(self, name: str) -> object:
        Looked.times += 1
        return super().__getattribute__(name)


def test_what_it_takes_grows_with_recipients_and_receipts_and_not_with_one_times_the_other() -> None:
    """Of an email to a thousand come thousands of receipts, one by one, and nobody else is served meanwhile."""
    most = 1_000
    attempts = (tried(1, Outcome.UNCERTAIN), tried(2, Outcome.SUCCESS, positions=tuple(range(most))))
    record = email(*(RecipientStatus(at, S.SENT, Outcome.SUCCESS) for at in range(most)), attempts=attempts)
    receipts = [Looked(at, "p", 2, R.ACCEPTED, START, recipient_index=at % most) for at in range(3 * most)]
    Looked.times = 0
    assert after(record, *receipts).state is S.SENT
    assert Looked.times < 50 * len(receipts)


# Several parts.


def test_a_message_in_parts_is_delivered_when_all_are() -> None:
    attempt = replace(tried(1, Outcome.SUCCESS), provider_message_id="a,b,c")
    receipts = [kept(R.DELIVERED, part=part) for part in "abc"]
    record = sms(S.SENT, attempt)
    for receipt in receipts[:2]:
        record = after(record, receipt)
        assert record.state is S.SENT
    applied = [replace(one, is_applied=True) for one in receipts[:2]]
    assert after(record, *applied, receipts[2]).state is S.DELIVERED


def test_one_part_that_is_undelivered_is_enough() -> None:
    attempt = replace(tried(1, Outcome.SUCCESS), provider_message_id="a,b")
    record = after(sms(S.SENT, attempt), kept(R.DELIVERED, part="a"), kept(R.UNDELIVERED, part="b", code="x"))
    assert (record.state, record.error_code) == (S.UNDELIVERED, "x")
    late = kept(R.DELIVERED, part="b")
    assert after(record, kept(R.DELIVERED, part="a", is_applied=True), late).state is S.DELIVERED


# Between two attempts.


def test_what_was_to_be_tried_again_is_not_where_it_was_delivered() -> None:
    record = build.accepted(provider_name="p")
    half, step = lifecycle.close_attempt(record, DispatchResult(Outcome.ERROR), build.POLICY, now=NOW, duration=5)
    assert step is NextStep.FAIL_OVER
    assert lifecycle.next_step(half) is step
    found = after(half, kept(R.DELIVERED))
    assert (found.state, lifecycle.next_step(found)) == (S.DELIVERED, NextStep.NOTHING)
    assert lifecycle.next_step(after(half, kept(R.COMPLAINED))) is step


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.UNCERTAIN, Outcome.DEFERRED, Outcome.RATE_LIMITED])
def test_the_next_step_is_that_of_those_who_are_left(outcome: Outcome) -> None:
    command = build.command(build.email("a@example.com", "b@example.com"))
    record = build.accepted(command, provider_name="p")
    half, step = lifecycle.close_attempt(record, DispatchResult(outcome), build.POLICY, now=NOW, duration=5)
    found = after(half, kept(R.DELIVERED, recipient_index=0))
    assert [one.state for one in found.recipients] == [S.DELIVERED, S.SENDING]
    assert lifecycle.next_step(found) is step
    opened = lifecycle.open_attempt(found, "q", now=NOW)
    assert opened.attempts[-1].positions == (1,)
    closed = build.ended(opened)
    assert closed.state is S.SENT
    assert closed.receipts == found.receipts


def test_why_it_stands_there_is_forgotten_with_the_next_attempt() -> None:
    record = replace(sms(S.QUEUED), error_code="suppressed")
    assert lifecycle.open_attempt(record, "q", now=NOW).error_code == ""

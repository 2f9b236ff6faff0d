"""The life of a message as a whole: every change of state there is, those that there are not, and histories of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import START
from tests.support.examples import examples

from postwire.core import lifecycle
from postwire.core.lifecycle import NextStep, Policy
from postwire.core.message import Attempt, DeliveryGuarantee, MessageRecord, MessageState, Note, NoteAction
from postwire.core.outcome import UNCOUNTED, DispatchResult, Outcome, RecipientResult, worst

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
FAILED, UNCERTAIN = MessageState.FAILED, MessageState.UNCERTAIN
EXPIRED, CANCELLED = MessageState.EXPIRED, MessageState.CANCELLED
SUCCESS, ERROR, REJECTED = Outcome.SUCCESS, Outcome.ERROR, Outcome.REJECTED
LIMITED, MAYBE = Outcome.RATE_LIMITED, Outcome.UNCERTAIN
LATER = START + 1_000


def queued() -> MessageRecord:
    """One that was never sent."""
    return build.accepted(provider_name="")


def requeued(outcome: Outcome, record: MessageRecord | None = None) -> MessageRecord:
    """One whose attempt ended so, and that waits for the next."""
    return build.ended(record or build.accepted(), DispatchResult(outcome))


def email(count: int) -> MessageRecord:
    return build.accepted(build.command(build.email(*(f"{i}@example.com" for i in range(count)))))


def apart(*outcomes: Outcome) -> DispatchResult:
    """A result that tells recipients apart."""
    return DispatchResult(worst(outcomes), recipients=tuple(map(RecipientResult, outcomes)))


def opened(record: MessageRecord, name: str = "p2") -> MessageRecord:
    return lifecycle.open_attempt(record, name, now=LATER, trace_id="ef" * 16)


def closed(record: MessageRecord, outcome: Outcome, policy: Policy = build.POLICY) -> tuple[MessageRecord, NextStep]:
    return lifecycle.close_attempt(record, DispatchResult(outcome), policy, now=LATER, duration=1)


# What leads where.


@pytest.mark.parametrize("before", [queued(), requeued(ERROR), requeued(MAYBE)], ids=["new", "error", "uncertain"])
def test_a_queued_message_whose_turn_has_come_has_its_next_attempt_open(before: MessageRecord) -> None:
    after = opened(before)
    count = len(before.attempts)
    assert (after.state, after.next_attempt_time) == (SENDING, None)
    assert after.attempts[:count] == before.attempts
    assert after.attempts[count:] == (Attempt(count + 1, "p2", max(LATER, before.update_time), trace_id="ef" * 16),)
    assert after.revision == before.revision + 1
    assert lifecycle.is_open(after)


@pytest.mark.parametrize("outcome", [ERROR, LIMITED])
def test_a_failover_is_one_change_that_closes_an_attempt_and_opens_the_next(outcome: Outcome) -> None:
    before = build.accepted()
    half, next_step = closed(before, outcome)
    after = opened(half)
    assert next_step is NextStep.FAIL_OVER
    assert after.state is SENDING
    assert [(one.number, one.provider_name, one.outcome) for one in after.attempts] == [
        (1, "sms-mms", outcome),
        (2, "p2", None),
    ]
    assert after.next_attempt_time is None


@pytest.mark.parametrize("outcome", [ERROR, LIMITED, MAYBE])
def test_with_nobody_left_now_it_waits_again(outcome: Outcome) -> None:
    half, _ = closed(build.accepted(), outcome)
    after = lifecycle.requeue(half, now=LATER, due=LATER + 7)
    assert (after.state, after.next_attempt_time) == (QUEUED, LATER + 7)
    assert [one.outcome for one in after.attempts] == [outcome]
    assert not lifecycle.is_open(after)


def test_one_that_waits_can_be_made_to_wait_for_longer() -> None:
    after = lifecycle.requeue(requeued(ERROR), now=LATER, due=LATER + 9)
    assert (after.state, after.next_attempt_time, len(after.attempts)) == (QUEUED, LATER + 9, 1)


@pytest.mark.parametrize("before", [queued(), requeued(ERROR)], ids=["new", "error"])
def test_an_attempt_that_was_never_handed_over_is_dropped_as_if_it_had_not_been(before: MessageRecord) -> None:
    after = lifecycle.drop_attempt(opened(before), now=LATER, due=LATER)
    assert (after.state, after.attempts, after.next_attempt_time) == (QUEUED, before.attempts, LATER)
    again = opened(after, "p3")
    assert [one.number for one in again.attempts] == list(range(1, len(before.attempts) + 2)), "no number is left out"


ENDS: dict[str, tuple[Callable[[MessageRecord], MessageRecord], MessageState]] = {
    "its time runs out": (lambda record: lifecycle.expire(record, now=LATER), EXPIRED),
    "its caller takes it back": (lambda record: lifecycle.cancel(record, now=LATER), CANCELLED),
    "the next provider rejects it": (lambda record: closed(opened(record), REJECTED)[0], FAILED),
    "its attempts are spent": (lambda record: closed(opened(record), ERROR, Policy(max_attempts=1))[0], FAILED),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("outcome", [None, ERROR, LIMITED, MAYBE])
def test_an_end_denies_sending_only_where_nothing_can_have_been_sent(outcome: Outcome | None, end: str) -> None:
    before = requeued(outcome) if outcome else queued()
    make, state = ENDS[end]
    after = make(before)
    assert after.state is (UNCERTAIN if outcome is MAYBE else state)
    assert after.settled
    assert after.next_attempt_time is None
    assert after.revision > before.revision


@pytest.mark.parametrize("end", ENDS)
def test_each_recipient_has_the_end_that_is_true_of_it(end: str) -> None:
    before = build.ended(email(5), apart(SUCCESS, REJECTED, MAYBE, ERROR, LIMITED))
    assert [one.state for one in before.recipients] == [SENT, FAILED, QUEUED, QUEUED, QUEUED]
    make, state = ENDS[end]
    after = make(before)
    assert [one.state for one in after.recipients] == [SENT, FAILED, UNCERTAIN, state, state]
    assert [one.maybe_sent for one in after.recipients] == [False, False, True, False, False]
    assert after.state is UNCERTAIN


def test_that_it_may_have_been_sent_is_not_forgotten_by_later_attempts() -> None:
    record = requeued(MAYBE)
    for outcome in (ERROR, LIMITED, ERROR):
        record = requeued(outcome, opened(record))
    assert closed(opened(record), REJECTED)[0].state is UNCERTAIN
    assert closed(opened(record), SUCCESS)[0].state is SENT, "a success is no denial"


@pytest.mark.parametrize(("sent", "state"), [(True, SENT), (False, FAILED)])
def test_what_is_uncertain_is_resolved_by_somebody_who_knows(sent: bool, state: MessageState) -> None:
    before, _ = closed(build.accepted(), MAYBE, Policy(max_attempts=1))
    after = lifecycle.resolve(before, sent=sent, now=LATER)
    assert (after.state, after.attempts, after.revision) == (state, before.attempts, before.revision + 1)


def test_who_cancels_or_resolves_leaves_a_note_that_stays() -> None:
    cancelled = lifecycle.cancel(queued(), now=LATER, reason="a typo")
    assert cancelled.note == Note(NoteAction.CANCEL, "a typo", LATER)
    before, _ = closed(build.accepted(), MAYBE, Policy(max_attempts=1))
    assert before.note is None
    resolved = lifecycle.resolve(before, sent=True, now=LATER)
    assert resolved.note == Note(NoteAction.RESOLVE, "", LATER)
    # One that was cancelled after it may have been sent, and is resolved then.
    doubtful = lifecycle.cancel(requeued(MAYBE), now=LATER, reason="a typo")
    assert (doubtful.state, doubtful.note) == (UNCERTAIN, cancelled.note)
    found = lifecycle.resolve(doubtful, sent=False, now=LATER + 1, reason="not in their log")
    assert found.note == Note(NoteAction.RESOLVE, "not in their log", LATER + 1)
    assert "typo" not in repr(doubtful)


@pytest.mark.parametrize(("sent", "states"), [(True, [SENT, SENT, FAILED]), (False, [FAILED, SENT, FAILED])])
def test_only_the_recipients_that_are_uncertain_are_resolved(sent: bool, states: list[MessageState]) -> None:
    before, _ = lifecycle.close_attempt(
        email(3), apart(MAYBE, SUCCESS, REJECTED), Policy(max_attempts=1), now=LATER, duration=1
    )
    after = lifecycle.resolve(before, sent=sent, now=LATER)
    assert [one.state for one in after.recipients] == states
    assert after.state is FAILED, "of one of them it is known"


OPEN = build.accepted()


@pytest.mark.parametrize("guarantee", DeliveryGuarantee)
@pytest.mark.parametrize("spent", [False, True])
def test_an_attempt_whose_boot_is_over_has_ended_as_one_that_is_uncertain(
    guarantee: DeliveryGuarantee, spent: bool
) -> None:
    policy = Policy(1 if spent else 5, guarantee)
    orphan, next_step = lifecycle.close_attempt(OPEN, lifecycle.ORPHANED, policy, now=LATER, duration=None)
    like, asked = closed(OPEN, MAYBE, policy)
    assert (orphan.state, next_step) == (like.state, asked)
    assert (orphan.attempts[0].outcome, orphan.attempts[0].error_code) == (MAYBE, "orphaned")
    assert orphan.attempts[0].duration is None, "nobody knows"


# What leads nowhere.

CHANGES: dict[str, Callable[[MessageRecord], object]] = {
    "open_attempt": opened,
    "close_attempt": lambda record: closed(record, SUCCESS),
    "requeue": lambda record: lifecycle.requeue(record, now=LATER, due=LATER),
    "drop_attempt": lambda record: lifecycle.drop_attempt(record, now=LATER, due=LATER),
    "expire": lambda record: lifecycle.expire(record, now=LATER),
    "cancel": lambda record: lifecycle.cancel(record, now=LATER),
    "resolve": lambda record: lifecycle.resolve(record, sent=True, now=LATER),
}
ALLOWED = {
    "queued": {"open_attempt", "requeue", "expire", "cancel"},
    "sending, open": {"close_attempt", "drop_attempt"},
    "sending, closed": {"open_attempt", "requeue"},
    "uncertain": {"resolve"},
}
SITUATIONS = {
    "queued": queued(),
    "sending, open": OPEN,
    "sending, closed": closed(OPEN, ERROR)[0],
} | {
    state.value: replace(closed(OPEN, SUCCESS)[0], state=state)
    for state in MessageState
    if state.value not in ("queued", "sending")
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_change_is_made_where_it_makes_sense_and_refused_elsewhere(situation: str, change: str) -> None:
    record = SITUATIONS[situation]
    if change in ALLOWED.get(situation, set()):
        CHANGES[change](record)
    else:
        with pytest.raises(ValueError, match=r"attempt|queue|uncertain"):
            CHANGES[change](record)


def test_a_message_without_attempts_has_none_to_end() -> None:
    with pytest.raises(ValueError, match="no attempt is open"):
        closed(replace(build.accepted(), attempts=()), SUCCESS)


def test_an_attempt_that_has_ended_cannot_end_again() -> None:
    half, _ = closed(OPEN, ERROR)
    with pytest.raises(ValueError, match="no attempt is open"):
        closed(half, SUCCESS)


# Histories.


@st.composite
def histories(draw: st.DrawFn) -> tuple[MessageRecord, list[MessageRecord], Policy]:
    """A message, and how it stood after each thing that happened to it, up to its end."""
    count = draw(st.integers(0, 3))
    record = email(count) if count else build.accepted()
    policy = Policy(draw(st.integers(1, 4)), draw(st.sampled_from(DeliveryGuarantee)))
    steps = [record]
    while not record.settled and len(steps) < 30:
        now = record.update_time + draw(st.sampled_from([-5, 0, 1_000, build.HOUR]))
        if record.state is QUEUED:
            change = draw(st.sampled_from(["open", "open", "open", "longer", "expire", "cancel"]))
            if change == "open":
                record = lifecycle.open_attempt(record, draw(st.sampled_from("ab")), now=now)
            elif change == "longer":
                record = lifecycle.requeue(record, now=now, due=now)
            else:
                record = {"expire": lifecycle.expire, "cancel": lifecycle.cancel}[change](record, now=now)
        elif draw(st.integers(0, 9)) == 0:
            record = lifecycle.drop_attempt(record, now=now, due=now)
        else:
            unresolved = len(record.recipients) and len(lifecycle.unresolved(record) or record.recipients)
            outcomes = draw(st.lists(st.sampled_from(Outcome), min_size=unresolved or 1, max_size=unresolved or 1))
            result = apart(*outcomes) if record.recipients else DispatchResult(outcomes[0])
            record, next_step = lifecycle.close_attempt(record, result, policy, now=now, duration=5)
            if next_step is NextStep.FAIL_OVER and draw(st.booleans()):
                record = lifecycle.open_attempt(record, "c", now=now)
            elif next_step is not NextStep.NOTHING:
                record = lifecycle.requeue(record, now=now, due=now)
        steps.append(record)
    return record, steps, policy


@given(histories())
@examples(300)
def test_whatever_happens_to_a_message_its_record_stays_true(
    history: tuple[MessageRecord, list[MessageRecord], Policy],
) -> None:
    last, steps, policy = history
    for before, after in itertools.pairwise(steps):
        assert not before.settled
        assert after.revision > before.revision
        assert after.update_time >= before.update_time
        ended = [one for one in before.attempts if one.outcome]
        assert list(after.attempts[: len(ended)]) == ended, "what is on record of an attempt stays"
    for record in steps:
        assert [one.number for one in record.attempts] == list(range(1, len(record.attempts) + 1))
        assert all(one.outcome for one in record.attempts[:-1])
        assert (record.state is SENDING) == lifecycle.is_open(record)
        assert (record.next_attempt_time is not None) == (record.state is QUEUED)
        counted = [one for one in record.attempts if one.outcome and one.outcome not in UNCOUNTED]
        assert len(counted) <= policy.max_attempts
        if record.recipients:
            assert record.state is lifecycle.state_of(record.recipients)
        for one in record.recipients:
            assert not (one.maybe_sent and one.state in (FAILED, EXPIRED, CANCELLED)), "that would be a lie"
    if any(one.outcome is MAYBE for one in last.attempts):
        assert last.recipients or last.state not in (FAILED, EXPIRED, CANCELLED)
        if policy.delivery_guarantee is DeliveryGuarantee.AT_MOST_ONCE:
            assert last.recipients or last.attempts[-1].outcome is MAYBE, "nothing came after it"


@pytest.mark.parametrize("end", [lifecycle.expire, lifecycle.cancel])
def test_a_message_without_recipients_of_its_own_has_none_after_its_wait(end: Callable[..., MessageRecord]) -> None:
    assert end(build.accepted(provider_name=""), now=START + 1).recipients == ()


def test_all_of_the_recipients_are_meant_where_none_is_resolved() -> None:
    of = build.command(build.email("a@example.com", "b@example.com"))
    assert lifecycle.unresolved(build.accepted(of)) is None

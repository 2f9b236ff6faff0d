"""The life of a message: what each outcome makes of it, and what never happens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import START

from postwire.core import lifecycle
from postwire.core.message import Attempt, Channel, MessageState, RecipientStatus
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult

STATE_AFTER = {
    Outcome.SUCCESS: MessageState.SENT,
    Outcome.REJECTED: MessageState.FAILED,
    Outcome.ERROR: MessageState.FAILED,
    Outcome.RATE_LIMITED: MessageState.FAILED,
    Outcome.UNCERTAIN: MessageState.UNCERTAIN,
}
PRECEDENCE = (
    MessageState.SENDING,
    MessageState.QUEUED,
    MessageState.UNCERTAIN,
    MessageState.FAILED,
    MessageState.SENT,
)


def mixed(*outcomes: Outcome) -> DispatchResult:
    return DispatchResult(
        Outcome.UNCERTAIN, recipients=tuple(RecipientResult(one, f"code-{one.value}") for one in outcomes)
    )


def test_an_accepted_message_has_one_open_attempt() -> None:
    command = build.command(request_id="r1", labels={"team": "auth"})
    record = lifecycle.accept(
        command, message_id="m1", provider_name="p1", now=START, expire_after=build.HOUR, trace_id="ab" * 16
    )
    assert (record.message_id, record.request_id, record.channel) == ("m1", "r1", Channel.SMS)
    assert record.state is MessageState.SENDING
    assert not record.settled
    assert (record.create_time, record.update_time) == (START, START)
    assert record.expire_time == START + build.HOUR
    assert record.attempts == (Attempt(number=1, provider_name="p1", start_time=START, trace_id="ab" * 16),)
    assert record.recipients == ()
    assert record.labels == {"team": "auth"}
    assert (record.revision, record.next_attempt_time) == (1, None)


def test_a_message_without_a_request_id_is_known_by_its_own() -> None:
    record = lifecycle.accept(build.command(), message_id="m1", provider_name="p", now=START, expire_after=1)
    assert record.request_id == "m1"
    assert record.attempts[0].trace_id == "", "it was not traced"


def test_the_callers_expiry_goes_before_the_channels() -> None:
    command = build.command(expire_time=START + 5)
    assert lifecycle.accept(command, message_id="m", provider_name="p", now=START, expire_after=9).expire_time == (
        START + 5
    )


def test_an_email_has_one_status_a_recipient_in_their_order() -> None:
    command = build.command(
        build.email("a@example.com", "b@example.com", cc=("c@example.com",), bcc=("d@example.com",))
    )
    record = lifecycle.accept(command, message_id="m", provider_name="p", now=START, expire_after=1)
    assert record.recipients == tuple(RecipientStatus(i, MessageState.SENDING) for i in range(4))


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_settles_a_message_for_which_no_attempt_is_left(outcome: Outcome) -> None:
    before = build.accepted(trace_id="cd" * 16)
    result = DispatchResult(outcome, provider_message_id="v1", error_code="c1", detail="d1", retry_after=3.0)
    after = lifecycle.close_attempt(before, result, now=START + 50, duration=40)
    assert after.state is STATE_AFTER[outcome]
    assert after.settled
    assert after.attempts == (Attempt(1, "sms-mms", START, outcome, 40, "v1", "c1", "d1", "cd" * 16),)
    assert (after.update_time, after.revision) == (START + 50, before.revision + 1)
    assert (
        replace(
            after,
            state=before.state,
            update_time=before.update_time,
            attempts=before.attempts,
            revision=before.revision,
        )
        == before
    ), "nothing else changes"


@pytest.mark.parametrize("outcome", Outcome)
def test_one_outcome_for_all_is_each_recipients(outcome: Outcome) -> None:
    before = build.accepted(build.command(build.email("a@example.com", "b@example.com")))
    after = build.ended(before, DispatchResult(outcome, error_code="c"))
    assert after.recipients == tuple(RecipientStatus(i, STATE_AFTER[outcome], outcome, "c") for i in range(2))
    assert after.state is STATE_AFTER[outcome]


def test_recipients_that_fared_apart_keep_what_is_theirs() -> None:
    before = build.accepted(build.command(build.email(*(f"{i}@example.com" for i in range(5)))))
    outcomes = (Outcome.SUCCESS, Outcome.REJECTED, Outcome.ERROR, Outcome.RATE_LIMITED, Outcome.SUCCESS)
    after = build.ended(before, mixed(*outcomes))
    assert after.recipients == tuple(
        RecipientStatus(i, STATE_AFTER[one], one, f"code-{one.value}") for i, one in enumerate(outcomes)
    )
    assert after.state is MessageState.FAILED


def test_one_uncertain_recipient_makes_the_message_uncertain() -> None:
    before = build.accepted(build.command(build.email("a@example.com", "b@example.com", "c@example.com")))
    after = build.ended(before, mixed(Outcome.SUCCESS, Outcome.UNCERTAIN, Outcome.REJECTED))
    assert after.state is MessageState.UNCERTAIN


@given(st.lists(st.sampled_from(PRECEDENCE), min_size=1))
def test_a_messages_state_is_the_first_of_the_precedence_that_any_recipient_has(states: list[MessageState]) -> None:
    recipients = tuple(RecipientStatus(i, state) for i, state in enumerate(states))
    assert lifecycle.state_of(recipients) is min(states, key=PRECEDENCE.index)


@pytest.mark.parametrize("count", [1, 3])
def test_a_result_for_another_number_of_recipients_is_refused(count: int) -> None:
    before = build.accepted(build.command(build.email("a@example.com", "b@example.com")))
    with pytest.raises(ValueError, match=f"{count} recipients, the message has 2"):
        build.ended(before, mixed(*[Outcome.SUCCESS] * count))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("x" * 512, "x" * 512),
        ("x" * 513, "x" * 512),
        ("\u00fc\U0001f600", "\u00fc\U0001f600"),
        ("a\ud800b", "a?b"),
    ],
)
def test_what_a_vendor_says_is_kept_as_far_as_it_can_be(said: str, kept: str) -> None:
    before = build.accepted(build.command(build.email("a@example.com")))
    each = (RecipientResult(Outcome.ERROR, said),)
    told = build.ended(before, DispatchResult(Outcome.ERROR, said, said, said, recipients=each))
    attempt = told.attempts[0]
    assert (attempt.provider_message_id, attempt.error_code, attempt.detail) == (kept, kept, kept)
    assert told.recipients[0].error_code == kept
    assert build.ended(before, DispatchResult(Outcome.ERROR, error_code=said)).recipients[0].error_code == kept


def test_recipients_for_what_is_no_email_are_refused() -> None:
    with pytest.raises(ValueError, match="1 recipients, the message has 0"):
        build.ended(build.accepted(), mixed(Outcome.SUCCESS))


def test_an_attempt_that_has_ended_cannot_end_again() -> None:
    after = build.ended(build.accepted())
    with pytest.raises(ValueError, match="no attempt is open"):
        build.ended(after)


@pytest.mark.parametrize("state", [state for state in MessageState if state is not MessageState.SENDING])
def test_no_attempt_ends_unless_the_message_is_being_sent(state: MessageState) -> None:
    record = replace(build.accepted(), state=state)
    with pytest.raises(ValueError, match="no attempt is open"):
        build.ended(record)


def test_a_message_without_attempts_has_none_to_end() -> None:
    with pytest.raises(ValueError, match="no attempt is open"):
        build.ended(replace(build.accepted(), attempts=()))


def test_only_the_last_attempt_is_ended() -> None:
    first = Attempt(1, "p1", START, Outcome.ERROR, 5)
    record = replace(build.accepted(), attempts=(first, Attempt(2, "p2", START + 10)))
    after = build.ended(record)
    assert after.attempts[0] == first
    assert (after.attempts[1].number, after.attempts[1].outcome) == (2, Outcome.SUCCESS)


def test_a_wall_clock_that_stepped_back_does_not_take_the_update_time_with_it() -> None:
    before = build.accepted()
    after = lifecycle.close_attempt(before, build.SUCCESS, now=START - build.HOUR, duration=7)
    assert after.update_time == before.update_time
    assert after.attempts[-1].duration == 7, "durations are no differences of the wall clock"
    assert after.revision == before.revision + 1


def test_exactly_two_states_are_unsettled() -> None:
    unsettled = {state for state in MessageState if not replace(build.accepted(), state=state).settled}
    assert unsettled == {MessageState.QUEUED, MessageState.SENDING}

"""The life of a message, one attempt at a time: what it is accepted as, and what each outcome makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import START

from postwire.core import lifecycle
from postwire.core.lifecycle import NextStep, Policy
from postwire.core.message import (
    Attempt,
    Channel,
    DeliveryGuarantee,
    DispatchCommand,
    MessageRecord,
    MessageState,
    RecipientStatus,
)
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
FAILED, UNCERTAIN = MessageState.FAILED, MessageState.UNCERTAIN
SUCCESS, ERROR, REJECTED = Outcome.SUCCESS, Outcome.ERROR, Outcome.REJECTED
LIMITED, MAYBE = Outcome.RATE_LIMITED, Outcome.UNCERTAIN
DEFERRED, MISCONFIGURED = Outcome.DEFERRED, Outcome.MISCONFIGURED

STATE_AFTER = dict.fromkeys(Outcome, SENDING) | {SUCCESS: SENT, REJECTED: FAILED}
"""Of one attempt, where more are left: `SENDING` is where more is to follow."""
STATE_AT_LAST = STATE_AFTER | {ERROR: FAILED, MAYBE: UNCERTAIN}
"""Of the only one there is."""
NEXT_STEPS = {
    SUCCESS: NextStep.NOTHING,
    REJECTED: NextStep.NOTHING,
    ERROR: NextStep.FAIL_OVER,
    LIMITED: NextStep.FAIL_OVER,
    MAYBE: NextStep.TRY_AGAIN,
    DEFERRED: NextStep.DEFER,
    MISCONFIGURED: NextStep.FAIL_OVER,
}
PRECEDENCE = (
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
ONE = Policy(max_attempts=1)
ONCE = Policy(max_attempts=5, delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)


def accept(
    command: DispatchCommand | None = None, *, provider_name: str = "p1", expire_after: int = build.HOUR
) -> MessageRecord:
    return lifecycle.accept(
        command or build.command(),
        message_id="m1",
        queue="sms#2",
        provider_name=provider_name,
        now=START,
        expire_after=expire_after,
        trace_id="ab" * 16,
    )


def close(
    record: MessageRecord,
    result: DispatchResult | Outcome,
    policy: Policy = build.POLICY,
    *,
    now: int | None = None,
) -> tuple[MessageRecord, NextStep]:
    if isinstance(result, Outcome):
        result = DispatchResult(result)
    return lifecycle.close_attempt(record, result, policy, now=now or record.update_time + 1, duration=40)


def mixed(*outcomes: Outcome) -> DispatchResult:
    return DispatchResult(MAYBE, recipients=tuple(RecipientResult(one, f"code-{one.value}") for one in outcomes))


def email(count: int) -> MessageRecord:
    """One with attempt 1 open, to so many recipients."""
    return build.accepted(build.command(build.email(*(f"{i}@example.com" for i in range(count)))))


def test_a_message_that_is_accepted_by_a_provider_has_one_open_attempt() -> None:
    record = accept(build.command(request_id="r1", labels={"team": "auth"}))
    assert (record.message_id, record.request_id, record.channel) == ("m1", "r1", Channel.SMS)
    assert record.state is SENDING
    assert not record.settled
    assert lifecycle.is_open(record)
    assert (record.create_time, record.update_time) == (START, START)
    assert record.expire_time == START + build.HOUR
    assert record.attempts == (Attempt(number=1, provider_name="p1", start_time=START, trace_id="ab" * 16),)
    assert record.recipients == ()
    assert record.labels == {"team": "auth"}
    assert (record.revision, record.next_attempt_time, record.queue) == (1, None, "sms#2")


def test_a_message_that_is_accepted_by_nobody_yet_waits_in_its_queue() -> None:
    record = accept(build.command(build.email("a@example.com", "b@example.com")), provider_name="")
    assert (record.state, record.attempts) == (QUEUED, ())
    assert not lifecycle.is_open(record)
    assert (record.next_attempt_time, record.queue) == (START, "sms#2")
    assert [one.state for one in record.recipients] == [QUEUED, QUEUED]


def test_a_message_for_later_waits_until_then_and_has_all_its_time_from_then_on() -> None:
    later = START + 5 * build.HOUR
    record = accept(build.command(send_time=later), provider_name="")
    assert (record.state, record.next_attempt_time) == (QUEUED, later)
    assert record.expire_time == later + build.HOUR


def test_a_send_time_that_has_passed_changes_nothing() -> None:
    record = accept(build.command(send_time=START - build.HOUR), provider_name="")
    assert (record.next_attempt_time, record.expire_time) == (START, START + build.HOUR)


def test_a_message_without_a_request_id_is_known_by_its_own() -> None:
    assert accept().request_id == "m1"


def test_the_callers_expiry_goes_before_the_channels() -> None:
    command = build.command(expire_time=START + 5, send_time=START + 3)
    assert accept(command, provider_name="").expire_time == START + 5


def test_an_email_has_one_status_a_recipient_in_their_order() -> None:
    command = build.command(
        build.email("a@example.com", "b@example.com", cc=("c@example.com",), bcc=("d@example.com",))
    )
    assert accept(command).recipients == tuple(RecipientStatus(i, SENDING) for i in range(4))


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_leads_on_where_attempts_are_left(outcome: Outcome) -> None:
    before = build.accepted(trace_id="cd" * 16)
    result = DispatchResult(outcome, provider_message_id="v1", error_code="c1", detail="d1", retry_after=3.0)
    after, next_step = close(before, result, now=START + 50)
    assert (after.state, next_step) == (STATE_AFTER[outcome], NEXT_STEPS[outcome])
    assert not lifecycle.is_open(after)
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
def test_the_last_attempt_settles_the_message_unless_it_was_throttled(outcome: Outcome) -> None:
    after, next_step = close(build.accepted(), outcome, ONE)
    assert after.state is STATE_AT_LAST[outcome]
    assert next_step is (NEXT_STEPS[outcome] if outcome in (LIMITED, DEFERRED, MISCONFIGURED) else NextStep.NOTHING)


@pytest.mark.parametrize("outcome", Outcome)
def test_what_may_be_sent_at_most_once_is_not_tried_again_once_it_may_have_been(outcome: Outcome) -> None:
    after, next_step = close(build.accepted(), outcome, ONCE)
    expected = (UNCERTAIN, NextStep.NOTHING) if outcome is MAYBE else (STATE_AFTER[outcome], NEXT_STEPS[outcome])
    assert (after.state, next_step) == expected


@pytest.mark.parametrize("late", [0, 1, build.HOUR])
@pytest.mark.parametrize("outcome", Outcome)
def test_past_its_time_a_message_that_may_have_been_sent_is_uncertain(outcome: Outcome, late: int) -> None:
    before = build.accepted()
    after, next_step = close(before, outcome, now=before.expire_time + late)
    expected = (UNCERTAIN, NextStep.NOTHING) if outcome is MAYBE else (STATE_AFTER[outcome], NEXT_STEPS[outcome])
    assert (after.state, next_step) == expected, "what was surely not sent expires in its queue"


def test_attempts_are_counted_but_for_those_in_which_nobody_looked_at_the_message() -> None:
    policy = Policy(max_attempts=2)
    record = build.accepted()
    for outcome in (LIMITED, ERROR, DEFERRED, MISCONFIGURED, LIMITED):
        record, next_step = close(record, outcome, policy)
        assert next_step is NEXT_STEPS[outcome]
        record = lifecycle.open_attempt(record, "p", now=record.update_time)
    record, next_step = close(record, ERROR, policy)
    assert (record.state, next_step, len(record.attempts)) == (FAILED, NextStep.NOTHING, 6)


def test_a_throttled_attempt_may_be_the_last_where_fewer_are_allowed_than_there_were() -> None:
    """As after a restart with a lower `delivery.max_attempts`: there is an end all the same."""
    record, _ = close(build.accepted(), ERROR)
    record, next_step = close(lifecycle.open_attempt(record, "p", now=START), LIMITED, ONE)
    assert (record.state, next_step) == (FAILED, NextStep.NOTHING)


@pytest.mark.parametrize("outcome", Outcome)
def test_one_outcome_for_all_is_each_recipients(outcome: Outcome) -> None:
    after, next_step = close(email(2), DispatchResult(outcome, error_code="c"), ONE)
    state = STATE_AT_LAST[outcome]
    assert after.recipients == tuple(RecipientStatus(i, state, outcome, "c", outcome is MAYBE) for i in range(2))
    assert after.state is state
    assert (next_step is NextStep.NOTHING) == after.settled


def test_recipients_that_fared_apart_keep_what_is_theirs() -> None:
    outcomes = (SUCCESS, REJECTED, ERROR, LIMITED, MAYBE, SUCCESS)
    after, next_step = close(email(6), mixed(*outcomes))
    assert after.recipients == tuple(
        RecipientStatus(i, STATE_AFTER[one], one, f"code-{one.value}", one is MAYBE) for i, one in enumerate(outcomes)
    )
    assert (after.state, next_step) == (SENDING, NextStep.TRY_AGAIN)
    assert lifecycle.unresolved(after) == (2, 3, 4)


def test_one_uncertain_recipient_makes_the_message_uncertain() -> None:
    after, _ = close(email(3), mixed(SUCCESS, MAYBE, REJECTED), ONCE)
    assert after.state is UNCERTAIN


def test_one_recipient_who_may_be_tried_again_elsewhere_is_though_another_is_uncertain_for_good() -> None:
    after, next_step = close(email(3), mixed(MAYBE, ERROR, SUCCESS), ONCE)
    assert (after.state, next_step) == (SENDING, NextStep.FAIL_OVER)
    assert [one.state for one in after.recipients] == [UNCERTAIN, SENDING, SENT]
    assert lifecycle.unresolved(after) == (1,)


@given(st.lists(st.sampled_from(PRECEDENCE), min_size=1))
@settings(deadline=None)
def test_a_messages_state_is_the_first_of_the_precedence_that_any_recipient_has(states: list[MessageState]) -> None:
    recipients = tuple(RecipientStatus(i, state) for i, state in enumerate(states))
    assert lifecycle.state_of(recipients) is min(states, key=PRECEDENCE.index)


@pytest.mark.parametrize("count", [1, 3])
def test_a_result_for_another_number_of_recipients_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"speaks of {count} recipients, the attempt was for 2"):
        close(email(2), mixed(*[SUCCESS] * count))


def test_a_result_speaks_of_those_that_the_attempt_was_for() -> None:
    record, _ = close(email(3), mixed(ERROR, SUCCESS, ERROR))
    record = lifecycle.open_attempt(record, "p2", now=record.update_time)
    with pytest.raises(ValueError, match="speaks of 3 recipients, the attempt was for 2"):
        close(record, mixed(SUCCESS, SUCCESS, SUCCESS))
    after, _ = close(record, mixed(REJECTED, SUCCESS))
    assert [one.state for one in after.recipients] == [FAILED, SENT, SENT]


def test_a_message_without_recipients_of_its_own_counts_as_having_one() -> None:
    after, next_step = close(build.accepted(), DispatchResult(REJECTED, recipients=(RecipientResult(REJECTED),)))
    assert (after.state, next_step, after.recipients) == (FAILED, NextStep.NOTHING, ())
    with pytest.raises(ValueError, match="speaks of 2 recipients, the attempt was for 1"):
        close(build.accepted(), mixed(SUCCESS, SUCCESS))


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
    each = (RecipientResult(ERROR, said),)
    reported, _ = close(email(1), DispatchResult(ERROR, said, said, said, recipients=each))
    attempt = reported.attempts[0]
    assert (attempt.error_code, attempt.detail) == (kept, kept)
    assert reported.recipients[0].error_code == kept
    assert close(email(1), DispatchResult(ERROR, error_code=said))[0].recipients[0].error_code == kept


@pytest.mark.parametrize(
    ("said", "kept"), [("7" * 4_096, "7" * 4_096), ("7" * 4_097, "7" * 4_096), ("a\ud800b", "a?b")]
)
def test_the_ids_of_all_parts_of_a_long_message_are_kept(said: str, kept: str) -> None:
    reported, _ = close(build.accepted(), DispatchResult(SUCCESS, said))
    assert reported.attempts[0].provider_message_id == kept


def test_only_the_last_attempt_is_ended() -> None:
    first = Attempt(1, "p1", START, ERROR, 5)
    record = replace(build.accepted(), attempts=(first, Attempt(2, "p2", START + 10)))
    after, _ = close(record, SUCCESS)
    assert after.attempts[0] == first
    assert (after.attempts[1].number, after.attempts[1].outcome) == (2, SUCCESS)


@pytest.mark.parametrize("outcome", [SUCCESS, ERROR])
def test_a_wall_clock_that_stepped_back_does_not_take_the_update_time_with_it(outcome: Outcome) -> None:
    before = build.accepted()
    after, _ = close(before, outcome, now=START - build.HOUR)
    assert after.update_time == before.update_time
    assert after.attempts[-1].duration == 40, "durations are no differences of the wall clock"
    assert after.revision == before.revision + 1


def test_exactly_two_states_are_unsettled() -> None:
    unsettled = {state for state in MessageState if not replace(build.accepted(), state=state).settled}
    assert unsettled == {QUEUED, SENDING}

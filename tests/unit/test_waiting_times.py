"""When what waits is due and runs out of time, by the clock that each time belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START

from postwire.core import lifecycle, waiting
from postwire.core.lifecycle import NextStep, Policy
from postwire.core.message import MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome

HOUR = build.HOUR
AHEAD = pytest.mark.parametrize("ahead", [-HOUR, 0, 1, 3 * HOUR])


def accepted(ahead: int, *, provider_name: str = "", **options: Any) -> MessageRecord:
    return lifecycle.accept(
        build.command(**options),
        message_id=build.new_id(),
        queue="sms",
        now=START,
        expire_after=4 * HOUR,
        provider_name=provider_name,
        ahead=ahead,
    )


@AHEAD
def test_what_is_left_to_us_is_by_the_due_clock(ahead: int) -> None:
    record = accepted(ahead)
    due = START - ahead
    assert (record.create_time, record.expire_time) == (START, START + 4 * HOUR), "what callers see"
    assert not waiting.is_scheduled(record)
    for later in (ahead, ahead + HOUR, ahead - HOUR):  # whatever the wall clock is set to
        assert waiting.due_time(record, later) == due
        assert waiting.deadline(record, later) == due + 4 * HOUR


@AHEAD
def test_what_the_caller_has_said_is_by_the_wall_clock(ahead: int) -> None:
    record = accepted(ahead, send_time=START + HOUR, expire_time=START + 2 * HOUR)
    assert waiting.is_scheduled(record)
    assert record.deadline is None
    assert waiting.due_time(record, ahead) == START + HOUR - ahead
    assert waiting.deadline(record, ahead) == START + 2 * HOUR - ahead


@AHEAD
def test_the_default_expiry_of_what_is_scheduled_is_by_the_clock_that_it_is_due_by(ahead: int) -> None:
    record = accepted(ahead, send_time=START + HOUR)
    assert record.expire_time == START + 5 * HOUR
    assert waiting.deadline(record, ahead) == START + 5 * HOUR - ahead


@pytest.mark.parametrize("send_time", [START - HOUR, START])
@AHEAD
def test_a_send_time_that_has_come_schedules_nothing(ahead: int, send_time: int) -> None:
    record = accepted(ahead, send_time=send_time)
    assert waiting.due_time(record, ahead) == START - ahead
    assert waiting.deadline(record, ahead) == START - ahead + 4 * HOUR


def test_once_it_was_tried_it_is_scheduled_no_more() -> None:
    record = accepted(0, send_time=START + HOUR)
    tried = build.ended(build.retried(record), DispatchResult(Outcome.ERROR))
    assert not waiting.is_scheduled(tried)
    assert waiting.due_time(tried, HOUR) == tried.next_attempt_time


def test_what_is_not_queued_is_not_due() -> None:
    assert waiting.due_time(accepted(0, provider_name="p")) is None


@AHEAD
def test_an_uncertain_attempt_is_too_late_to_repeat_by_the_clock_of_its_expiry(ahead: int) -> None:
    def after(record: MessageRecord, passed: int, now_ahead: int) -> NextStep:
        now = START + passed + now_ahead - ahead
        _, next_step = lifecycle.close_attempt(
            record, DispatchResult(Outcome.UNCERTAIN), Policy(5), now=now, duration=1, ahead=now_ahead
        )
        return next_step

    left = accepted(ahead, provider_name="p")
    assert after(left, 4 * HOUR - 1, ahead + 9 * HOUR) is NextStep.TRY_AGAIN
    assert after(left, 4 * HOUR, ahead - 9 * HOUR) is NextStep.NOTHING
    said = accepted(ahead, provider_name="p", expire_time=START + 4 * HOUR)
    assert after(said, 4 * HOUR - 1, ahead) is NextStep.TRY_AGAIN
    assert after(said, 1, ahead + 4 * HOUR) is NextStep.NOTHING


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_callers_see_times_by_the_wall_clock_as_it_is(by: int) -> None:
    waits = accepted(0)
    shown = waiting.by_wall_clock(waits, by)
    assert (shown.next_attempt_time, shown.expire_time) == (START + by, START + 4 * HOUR + by)
    assert shown.create_time == START
    scheduled = accepted(0, send_time=START + HOUR, expire_time=START + 2 * HOUR)
    assert waiting.by_wall_clock(scheduled, by) == scheduled
    sending = accepted(0, provider_name="p")
    shown = waiting.by_wall_clock(sending, by)
    assert (shown.next_attempt_time, shown.expire_time) == (None, START + 4 * HOUR + by)
    settled = build.ended(sending)
    assert settled.state is MessageState.SENT
    assert waiting.by_wall_clock(settled, by) is settled


def test_where_no_clock_was_set_a_record_is_shown_as_it_is() -> None:
    for record in (accepted(0), accepted(0, send_time=START + 5), accepted(0, provider_name="p")):
        assert waiting.by_wall_clock(record) is record

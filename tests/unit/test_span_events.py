"""What happens in the course of a span: changes of breakers, and providers that a message went past."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.support import build
from tests.support.tracing import METHOD, Harness, traceparent

from postwire.core.breaker import Breaker, BreakerSettings, BreakerState, Transition, Verdict
from postwire.core.message import MessageRecord
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.routing import PassedOver
from postwire.telemetry import tracing
from postwire.telemetry.tracing import EndedSpan, Event

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
OPENS = Transition(CLOSED, OPEN)
NOW = 1_000_000_000


@pytest.fixture(autouse=True)
def _no_call_of_another_test() -> None:
    tracing._current.set(None)


@pytest.fixture
def harness() -> Harness:
    return Harness()


def attempted(
    outcome: Outcome = Outcome.SUCCESS, provider_name: str = "sms-mms", message_id: str = ""
) -> MessageRecord:
    record = build.ended(build.accepted(provider_name=provider_name), DispatchResult(outcome))
    return replace(record, message_id=message_id) if message_id else record


def changed(source: BreakerState, target: BreakerState, provider_name: str = "sms-mms", time: int = NOW) -> Event:
    """The event of a breaker that has changed."""
    return Event(
        "breaker changed",
        time,
        (
            ("postwire.provider.name", provider_name),
            ("postwire.breaker.from", source.value),
            ("postwire.breaker.to", target.value),
        ),
    )


def past(provider_name: str, obstacle: Obstacle = Obstacle.OPEN, time: int = NOW) -> Event:
    """The event of a provider that was passed over."""
    attributes = (("postwire.provider.name", provider_name), ("postwire.route.obstacle", obstacle.value))
    return Event("provider passed over", time, attributes)


def reported(span: EndedSpan) -> list[str]:
    """Its events in short: where a breaker went, or who was passed over."""
    return [
        event.attributes[-1][1] if event.name == "breaker changed" else event.attributes[0][1] for event in span.events
    ]


# Which span tells it.


def test_no_event_is_before_its_span(harness: Harness) -> None:
    """Whom a message went past is known before the attempt, and an attempt's start is counted back from its end."""
    started = harness.tracer.call_started(METHOD, ())
    record = attempted()
    harness.tracer.passed_over(record, [PassedOver("other", Obstacle.OPEN)])
    harness.clock += 3_600_000_000_000
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.tracer.attempt_ended(record)
    harness.tracer.call_ended(started, METHOD, "OK")
    span = harness.ended[0]
    assert NOW < span.start_time < span.end_time
    assert [event.time for event in span.events] == [span.start_time, span.end_time]
    assert reported(span) == ["other", "open"]


def test_an_attempt_tells_of_the_breaker_that_it_has_opened(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, ())
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.clock += 5
    harness.tracer.attempt_ended(attempted(Outcome.ERROR))
    harness.tracer.call_ended(started, METHOD, "OK")
    attempt, call = harness.ended
    assert attempt.events == (changed(CLOSED, OPEN),)
    assert call.events == (), "and nobody else does"
    assert (attempt.error, call.error) == ("error", ""), "it is a fault of neither"


def test_an_attempt_tells_what_led_to_it_in_the_order_in_which_it_was(harness: Harness) -> None:
    harness.tracer.call_started(METHOD, ())
    record = attempted()
    harness.tracer.breaker_changed("sms-mms", Transition(OPEN, HALF_OPEN))
    harness.clock += 1
    harness.tracer.passed_over(
        record, [PassedOver("first", Obstacle.OPEN), PassedOver("second", Obstacle.COOLING_DOWN)]
    )
    harness.clock += 1
    harness.tracer.breaker_changed("sms-mms", Transition(HALF_OPEN, CLOSED))
    harness.tracer.attempt_ended(record)
    assert harness.ended[0].events == (
        changed(OPEN, HALF_OPEN),
        past("first", time=NOW + 1),
        past("second", Obstacle.COOLING_DOWN, time=NOW + 1),
        changed(HALF_OPEN, CLOSED, time=NOW + 2),
    )


@pytest.mark.parametrize("obstacle", Obstacle)
def test_a_provider_that_was_passed_over_is_told_with_its_obstacle(harness: Harness, obstacle: Obstacle) -> None:
    harness.tracer.call_started(METHOD, ())
    record = attempted()
    harness.tracer.passed_over(record, [PassedOver("email", obstacle)])
    harness.tracer.attempt_ended(record)
    assert harness.ended[0].events == (past("email", obstacle),)


def test_each_attempt_tells_what_is_new_since_the_last(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, ())
    first = attempted(Outcome.ERROR, message_id="m")
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.tracer.attempt_ended(first)
    harness.tracer.passed_over(first, [PassedOver("closed-door", Obstacle.DRAINED)])
    harness.tracer.breaker_changed("other", Transition(OPEN, HALF_OPEN))
    harness.tracer.attempt_ended(attempted(provider_name="other", message_id="m"))
    harness.tracer.attempt_ended(attempted(provider_name="third", message_id="m"))
    harness.tracer.call_ended(started, METHOD, "OK")
    assert [reported(span) for span in harness.ended] == [["open"], ["closed-door", "half_open"], [], []]


def test_where_no_attempt_follows_the_call_tells_it(harness: Harness) -> None:
    """As of a message that is parked."""
    started = harness.tracer.call_started(METHOD, ())
    record = build.accepted(provider_name="")
    harness.tracer.passed_over(record, [PassedOver("one", Obstacle.OPEN), PassedOver("other", Obstacle.DRAINED)])
    harness.tracer.call_ended(started, METHOD, "OK")
    (call,) = harness.ended
    assert call.events == (past("one"), past("other", Obstacle.DRAINED))
    assert (call.error, call.links, call.dropped_events) == ("", (), 0)


def test_the_breaker_of_another_provider_is_no_matter_of_an_attempt(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, ())
    harness.tracer.breaker_changed("email", OPENS)
    harness.tracer.attempt_ended(attempted())
    harness.tracer.call_ended(started, METHOD, "OK")
    assert [reported(span) for span in harness.ended] == [[], ["open"]]


def test_a_call_about_a_provider_tells_of_its_breaker(harness: Harness) -> None:
    """As that by which an operator drains it."""
    method = "postwire.v1.ProviderService/DrainProvider"
    started = harness.tracer.call_started(method, ())
    harness.tracer.breaker_changed("sms-mms", Transition(HALF_OPEN, BreakerState.FORCED_OPEN))
    harness.tracer.call_ended(started, method, "OK")
    assert harness.ended[0].events == (changed(HALF_OPEN, BreakerState.FORCED_OPEN),)


def test_an_attempt_tells_of_it_after_its_call_was_answered(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, ())
    harness.tracer.call_ended(started, METHOD, "OK")
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.tracer.attempt_ended(attempted(Outcome.ERROR))
    assert [reported(span) for span in harness.ended] == [[], ["open"]]


def test_a_delivery_tells_what_its_attempts_do_not(harness: Harness) -> None:
    started = harness.tracer.delivery_started(traceparent()[1])
    record = attempted(Outcome.ERROR)
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.tracer.attempt_ended(record)
    harness.tracer.passed_over(record, [PassedOver("email", Obstacle.COOLING_DOWN)])
    harness.tracer.delivery_ended(started, record)
    assert [reported(span) for span in harness.ended] == [["open"], ["email"]]


def test_a_real_breaker_is_heard_on_the_attempts_that_move_it(harness: Harness) -> None:
    breaker = Breaker(
        BreakerSettings(minimum_calls=2, open_for=5.0),
        listener=lambda transition: harness.tracer.breaker_changed("sms-mms", transition),
    )

    def attempt(now: float, verdict: Verdict) -> None:
        permit = breaker.acquire(now)
        assert permit
        breaker.release(permit, verdict, now)
        harness.tracer.attempt_ended(attempted())

    started = harness.tracer.call_started(METHOD, ())
    for now, verdict in (
        (0.0, Verdict.FAILURE),
        (1.0, Verdict.FAILURE),
        (6.0, Verdict.FAILURE),
        (16.0, Verdict.SUCCESS),
    ):
        attempt(now, verdict)
    attempt(17.0, Verdict.SUCCESS)
    harness.tracer.call_ended(started, METHOD, "OK")
    assert [reported(span) for span in harness.ended] == [
        [],
        ["open"],
        ["half_open", "open"],
        ["half_open", "closed"],
        [],
        [],
    ]


# Where there is nobody to tell it.


def test_what_happens_under_no_span_is_told_by_none(harness: Harness) -> None:
    """As by a timer."""
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.tracer.passed_over(build.accepted(), [PassedOver("email", Obstacle.OPEN)])
    harness.call()
    assert reported(harness.ended[0]) == []


def test_a_call_that_is_not_sampled_hands_nothing_on(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, [traceparent(flags="00")])
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.tracer.passed_over(build.accepted(), [PassedOver("email", Obstacle.OPEN)])
    harness.tracer.call_ended(started, METHOD, "OK")
    harness.call()
    assert [reported(span) for span in harness.ended] == [[]]


# What it costs.


def test_where_nothing_happens_nothing_is_made(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, ())
    assert started
    harness.tracer.attempt_ended(attempted())
    assert started.noted is None
    harness.tracer.breaker_changed("sms-mms", OPENS)
    harness.tracer.attempt_ended(attempted())
    assert started.noted is None, "and what was handed out is let go of"
    harness.tracer.passed_over(build.accepted(), [PassedOver("email", Obstacle.OPEN)])
    harness.tracer.call_ended(started, METHOD, "OK")
    assert started.noted is None


@pytest.mark.parametrize(("most", "kept"), [(None, 200), (128, 128), (3, 3), (1, 1), (0, 0)])
def test_a_span_has_so_many_events_the_latest_and_counts_the_others(most: int | None, kept: int) -> None:
    """A call may bring in messages without end."""
    harness = Harness(max_events=most)
    started = harness.tracer.call_started(METHOD, ())
    for number in range(200):
        harness.tracer.passed_over(build.accepted(), [PassedOver(str(number), Obstacle.OPEN)])
    harness.tracer.call_ended(started, METHOD, "OK")
    (call,) = harness.ended
    assert reported(call) == [str(number) for number in range(200 - kept, 200)]
    assert call.dropped_events == 200 - kept


def test_what_stays_behind_when_an_attempt_takes_its_own_is_still_limited() -> None:
    harness = Harness(max_events=2)
    started = harness.tracer.call_started(METHOD, ())
    for name in ("a", "sms-mms", "b", "c"):
        harness.tracer.breaker_changed(name, OPENS)
        harness.tracer.attempt_ended(attempted())
    harness.tracer.call_ended(started, METHOD, "OK")
    assert [event.attributes[0][1] for event in harness.ended[1].events] == ["sms-mms"]
    assert [event.attributes[0][1] for event in harness.ended[-1].events] == ["b", "c"]
    assert harness.ended[-1].dropped_events == 1


# Between tasks.


async def test_calls_side_by_side_tell_each_its_own(harness: Harness) -> None:
    async def call(number: int) -> None:
        method = f"service/{number}"
        started = harness.tracer.call_started(method, ())
        await asyncio.sleep(0)
        harness.tracer.breaker_changed("sms-mms", OPENS)
        harness.tracer.passed_over(attempted(message_id=str(number)), [PassedOver(f"before {number}", Obstacle.OPEN)])
        await asyncio.sleep(0)
        harness.tracer.attempt_ended(attempted(message_id=str(number)))
        harness.tracer.passed_over(attempted(message_id=str(number)), [PassedOver(f"after {number}", Obstacle.OPEN)])
        await asyncio.sleep(0)
        harness.tracer.call_ended(started, method, "OK")

    await asyncio.gather(*(asyncio.create_task(call(number)) for number in range(20)))
    assert len(harness.ended) == 40
    for span in harness.ended:
        if span.message_id:
            assert reported(span) == ["open", f"before {span.message_id}"]
        else:
            assert reported(span) == [f"after {span.name.removeprefix('service/')}"]


async def test_messages_side_by_side_under_one_call_tell_each_its_own(harness: Harness) -> None:
    """As of a stream: each has a task, and all of them one span above."""
    all_noted = asyncio.Barrier(20)

    async def carry(number: int) -> None:
        record = attempted(provider_name=f"provider {number}", message_id=str(number))
        harness.tracer.passed_over(record, [PassedOver(f"before {number}", Obstacle.OPEN)])
        harness.tracer.breaker_changed(f"provider {number}", Transition(OPEN, HALF_OPEN))
        await all_noted.wait()
        harness.tracer.attempt_ended(record)

    started = harness.tracer.call_started(METHOD, ())
    await asyncio.gather(*(asyncio.create_task(carry(number)) for number in range(20)))
    harness.tracer.call_ended(started, METHOD, "OK")
    *attempts, call = harness.ended
    assert len(attempts) == 20
    for span in attempts:
        assert reported(span) == [f"before {span.message_id}", "half_open"]
        assert span.events[1].attributes[0][1] == f"provider {span.message_id}"
    assert reported(call) == []


async def test_what_the_call_has_noted_the_messages_task_tells(harness: Harness) -> None:
    """As in the server: the permit is taken in the call's task, and used in the message's."""

    async def carry() -> None:
        harness.tracer.attempt_ended(attempted())

    async def call() -> None:
        started = harness.tracer.call_started(METHOD, ())
        harness.tracer.breaker_changed("sms-mms", Transition(OPEN, HALF_OPEN))
        await asyncio.create_task(carry())
        harness.tracer.call_ended(started, METHOD, "OK")

    await asyncio.create_task(call())
    assert [reported(span) for span in harness.ended] == [["half_open"], []]

"""What happens in the course of a span: changes of breakers, and providers that a message went past."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.support import build
from tests.support.tracing import METHOD, Rig, traceparent

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
def rig() -> Rig:
    return Rig()


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


def told(span: EndedSpan) -> list[str]:
    """Its events in short: where a breaker went, or who was passed over."""
    return [
        event.attributes[-1][1] if event.name == "breaker changed" else event.attributes[0][1] for event in span.events
    ]


# Which span tells it.


def test_no_event_is_before_its_span(rig: Rig) -> None:
    """Whom a message went past is known before the attempt, and an attempt's start is counted back from its end."""
    started = rig.tracer.call_started(METHOD, ())
    record = attempted()
    rig.tracer.passed_over(record, [PassedOver("other", Obstacle.OPEN)])
    rig.clock += 3_600_000_000_000
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.tracer.attempt_ended(record)
    rig.tracer.call_ended(started, METHOD, "OK")
    span = rig.ended[0]
    assert NOW < span.start_time < span.end_time
    assert [event.time for event in span.events] == [span.start_time, span.end_time]
    assert told(span) == ["other", "open"]


def test_an_attempt_tells_of_the_breaker_that_it_has_opened(rig: Rig) -> None:
    started = rig.tracer.call_started(METHOD, ())
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.clock += 5
    rig.tracer.attempt_ended(attempted(Outcome.ERROR))
    rig.tracer.call_ended(started, METHOD, "OK")
    attempt, call = rig.ended
    assert attempt.events == (changed(CLOSED, OPEN),)
    assert call.events == (), "and nobody else does"
    assert (attempt.error, call.error) == ("error", ""), "it is a fault of neither"


def test_an_attempt_tells_what_led_to_it_in_the_order_in_which_it_was(rig: Rig) -> None:
    rig.tracer.call_started(METHOD, ())
    record = attempted()
    rig.tracer.breaker_changed("sms-mms", Transition(OPEN, HALF_OPEN))
    rig.clock += 1
    rig.tracer.passed_over(record, [PassedOver("first", Obstacle.OPEN), PassedOver("second", Obstacle.COOLING_DOWN)])
    rig.clock += 1
    rig.tracer.breaker_changed("sms-mms", Transition(HALF_OPEN, CLOSED))
    rig.tracer.attempt_ended(record)
    assert rig.ended[0].events == (
        changed(OPEN, HALF_OPEN),
        past("first", time=NOW + 1),
        past("second", Obstacle.COOLING_DOWN, time=NOW + 1),
        changed(HALF_OPEN, CLOSED, time=NOW + 2),
    )


@pytest.mark.parametrize("obstacle", Obstacle)
def test_a_provider_that_was_passed_over_is_told_with_its_obstacle(rig: Rig, obstacle: Obstacle) -> None:
    rig.tracer.call_started(METHOD, ())
    record = attempted()
    rig.tracer.passed_over(record, [PassedOver("email", obstacle)])
    rig.tracer.attempt_ended(record)
    assert rig.ended[0].events == (past("email", obstacle),)


def test_each_attempt_tells_what_is_new_since_the_last(rig: Rig) -> None:
    started = rig.tracer.call_started(METHOD, ())
    first = attempted(Outcome.ERROR, message_id="m")
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.tracer.attempt_ended(first)
    rig.tracer.passed_over(first, [PassedOver("closed-door", Obstacle.DRAINED)])
    rig.tracer.breaker_changed("other", Transition(OPEN, HALF_OPEN))
    rig.tracer.attempt_ended(attempted(provider_name="other", message_id="m"))
    rig.tracer.attempt_ended(attempted(provider_name="third", message_id="m"))
    rig.tracer.call_ended(started, METHOD, "OK")
    assert [told(span) for span in rig.ended] == [["open"], ["closed-door", "half_open"], [], []]


def test_where_no_attempt_follows_the_call_tells_it(rig: Rig) -> None:
    """As of a message that is parked."""
    started = rig.tracer.call_started(METHOD, ())
    record = build.accepted(provider_name="")
    rig.tracer.passed_over(record, [PassedOver("one", Obstacle.OPEN), PassedOver("other", Obstacle.DRAINED)])
    rig.tracer.call_ended(started, METHOD, "OK")
    (call,) = rig.ended
    assert call.events == (past("one"), past("other", Obstacle.DRAINED))
    assert (call.error, call.links, call.dropped_events) == ("", (), 0)


def test_the_breaker_of_another_provider_is_no_matter_of_an_attempt(rig: Rig) -> None:
    started = rig.tracer.call_started(METHOD, ())
    rig.tracer.breaker_changed("email", OPENS)
    rig.tracer.attempt_ended(attempted())
    rig.tracer.call_ended(started, METHOD, "OK")
    assert [told(span) for span in rig.ended] == [[], ["open"]]


def test_a_call_about_a_provider_tells_of_its_breaker(rig: Rig) -> None:
    """As that by which an operator drains it."""
    method = "postwire.v1.ProviderService/DrainProvider"
    started = rig.tracer.call_started(method, ())
    rig.tracer.breaker_changed("sms-mms", Transition(HALF_OPEN, BreakerState.FORCED_OPEN))
    rig.tracer.call_ended(started, method, "OK")
    assert rig.ended[0].events == (changed(HALF_OPEN, BreakerState.FORCED_OPEN),)


def test_an_attempt_tells_of_it_after_its_call_was_answered(rig: Rig) -> None:
    started = rig.tracer.call_started(METHOD, ())
    rig.tracer.call_ended(started, METHOD, "OK")
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.tracer.attempt_ended(attempted(Outcome.ERROR))
    assert [told(span) for span in rig.ended] == [[], ["open"]]


def test_a_delivery_tells_what_its_attempts_do_not(rig: Rig) -> None:
    started = rig.tracer.delivery_started(traceparent()[1])
    record = attempted(Outcome.ERROR)
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.tracer.attempt_ended(record)
    rig.tracer.passed_over(record, [PassedOver("email", Obstacle.COOLING_DOWN)])
    rig.tracer.delivery_ended(started, record)
    assert [told(span) for span in rig.ended] == [["open"], ["email"]]


def test_a_real_breaker_is_heard_on_the_attempts_that_move_it(rig: Rig) -> None:
    breaker = Breaker(
        BreakerSettings(minimum_calls=2, open_for=5.0),
        listener=lambda transition: rig.tracer.breaker_changed("sms-mms", transition),
    )

    def attempt(now: float, verdict: Verdict) -> None:
        permit = breaker.acquire(now)
        assert permit
        breaker.release(permit, verdict, now)
        rig.tracer.attempt_ended(attempted())

    started = rig.tracer.call_started(METHOD, ())
    for now, verdict in (
        (0.0, Verdict.FAILURE),
        (1.0, Verdict.FAILURE),
        (6.0, Verdict.FAILURE),
        (16.0, Verdict.SUCCESS),
    ):
        attempt(now, verdict)
    attempt(17.0, Verdict.SUCCESS)
    rig.tracer.call_ended(started, METHOD, "OK")
    assert [told(span) for span in rig.ended] == [[], ["open"], ["half_open", "open"], ["half_open", "closed"], [], []]


# Where there is nobody to tell it.


def test_what_happens_under_no_span_is_told_by_none(rig: Rig) -> None:
    """As by a timer."""
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.tracer.passed_over(build.accepted(), [PassedOver("email", Obstacle.OPEN)])
    rig.call()
    assert told(rig.ended[0]) == []


def test_a_call_that_is_not_sampled_hands_nothing_on(rig: Rig) -> None:
    started = rig.tracer.call_started(METHOD, [traceparent(flags="00")])
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.tracer.passed_over(build.accepted(), [PassedOver("email", Obstacle.OPEN)])
    rig.tracer.call_ended(started, METHOD, "OK")
    rig.call()
    assert [told(span) for span in rig.ended] == [[]]


# What it costs.


def test_where_nothing_happens_nothing_is_made(rig: Rig) -> None:
    started = rig.tracer.call_started(METHOD, ())
    assert started
    rig.tracer.attempt_ended(attempted())
    assert started.noted is None
    rig.tracer.breaker_changed("sms-mms", OPENS)
    rig.tracer.attempt_ended(attempted())
    assert started.noted is None, "and what was handed out is let go of"
    rig.tracer.passed_over(build.accepted(), [PassedOver("email", Obstacle.OPEN)])
    rig.tracer.call_ended(started, METHOD, "OK")
    assert started.noted is None


@pytest.mark.parametrize(("most", "kept"), [(None, 200), (128, 128), (3, 3), (1, 1), (0, 0)])
def test_a_span_has_so_many_events_the_latest_and_counts_the_others(most: int | None, kept: int) -> None:
    """A call may bring in messages without end."""
    rig = Rig(max_events=most)
    started = rig.tracer.call_started(METHOD, ())
    for number in range(200):
        rig.tracer.passed_over(build.accepted(), [PassedOver(str(number), Obstacle.OPEN)])
    rig.tracer.call_ended(started, METHOD, "OK")
    (call,) = rig.ended
    assert told(call) == [str(number) for number in range(200 - kept, 200)]
    assert call.dropped_events == 200 - kept


def test_what_stays_behind_when_an_attempt_takes_its_own_is_still_limited() -> None:
    rig = Rig(max_events=2)
    started = rig.tracer.call_started(METHOD, ())
    for name in ("a", "sms-mms", "b", "c"):
        rig.tracer.breaker_changed(name, OPENS)
        rig.tracer.attempt_ended(attempted())
    rig.tracer.call_ended(started, METHOD, "OK")
    assert [event.attributes[0][1] for event in rig.ended[1].events] == ["sms-mms"]
    assert [event.attributes[0][1] for event in rig.ended[-1].events] == ["b", "c"]
    assert rig.ended[-1].dropped_events == 1


# Between tasks.


async def test_calls_side_by_side_tell_each_its_own(rig: Rig) -> None:
    async def call(number: int) -> None:
        method = f"service/{number}"
        started = rig.tracer.call_started(method, ())
        await asyncio.sleep(0)
        rig.tracer.breaker_changed("sms-mms", OPENS)
        rig.tracer.passed_over(attempted(message_id=str(number)), [PassedOver(f"before {number}", Obstacle.OPEN)])
        await asyncio.sleep(0)
        rig.tracer.attempt_ended(attempted(message_id=str(number)))
        rig.tracer.passed_over(attempted(message_id=str(number)), [PassedOver(f"after {number}", Obstacle.OPEN)])
        await asyncio.sleep(0)
        rig.tracer.call_ended(started, method, "OK")

    await asyncio.gather(*(asyncio.create_task(call(number)) for number in range(20)))
    assert len(rig.ended) == 40
    for span in rig.ended:
        if span.message_id:
            assert told(span) == ["open", f"before {span.message_id}"]
        else:
            assert told(span) == [f"after {span.name.removeprefix('service/')}"]


async def test_messages_side_by_side_under_one_call_tell_each_its_own(rig: Rig) -> None:
    """As of a stream: each has a task, and all of them one span above."""
    all_noted = asyncio.Barrier(20)

    async def carry(number: int) -> None:
        record = attempted(provider_name=f"provider {number}", message_id=str(number))
        rig.tracer.passed_over(record, [PassedOver(f"before {number}", Obstacle.OPEN)])
        rig.tracer.breaker_changed(f"provider {number}", Transition(OPEN, HALF_OPEN))
        await all_noted.wait()
        rig.tracer.attempt_ended(record)

    started = rig.tracer.call_started(METHOD, ())
    await asyncio.gather(*(asyncio.create_task(carry(number)) for number in range(20)))
    rig.tracer.call_ended(started, METHOD, "OK")
    *attempts, call = rig.ended
    assert len(attempts) == 20
    for span in attempts:
        assert told(span) == [f"before {span.message_id}", "half_open"]
        assert span.events[1].attributes[0][1] == f"provider {span.message_id}"
    assert told(call) == []


async def test_what_the_call_has_noted_the_messages_task_tells(rig: Rig) -> None:
    """As in the server: the permit is taken in the call's task, and used in the message's."""

    async def carry() -> None:
        rig.tracer.attempt_ended(attempted())

    async def call() -> None:
        started = rig.tracer.call_started(METHOD, ())
        rig.tracer.breaker_changed("sms-mms", Transition(OPEN, HALF_OPEN))
        await asyncio.create_task(carry())
        rig.tracer.call_ended(started, METHOD, "OK")

    await asyncio.create_task(call())
    assert [told(span) for span in rig.ended] == [["half_open"], []]

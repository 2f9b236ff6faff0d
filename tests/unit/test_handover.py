"""Whether a message has left the house, and what providers say beside the five outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.support import build
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.core.availability import PROBE_AFTER, PROBE_AFTER_MAX
from postwire.core.breaker import BreakerSettings, BreakerState
from postwire.core.message import DEFAULT_TENANT, MessageState, OutboundMessage
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.core.retries import DEFERRED_FOR
from postwire.delivery import attempt
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.handover import Handover

QUEUED, SENT, FAILED = MessageState.QUEUED, MessageState.SENT, MessageState.FAILED
DEFERRED = DispatchResult(Outcome.DEFERRED, error_code="450")
MISCONFIGURED = DispatchResult(Outcome.MISCONFIGURED, error_code="535")
SUCCESS = DispatchResult(Outcome.SUCCESS, provider_message_id="1")
SECOND = 1_000_000


class Scripted(FakeProvider):
    """Does as `script` says with its handover."""

    def __init__(self, script: Callable[[Handover], Any], name: str = "first") -> None:
        super().__init__(name)
        self._script = script

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        await super().send(message, handover)
        result = await self._script(handover)
        return result if isinstance(result, DispatchResult) else SUCCESS


async def connect_for_ever(handover: Handover) -> None:
    with handover.connecting():
        await asyncio.Event().wait()


async def connect_in_vain(handover: Handover) -> None:
    with handover.connecting():
        raise OSError("no route to +15005550006")


async def wrap_what_failed(handover: Handover) -> None:
    try:
        await connect_in_vain(handover)
    except OSError as error:
        raise RuntimeError("the library's own") from error


async def connect_in_limited_time(handover: Handover) -> None:
    async with asyncio.timeout(0.001):
        await connect_for_ever(handover)


async def have_it_cancelled(handover: Handover) -> None:
    with handover.connecting():
        raise asyncio.CancelledError


async def send_for_ever(handover: Handover) -> None:
    with handover.connecting():
        pass
    await asyncio.Event().wait()


async def fail_after_all(handover: Handover) -> None:
    with suppress(OSError):
        await connect_in_vain(handover)
    raise ValueError("who knows what it did meanwhile")


async def send_by_another_way(handover: Handover) -> None:
    """The error has that of connecting as its context, which Python sets by itself."""
    try:
        await connect_in_vain(handover)
    except OSError:
        raise ConnectionResetError("in the midst of sending") from None


async def send_by_another_way_at_length(handover: Handover) -> None:
    try:
        await connect_in_vain(handover)
    except OSError:
        await asyncio.Event().wait()


async def connect_again_in_vain(handover: Handover) -> None:
    with handover.connecting():
        pass
    await connect_in_vain(handover)


async def say_nothing(handover: Handover) -> None:
    raise OSError("reset")


@pytest.mark.parametrize(
    ("script", "outcome", "code"),
    [
        (connect_for_ever, Outcome.ERROR, "connect_timeout"),
        (connect_in_vain, Outcome.ERROR, "connect"),
        (wrap_what_failed, Outcome.ERROR, "connect"),
        (connect_in_limited_time, Outcome.ERROR, "connect_timeout"),
        (have_it_cancelled, Outcome.ERROR, "connect"),
        (connect_again_in_vain, Outcome.ERROR, "connect"),
        (send_for_ever, Outcome.UNCERTAIN, "timeout"),
        (fail_after_all, Outcome.UNCERTAIN, "internal"),
        (send_by_another_way, Outcome.UNCERTAIN, "internal"),
        (send_by_another_way_at_length, Outcome.UNCERTAIN, "timeout"),
        (say_nothing, Outcome.UNCERTAIN, "internal"),
    ],
)
async def test_only_what_ends_while_connecting_has_surely_sent_nothing(
    script: Callable[[Handover], Any], outcome: Outcome, code: str
) -> None:
    message = build.command().message
    loop = asyncio.get_running_loop()
    result = await attempt.send(Scripted(script), message, Handover("key"), loop, 0.05)
    assert (result.outcome, result.error_code) == (outcome, code)
    assert "5550006" not in result.detail


async def test_a_black_hole_is_passed_over_at_once_and_opens_its_breaker(outbox: SqliteOutbox) -> None:
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1))
    second = FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(Scripted(connect_in_vain), second, gates={"first": gate}))
    record = await harness.send()
    assert [(one.provider_name, one.outcome) for one in record.attempts] == [
        ("first", Outcome.ERROR),
        ("second", Outcome.SUCCESS),
    ]
    assert gate.breaker.state is BreakerState.OPEN


@pytest.mark.parametrize(("script", "attempts"), [(connect_for_ever, 0), (send_for_ever, 1)])
async def test_a_shutdown_takes_back_what_has_not_left_yet(
    outbox: SqliteOutbox, script: Callable[[Handover], Any], attempts: int
) -> None:
    provider = Scripted(script)
    harness = Harness(outbox, provider=provider)
    sending = harness.start()
    await provider.calls()
    await harness.drain(0.0)
    record = await within(sending)
    kept = await outbox.get(record.message_id, DEFAULT_TENANT)
    assert kept
    assert len(kept.attempts) == attempts
    assert (kept.state is QUEUED) is (attempts == 0)


async def test_what_is_put_off_waits_long_is_no_attempt_that_counts_and_goes_to_nobody_else(
    outbox: SqliteOutbox,
) -> None:
    first, second = FakeProvider("first", answers=[DEFERRED] * 3), FakeProvider("second")
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1))
    harness = Harness(outbox, registry=registry_of(first, second, gates={"first": gate}))
    record = await harness.send(build.command(max_attempts=1))
    for count in (1, 2, 3):
        assert (record.state, len(record.attempts)) == (QUEUED, count)
        assert record.next_attempt_time is not None
        waits = (record.next_attempt_time - harness.clock.wall()) / SECOND
        assert DEFERRED_FOR * 2 ** (count - 1) <= waits <= DEFERRED_FOR * 2 ** (count - 1) * 1.2
        harness.clock.advance(waits - 1)
        await harness.calm()
        assert len(first.keys) == count
        harness.clock.advance(2)
        await first.calls(count + 1)
        await harness.calm()
        record = await harness.delivery.get(record.message_id, tenant=DEFAULT_TENANT)
    assert record.state is SENT
    assert second.keys == []
    assert gate.breaker.state is BreakerState.CLOSED
    assert not gate.breaker.snapshot(harness.clock.monotonic()).failures


@pytest.mark.parametrize("retry_after", [0.0, -5.0, float("nan"), float("inf")])
async def test_a_time_that_has_passed_is_as_good_as_none(outbox: SqliteOutbox, retry_after: float) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[replace(DEFERRED, retry_after=retry_after)]))
    record = await harness.send()
    assert record.next_attempt_time is not None
    assert record.next_attempt_time - harness.clock.wall() >= DEFERRED_FOR * SECOND


@pytest.mark.parametrize("other", [Outcome.ERROR, Outcome.UNCERTAIN])
async def test_who_is_put_off_beside_others_is_not_asked_again_any_sooner(outbox: SqliteOutbox, other: Outcome) -> None:
    each = (RecipientResult(other), RecipientResult(Outcome.DEFERRED))
    provider = FakeProvider(answers=[DispatchResult(other, recipients=each)], dedup_window=3600.0)
    harness = Harness(outbox, provider=provider)
    record = await harness.send(build.command(build.email("a@example.com", "b@example.com")))
    assert (record.state, len(provider.keys)) == (QUEUED, 1)
    assert record.next_attempt_time is not None
    assert record.next_attempt_time - harness.clock.wall() >= DEFERRED_FOR * SECOND


async def test_a_time_out_of_the_providers_own_counts_however_little_time_the_message_has(outbox: SqliteOutbox) -> None:
    async def give_up(handover: Handover) -> None:
        with handover.connecting():
            raise TimeoutError

    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1))
    registry = registry_of(Scripted(give_up), gates={"first": gate}, attempt_timeout=3600.0)
    harness = Harness(outbox, registry=registry)
    await harness.send(build.command(expire_time=harness.clock.wall() + 60 * SECOND))
    assert gate.breaker.state is BreakerState.OPEN


async def test_what_is_put_off_for_a_time_waits_for_that_time(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[DispatchResult(Outcome.DEFERRED, retry_after=1000.0)]))
    record = await harness.send()
    assert record.next_attempt_time is not None
    assert 1000 <= (record.next_attempt_time - harness.clock.wall()) / SECOND <= 1200


async def test_one_that_refuses_our_account_is_passed_over_and_tried_with_one_message_now_and_then(
    outbox: SqliteOutbox,
) -> None:
    first, second = FakeProvider("first", answer=MISCONFIGURED), FakeProvider("second")
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1))
    harness = Harness(outbox, registry=registry_of(first, second, gates={"first": gate}))
    record = await harness.send(build.command(max_attempts=1))
    assert [(one.provider_name, one.outcome) for one in record.attempts] == [
        ("first", Outcome.MISCONFIGURED),
        ("second", Outcome.SUCCESS),
    ]
    assert gate.obstacle(harness.clock.monotonic()) is Obstacle.MISCONFIGURED
    assert gate.breaker.state is BreakerState.CLOSED
    await harness.send()
    assert len(first.keys) == 1

    pauses = [PROBE_AFTER, 2 * PROBE_AFTER, 4 * PROBE_AFTER, 8 * PROBE_AFTER, PROBE_AFTER_MAX, PROBE_AFTER_MAX]
    for count, pause in enumerate(pauses, 1):
        harness.clock.advance(pause - 1)
        await harness.send()
        assert len(first.keys) == count
        harness.clock.advance(1)
        await asyncio.gather(*(harness.send() for _ in range(5)))
        assert len(first.keys) == count + 1, "one that finds out, and no more"
    first.answer = SUCCESS
    harness.clock.advance(PROBE_AFTER_MAX)
    await harness.send()
    await harness.send()
    assert gate.obstacle(harness.clock.monotonic()) is None
    assert len(first.keys) == len(pauses) + 3


async def test_what_nobody_else_can_take_waits_for_the_account_to_be_mended(outbox: SqliteOutbox) -> None:
    provider = FakeProvider(answers=[MISCONFIGURED])
    harness = Harness(outbox, provider=provider)
    record = await harness.send()
    assert record.state is QUEUED
    other = await harness.send()
    assert (other.state, len(other.attempts)) == (QUEUED, 0)
    harness.clock.advance(PROBE_AFTER + 2)
    await harness.noted.reached(record.message_id, SENT)
    await harness.noted.reached(other.message_id, SENT)
    await harness.calm()
    assert harness.left() == []


async def test_a_try_that_was_not_made_postpones_nothing(outbox: SqliteOutbox) -> None:
    gate = gate_of("first")
    gate.note_misconfigured(0.0)
    permit = gate.enter(PROBE_AFTER)
    assert gate.obstacle(PROBE_AFTER) is Obstacle.MISCONFIGURED
    permit.cancel(PROBE_AFTER)
    assert gate.obstacle(PROBE_AFTER) is None


async def test_what_was_sent_before_a_refusal_does_not_end_it(outbox: SqliteOutbox) -> None:
    gate = gate_of("first")
    provider = FakeProvider("first", answers=[SUCCESS], held=True)
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate}))
    early = harness.start()
    await provider.calls()
    gate.note_misconfigured(harness.clock.monotonic())
    provider.release()
    assert (await early).state is SENT
    assert gate.obstacle(harness.clock.monotonic()) is Obstacle.MISCONFIGURED


async def test_a_try_that_finds_nothing_out_is_followed_by_another_after_a_pause(outbox: SqliteOutbox) -> None:
    provider = FakeProvider(answers=[MISCONFIGURED, DispatchResult(Outcome.ERROR)])
    gate = gate_of("fake")
    harness = Harness(outbox, registry=registry_of(provider, gates={"fake": gate}))
    record = await harness.send()
    harness.clock.advance(PROBE_AFTER + 2)
    await provider.calls(2)
    await harness.calm()
    assert gate.obstacle(harness.clock.monotonic()) is Obstacle.MISCONFIGURED
    harness.clock.advance(PROBE_AFTER + 2)
    await harness.noted.reached(record.message_id, SENT)


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.UNCERTAIN])
async def test_a_failure_that_is_not_the_providers_says_nothing_of_its_health(
    outbox: SqliteOutbox, outcome: Outcome
) -> None:
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1))
    provider = FakeProvider("first", answer=DispatchResult(outcome, provider_fault=False))
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate}))
    await harness.send(build.command(max_attempts=1))
    assert gate.breaker.state is BreakerState.CLOSED
    assert gate.breaker.snapshot(harness.clock.monotonic()).calls == 0

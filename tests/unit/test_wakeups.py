"""What waits in a queue is looked at again, whatever happens while the queue is at work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.gates import fail
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of, route
from tests.support.waiting import within

from postwire.core.breaker import BreakerSettings
from postwire.core.errors import StoreUnavailable
from postwire.core.message import Channel, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.delivery.wakeable_task import AFTER_A_FAULT
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT = MessageState.QUEUED, MessageState.SENT
SECOND = 1_000_000


class Distant:
    """An outbox whose answers to `method` are on their way until `released`; with `fault`, what writes raises it."""

    def __init__(self, inner: SqliteOutbox, method: str = "") -> None:
        self._inner = inner
        self._method = method
        self.fault: Exception | None = None
        self.held = False
        self.answered = asyncio.Event()
        self._go_on = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name in ("advance", "take") and self.fault:
            return self._fail
        return self._late if name == self._method else method

    async def _fail(self, *arguments: Any) -> None:
        assert self.fault
        raise self.fault

    async def _late(self, *arguments: Any) -> Any:
        answer = await getattr(self._inner, self._method)(*arguments)
        if self.held:
            self.answered.set()
            await self._go_on.wait()
        return answer

    def release(self) -> None:
        self.held = False
        self._go_on.set()


def accepted(**options: Any) -> Any:
    return build.command(wait_for=WaitFor.ACCEPTANCE, **options)


async def test_what_comes_to_wait_for_its_time_while_the_store_is_read_is_not_forgotten(outbox: SqliteOutbox) -> None:
    distant = Distant(outbox, "heads")
    harness = Harness(distant)
    (entry,) = harness.registry
    entry.gate.breaker.force_open(0.0)
    gone = await harness.send(accepted())
    await harness.delivery.cancel(gone.message_id, by=LOCAL)
    entry.gate.breaker.resume(0.0)
    await harness.calm()
    distant.held = True
    harness.delivery._worker.wake()
    await within(distant.answered.wait())
    harness.provider.answers = [DispatchResult(Outcome.ERROR)]
    failed = await harness.send()
    assert failed.state is QUEUED
    distant.release()
    await harness.calm()
    harness.clock.advance(1.0)
    await harness.noted.reached(failed.message_id, SENT)


async def test_a_look_that_authenticates_during_another_is_taken_after_it(outbox: SqliteOutbox) -> None:
    """Such as when the clock is set: what was read before went by the old time."""
    distant = Distant(outbox, "heads")
    harness = Harness(distant)
    later = await harness.send(accepted(send_time=START + 3600 * SECOND))
    await harness.calm()
    distant.held = True
    harness.delivery._worker.wake()
    await within(distant.answered.wait())
    harness.clock.step_wall(3600.0)
    harness.delivery._worker.wake()
    distant.release()
    await harness.noted.reached(later.message_id, SENT)


async def test_one_that_cannot_be_expired_does_not_strand_the_others(outbox: SqliteOutbox) -> None:
    distant = Distant(outbox)
    harness = Harness(distant)
    (entry,) = harness.registry
    entry.gate.breaker.force_open(0.0)
    await harness.send(accepted(expire_time=START + SECOND))
    stays = await harness.send(accepted())
    harness.clock.advance(1.0)
    distant.fault = StoreUnavailable()
    entry.gate.breaker.resume(0.0)
    await harness.calm()
    assert harness.provider.keys == []
    distant.fault = None
    harness.clock.advance(AFTER_A_FAULT)
    await harness.noted.reached(stays.message_id, SENT)
    await harness.calm()
    assert harness.left() == []


async def test_what_overflows_with_strict_weights_waits_for_the_next_tier_as_well(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", held=True), FakeProvider("second", held=True)
    gates = {name: gate_of(name, max_concurrent=1) for name in ("first", "second")}
    to = route("first", "second", overflow=True, strict_weights=True)
    harness = Harness(outbox, registry=registry_of(first, second, routes={Channel.SMS: [to]}, gates=gates))
    calls = [harness.start() for _ in range(3)]
    await first.calls()
    await second.calls()
    await harness.calm()
    second.release()
    assert (await calls[2]).attempts[0].provider_name == "second"
    first.release()
    await asyncio.gather(*calls)


async def test_while_a_later_probe_is_out_other_queues_go_to_the_next_tier(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", held=True), FakeProvider("second", held=True)
    gates = {
        "first": gate_of("first", breaker=BreakerSettings(minimum_calls=1, open_for=5.0)),
        "second": gate_of("second", max_concurrent=1),
    }
    routes = {Channel.SMS: [route("first")], Channel.EMAIL: [route("first", "second", key="email")]}
    harness = Harness(outbox, registry=registry_of(first, second, routes=routes, gates=gates))
    now, gate = harness.clock.monotonic(), gates["first"]
    fail(gate, 1, now)
    harness.clock.advance(10.0)
    now = harness.clock.monotonic()
    probe = gate.enter(now)
    busy = harness.start(build.command(provider_name="second"))
    await second.calls()
    text = await harness.send(accepted())
    email = await harness.send(accepted(content=build.email()))
    await harness.calm()
    probe.cancel(now)  # without a verdict: the next one goes to the text message, which has waited for longer
    await first.calls()
    assert first.keys == [text.message_id]
    second.release()
    await harness.noted.reached(email.message_id, SENT)
    first.release()
    await harness.noted.reached(text.message_id, SENT)
    await busy


@pytest.mark.parametrize("haste", [0.0, 0.25, 0.75, 1.5])
@pytest.mark.parametrize("reading_takes", [0.25, 0.5, 1.0, 2.0])
async def test_a_provider_that_comes_back_between_two_looks_at_the_clock_is_noticed(
    outbox: SqliteOutbox, reading_takes: float, haste: float
) -> None:
    """As happened with uvloop, whose alarms come up to a millisecond early: the provider stayed out of service."""
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1, open_for=5.0))
    harness = Harness(outbox, registry=registry_of(FakeProvider("first"), gates={"first": gate}))
    fail(gate, 1, harness.clock.monotonic())
    harness.clock.reading_takes, harness.clock.haste = reading_takes, haste
    waits = await harness.send(accepted())
    await harness.calm()
    for _ in range(20):
        harness.clock.advance(0.5)
    await harness.noted.reached(waits.message_id, SENT)


async def test_who_comes_when_a_provider_has_just_come_back_passes_nobody(outbox: SqliteOutbox) -> None:
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1, open_for=5.0))
    provider = FakeProvider("first", held=True)
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate}))
    fail(gate, 1, harness.clock.monotonic())
    first = await harness.send(accepted())
    await harness.calm()
    harness.clock.reading_takes = 6.0  # past its time, of which no alarm has told yet
    second = await harness.send(accepted())
    harness.clock.reading_takes = 0.0
    harness.clock.advance(0.0)
    await provider.calls()
    assert provider.keys == [first.message_id]
    provider.release()
    await harness.noted.reached(second.message_id, SENT)


async def test_what_a_take_has_opened_goes_on_though_its_end_was_not_known(outbox: SqliteOutbox) -> None:
    """The commit was kept, and the store said that it was not: nobody has these messages in hand."""

    class Forgetful(Distant):
        takes = 0

        async def take(self, *arguments: Any) -> Any:
            taken = await self._inner.take(*arguments)
            self.takes += 1
            if self.takes == 1 and taken:
                raise StoreUnavailable
            return taken

    provider = FakeProvider("first")
    gate = gate_of("first")
    harness = Harness(Forgetful(outbox), registry=registry_of(provider, gates={"first": gate}))
    gate.breaker.force_open(0.0)
    records = [await harness.send(accepted()) for _ in range(3)]
    gate.breaker.resume(0.0)
    await harness.calm()
    harness.clock.advance(AFTER_A_FAULT)
    for record in records:
        await harness.noted.reached(record.message_id, SENT)
    await harness.calm()
    assert sorted(provider.keys) == sorted(record.message_id for record in records)
    assert harness.left() == []


@pytest.mark.parametrize("at_hand", [True, False])
async def test_what_waits_is_not_counted_again_for_each_slot(outbox: SqliteOutbox, at_hand: bool) -> None:
    counting = Paused(outbox, "take", "heads")
    provider = FakeProvider("first")
    harness = Harness(counting, registry=registry_of(provider, gates={"first": gate_of("first", max_concurrent=1)}))
    if not at_hand:
        harness.delivery._worker._room.count = 0
    (entry,) = harness.registry
    entry.gate.breaker.force_open(0.0)
    records = [await harness.send(accepted()) for _ in range(300)]
    entry.gate.breaker.resume(0.0)
    for record in records:
        await harness.noted.reached(record.message_id, SENT)
    assert counting.counts["take"] <= 10 if at_hand else counting.counts["take"] >= 300
    assert counting.counts["heads"] <= 10
    assert provider.keys == [record.message_id for record in records]

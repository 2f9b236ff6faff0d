"""Those who wait for a message: for how long, what they are told, and that they are forgotten afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.gates import fail
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.core.breaker import BreakerSettings
from postwire.core.gate import Gate
from postwire.core.message import DispatchCommand, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
ERROR = DispatchResult(Outcome.ERROR)
ACCEPTANCE = WaitFor.ACCEPTANCE


class Busy:
    """A harness whose only provider has one slot, which is taken until `free`."""

    def __init__(self, outbox: SqliteOutbox | Paused) -> None:
        self.provider = FakeProvider("first", held=True)
        self.gate: Gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1, open_for=5.0), max_concurrent=1)
        registry = registry_of(self.provider, gates={"first": self.gate})
        self.harness = Harness(outbox, registry=registry, clock=ManualClock())
        self._holder: asyncio.Task[object] | None = None

    async def take(self) -> None:
        self._holder = self.harness.start()
        await self.provider.calls()

    async def free(self) -> None:
        self.provider.release()
        assert self._holder
        await self._holder


@pytest.fixture
async def busy(outbox: SqliteOutbox) -> Busy:
    made = Busy(outbox)
    await made.harness.boot()
    await made.take()
    return made


def call(wait_for: WaitFor = WaitFor.OUTCOME, **options: int) -> DispatchCommand:
    return build.command(request_id="r", wait_for=wait_for, **options)  # type: ignore[arg-type]  # times only


async def test_a_repeat_of_a_message_that_waits_waits_with_it_if_asked(busy: Busy) -> None:
    calls = [busy.harness.start(call()), busy.harness.start(call())]
    await busy.harness.calm()
    shown = await busy.harness.send(call(ACCEPTANCE))
    assert (shown.state, shown.attempts) == (QUEUED, ())
    calls.append(busy.harness.start(call()))
    await busy.harness.calm()
    assert not any(one.done() for one in calls)
    await busy.free()
    records = await asyncio.gather(*calls)
    assert records[0].state is SENT
    assert records == [records[0]] * 3
    assert len(busy.provider.keys) == 2
    await busy.harness.calm()
    assert busy.harness.left() == []


async def test_a_repeat_waits_though_the_first_call_did_not(busy: Busy) -> None:
    record = await busy.harness.send(call(ACCEPTANCE))
    assert record.state is QUEUED
    repeat = busy.harness.start(call())
    await busy.harness.calm()
    assert not repeat.done()
    await busy.free()
    assert (await repeat).state is SENT
    await busy.harness.calm()
    assert busy.harness.left() == []


async def test_a_repeat_of_a_message_that_is_retried_later_waits_for_its_next_attempt(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[ERROR]))
    record = await harness.send(call())
    assert record.state is QUEUED
    repeat = harness.start(call())
    await harness.calm()
    assert not repeat.done()
    harness.clock.advance(1.0)
    answered = await repeat
    assert (answered.message_id, answered.state, len(answered.attempts)) == (record.message_id, SENT, 2)
    await harness.calm()
    assert harness.left() == []


async def test_a_repeat_is_told_when_its_message_goes_back_to_the_queue(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[ERROR, ERROR]))
    await harness.send(call())
    repeat = harness.start(call())
    await harness.calm()
    harness.clock.advance(1.0)
    answered = await repeat
    assert (answered.state, len(answered.attempts)) == (QUEUED, 2)


@pytest.mark.parametrize("seconds", [0.0, 0.05])
async def test_who_has_no_time_gets_what_is_durable_and_is_forgotten(busy: Busy, seconds: float) -> None:
    assert (await busy.harness.send(call(), time_left=0.1 + seconds)).state is QUEUED
    assert (await busy.harness.send(call(), time_left=0.1 + seconds)).state is QUEUED
    await busy.harness.calm()
    assert busy.harness.waited_for == 0


async def test_one_who_hangs_up_takes_nothing_from_the_others(busy: Busy) -> None:
    calls = [busy.harness.start(call()) for _ in range(3)]
    await busy.harness.calm()
    for one in (calls[0], calls[2]):
        one.cancel()
    await asyncio.wait([calls[0], calls[2]])
    await busy.free()
    assert (await calls[1]).state is SENT
    await busy.harness.calm()
    assert busy.harness.left() == []


async def test_those_who_wait_are_told_when_the_message_is_taken_back(busy: Busy) -> None:
    waiting = busy.harness.start(call())
    await busy.harness.calm()
    record = await busy.harness.send(call(ACCEPTANCE))
    await busy.harness.delivery.cancel(record.message_id, by=LOCAL)
    assert (await waiting).state is MessageState.CANCELLED
    await busy.free()
    await busy.harness.calm()
    assert busy.harness.left() == []
    assert len(busy.provider.keys) == 1


async def test_those_who_wait_are_told_when_the_message_expires(busy: Busy) -> None:
    waiting = busy.harness.start(call(expire_time=START + 2_000_000))
    await busy.harness.calm()
    busy.harness.clock.advance(2.0)
    record = await waiting
    assert (record.state, record.update_time) == (MessageState.EXPIRED, START + 2_000_000)
    await busy.free()
    await busy.harness.calm()
    assert busy.harness.left() == []
    assert len(busy.provider.keys) == 1


async def test_those_who_wait_are_let_go_at_the_end_of_the_server(busy: Busy) -> None:
    waiting = [busy.harness.start(call()), busy.harness.start(call())]
    await busy.harness.calm()
    assert await busy.harness.drain(0.0) == 1, "what waits in a queue is not in flight"
    records = await asyncio.gather(*waiting)
    assert {record.state for record in records} == {QUEUED}
    assert (await busy.harness.send(call())).state is QUEUED, "nor does anybody wait any more"
    await busy.harness.calm()
    assert busy.harness.left() == []


async def hang_up(busy: Busy) -> None:
    waiting = busy.harness.start(call())
    await asyncio.sleep(0)  # its acceptance is on the way to the disk
    waiting.cancel()
    await asyncio.wait([waiting])


async def accept_only(busy: Busy) -> None:
    await busy.harness.send(call(ACCEPTANCE))


async def test_a_message_that_nobody_waits_for_is_in_nobodys_memory(busy: Busy) -> None:
    """There may be a million of them."""
    await accept_only(busy)
    await busy.harness.calm()
    assert busy.harness.waited_for == 0
    await busy.free()
    await busy.provider.calls(2)
    await busy.harness.calm()
    assert busy.harness.left() == []


@pytest.mark.parametrize("begin", [hang_up, accept_only])
async def test_a_repeat_waits_for_a_message_that_was_parked_once_it_is_on_its_way(
    busy: Busy, begin: Callable[[Busy], object]
) -> None:
    await begin(busy)  # type: ignore[misc]  # one of the two above
    await busy.harness.calm()
    fail(busy.gate, 1, busy.harness.clock.monotonic())
    await busy.harness.calm()
    assert (await busy.harness.send(call(ACCEPTANCE))).state is QUEUED
    await busy.free()
    held = FakeProvider("first", held=True)
    busy.harness.registry.entry("first").provider = held
    busy.harness.clock.advance(5.0)
    await held.calls()
    repeat = busy.harness.start(call())
    await busy.harness.calm()
    assert not repeat.done()
    held.release()
    assert (await repeat).state is SENT
    await busy.harness.calm()
    assert busy.harness.left() == []


async def test_a_parked_message_whose_callers_were_answered_is_in_nobodys_memory(busy: Busy) -> None:
    waiting = [busy.harness.start(call()), busy.harness.start(build.command())]
    await busy.harness.calm()
    fail(busy.gate, 1, busy.harness.clock.monotonic())
    assert {(await one).state for one in waiting} == {QUEUED}
    await busy.harness.calm()
    assert busy.harness.waited_for == 0


async def test_who_comes_as_the_door_closes_is_answered_at_once(outbox: SqliteOutbox) -> None:
    """It was only busy when the message was admitted, and is shut when its acceptance is on disk."""
    paused = Paused(outbox, "accept")
    busy = Busy(paused)
    await busy.take()
    paused.hold()
    waiting = busy.harness.start(call())
    await within(paused.reached.wait())
    released = paused.let_others_pass()
    await busy.harness.send(build.command(wait_for=ACCEPTANCE))
    await busy.harness.calm()
    fail(busy.gate, 1, busy.harness.clock.monotonic())
    await busy.harness.calm()  # so that the queue is at rest until a door changes
    released()
    assert (await waiting).state is QUEUED
    await busy.harness.calm()
    assert busy.harness.waited_for == 0


async def test_a_message_for_later_is_answered_at_once(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    record = await harness.send(build.command(send_time=START + 60_000_000))
    assert (record.state, record.next_attempt_time) == (QUEUED, START + 60_000_000)
    await harness.calm()
    assert harness.left() == []

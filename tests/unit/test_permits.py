"""A permit is given back by every way out, so that nothing is left taken, and a probe that says nothing is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.disk import Disk
from tests.support.gates import fail
from tests.support.harness import Harness, Noted
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.core import lifecycle
from postwire.core.admission import Share
from postwire.core.breaker import BreakerSettings, BreakerState
from postwire.core.errors import Refusal, RequestIdReused, StoreUnavailable
from postwire.core.ids import MessageIds
from postwire.core.message import MessageRecord, MessageState
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import NewMessage
from postwire.outbox.sqlite import SqliteOutbox, writer

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT


class GateModel:
    """A harness whose only provider has one slot and one token, and a breaker that lets in one probe."""

    def __init__(self, outbox: object, provider: FakeProvider | None = None, **fields: object) -> None:
        self.clock = ManualClock()
        self.provider = provider or FakeProvider()
        self.gate = gate_of(
            "fake",
            breaker=BreakerSettings(minimum_calls=1, open_for=5.0, lease=1e9),
            max_concurrent=1,
            rate=1e-6,
            burst=1,
        )
        self.harness = Harness(
            outbox,  # type: ignore[arg-type]  # a real one, or something around it
            registry=registry_of(self.provider, gates={"fake": self.gate}),
            clock=self.clock,
            **fields,  # type: ignore[arg-type]  # the test's
        )

    def half_open(self) -> None:
        """From now on, who enters is the probe."""
        fail(self.gate, 1, self.clock.monotonic())
        self.clock.advance(5.0)

    async def stands(self, state: BreakerState, obstacle: Obstacle | None) -> None:
        """Assert that nothing is left taken, and how the door stands."""
        await self.harness.calm()
        assert self.harness.left() == []
        assert self.gate.breaker.state is state
        assert self.gate.obstacle(self.clock.monotonic()) is obstacle


@pytest.fixture
async def gate_model(outbox: SqliteOutbox) -> GateModel:
    made = GateModel(outbox)
    made.half_open()
    return made


# Where nothing was sent, all of it comes back: the slot, the probe and the token.


async def test_a_request_id_reused(outbox: SqliteOutbox, gate_model: GateModel) -> None:
    await outbox.accept(build.new_message(build.command(request_id="r")))
    with pytest.raises(RequestIdReused):
        await gate_model.harness.send(build.command(build.sms("another"), request_id="r"))
    await gate_model.stands(BreakerState.HALF_OPEN, None)


async def test_a_repeat(outbox: SqliteOutbox, gate_model: GateModel) -> None:
    new = build.new_message(build.command(request_id="r"))
    await outbox.accept(new)
    assert (await gate_model.harness.send(build.command(request_id="r"))).message_id == new.record.message_id
    await gate_model.stands(BreakerState.HALF_OPEN, None)


async def test_of_two_at_once_with_one_request_id(outbox: SqliteOutbox, gate_model: GateModel) -> None:
    records = await asyncio.gather(*(gate_model.harness.send(build.command(request_id="r")) for _ in range(3)))
    assert {record.state for record in records} == {SENT}
    await gate_model.stands(BreakerState.CLOSED, Obstacle.RATE)


async def test_a_fault_of_ours_at_the_acceptance(outbox: SqliteOutbox) -> None:
    class Stuck(MessageIds):
        def next(self, now: int) -> str:
            return taken

    gate_model = GateModel(outbox, ids=Stuck(lambda _: 0))
    gate_model.half_open()
    taken = build.new_id()
    await outbox.accept(build.new_message(record=replace(build.accepted(), message_id=taken)))
    with pytest.raises(StoreUnavailable):
        await gate_model.harness.send()
    await gate_model.stands(BreakerState.HALF_OPEN, None)


async def test_the_end_of_the_server_before_the_acceptance_is_on_disk(outbox: SqliteOutbox) -> None:
    paused = Paused(outbox, "accept", held=True)
    gate_model = GateModel(paused)
    gate_model.half_open()
    call = gate_model.harness.start()
    await within(paused.reached.wait())
    assert gate_model.gate.in_flight == 1
    assert await gate_model.harness.drain(0.0) == 1
    with pytest.raises(StoreUnavailable):
        await call
    await gate_model.stands(BreakerState.HALF_OPEN, None)


async def test_the_end_of_the_server_before_the_task_has_begun(gate_model: GateModel) -> None:
    call = gate_model.harness.start()
    await asyncio.sleep(0)
    assert await gate_model.harness.drain(0.0) == 1
    with pytest.raises(StoreUnavailable):
        await call
    await gate_model.stands(BreakerState.HALF_OPEN, None)


async def test_an_acceptance_that_took_too_long(outbox: SqliteOutbox) -> None:
    class Slow(Noted):
        def state_reached(self, record: MessageRecord) -> None:
            super().state_reached(record)
            if record.state is SENDING:
                slow.clock.advance(60.0)

    noted = Slow()
    gate_model = slow = GateModel(outbox, observer=noted)
    gate_model.half_open()
    await gate_model.harness.boot()
    record = await gate_model.harness.send(build.command(expire_time=START + 10_000_000))
    await noted.reached(record.message_id, MessageState.EXPIRED)
    await gate_model.stands(BreakerState.HALF_OPEN, None)


async def test_a_frame_of_which_some_are_refused(outbox: SqliteOutbox, gate_model: GateModel) -> None:
    await outbox.accept(build.new_message(build.command(request_id="r")))
    reused = build.command(build.sms("another"), request_id="r")
    verdicts = await gate_model.harness.delivery.admit_all([reused, build.command(), reused], Share())
    waiters = [one for one in verdicts if not isinstance(one, Refusal)]
    assert [isinstance(waiter.verdict, Refusal) for waiter in waiters] == [True, False, True]
    # What the first has given back is the second's.
    await gate_model.stands(BreakerState.CLOSED, Obstacle.RATE)
    assert len(gate_model.provider.keys) == 1


async def test_a_message_taken_back_while_it_came_out_of_its_queue(outbox: SqliteOutbox) -> None:
    paused = Paused(outbox, "take", held=True)
    gate_model = GateModel(paused)
    gate_model.half_open()
    record = await gate_model.harness.send(build.command(send_time=START + 60_000_000))
    gate_model.clock.advance(60.0)
    await within(paused.reached.wait())
    assert gate_model.gate.in_flight == 1
    assert await outbox.advance(record, lifecycle.cancel(record, now=START))
    paused.release()
    await gate_model.stands(BreakerState.HALF_OPEN, None)
    assert gate_model.provider.keys == []


async def test_a_message_that_this_version_cannot_read(outbox: SqliteOutbox, gate_model: GateModel) -> None:
    record = build.accepted(provider_name="")
    await outbox.accept(NewMessage(record, b"\xff", b"", build.command().options))
    await gate_model.harness.boot()
    await gate_model.stands(BreakerState.HALF_OPEN, None)
    kept = await gate_model.harness.kept(record.message_id)
    assert (kept.state, kept.attempts) == (QUEUED, ())
    assert kept.next_attempt_time
    assert kept.next_attempt_time > START, "it keeps nobody from the queue"


# Where it was sent, or may have been, the token is used up.


@pytest.mark.parametrize(
    ("answer", "state", "obstacle"),
    [
        (build.SUCCESS, BreakerState.CLOSED, Obstacle.RATE),
        (DispatchResult(Outcome.REJECTED), BreakerState.CLOSED, Obstacle.RATE),
        (DispatchResult(Outcome.ERROR), BreakerState.OPEN, Obstacle.OPEN),
        (DispatchResult(Outcome.UNCERTAIN), BreakerState.OPEN, Obstacle.OPEN),
        (DispatchResult(Outcome.RATE_LIMITED), BreakerState.HALF_OPEN, Obstacle.RATE),
        (DispatchResult(Outcome.RATE_LIMITED, retry_after=9.0), BreakerState.HALF_OPEN, Obstacle.COOLING_DOWN),
        (ValueError("its code fails"), BreakerState.OPEN, Obstacle.OPEN),
        (asyncio.CancelledError(), BreakerState.OPEN, Obstacle.OPEN),
        (None, BreakerState.OPEN, Obstacle.OPEN),
    ],
    ids=repr,
)
async def test_whatever_comes_of_the_attempt(
    gate_model: GateModel, answer: DispatchResult, state: BreakerState, obstacle: Obstacle
) -> None:
    gate_model.provider.answer = answer
    await gate_model.harness.send()
    await gate_model.stands(state, obstacle)


async def hang_up(gate_model: GateModel, call: asyncio.Task[MessageRecord]) -> BreakerState:
    call.cancel()
    await asyncio.wait([call])
    gate_model.provider.release()
    return BreakerState.CLOSED


async def end_of_the_server(gate_model: GateModel, call: asyncio.Task[MessageRecord]) -> BreakerState:
    assert await gate_model.harness.drain(0.0) == 1
    assert (await call).state is SENDING
    return BreakerState.HALF_OPEN


@pytest.mark.parametrize("end", [hang_up, end_of_the_server])
async def test_whatever_comes_of_the_caller_and_of_the_server(
    outbox: SqliteOutbox, end: Callable[[GateModel, asyncio.Task[MessageRecord]], Awaitable[BreakerState]]
) -> None:
    gate_model = GateModel(outbox, FakeProvider(held=True))
    gate_model.half_open()
    call = gate_model.harness.start()
    await gate_model.provider.calls()
    await gate_model.stands(await end(gate_model, call), Obstacle.RATE)


# The permit for the next provider, in a failover.


class Failover:
    """A harness whose first provider has failed, and whose change to the second is on its way to the disk."""

    def __init__(self, outbox: SqliteOutbox) -> None:
        self.paused = Paused(outbox, "advance", held=True)
        self.first = FakeProvider("first", answer=DispatchResult(Outcome.ERROR))
        self.second = FakeProvider("second")
        self.gate = gate_of("second", max_concurrent=1, rate=1e-6, burst=1)
        registry = registry_of(self.first, self.second, gates={"second": self.gate})
        self.harness = Harness(self.paused, registry=registry)
        self.call: asyncio.Task[MessageRecord] | None = None

    async def begin(self) -> MessageRecord:
        self.call = self.harness.start()
        await within(self.paused.reached.wait())
        assert self.gate.in_flight == 1
        return await self.harness.kept(self.first.keys[0])

    async def stands(self) -> None:
        await self.harness.calm()
        assert self.harness.left() == []
        assert self.second.keys == []
        assert self.gate.obstacle(self.harness.clock.monotonic()) is None


async def test_a_failover_that_somebody_else_has_forestalled(outbox: SqliteOutbox) -> None:
    failover = Failover(outbox)
    record = await failover.begin()
    assert await outbox.advance(record, replace(record, revision=record.revision + 1))
    failover.paused.release()
    await failover.stands()


async def test_a_failover_cut_short_by_the_end_of_the_server(outbox: SqliteOutbox) -> None:
    failover = Failover(outbox)
    await failover.begin()
    assert await failover.harness.drain(0.0) == 1
    await failover.stands()


# The store is away.


@pytest.mark.parametrize("known", [False, True], ids=["found out by this call", "known"])
async def test_an_acceptance_that_the_store_could_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(writer, "PROBE_INTERVAL", 0.005)
    outbox = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    disk = Disk(tmp_path / "postwire.db")
    gate_model = GateModel(outbox)
    await gate_model.harness.send(build.command(send_time=START + build.HOUR))  # so that there is a log to be full
    gate_model.half_open()
    disk.fill()
    try:
        for _ in range(2 if known else 1):
            with pytest.raises(StoreUnavailable):
                await gate_model.harness.send()
    finally:
        disk.free()
    await outbox.wait_available()
    await gate_model.stands(BreakerState.HALF_OPEN, None)
    assert gate_model.provider.keys == []
    await outbox.close()

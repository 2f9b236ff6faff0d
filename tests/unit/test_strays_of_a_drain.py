"""What a drain leaves behind that was surely never handed over: it waits again once the node has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.outboxes import change, dropped, keep, take
from tests.support.postgres import new_database
from tests.support.providers import FakeProvider, registry_of
from tests.support.sweeps import sweep_of
from tests.support.waiting import PATIENCE, within

from postwire.core.admission import Share
from postwire.core.errors import StoreUnavailable
from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageState, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.nodes import strays
from postwire.nodes.strays import StraySweep
from postwire.outbox.postgres import PostgresOutbox, writer
from postwire.outbox.postgres.accepting import run_accepts
from postwire.outbox.postgres.operations import New
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import Connection
from postwire.providers.handover import Handover

QUEUED, SENDING = MessageState.QUEUED, MessageState.SENDING
ONCE = DeliveryGuarantee.AT_MOST_ONCE


class Slow(PostgresOutbox):
    """One that has nobody hear of what is changed, or does not change it."""

    is_heard = True
    is_away = False

    async def advance(self, *args: Any, **options: Any) -> bool:
        if self.is_away:
            await asyncio.sleep(0)
            raise StoreUnavailable
        is_kept = await super().advance(*args, **options)
        if not self.is_heard:
            await asyncio.Event().wait()
        return is_kept


class Connecting(FakeProvider):
    """One that comes to no connection."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        with handover.connecting():
            return await super().send(message, handover)


@pytest.fixture
async def outbox() -> AsyncIterator[Slow]:
    opened = await Slow.open(await new_database(), name="node")
    yield opened
    await opened.close()


def node_of(outbox: Slow, *providers: FakeProvider) -> tuple[Harness, StraySweep]:
    harness = Harness(outbox, registry=registry_of(*providers), is_shared=True)
    return harness, sweep_of(harness)


async def test_it_is_found_behind_all_that_may_have_been_sent(outbox: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "STEP", 2)
    harness, sweep = node_of(outbox, FakeProvider())
    left = sorted([(await keep(outbox, at="fake")).record for _ in range(5)], key=lambda record: record.message_id)
    harness.delivery.open_attempts.lose(left[-1])
    await sweep.give_back()
    states = [(await harness.kept(record.message_id)).state for record in left]
    assert states == [SENDING] * 4 + [QUEUED]


async def test_what_is_just_being_accepted(outbox: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def held(connection: Connection, part: Part, news: Sequence[New]) -> None:
        begun.set()
        await goes_on.wait()
        await run_accepts(connection, part, news)

    monkeypatch.setattr(writer, "run_accepts", held)
    provider = FakeProvider()
    harness, sweep = node_of(outbox, provider)
    call = harness.start(build.command(request_id="r", delivery_guarantee=ONCE))
    await within(begun.wait())
    assert await harness.drain(0.0) == 1
    with pytest.raises(StoreUnavailable):
        await call
    giving_back = asyncio.ensure_future(sweep.give_back())
    async with asyncio.timeout(PATIENCE):
        while not (giving_back.done() or outbox.writer._pending):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    goes_on.set()
    await giving_back
    await outbox.writer.close()
    kept = await outbox.find_by_request_id("r", DEFAULT_TENANT)
    assert kept
    assert (kept.state, kept.attempts, provider.keys) == (QUEUED, (), [])


async def test_what_comes_to_no_connection_and_cannot_be_taken_back_at_once(outbox: Slow) -> None:
    provider = Connecting("fake", held=True)
    harness, sweep = node_of(outbox, provider)
    call = harness.start(build.command(delivery_guarantee=ONCE))
    await provider.calls()
    outbox.is_away = True
    assert await harness.drain(0.0) == 1
    message_id = (await call).message_id
    assert (await harness.kept(message_id)).state is SENDING
    outbox.is_away = False
    await sweep.give_back()
    kept = await harness.kept(message_id)
    assert (kept.state, kept.attempts) == (QUEUED, ())


async def test_what_is_about_to_be_handed_to_the_next(outbox: Slow) -> None:
    first = FakeProvider("first", held=True, answer=DispatchResult(Outcome.ERROR))
    second = FakeProvider("second")
    harness, sweep = node_of(outbox, first, second)
    call = harness.start(build.command(delivery_guarantee=ONCE))
    await first.calls()
    (message_id,) = harness.delivery.open_attempts.carried
    outbox.is_heard = False
    first.release()
    async with asyncio.timeout(PATIENCE):
        while len((await harness.kept(message_id)).attempts) == 1:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    assert await harness.drain(0.0) == 1
    await call
    outbox.is_heard = True
    await sweep.give_back()
    kept = await harness.kept(message_id)
    assert (kept.state, [one.outcome for one in kept.attempts]) == (QUEUED, [Outcome.ERROR])
    assert second.keys == []


async def test_what_was_handed_over_is_not_given_back(outbox: Slow) -> None:
    """Its result is on the way to the store as the drain ends, and does not come to be kept."""
    first = FakeProvider("first", held=True, answer=DispatchResult(Outcome.ERROR))
    harness, sweep = node_of(outbox, first, FakeProvider("second"))
    call = harness.start(build.command(delivery_guarantee=ONCE))
    await first.calls()
    (message_id,) = harness.delivery.open_attempts.carried
    outbox.is_away = True
    first.release()
    await harness.calm()
    assert await harness.drain(0.0) == 1
    await call
    outbox.is_away = False
    await sweep.give_back()
    kept = await harness.kept(message_id)
    assert (kept.state, [one.outcome for one in kept.attempts]) == (SENDING, [None])


@pytest.mark.parametrize("is_later", [False, True])
async def test_a_pass_that_has_not_taken_its_first_step(
    outbox: Slow, monkeypatch: pytest.MonkeyPatch, is_later: bool
) -> None:
    provider = FakeProvider()
    harness, sweep = node_of(outbox, provider)
    tasks = harness.delivery._tasks
    launch, launched = tasks.launch, asyncio.Event()

    def cancelled(work: Any, done: Any, **options: Any) -> None:
        before = set(tasks._tasks)
        launch(work, done, **options)
        if work.__name__ == ("_resume" if is_later else "run"):
            tasks.is_drained = True
            for task in tasks._tasks - before:
                task.cancel()
            launched.set()

    monkeypatch.setattr(tasks, "launch", cancelled)
    send_time = START + 1_000_000 if is_later else None
    command = build.command(request_id="r", delivery_guarantee=ONCE, send_time=send_time)
    await within(harness.delivery.admit_all([command], Share()))
    harness.clock.advance(1.0)
    await within(launched.wait())
    assert await harness.drain(0.0) == 0
    await sweep.give_back()
    kept = await outbox.find_by_request_id("r", DEFAULT_TENANT)
    assert kept
    assert (kept.state, kept.attempts, provider.keys) == (QUEUED, (), [])


async def test_of_two_attempts_that_one_pass_has_lost_the_last_counts(outbox: Slow) -> None:
    """Whoever takes the first back, and opens another, ends with both."""
    harness, sweep = node_of(outbox, FakeProvider())
    first = (await keep(outbox, at="fake")).record
    second = await take(outbox, await change(outbox, first, dropped(first)))
    for lost in (second, first):
        harness.delivery.open_attempts.lose(lost)
    await sweep.give_back()
    assert (await harness.kept(first.message_id)).state is QUEUED


async def test_what_had_no_time_left_and_cannot_be_taken_back_at_once(outbox: Slow) -> None:
    provider = FakeProvider()
    harness, sweep = node_of(outbox, provider)
    harness.delivery.executor._may_act = lambda: False
    call = harness.start(build.command(delivery_guarantee=ONCE))
    outbox.is_away = True
    await harness.calm()
    (message_id,) = harness.delivery.open_attempts.carried
    assert await harness.drain(0.0) == 1
    await call
    outbox.is_away = False
    await sweep.give_back()
    kept = await harness.kept(message_id)
    assert (kept.state, kept.attempts, provider.keys) == (QUEUED, (), [])


async def test_what_cannot_be_read_and_cannot_be_put_back_at_once(
    outbox: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = FakeProvider()
    harness, sweep = node_of(outbox, provider)
    missing = asyncio.Event()

    async def contents(*_: Any) -> dict[str, bytes]:
        outbox.is_away = True
        missing.set()
        raise StoreUnavailable

    monkeypatch.setattr(outbox, "contents", contents)
    command = build.command(request_id="r", delivery_guarantee=ONCE, send_time=START + 1_000_000)
    await within(harness.delivery.admit_all([command], Share()))
    harness.clock.advance(1.0)
    await within(missing.wait())
    await harness.calm()
    assert await harness.drain(0.0) == 1
    outbox.is_away = False
    await sweep.give_back()
    kept = await outbox.find_by_request_id("r", DEFAULT_TENANT)
    assert kept
    assert (kept.state, kept.attempts, provider.keys) == (QUEUED, (), [])

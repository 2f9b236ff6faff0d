"""The delivery path while the store cannot commit: nothing is sent that is not on disk, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.disk import Disk
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import PATIENCE, within

from postwire.core.errors import StoreUnavailable
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState, Priority, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.delivery import tasks
from postwire.delivery.wakeable_task import AFTER_A_FAULT
from postwire.outbox.base import QueuedMessage, TakenMessage
from postwire.outbox.sqlite import SqliteOutbox, writer

SENT, SENDING, QUEUED = MessageState.SENT, MessageState.SENDING, MessageState.QUEUED
ERROR = DispatchResult(Outcome.ERROR)


@pytest.fixture
async def on_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteOutbox]:
    monkeypatch.setattr(writer, "PROBE_INTERVAL", 0.005)
    opened = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    yield opened
    await opened.close()


@pytest.fixture
def disk(on_file: SqliteOutbox, tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "postwire.db")
    yield made
    made.free()


async def test_an_outcome_that_cannot_be_kept_is_kept_later_and_the_answer_is_what_is_durable(
    on_file: SqliteOutbox, disk: Disk
) -> None:
    harness = Harness(on_file, provider=FakeProvider(held=True))
    command = build.command(request_id="r")
    call = harness.start(command)
    await harness.provider.calls()
    disk.fill()
    harness.provider.release()
    answered = await call
    assert answered.state is SENDING
    assert await harness.kept(answered.message_id) == answered
    assert await harness.send(command) == answered, "a repeat is told the same, without waiting"
    assert harness.delivery.in_flight == 1
    (entry,) = harness.registry
    assert entry.gate.in_flight == 0, "the provider is done with it"
    disk.free()
    await harness.completed()
    kept = await harness.kept(answered.message_id)
    assert (kept.state, kept.attempts[0].outcome) == (SENT, Outcome.SUCCESS)
    assert len(harness.provider.keys) == 1
    assert harness.noted.events == [("state", "sending"), ("attempt", "success"), ("state", "sent")]


async def test_while_the_store_is_away_new_ones_are_refused_and_repeats_are_not(
    on_file: SqliteOutbox, disk: Disk
) -> None:
    harness = Harness(on_file)
    first = await harness.send(build.command(request_id="r"))
    disk.fill()
    for _ in range(2):  # the first finds out, the second knows
        with pytest.raises(StoreUnavailable):
            await harness.send(build.command(request_id="new"))
    assert await harness.send(build.command(request_id="r")) == first
    assert len(harness.provider.keys) == 1, "what is not kept is not sent"
    disk.free()
    await on_file.wait_available()
    assert (await harness.send(build.command(request_id="new"))).state is SENT


async def test_while_a_failover_cannot_be_kept_nobody_else_is_asked_and_nothing_is_lost(
    on_file: SqliteOutbox, disk: Disk
) -> None:
    first, second = FakeProvider("first", held=True, answer=ERROR), FakeProvider("second")
    gate = gate_of("second", max_concurrent=1)
    harness = Harness(on_file, registry=registry_of(first, second, gates={"second": gate}))
    call = harness.start(build.command(request_id="r"))
    await first.calls()
    disk.fill()
    first.release()
    answered = await call
    assert (answered.state, [one.outcome for one in answered.attempts]) == (SENDING, [None]), "what is durable"
    await harness.calm()
    assert second.keys == []
    assert gate.in_flight == 0, "it is not held for so long"
    assert harness.delivery.in_flight == 1
    disk.free()
    await harness.noted.reached(answered.message_id, QUEUED)
    kept = await harness.kept(answered.message_id)
    assert [(one.provider_name, one.outcome) for one in kept.attempts] == [("first", Outcome.ERROR)]
    assert harness.noted.events == [("state", "sending"), ("attempt", "error"), ("state", "queued")]
    harness.clock.advance(1.0)
    await harness.noted.reached(answered.message_id, SENT)
    kept = await harness.kept(answered.message_id)
    assert [one.provider_name for one in kept.attempts] == ["first", "first", "second"]
    assert second.keys == [answered.message_id]
    await harness.calm()
    assert harness.left() == []


async def test_what_comes_out_of_a_queue_is_not_sent_before_its_attempt_is_on_disk(
    on_file: SqliteOutbox, disk: Disk
) -> None:
    counted = Paused(on_file, "take")
    gate = gate_of("fake", max_concurrent=1, rate=1e-6, burst=1)
    provider = FakeProvider()
    harness = Harness(counted, registry=registry_of(provider, gates={"fake": gate}))
    record = await harness.send(build.command(send_time=START + 1_000_000))
    await harness.calm()
    away = asyncio.Event()
    on_file.on_availability(lambda available: None if available else away.set())
    disk.fill()
    counted.counts["take"] = 0
    harness.clock.advance(1.0)
    await within(away.wait())
    await harness.calm()
    assert counted.counts["take"] <= 2, "it does not look again and again"
    assert provider.keys == []
    assert await harness.kept(record.message_id) == record
    assert harness.left() == []
    assert gate.obstacle(harness.clock.monotonic()) is None, "its token is back as well"
    disk.free()
    await harness.noted.reached(record.message_id, SENT)
    assert provider.keys == [record.message_id]


async def test_what_expires_while_the_store_is_away_expires_when_it_is_back(on_file: SqliteOutbox, disk: Disk) -> None:
    gate = gate_of("fake")
    gate.breaker.force_open(0.0)
    harness = Harness(on_file, registry=registry_of(FakeProvider(), gates={"fake": gate}))
    await harness.boot()
    record = await harness.send(build.command(expire_time=START + 1_000_000))
    away = asyncio.Event()
    on_file.on_availability(lambda available: None if available else away.set())
    disk.fill()
    harness.clock.advance(1.0)
    await within(away.wait())
    await harness.calm()
    assert (await harness.kept(record.message_id)).state is QUEUED
    disk.free()
    await on_file.wait_available()
    await harness.calm()
    harness.clock.advance(AFTER_A_FAULT)
    await harness.noted.reached(record.message_id, MessageState.EXPIRED)


async def test_a_boot_on_a_store_that_cannot_commit_is_refused(on_file: SqliteOutbox, disk: Disk) -> None:
    await on_file.accept(build.new_message())
    harness = Harness(on_file, provider=FakeProvider("sms-mms"))
    disk.fill()
    with pytest.raises(StoreUnavailable):
        await harness.boot()
    assert harness.provider.keys == []


async def test_a_provider_that_lets_go_only_once_the_store_is_closed_does_not_stop_the_server_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome cannot be kept any more: the attempt is still open for the next boot to find."""
    monkeypatch.setattr(tasks, "CANCEL_GRACE", 0.01)
    closed = asyncio.Event()

    async def stubborn(_: str) -> None:
        while not closed.is_set():
            with suppress(asyncio.CancelledError):
                await closed.wait()

    outbox = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    harness = Harness(outbox, provider=FakeProvider("fake", meanwhile=stubborn))
    call = harness.start(build.command(wait_for=WaitFor.ACCEPTANCE))
    record = await call
    await harness.provider.calls()
    assert await harness.drain(0.0) == 1
    await outbox.close()
    closed.set()
    for _ in range(10):
        await asyncio.sleep(0)
    again = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    assert await again.get(record.message_id, DEFAULT_TENANT) == record
    await again.close()


class Unsure:
    """An outbox that keeps what it is told to, but says for some of it that it could not."""

    def __init__(self, inner: SqliteOutbox, *, unsure_of: MessageState, unread: bool = False) -> None:
        self._inner = inner
        self._unsure_of: MessageState | None = unsure_of
        self._unread = unread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def advance(self, before: MessageRecord, after: MessageRecord, *tried: Any, **reported: Any) -> bool:
        kept = await self._inner.advance(before, after, *tried, **reported)
        if after.state is self._unsure_of:
            self._unsure_of = None
            raise StoreUnavailable
        return kept

    async def take(self, *arguments: Any) -> Sequence[TakenMessage]:
        taken = await self._inner.take(*arguments)
        if taken and self._unread:
            self._unread = False
            return [replace(one, content=None) for one in taken]
        return taken


async def test_an_outcome_that_was_kept_after_all_is_not_lost_when_it_is_tried_again(outbox: SqliteOutbox) -> None:
    harness = Harness(Unsure(outbox, unsure_of=SENT))
    record = await harness.send()
    await harness.noted.reached(record.message_id, SENT)
    kept = await harness.kept(record.message_id)
    assert (kept.state, len(kept.attempts), len(harness.provider.keys)) == (SENT, 1, 1)
    await harness.calm()
    assert harness.left() == []
    assert harness.delivery.queue_depths["sms"] == 0


async def test_an_attempt_that_was_opened_after_all_and_never_made_is_taken_back(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answers=[ERROR]), FakeProvider("second")
    harness = Harness(Unsure(outbox, unsure_of=SENDING), registry=registry_of(first, second))
    record = await harness.send()
    await harness.noted.reached(record.message_id, QUEUED)
    kept = await harness.kept(record.message_id)
    assert [one.outcome for one in kept.attempts] == [Outcome.ERROR]
    assert second.keys == []
    harness.clock.advance(2.0)
    await harness.noted.reached(record.message_id, SENT)
    await harness.calm()
    assert harness.left() == []


class Losing:
    """An outbox whose first take is lost, of which it does not know; what takes it back waits for `is_free`."""

    def __init__(self, inner: SqliteOutbox) -> None:
        self._inner = inner
        self._loses = True
        self.comes_back, self.is_free = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def take(
        self, key: Any, due: int, limits: Any, decide: Callable[[QueuedMessage], MessageRecord | None], ahead: int = 0
    ) -> Sequence[TakenMessage]:
        if not self._loses:
            return await self._inner.take(key, due, limits, decide, ahead)

        def decide_in_vain(queued: QueuedMessage) -> None:
            self._loses = False
            decide(queued)

        found = await self._inner.take(key, due, limits, decide_in_vain, ahead)
        if not self._loses:
            raise StoreUnavailable
        return found

    async def advance(self, before: MessageRecord, after: MessageRecord, *tried: Any, **reported: Any) -> bool:
        if before.state is SENDING and after.state is QUEUED:
            self.comes_back.set()
            await self.is_free.wait()
        return await self._inner.advance(before, after, *tried, **reported)


async def test_nothing_is_opened_that_would_pass_for_what_is_still_to_be_taken_back(outbox: SqliteOutbox) -> None:
    losing = Losing(outbox)
    harness = Harness(losing)
    record = await harness.send(build.command(send_time=START + 1_000_000))
    harness.clock.advance(1.0)
    await within(losing.comes_back.wait())
    harness.clock.advance(AFTER_A_FAULT)
    await harness.calm()
    assert harness.provider.keys == []
    losing.is_free.set()
    await harness.noted.reached(record.message_id, SENT)
    kept = await harness.kept(record.message_id)
    assert (kept.state, len(kept.attempts), len(harness.provider.keys)) == (SENT, 1, 1)
    await harness.calm()
    assert harness.left() == []


async def test_a_message_whose_content_cannot_be_read_goes_back_to_its_queue(outbox: SqliteOutbox) -> None:
    harness = Harness(Unsure(outbox, unsure_of=QUEUED, unread=True))
    record = await harness.send(build.command(send_time=START + 1_000_000))
    harness.clock.advance(1.0)
    await harness.noted.reached(record.message_id, SENDING)
    await harness.noted.reached(record.message_id, QUEUED)
    kept = await harness.kept(record.message_id)
    assert (kept.attempts, harness.provider.keys) == ((), [])
    harness.clock.advance(2.0)
    await harness.noted.reached(record.message_id, SENT)
    await harness.calm()
    assert harness.left() == []


async def test_what_is_taken_as_the_grace_ends_waits_as_if_it_had_not_been(tmp_path: Path) -> None:
    """The disk hangs in the middle of a drain: what was opened is kept in the end, and nobody is left to make it."""
    path = str(tmp_path / "postwire.db")
    outbox = await SqliteOutbox.open(path)
    harness = Harness(outbox)
    records = [await harness.send(build.command(send_time=START + 1_000_000, priority=one)) for one in Priority]
    hangs, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hang(connection: object) -> None:
        loop.call_soon_threadsafe(hangs.set)
        assert goes_on.wait(PATIENCE)

    hanging = outbox._writer.run_between(hang)
    await within(hangs.wait())
    harness.clock.advance(1.0)
    (entry,) = harness.registry
    async with asyncio.timeout(PATIENCE):
        while not entry.gate.in_flight:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    assert await harness.drain(0.0) == 0, "a commit is not let go of"
    closing = asyncio.create_task(harness.delivery.close())
    await asyncio.sleep(0)
    assert not closing.done()
    goes_on.set()
    await within(hanging)
    await within(closing)
    assert harness.provider.keys == []
    assert harness.left() == []
    await outbox.close()

    outbox = await SqliteOutbox.open(path)
    assert await outbox.orphans(9) == []
    after = Harness(outbox, clock=harness.clock)
    await after.boot()
    for record in records:
        await after.noted.reached(record.message_id, SENT)
        assert [one.number for one in (await after.kept(record.message_id)).attempts] == [1]
    await after.completed()
    await outbox.close()


@pytest.mark.parametrize("answer", [DispatchResult(Outcome.SUCCESS), ERROR])
async def test_what_comes_of_an_attempt_that_others_have_taken_over_changes_nothing_and_is_reported(
    outbox: SqliteOutbox, answer: DispatchResult
) -> None:
    """A node that stood still for longer than its lease goes on: another has closed what it had open."""
    harness = Harness(outbox, provider=FakeProvider(held=True, answer=answer))
    command = build.command(request_id="r", wait_for=WaitFor.ACCEPTANCE)
    sending = await harness.send(command)
    await harness.provider.calls()
    taken_over = build.ended(sending, DispatchResult(Outcome.UNCERTAIN))
    assert await outbox.advance(sending, taken_over)
    harness.provider.release()
    await harness.completed()
    assert await harness.kept(sending.message_id) == taken_over
    ended = ("attempt", answer.outcome.value)
    assert harness.noted.events[-2:] == [ended, ("result refused", answer.outcome.value)]

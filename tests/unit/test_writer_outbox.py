"""What becomes of an outbox on a file when its writing thread cannot commit, on a disk on which files cannot grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import build
from tests.support.disk import Disk
from tests.support.outboxes import failed_over

from postwire.core.errors import StoreUnavailable
from postwire.core.message import DEFAULT_TENANT, MessageRecord
from postwire.outbox.base import Accepted, Changes, NewMessage
from postwire.outbox.sqlite import SqliteOutbox
from postwire.outbox.sqlite import writer as writer_module


@pytest.fixture(autouse=True)
def _probe_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "PROBE_INTERVAL", 0.005)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    yield opened
    await opened.close()


@pytest.fixture
def disk(outbox: SqliteOutbox, tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "postwire.db")
    yield made
    made.free()


def new_message() -> NewMessage:
    return build.new_message(build.command(request_id=build.new_request_id()))


async def settle(*writes: Any) -> list[Any]:
    return await asyncio.gather(*writes, return_exceptions=True)


async def test_a_commit_that_fails_makes_every_write_of_it_unknown(outbox: SqliteOutbox, disk: Disk) -> None:
    old = new_message()
    await outbox.accept(old)
    heard: list[bool] = []
    outbox.on_availability(heard.append)
    disk.fill()
    new = [new_message() for _ in range(50)]
    verdicts = await settle(
        *(outbox.accept(one) for one in new),
        outbox.advance(old.record, build.ended(old.record)),
        outbox.keep_metadata("name", "value"),
    )
    assert [type(one) for one in verdicts] == [StoreUnavailable] * 52
    assert not outbox.available
    assert heard == [False]


async def test_while_the_store_is_away_writes_are_refused_at_once_and_reads_go_on(
    outbox: SqliteOutbox, disk: Disk
) -> None:
    old = new_message()
    await outbox.accept(old)
    disk.fill()
    await settle(outbox.accept(new_message()))
    refused = asyncio.ensure_future(outbox.accept(new_message()))
    assert refused.done(), "without waiting for the disk to fail again"
    assert isinstance(refused.exception(), StoreUnavailable)
    assert await outbox.get(old.record.message_id, DEFAULT_TENANT) == old.record
    assert await outbox.find_by_request_id(old.record.request_id, DEFAULT_TENANT, old.payload_hash) == old.record


async def test_once_the_store_can_commit_again_it_says_so_and_nothing_is_half_written(
    outbox: SqliteOutbox, disk: Disk
) -> None:
    heard: list[bool] = []
    outbox.on_availability(heard.append)
    new = [new_message() for _ in range(20)]
    disk.fill()
    await settle(*(outbox.accept(one) for one in new))
    disk.free()
    await outbox.wait_available()
    assert outbox.available
    assert heard == [False, True]
    for one in new:
        assert await outbox.get(one.record.message_id, DEFAULT_TENANT) is None
        assert await outbox.content(one.record.message_id, DEFAULT_TENANT) is None
    # The same calls again, as callers are told to do.
    assert await settle(*(outbox.accept(one) for one in new)) == [Accepted(one.record, created=True) for one in new]
    assert [await outbox.content(one.record.message_id, DEFAULT_TENANT) for one in new] == [one.content for one in new]


@pytest.mark.parametrize("change", [build.ended, failed_over])
async def test_a_change_that_could_not_be_kept_leaves_nothing_and_can_be_kept_afterwards(
    outbox: SqliteOutbox, disk: Disk, change: Callable[[MessageRecord], MessageRecord]
) -> None:
    new = new_message()
    await outbox.accept(new)
    after = change(new.record)
    disk.fill()
    with pytest.raises(StoreUnavailable):
        await outbox.advance(new.record, after)
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
    disk.free()
    await outbox.wait_available()
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
    assert await outbox.advance(new.record, after)
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == after


async def test_a_change_that_could_not_be_kept_is_told_to_nobody_who_watches(outbox: SqliteOutbox, disk: Disk) -> None:
    await outbox.accept(new_message())
    disk.fill()
    await settle(outbox.accept(new_message()))
    watching = asyncio.ensure_future(outbox.wait_changes((1,)))
    disk.free()
    await outbox.wait_available()
    await outbox.keep_metadata("name", "value")
    assert await outbox.last_position() == (1,)
    assert not watching.done()
    kept = new_message()
    await outbox.accept(kept)
    await watching
    assert await outbox.changes((1,), 9, DEFAULT_TENANT) == Changes((((2,), kept.record),), (2,))


async def test_a_store_that_fails_again_and_again_recovers_each_time(outbox: SqliteOutbox, disk: Disk) -> None:
    heard: list[bool] = []
    outbox.on_availability(heard.append)
    kept = []
    for _ in range(5):
        disk.fill()
        with pytest.raises(StoreUnavailable):
            await outbox.accept(new_message())
        disk.free()
        await outbox.wait_available()
        kept.append(new_message())
        assert (await outbox.accept(kept[-1])).created
    assert heard == [False, True] * 5
    assert [await outbox.get(one.record.message_id, DEFAULT_TENANT) for one in kept] == [one.record for one in kept]


async def test_what_was_refused_is_not_there_after_a_restart_either(tmp_path: Path) -> None:
    path = tmp_path / "postwire.db"
    lost, kept = new_message(), new_message()
    first = await SqliteOutbox.open(str(path))
    made = Disk(path)
    made.fill()
    await settle(first.accept(lost))
    made.free()
    await first.wait_available()
    await first.accept(kept)
    await first.close()
    again = await SqliteOutbox.open(str(path))
    assert await again.get(lost.record.message_id, DEFAULT_TENANT) is None, "the marker's commit has written over it"
    assert await again.get(kept.record.message_id, DEFAULT_TENANT) == kept.record
    await again.close()


async def test_a_store_can_be_closed_while_it_cannot_commit(tmp_path: Path) -> None:
    opened = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    made = Disk(tmp_path / "postwire.db")
    made.fill()
    try:
        writes = [asyncio.ensure_future(opened.accept(new_message())) for _ in range(3)]
        await opened.close()
    finally:
        made.free()
    assert all(isinstance(write.exception(), StoreUnavailable) for write in writes)

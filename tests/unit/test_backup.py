"""Copying a store file: the copy is whole, whoever writes meanwhile, and where it cannot be made nothing is left."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.disk import Disk
from tests.support.store_files import boot, database, fill, left_in, refused
from tests.support.streams import accept_frame, commands
from tests.support.waiting import PATIENCE, within

from postwire.core.message import DEFAULT_TENANT, MessageRecord, WaitFor
from postwire.outbox.sqlite import SqliteOutbox, maintenance
from postwire.outbox.sqlite.maintenance import backup, check


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "postwire.db"
    await fill(path)
    return path


def test_a_copy_is_a_store_with_all_that_is_in_the_other(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    seen: list[tuple[int, int]] = []
    size = backup(path, target, lambda done, total: seen.append((done, total)))
    assert size == target.stat().st_size == path.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    assert left_in(tmp_path) == {"copy.db"}, "and nothing beside it"
    assert seen[-1] == (size // 4096, size // 4096)
    with database(target) as connection:
        assert connection.pragma("journal_mode") == "delete"
    before, after = check(path), check(target)
    assert after == before
    theirs, ours = rows_of(target), rows_of(path)
    facts = {row[0] for row in ours.pop("facts")}
    assert {row[0] for row in theirs.pop("facts")} == facts - {"boot_id"} | {"copied"}
    assert theirs == ours


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with database(path) as connection:
        names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: list(connection.execute(f"SELECT * FROM {name}")) for name in names}


async def test_a_copy_can_be_served(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    backup(path, target)
    outbox = await SqliteOutbox.open(str(target))
    harness = boot(outbox, 4)
    await harness.boot()
    assert (await outbox.stats()).unsettled == 3
    await harness.drain(0.0)
    await outbox.close()
    assert check(target).faults == ()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_may_read_a_copy(path: Path, tmp_path: Path, umask: int) -> None:
    seen: list[int] = []
    before = os.umask(umask)
    try:
        target = tmp_path / "copy.db"
        backup(path, target, lambda *_: seen.append((tmp_path / "copy.db.partial").stat().st_mode & 0o777))
    finally:
        os.umask(before)
    assert {*seen, target.stat().st_mode & 0o777} == {0o600}


async def test_a_copy_made_while_messages_arrive_is_whole_and_has_all_that_was_acknowledged_before(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "PAGES_AT_ONCE", 3)
    outbox = await SqliteOutbox.open(str(path))
    harness = boot(outbox, 5)
    acknowledged: list[MessageRecord] = []
    steps: list[int] = []
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def write() -> None:
        while True:
            caller = await accept_frame(harness, commands(5, wait_for=WaitFor.OUTCOME))
            await caller.until(5)
            acknowledged.extend(caller.records)
            arrived.set()

    def progress(done: int, total: int) -> None:
        steps.append(len(acknowledged))
        asyncio.run_coroutine_threadsafe(more_than(len(acknowledged)), loop).result(PATIENCE)

    async def more_than(count: int) -> None:
        while len(acknowledged) <= count:
            arrived.clear()
            await arrived.wait()

    writing = asyncio.create_task(write())
    await within(more_than(20))
    before = list(acknowledged)
    target = tmp_path / "copy.db"
    await within(asyncio.to_thread(backup, path, target, progress))
    writing.cancel()
    await asyncio.wait([writing])
    assert steps == sorted(set(steps)), "messages arrived between any two steps"
    assert len(steps) > 5
    assert len(acknowledged) > len(before)

    assert check(target).faults == ()
    copy = await SqliteOutbox.open(str(target))
    for record in before:
        assert await copy.get(record.message_id, DEFAULT_TENANT) == record
    await copy.close()
    await harness.completed()
    assert (await outbox.stats()).unsettled == 3
    await outbox.close()
    assert check(path).faults == ()
    assert check(path).messages["sent"] > check(target).messages["sent"]


async def test_a_copy_holds_up_nobody_who_writes(path: Path, tmp_path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    harness = boot(outbox, 6)
    loop = asyncio.get_running_loop()
    records: list[MessageRecord] = []

    def progress(done: int, total: int) -> None:
        records.append(asyncio.run_coroutine_threadsafe(harness.send(), loop).result(PATIENCE))

    await within(asyncio.to_thread(backup, path, tmp_path / "copy.db", progress))
    assert records
    assert await harness.kept(records[0].message_id) == records[0]
    await harness.completed()
    await outbox.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_target_that_is_there_is_left_alone(path: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "copy.db"
    if kind == "folder":
        target.mkdir()
    elif kind == "file":
        target.write_bytes(b"a letter")
    else:
        (tmp_path / "real").write_bytes(b"a letter")
        target.symlink_to(tmp_path / "real")
    assert refused(lambda: backup(path, target)) == f"{target}: is there already, give the path of a new file"
    if kind != "folder":
        assert target.read_bytes() == b"a letter"


def test_the_store_itself_is_no_target(path: Path) -> None:
    before = path.read_bytes()
    assert "is there already" in refused(lambda: backup(path, path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["missing/copy.db", "file/copy.db"])
def test_a_target_that_cannot_be_made_is_told(path: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / place
    assert refused(lambda: backup(path, target)).startswith(f"{target}: cannot be written: ")


def test_a_disk_that_is_full_is_told_and_nothing_is_left(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    most = 40_000  # bytes: more than reading takes, which has a file of its own
    assert path.stat().st_size > most
    (tmp_path / "postwire.db-largest-wal").write_bytes(bytes(most))
    disk = Disk(tmp_path / "postwire.db-largest")
    disk.fill()
    try:
        line = refused(lambda: backup(path, target))
    finally:
        disk.free()
    assert line.startswith(f"{target}: cannot be written: ")
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_copy_that_is_broken_off_leaves_nothing_and_can_be_made_again(
    path: Path, tmp_path: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "PAGES_AT_ONCE", 2)
    target = tmp_path / "copy.db"

    def break_off(done: int, total: int) -> None:
        if done >= 4:
            assert (tmp_path / "copy.db.partial").exists()
            raise error

    with pytest.raises(error):
        backup(path, target, break_off)
    assert left_in(tmp_path) == set()
    backup(path, target)
    assert check(target).faults == ()


def test_what_a_copy_that_was_killed_has_left_is_in_nobodys_way(path: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db.partial").write_bytes(b"half a store")
    (tmp_path / "copy.db.partial").chmod(0o644)
    target = tmp_path / "copy.db"
    backup(path, target)
    assert left_in(tmp_path) == {"copy.db"}
    assert target.stat().st_mode & 0o777 == 0o600
    assert check(target).faults == ()

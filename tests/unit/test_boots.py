"""A log that is not a store's own, and a store that is not from here: told at boot, before anything is changed."""

# ruff: noqa: ASYNC240  # a test may block its own loop

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import pytest
from tests.support import build
from tests.support.killed import crash
from tests.support.store_files import boot, change, database
from tests.unit.test_restore import database_metadata, files_in, opening, records_of

from postwire.outbox.sqlite import SqliteOutbox, boots
from postwire.outbox.sqlite.files import StoreFiles
from postwire.outbox.sqlite.maintenance import backup, check
from postwire.outbox.sqlite.ownership import Ownership
from postwire.outbox.sqlite.restore import restore
from postwire.outbox.sqlite.schema import truncate_log


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "postwire.db"
    await served(path, "first")
    return path


async def served(path: Path, request_id: str) -> None:
    """A boot that takes one message, and ends in order."""
    outbox = await SqliteOutbox.open(str(path))
    await outbox.accept(build.new_message(build.command(request_id=request_id)))
    await outbox.close()


async def name_of(path: Path) -> str:
    outbox = await SqliteOutbox.open(str(path))
    try:
        return await outbox.metadata("store") or ""
    finally:
        await outbox.close()


# A copy beside the log of the store that crashed.


def by_our_backup(path: Path, copy: Path) -> None:
    backup(path, copy)


def by_cp(path: Path, copy: Path) -> None:
    shutil.copy(path, copy)


@pytest.mark.parametrize("made", [by_our_backup, by_cp])
@pytest.mark.parametrize("from_the_copy", [True, False])
async def test_a_copy_beside_another_log_is_refused_with_the_command_that_helps(
    path: Path, made: Callable[[Path, Path], None], from_the_copy: bool
) -> None:
    made(path, copy := path.with_name("copy.db"))
    await served(path, "second")
    crash(path)
    shutil.copy(copy, path)  # what an operator does in a hurry
    before = files_in(path.parent)
    line = await opening(path)
    assert line.startswith(
        f"store.path: {path} is a copy, and postwire.db-wal beside it is the log of the store before"
    )
    assert f"`postwire store restore {path} --store {path}`" in line
    assert files_in(path.parent) == before, "nothing was changed"
    await restore(path, copy if from_the_copy else path, now=1)
    assert (await records_of(path)).keys() == {"first"}
    assert check(path).faults == ()


async def test_a_store_that_crashed_goes_on_with_its_own_log(path: Path) -> None:
    for _ in range(3):
        crash(path)
        StoreFiles(path).index.unlink()
        assert {"first", "crashed"} <= (await records_of(path)).keys()
        change(path, "UPDATE messages SET request_id = hex(randomblob(8)) WHERE request_id = 'crashed'")


async def test_an_empty_file_beside_a_log_is_refused(path: Path) -> None:
    crash(path)
    path.unlink()
    for _ in range(2):  # by the first of which SQLite would have deleted the log
        assert "is empty, and postwire.db-wal beside it is not" in await opening(path)
    assert StoreFiles(path).log.stat().st_size > 0


async def test_without_ids_in_the_lock_file_a_log_is_taken_as_it_is(path: Path) -> None:
    """As one that an earlier release has left, or where somebody has deleted the lock file."""
    crash(path)
    StoreFiles(path).lock.unlink()
    assert {"first", "crashed"} <= (await records_of(path)).keys()


async def test_a_boot_that_ends_at_any_point_leaves_a_store_that_the_next_one_takes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids are in the lock's file before they are in the store, whichever part of the log has reached it."""
    images: list[Path] = []

    def keep_image() -> None:
        (image := tmp_path / f"image-{len(images)}").mkdir()
        for one in path.parent.glob("postwire.db*"):
            shutil.copy(one, image)
        images.append(image / "postwire.db")

    class Watched(Ownership):
        def keep_boot_ids(self, boot_ids: Sequence[str]) -> None:
            keep_image()
            super().keep_boot_ids(boot_ids)
            keep_image()

    monkeypatch.setattr("postwire.outbox.sqlite.opening.Ownership", Watched)
    for is_blocked in (False, True, True, False):  # a reader keeps the log from being folded into the file
        monkeypatch.setattr(boots, "truncate_log", (lambda _: False) if is_blocked else truncate_log)
        outbox = await SqliteOutbox.open(str(path))
        await outbox.accept(build.new_message())
        keep_image()
        outbox._writing.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        await outbox.accept(build.new_message())
        keep_image()
        await outbox.close()
        keep_image()
    monkeypatch.undo()
    assert len(images) > 20
    for image in images:
        assert "first" in await records_of(image)
        assert check(image).faults == ()


# Where it is from.


async def test_a_store_keeps_its_name_from_boot_to_boot(path: Path) -> None:
    name = await name_of(path)
    crash(path)
    assert [await name_of(path) for _ in range(2)] == [name] * 2


async def test_a_store_of_an_earlier_release_keeps_its_name(path: Path) -> None:
    name = await name_of(path)
    change(path, "DELETE FROM facts WHERE name = 'boot_id'")
    StoreFiles(path).lock.unlink()
    assert await name_of(path) == name


@pytest.mark.parametrize("made", [by_our_backup, by_cp])
async def test_a_copy_that_is_put_in_its_place_is_named_anew(path: Path, made: Callable[[Path, Path], None]) -> None:
    made(path, copy := path.with_name("copy.db"))
    name = await name_of(path)
    shutil.copy(copy, path)
    another = await name_of(path)
    assert another != name
    assert await name_of(path) == another


async def test_a_copy_that_is_served_elsewhere_is_another_store(path: Path) -> None:
    backup(path, copy := path.with_name("copy.db"))
    assert await name_of(copy) != await name_of(path)


async def test_a_copy_made_in_this_boot_is_named_anew_as_well(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    harness = boot(outbox, 2)
    await harness.send()
    backup(path, copy := path.with_name("copy.db"))
    await harness.send()
    await outbox.close()
    name = database_metadata(path, "store")
    shutil.copy(copy, path)
    assert await name_of(path) != name


# Damage.


def spoil(path: Path) -> None:
    """Have garbage in place of a table, as a disk may."""
    with database(path) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'").fetchall()
    with path.open("r+b") as file:
        file.seek((int(str(root)) - 1) * 4096)
        file.write(os.urandom(4096))


async def test_damage_after_a_crash_is_found_at_boot(path: Path) -> None:
    crash(path)
    # Into the file, with the log kept: as it is while a checkpoint is under way.
    with database(path) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.execute("UPDATE marker SET value = value + 1")
    spoil(path)
    line = await opening(path)
    assert line.startswith(f"store.path: {path} is damaged (")
    assert "`postwire store restore`" in line


async def test_a_store_too_large_to_be_looked_through_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots, "_WHOLE", 10_000)
    outbox = await SqliteOutbox.open(str(path))
    assert outbox.warnings == []
    await outbox.close()
    crash(path)
    outbox = await SqliteOutbox.open(str(path))
    (warning,) = outbox.warnings
    assert "was not closed in order" in warning
    assert "`postwire store check`" in warning
    await outbox.close()

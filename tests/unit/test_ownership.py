"""Who owns a store: one process, by whatever name; and it knows when the file is not at its path any more."""

# a test may block its own loop

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support import build
from tests.support.owner import owned_elsewhere
from tests.support.store_files import refused
from tests.support.waiting import within

from postwire.core.errors import StoreUnavailable
from postwire.core.message import DEFAULT_TENANT
from postwire.outbox.base import OutboxError
from postwire.outbox.sqlite import SqliteOutbox, writer
from postwire.outbox.sqlite.ownership import Ownership


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "postwire.db"


@pytest.fixture
async def outbox(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteOutbox]:
    monkeypatch.setattr(writer, "CHECK_INTERVAL", 0.01)
    opened = await SqliteOutbox.open(str(path))
    yield opened
    await opened.close()


@contextmanager
def another_process(program: str, *arguments: str) -> Iterator[None]:
    """Runs a program for as long as its standard input is open, once it has said that it is ready."""
    process = subprocess.Popen(
        (sys.executable, "-c", program, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.communicate()


# Whoever else wants the store.


def by_its_path(path: Path) -> Path:
    return path


def by_a_symbolic_link(path: Path) -> Path:
    (alias := path.with_name("alias.db")).symlink_to(path)
    return alias


def without_its_lock_file(path: Path) -> Path:
    path.with_name("postwire.db.lock").unlink()
    return path


def under_another_name(path: Path) -> Path:
    return path.rename(path.with_name("other.db"))


@pytest.mark.parametrize("way", [by_its_path, by_a_symbolic_link, without_its_lock_file, under_another_name])
def test_a_second_process_is_refused(path: Path, way: Callable[[Path], Path]) -> None:
    with owned_elsewhere(path):
        name = way(path)
        assert refused(lambda: Ownership(name)) == f"store.path: {name} is in use by another postwire process"
        assert refused(lambda: Ownership(name)), "and again: the refusal has let go of nothing"
    Ownership(name).release()


@pytest.mark.parametrize("is_served", [True, False])
def test_a_second_link_is_refused_by_either_name(path: Path, is_served: bool) -> None:
    with owned_elsewhere(path):
        os.link(path, link := path.with_name("link.db"))
        if is_served:
            assert "has a second name (a hard link)" in refused(lambda: Ownership(link))
    assert refused(lambda: Ownership(link)).startswith(f"store.path: {link} has a second name (a hard link)")
    assert refused(lambda: Ownership(path)).startswith(f"store.path: {path} has a second name (a hard link)")
    link.unlink()
    Ownership(path).release()


def test_where_locks_get_in_each_others_way_the_lock_file_alone_keeps_others_out_with_a_warning(path: Path) -> None:
    """As on NFS or macOS, where a lock of fcntl(2) and one of flock(2) exclude each other."""
    path.with_name("postwire.db.lock").touch()
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    with another_process(program, f"{path}.lock"):
        ownership = Ownership(path)
        (warning,) = ownership.warnings
        assert "only its .lock file keeps a second process out" in warning
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is not held
        assert "in use" in refused(lambda: Ownership(path))
        ownership.release()


async def test_sqlites_own_locks_stay_while_it_is_open(outbox: SqliteOutbox, path: Path) -> None:
    """Closing any descriptor of the file would give them back, and another process could change it."""
    await outbox.accept(build.new_message())
    writing = outbox._writing
    writing.execute("BEGIN IMMEDIATE")
    program = (
        "import apsw, sys; c = apsw.Connection(sys.argv[1]); c.pragma('journal_mode', 'delete');"
        "print(c.pragma('journal_mode'))"
    )
    found = await asyncio.to_thread(
        subprocess.run, (sys.executable, "-c", program, str(path)), capture_output=True, text=True
    )
    assert "BusyError" in found.stderr, found
    writing.execute("ROLLBACK")
    assert (await outbox.accept(build.new_message())).created


# Who else may read it.


@pytest.mark.parametrize("umask", [0o000, 0o022])
async def test_nobody_else_may_read_the_store_or_what_is_beside_it(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        outbox = await SqliteOutbox.open(str(path))
        await outbox.accept(build.new_message())
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("postwire.db", "postwire.db-wal", "postwire.db-shm", "postwire.db.lock"), 0o600)
    await outbox.close()


async def test_what_an_earlier_release_has_left_readable_is_closed_to_others(path: Path) -> None:
    copy = path.with_name("copy")
    copy.mkdir()
    outbox = await SqliteOutbox.open(str(path))
    await outbox.accept(build.new_message())
    for one in path.parent.glob("postwire.db*"):  # as a crash would leave them
        shutil.copy(one, copy)
        (copy / one.name).chmod(0o644)
    await outbox.close()
    outbox = await SqliteOutbox.open(str(copy / "postwire.db"))
    assert not outbox.warnings
    assert {one.name: one.stat().st_mode & 0o777 for one in copy.iterdir() if "lock" not in one.name} == dict.fromkeys(
        ("postwire.db", "postwire.db-wal", "postwire.db-shm"), 0o600
    )
    await outbox.close()


# A file that is not at its path any more.


def removed(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)


def without_its_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name(f"{path.parent.name}-elsewhere"))


GONE = pytest.mark.parametrize("how", [removed, moved, replaced, without_its_folder])


@GONE
async def test_a_store_that_is_gone_is_noticed_though_nobody_writes(
    outbox: SqliteOutbox, path: Path, how: Callable[[Path], None]
) -> None:
    new = build.new_message()
    await outbox.accept(new)
    reported: list[object] = []
    is_gone = asyncio.Event()
    outbox.on_availability(reported.append)
    outbox.on_gone(is_gone.set)
    how(path)
    await within(is_gone.wait())
    assert (reported, outbox.available) == ([False], False)
    for call in (
        outbox.accept(build.new_message()),
        outbox.advance(new.record, build.ended(new.record)),
        outbox.get(new.record.message_id, DEFAULT_TENANT),
        outbox.stats(),
    ):
        with pytest.raises(StoreUnavailable):
            await call


@GONE
async def test_no_write_is_acknowledged_into_a_store_that_is_gone(
    outbox: SqliteOutbox, path: Path, how: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECK_INTERVAL", 3600.0)
    await outbox.accept(build.new_message())
    how(path)
    with pytest.raises(StoreUnavailable):
        await outbox.accept(build.new_message())
    assert not outbox.available


async def test_a_store_that_is_gone_does_not_come_back_by_itself(outbox: SqliteOutbox, path: Path) -> None:
    gone: list[None] = []
    outbox.on_gone(lambda: gone.append(None))
    moved(path)
    with pytest.raises(StoreUnavailable):
        await outbox.accept(build.new_message())
    path.with_name("elsewhere.db").rename(path)
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.1):  # many times as long as a look or a probe takes to come round
            await outbox.wait_available()
    assert len(gone) == 1


@GONE
async def test_closing_a_store_that_is_gone_leaves_alone_what_is_there_now(
    path: Path, how: Callable[[Path], None]
) -> None:
    outbox = await SqliteOutbox.open(str(path))
    await outbox.accept(build.new_message())
    how(path)
    path.parent.mkdir(exist_ok=True)
    log = path.with_name("postwire.db-wal")
    log.write_bytes(b"another's")
    await outbox.close()
    assert log.read_bytes() == b"another's"


async def test_a_file_that_is_replaced_while_it_is_opened_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await SqliteOutbox.open(str(path))).close()
    monkeypatch.setattr("postwire.outbox.sqlite.opening.migrate", lambda *_: replaced(path))
    with pytest.raises(OutboxError, match="moved or replaced while it was being opened"):
        await SqliteOutbox.open(str(path))
    monkeypatch.undo()
    outbox = await SqliteOutbox.open(str(path))
    await outbox.close()

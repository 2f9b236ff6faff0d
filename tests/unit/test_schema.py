"""Opening a store file: whose it is, which version it has, who else holds it, and one line where it cannot be had."""

# ruff: noqa: ASYNC220, ASYNC240  # a test may block its own loop

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from tests.support import build
from tests.support.outboxes import failed_over

from postwire.core.message import DEFAULT_TENANT
from postwire.outbox.base import Accepted, OutboxError
from postwire.outbox.sqlite import SqliteOutbox, schema
from postwire.outbox.sqlite.ownership import FileLock
from postwire.outbox.sqlite.rows import id_bytes


@pytest.fixture(autouse=True, scope="module")
def new_stores() -> None:
    """Made by the migrations."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "postwire.db"


async def refused(path: Path) -> str:
    """What opening says, which is one line for a terminal."""
    with pytest.raises(OutboxError) as caught:
        await SqliteOutbox.open(str(path))
    line = str(caught.value)
    assert line.startswith("store.path: ")
    assert line.isprintable(), "one line, and no control characters"
    assert str(path) in line
    return line


@contextmanager
def database(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        yield connection
    finally:
        connection.close()


def version_of(path: Path) -> int:
    with database(path) as connection:
        return int(connection.pragma("user_version"))


async def kept_in(path: Path) -> str:
    """A store with one message, closed again; returns the message's id."""
    outbox = await SqliteOutbox.open(str(path))
    new = build.new_message(build.command(request_id="r"))
    await outbox.accept(new)
    await outbox.close()
    return new.record.message_id


async def has(path: Path, message_id: str) -> bool:
    outbox = await SqliteOutbox.open(str(path))
    try:
        return await outbox.get(message_id, DEFAULT_TENANT) is not None
    finally:
        await outbox.close()


# Making and reopening.


async def test_a_new_store_is_marked_as_ours_and_of_the_newest_version(path: Path) -> None:
    await (await SqliteOutbox.open(str(path))).close()
    assert path.read_bytes()[68:72] == b"post"
    assert version_of(path) == len(schema.migrations()) >= 1


async def test_what_was_kept_is_there_after_reopening_and_the_boot_has_risen(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    sent, open_still = (build.new_message(build.command(request_id=str(i))) for i in range(2))
    await asyncio.gather(outbox.accept(sent), outbox.accept(open_still))
    after = build.ended(sent.record)
    assert await outbox.advance(sent.record, after)
    boots = [outbox.boot]
    for _ in range(2):
        await outbox.close()
        outbox = await SqliteOutbox.open(str(path))
        boots.append(outbox.boot)
        assert await outbox.get(after.message_id, DEFAULT_TENANT) == after
        assert await outbox.get(open_still.record.message_id, DEFAULT_TENANT) == open_still.record
        assert await outbox.content(after.message_id, DEFAULT_TENANT) is None
        assert await outbox.content(open_still.record.message_id, DEFAULT_TENANT) == open_still.content
        assert await outbox.accept(build.repeated(sent)) == Accepted(after, created=False)
    assert boots == [1, 2, 3]
    assert await outbox.advance(open_still.record, build.ended(open_still.record)), "what is open can still be ended"
    assert (await outbox.accept(build.new_message())).created
    await outbox.close()


async def test_an_attempt_carries_the_boot_it_was_opened_in(path: Path) -> None:
    first, second = await kept_in(path), build.new_message()
    outbox = await SqliteOutbox.open(str(path))
    await outbox.accept(second)
    await outbox.advance(second.record, failed_over(second.record))
    await outbox.close()
    with database(path) as connection:
        attempts = connection.execute("SELECT message_id, number, boot FROM attempts").fetchall()
    again = id_bytes(second.record.message_id)
    assert sorted(attempts) == [(id_bytes(first), 1, 1), (again, 1, 2), (again, 2, 2)]


async def test_what_is_let_go_of_leaves_nothing_in_any_table(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    settled, left = build.new_message(), build.new_message()
    await asyncio.gather(outbox.accept(settled), outbox.accept(left))
    failed = failed_over(settled.record)
    sent = build.ended(failed)
    assert await outbox.advance(settled.record, failed)
    assert await outbox.advance(failed, sent)
    assert await outbox.remove_settled((), sent.update_time + 1, 9) is not None
    assert await outbox.remove_changes(1, 9) == 3
    await outbox.close()
    with database(path) as connection:
        for table in ("messages", "attempts", "contents", "changes"):
            ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
            assert count == 1, table


async def test_closing_leaves_one_file_that_can_be_copied(path: Path, tmp_path: Path) -> None:
    message_id = await kept_in(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["postwire.db", "postwire.db.lock"]
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    assert await has(copy, message_id)


async def test_an_empty_file_is_a_store_to_be(path: Path) -> None:
    path.touch()
    assert await has(path, await kept_in(path))


@pytest.mark.parametrize(("sync", "level"), [("full", 2), ("normal", 1)])
def test_a_commit_is_as_durable_as_was_asked(path: Path, sync: str, level: int) -> None:
    connection = schema.connect(str(path), sync=sync)
    assert connection.pragma("synchronous") == level
    assert connection.pragma("journal_mode") == "wal"
    connection.close()


def test_a_connection_for_reading_cannot_write(path: Path) -> None:
    writing = schema.connect(str(path), sync="full")
    schema.migrate(writing, str(path))
    reading = schema.connect(str(path), sync="full", read_only=True)
    with pytest.raises(apsw.ReadOnlyError):
        reading.execute("UPDATE marker SET value = 2")
    reading.close()
    writing.close()


def test_a_migration_that_fails_half_way_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = schema.connect(str(path), sync="full")
    whole = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: [*whole, "CREATE TABLE later (id); CREATE TABLE boots (id)"])
    with pytest.raises(OutboxError, match="already exists"):
        schema.migrate(connection, str(path))
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(0,)]
    assert connection.pragma("user_version") == 0
    monkeypatch.undo()
    schema.migrate(connection, str(path))
    assert connection.pragma("user_version") == len(whole)
    connection.close()


async def test_a_store_of_an_older_version_is_brought_up_and_keeps_what_it_has(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = await kept_in(path)
    newer = [*schema.migrations(), "CREATE TABLE later (id INTEGER PRIMARY KEY) STRICT"]
    monkeypatch.setattr(schema, "migrations", lambda: newer)
    assert await has(path, message_id)
    assert version_of(path) == len(newer)
    monkeypatch.undo()
    assert f"has schema version {len(newer)}, and this postwire knows up to {len(newer) - 1}" in await refused(path)


# Who else holds it.


async def test_a_second_opening_is_refused_until_the_first_has_closed(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    assert await refused(path) == f"store.path: {path} is in use by another postwire process"
    assert (await outbox.accept(build.new_message())).created, "the first goes on as before"
    await outbox.close()
    await (await SqliteOutbox.open(str(path))).close()


HOLDER = """
import asyncio, sys
from postwire.outbox.sqlite import SqliteOutbox

async def main():
    outbox = await SqliteOutbox.open(sys.argv[1])
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def test_a_store_that_another_process_holds_is_refused_until_that_is_killed(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        assert await refused(path) == f"store.path: {path} is in use by another postwire process"
        holder.kill()
        holder.wait()
    outbox = await SqliteOutbox.open(str(path))
    assert outbox.boot == 2
    await outbox.close()


@pytest.mark.parametrize("spoil", ["garbage", "newer", "foreign"])
async def test_a_refused_store_is_not_held(path: Path, spoil: str) -> None:
    """Else an operator who mends the file would have to restart whatever tried to open it."""
    if spoil == "garbage":
        path.write_bytes(b"no database\n" * 1000)
    else:
        with database(path) as connection:
            connection.execute("CREATE TABLE t (id)")
            if spoil == "newer":
                connection.pragma("application_id", schema.APPLICATION_ID)
                connection.pragma("user_version", 999)
    await refused(path)
    path.unlink()
    await (await SqliteOutbox.open(str(path))).close()


# What is not ours.


async def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    await kept_in(path)
    with database(path) as connection:
        connection.pragma("user_version", 999)
    before = path.read_bytes()
    known = len(schema.migrations())
    assert await refused(path) == (
        f"store.path: {path} has schema version 999, and this postwire knows up to {known}: a newer release wrote it"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "owner",
    [
        "CREATE TABLE t (id)",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 42",
        "PRAGMA application_id = 42; CREATE TABLE t (id)",
        "CREATE TABLE messages (key INTEGER PRIMARY KEY)",
    ],
)
async def test_another_programs_database_is_refused_and_left_alone(path: Path, owner: str) -> None:
    with database(path) as connection:
        connection.execute(owner)
    before = path.read_bytes()
    assert await refused(path) == f"store.path: {path} is a database of another program"
    assert path.read_bytes() == before, "not a byte of it, its journal mode included"


@pytest.mark.parametrize("content", [b"no database\n" * 1000, b"not empty", b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "file is not a database" in await refused(path)
    assert path.read_bytes() == content


# What cannot be written.


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "postwire.db"
    assert await refused(path) == f"store.path: cannot write beside {path}: No such file or directory"
    assert not path.parent.exists()


async def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "postwire.db"
    assert await refused(path) == f"store.path: cannot write beside {path}: Not a directory"


async def test_a_folder_in_place_of_the_file_is_told(path: Path) -> None:
    path.mkdir()
    assert await refused(path) == f"store.path: cannot open {path}: it is no regular file"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that any user can reach."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom the system can refuse something: root may write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_folder_that_cannot_be_written_is_told(shared: Path) -> None:
    shared.chmod(0o555)
    path = shared / "postwire.db"
    with unprivileged():
        assert await refused(path) == f"store.path: cannot write beside {path}: Permission denied"
    assert list(shared.iterdir()) == []


async def test_a_file_that_cannot_be_written_is_told(shared: Path) -> None:
    path = shared / "postwire.db"
    message_id = await kept_in(path)
    path.chmod(0o444)
    path.with_name("postwire.db.lock").chmod(0o666)
    with unprivileged():
        line = await refused(path)
    assert line == f"store.path: cannot open {path}: Permission denied"
    path.chmod(0o666)
    assert await has(path, message_id)


async def test_a_file_that_cannot_be_read_is_told(shared: Path) -> None:
    path = shared / "postwire.db"
    await kept_in(path)
    path.chmod(0)
    path.with_name("postwire.db.lock").chmod(0o666)
    with unprivileged():
        assert await refused(path) == f"store.path: cannot open {path}: Permission denied"


def test_a_file_has_one_lock_whatever_its_names(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "alias.db").symlink_to(tmp_path / "postwire.db")
    lock = FileLock(tmp_path / "postwire.db")
    with pytest.raises(OutboxError, match="in use"):
        FileLock(tmp_path / "other" / "alias.db")
    lock.release()
    FileLock(tmp_path / "other" / "alias.db").release()

"""Looking at a store file: what is in it, what is wrong with it, and what is no store at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import apsw
import pytest
from tests.support import build, first_version
from tests.support.clock import START
from tests.support.outboxes import KEYS, queue_up
from tests.support.store_files import boot, change, database, fill, left_in, refused
from tests.support.streams import accept_frame, commands

from postwire.outbox.base import OutboxError
from postwire.outbox.reports import Report
from postwire.outbox.sqlite import SqliteOutbox, maintenance
from postwire.outbox.sqlite.maintenance import backup, check
from postwire.outbox.sqlite.schema import migrations


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "postwire.db"
    await fill(path)
    return path


def test_a_sound_store_is_told_with_what_is_in_it(path: Path) -> None:
    before = path.read_bytes()
    assert check(path) == Report(
        version=len(migrations()),
        size=len(before),
        faults=(),
        messages={"failed": 1, "queued": 2, "sending": 1, "sent": 2, "uncertain": 1},
        attempts=6,
        contents={"": 3},
        oldest_unsettled=START,
        drained=("sms-mms",),
    )
    assert path.read_bytes() == before


async def test_contents_are_counted_by_their_keys_and_decrypted_where_these_are_there(tmp_path: Path) -> None:
    path = tmp_path / "postwire.db"
    for count, keys in enumerate(((), KEYS[:1], KEYS[1::-1]), 1):
        outbox = await SqliteOutbox.open(str(path), keys=keys)
        for _ in range(count):
            await queue_up(outbox)
        await outbox.close()
    report = check(path)
    assert (report.faults, report.contents) == ((), {"": 1, "key-1": 2, "key-2": 3})
    assert check(path, KEYS) == report
    assert list(check(path, KEYS[:1]).faults) == [
        "3 contents cannot be decrypted: each is encrypted with a key that is not in store.encryption_keys_file"
    ]
    last = "(SELECT max(key) FROM contents)"
    change(path, f"UPDATE contents SET content = (SELECT content FROM contents WHERE key = 2) WHERE key = {last}")
    assert check(path).faults == ()
    assert list(check(path, KEYS).faults) == [
        "1 contents cannot be decrypted: each was changed, or belongs to another message"
    ]


async def test_a_store_that_is_new_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    await (await SqliteOutbox.open(str(path))).close()
    report = check(path)
    assert (report.faults, report.messages, report.attempts, report.oldest_unsettled) == ((), {}, 0, None)


async def test_a_store_that_is_served_is_looked_at_all_the_same(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    harness = boot(outbox, 3)
    await accept_frame(harness, commands(10, send_time=START + build.HOUR))
    report = await asyncio.to_thread(check, path)
    assert report.faults == ()
    assert report.messages["queued"] == 12
    await outbox.close()


FAULTS = {
    "a settled message with an open attempt": (
        "UPDATE attempts SET outcome = NULL WHERE message_id IN (SELECT message_id FROM messages WHERE state = 'sent')",
        ["2 settled messages have attempts that are open"],
    ),
    "a queued message with an open attempt": (
        "UPDATE messages SET state = 'queued' WHERE state = 'sending'",
        ["1 settled messages have attempts that are open"],
    ),
    "two open attempts": (
        "INSERT INTO attempts (message_id, number, boot, provider_name, start_time)"
        " SELECT message_id, 2, 1, 'p', 0 FROM messages WHERE state = 'sending'",
        ["1 messages have more than one attempt that is open"],
    ),
    "attempts of no message": (
        "DELETE FROM messages WHERE state = 'failed'",
        ["1 attempts belong to no message"],
    ),
    "receipts of no message": (
        "INSERT INTO receipts (provider_name, event, message_id, attempt, recipient, state, code, part, permanent,"
        " receive_time, to_report) VALUES ('p', x'01', x'02', 1, -1, 'delivered', '', '', 0, 0, 0)",
        ["1 receipts belong to no message"],
    ),
    "messages without content": (
        "DELETE FROM contents WHERE key IN (SELECT key FROM messages WHERE state = 'queued')",
        ["2 messages that are to be sent have no content"],
    ),
    "messages whose content was erased too early": (
        "UPDATE contents SET content = x'' WHERE key IN (SELECT key FROM messages WHERE state = 'sending')",
        ["1 messages that are to be sent have no content"],
    ),
    "contents that are none": (
        "UPDATE contents SET content = x'0301' WHERE length(content) > 0",
        ["3 contents are in no form that this release knows"],
    ),
    "contents in clear where everything was encrypted": (
        "INSERT INTO facts VALUES ('encrypted', '1')",
        ["3 contents lie in clear, where everything was encrypted"],
    ),
    "several at once": (
        "DELETE FROM contents; DELETE FROM messages WHERE state = 'sent'",
        ["2 attempts belong to no message", "3 messages that are to be sent have no content"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_rule_that_is_broken_is_named_with_how_often(path: Path, fault: str) -> None:
    statement, expected = FAULTS[fault]
    change(path, statement)
    assert list(check(path).faults) == expected


def test_every_rule_is_broken_by_one_of_these_tests() -> None:
    caller = {line.split(" ", 1)[1] for _, lines in FAULTS.values() for line in lines}
    assert caller == set(maintenance._RULES.values())


def test_an_index_that_disagrees_with_its_table_is_named(path: Path) -> None:
    with database(path) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'state = ''queued''', 'state <> ''queued''')"
            " WHERE name = 'deadlines'"
        )
    faults = check(path).faults
    assert any("deadlines" in fault for fault in faults), faults
    assert len(faults) <= maintenance.MAX_FAULTS


def is_unsound(path: Path) -> bool:
    """Whether it is found to be: by its faults, or since it cannot be read."""
    with suppress(OutboxError):
        return bool(check(path).faults)
    return "malformed" in refused(lambda: check(path))


@pytest.mark.parametrize("seed", [5, 9, 11])
def test_a_page_of_garbage_is_named_or_told_to_be_unreadable(path: Path, seed: int) -> None:
    page = 4096
    data = bytearray(path.read_bytes())
    assert len(data) > 12 * page
    data[seed * page : seed * page + page] = bytes((seed * 31 + i) % 251 for i in range(page))
    path.write_bytes(data)
    assert is_unsound(path)


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def torn_in_mid_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1_000)


def of_a_newer_version(path: Path) -> None:
    change(path, "PRAGMA user_version = 1000")


def of_an_older_version(path: Path) -> None:
    path.unlink()
    with database(path) as connection:
        first_version.fill(connection)


def of_another_program(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE letters (text TEXT)")


def no_database(path: Path) -> None:
    path.write_bytes(b"This is a letter, and no database at all. " * 1_000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


UNREADABLE: dict[Callable[[Path], None], str] = {
    torn: "malformed",
    of_a_newer_version: f"has schema version 1000, and this postwire reads {len(migrations())}",
    of_an_older_version: f"has schema version 1, and this postwire reads {len(migrations())}",
    of_another_program: "is not a store of postwire",
    no_database: "file is not a database",
    empty: "is not a store of postwire",
    gone: "there is no such file",
    a_folder: "there is no such file",
}


@pytest.mark.parametrize("spoil", UNREADABLE, ids=lambda spoil: spoil.__name__)
def test_what_is_no_store_of_this_version_is_told_by_both_and_is_left_as_it_is(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    target = path.with_name("copy.db")
    for call in (lambda: check(path), lambda: backup(path, target)):
        line = refused(call)
        assert line.startswith(f"{path}: "), "it is the store that is at fault"
        assert UNREADABLE[spoil] in line
    assert before == (path.read_bytes() if path.is_file() else None)
    assert not target.exists()
    assert left_in(path.parent) == set()


def test_a_file_that_is_torn_in_mid_page_is_not_called_sound(path: Path) -> None:
    torn_in_mid_page(path)
    assert is_unsound(path)

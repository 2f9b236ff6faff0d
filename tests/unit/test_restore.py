"""Putting a copy in the place of a store: what becomes of both, and that an interruption anywhere loses nothing."""

# ruff: noqa: ASYNC240  # a test may block its own loop

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support import build, first_version
from tests.support.clock import START
from tests.support.killed import crash, restore_until
from tests.support.providers import FakeProvider
from tests.support.store_files import boot, change, database, fill, refused
from tests.support.waiting import within

from postwire.core.errors import ResumeTokenExpired
from postwire.core.listing import MessageFilter, ResumePoint
from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageRecord, MessageState, WaitFor
from postwire.core.outcome import Outcome
from postwire.outbox.base import OutboxError
from postwire.outbox.sqlite import SqliteOutbox
from postwire.outbox.sqlite import restore as restoring
from postwire.outbox.sqlite.files import StoreFiles
from postwire.outbox.sqlite.maintenance import backup, check
from postwire.outbox.sqlite.restore import Restored, restore

NOW = START + 60_000_000


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store of seven messages, and a copy of it in `copy.db`; an eighth message has come since."""
    path = tmp_path / "postwire.db"
    await fill(path)
    backup(path, tmp_path / "copy.db")
    outbox = await SqliteOutbox.open(str(path))
    await boot(outbox, 7).send(build.command(request_id="late"))
    await outbox.close()
    return path


@pytest.fixture
def copy(path: Path) -> Path:
    return path.with_name("copy.db")


async def records_of(path: Path) -> dict[str, MessageRecord]:
    outbox = await SqliteOutbox.open(str(path))
    try:
        return {one.request_id: one for one in (await outbox.list(MessageFilter(), 100, None, DEFAULT_TENANT)).records}
    finally:
        await outbox.close()


async def opening(path: Path) -> str:
    """Why a store is not opened."""
    with pytest.raises(OutboxError) as caught:
        await (await SqliteOutbox.open(str(path))).close()
    return str(caught.value)


async def test_a_copy_takes_the_place_of_the_store_and_what_was_there_is_kept(path: Path, copy: Path) -> None:
    crash(path)
    for one in (path, StoreFiles(path).log):
        one.chmod(0o644)  # as an earlier release has left them
    before = copy.read_bytes()
    made = database_metadata(copy, "copied")
    done = await restore(path, copy, now=NOW)
    assert done == Restored(int(made), unsettled=3, continued=2, uncertain=1)
    assert copy.read_bytes() == before
    files = StoreFiles(path)
    assert {one.name for one in path.parent.iterdir()} == {
        one.name for one in (path, files.lock, files.before, files.before_log, copy)
    }
    for one in (path, files.before, files.before_log):
        assert one.stat().st_mode & 0o777 == 0o600, one.name
    assert check(path).faults == ()
    records = await records_of(path)
    assert "late" not in records
    assert "crashed" not in records
    kept = await records_of(files.before)
    assert {"late", "crashed"} <= kept.keys(), "with its log"
    assert records.keys() == kept.keys() - {"late", "crashed"}


def database_metadata(path: Path, name: str) -> str:
    with database(path) as connection:
        ((value,),) = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchall()
        return str(value)


async def test_what_waits_in_a_copy_is_in_doubt_and_goes_on_as_its_guarantee_says(tmp_path: Path) -> None:
    path, copy = tmp_path / "postwire.db", tmp_path / "copy.db"
    outbox = await SqliteOutbox.open(str(path))
    held = boot(outbox, 1, provider=FakeProvider(held=True))
    sent: dict[str, MessageRecord] = {}
    kinds: dict[str, dict[str, Any]] = {
        "waits": {"send_time": START + build.HOUR, "max_attempts": 1},
        "pinned": {"send_time": START + build.HOUR, "provider_name": held.provider.name},
        "late": {"send_time": START + 5_000_000, "expire_time": START + 6_000_000},
        "sending": {"wait_for": WaitFor.ACCEPTANCE},
    }
    for guarantee in DeliveryGuarantee:
        for kind, more in kinds.items():
            content = build.email("a@example.com", "b@example.com") if kind == "waits" else None
            request_id = f"{kind} {guarantee.value}"
            options: dict[str, Any] = {"wait_for": WaitFor.ACCEPTANCE, "delivery_guarantee": guarantee, **more}
            sent[request_id] = await held.send(build.command(content, request_id=request_id, **options))
    await within(held.provider.calls(2))
    await held.drain(0.0)
    await outbox.close()
    backup(path, copy)
    done = await restore(path, copy, now=NOW)
    assert (done.unsettled, done.continued, done.uncertain) == (8, 3, 5)
    records = await records_of(path)
    for request_id, record in records.items():
        (attempt,) = record.attempts
        assert (attempt.outcome, attempt.error_code) == (Outcome.UNCERTAIN, "restored")
        goes_on = request_id.endswith("at_least_once") and not request_id.startswith("late")
        assert record.state is (MessageState.QUEUED if goes_on else MessageState.UNCERTAIN), request_id
        assert {one.state for one in record.recipients} <= {record.state}
        before = sent[request_id]
        pinned = held.provider.name if request_id.startswith(("pinned", "sending")) else ""
        assert attempt.provider_name == pinned
        if goes_on:
            assert record.next_attempt_time == (before.next_attempt_time or NOW)
    # And then it goes on: what is due is sent, once.
    outbox = await SqliteOutbox.open(str(path))
    harness = boot(outbox, 2)
    await harness.boot()
    harness.clock.advance(2 * 3600)
    for record in records.values():
        if record.state is MessageState.QUEUED:
            await within(harness.noted.reached(record.message_id, MessageState.SENT))
    await harness.completed()
    assert len(harness.provider.keys) == 3
    await outbox.close()


async def test_who_watched_the_store_before_is_not_taken_on(path: Path, copy: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    (last,) = await outbox.last_position()
    point = ResumePoint(await outbox.store_name(), (last - 5,))
    await outbox.close()
    await restore(path, copy, now=NOW)
    outbox = await SqliteOutbox.open(str(path))
    harness = boot(outbox, 8)
    for number in range(30):
        await harness.send(build.command(request_id=str(number)))
    with pytest.raises(ResumeTokenExpired):
        await anext(harness.delivery.watchers.watch([], MessageFilter(), point, tenant=DEFAULT_TENANT))
    await harness.completed()
    await outbox.close()


async def test_a_copy_of_an_earlier_release_is_brought_up(path: Path, copy: Path) -> None:
    copy.unlink()
    with database(copy) as connection:
        first_version.fill(connection)
    os.utime(copy, (7, 7))
    done = await restore(path, copy, now=NOW)
    assert (done.copy_time, done.unsettled) == (7_000_000, 2)
    assert check(path).faults == ()
    with database(copy) as connection:
        assert connection.pragma("user_version") == 1, "itself it is left as it is"


async def test_there_need_not_be_a_store(path: Path, copy: Path) -> None:
    path.unlink()
    await restore(path, copy, now=NOW)
    assert not StoreFiles(path).before.exists()
    assert len(await records_of(path)) == 7


async def test_through_a_symbolic_link_it_is_the_file_that_is_replaced(path: Path, copy: Path) -> None:
    (alias := path.with_name("alias.db")).symlink_to(path)
    await restore(alias, copy, now=NOW)
    assert alias.is_symlink()
    assert not path.is_symlink()
    assert "late" not in await records_of(alias)


# What is refused.


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        one.name: one.read_bytes()
        for one in folder.iterdir()
        if one.is_file() and not one.name.endswith((".lock", "-shm"))
    }


def run(path: Path, copy: Path) -> str:
    return refused(lambda: asyncio.run(restore(path, copy, now=NOW)))


async def test_a_store_that_is_served_is_refused(path: Path, copy: Path) -> None:
    outbox = await SqliteOutbox.open(str(path))
    with pytest.raises(OutboxError, match="in use by another postwire process"):
        await restore(path, copy, now=NOW)
    assert (await outbox.accept(build.new_message())).created
    await outbox.close()
    assert "late" in await records_of(path)


def test_what_an_earlier_restore_has_kept_is_not_overwritten(path: Path, copy: Path) -> None:
    asyncio.run(restore(path, copy, now=NOW))
    before = files_in(path.parent)
    assert run(path, copy) == f"{StoreFiles(path).before}: is left from an earlier restore, move it away first"
    assert files_in(path.parent) == before
    StoreFiles(path).before.unlink()
    asyncio.run(restore(path, copy, now=NOW))


@pytest.mark.parametrize("fault", ["gone", "no store", "torn", "a rule broken", "newer", "the store itself"])
def test_what_is_no_sound_copy_is_refused_and_nothing_is_changed(path: Path, copy: Path, fault: str) -> None:
    expected = {
        "gone": "there is no such file",
        "no store": "file is not a database",
        "torn": "malformed",
        "a rule broken": "is damaged (3 messages that are to be sent have no content)",
        "newer": "has schema version 999",
        "the store itself": "is the store itself",
    }
    if fault == "gone":
        copy.unlink()
    elif fault == "no store":
        copy.write_bytes(b"This is a letter. " * 1_000)
    elif fault == "torn":
        os.truncate(copy, copy.stat().st_size - 4096 * 2)
    elif fault == "a rule broken":
        change(copy, "DELETE FROM contents")
    elif fault == "newer":
        change(copy, "PRAGMA user_version = 999")
    else:
        copy = path
    before = files_in(path.parent)
    line = run(path, copy)
    assert line.startswith(f"{copy}: ")
    assert expected[fault] in line
    assert files_in(path.parent) == before


# Interrupted.


@pytest.mark.parametrize("at", range(-1, len(restoring.STEPS) + 1))
async def test_a_restore_that_is_killed_anywhere_loses_nothing_and_the_next_boot_says_what_to_do(
    path: Path, copy: Path, at: int
) -> None:
    crash(path)
    whole = path.with_name("whole")
    whole.mkdir()
    for one in path.parent.glob("postwire.db*"):
        shutil.copy(one, whole)
    restore_until(at, path, copy, now=NOW)
    files = StoreFiles(path)
    last = len(restoring.STEPS)
    if at == -1:  # nothing has been exchanged: the store is served as if nothing had been
        assert {"late", "crashed"} <= (await records_of(path)).keys()
        await restore(path, copy, now=NOW)
    elif at < last - 1:
        before = files_in(path.parent)
        line = await opening(path)
        assert line == (
            f"store.path: a restore of {path} was interrupted: "
            f"`postwire store restore {files.restoring} --store {path}` finishes it"
        )
        assert files_in(path.parent) == before, "a boot that is refused changes nothing"
        await restore(path, copy if at % 2 else files.restoring, now=NOW)
    assert not files.restoring.exists()
    assert not files.partial.exists()
    assert len(await records_of(path)) == 7
    assert check(path).faults == ()
    kept = await records_of(files.before)
    assert kept == await records_of(whole / path.name)
    assert {"late", "crashed"} <= kept.keys()


async def test_an_error_in_the_exchange_can_be_gone_on_from_as_well(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: StoreFiles) -> None:
        raise OSError(28, "No space left on device", str(path))

    for at in range(len(restoring.STEPS) - 1):
        with monkeypatch.context() as patched:
            patched.setattr(restoring, "STEPS", (*restoring.STEPS[:at], full))
            with pytest.raises(OutboxError, match="No space left on device"):
                await restore(path, copy, now=NOW)
        assert len(list(path.parent.glob("*.partial*"))) == 0
    await restore(path, copy, now=NOW)
    assert len(await records_of(path)) == 7

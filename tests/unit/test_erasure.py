"""What settled messages said is in neither file any more, soon after: whatever order they came and went in."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.providers import Puppet
from tests.support.rig import Rig
from tests.support.store_files import boot
from tests.support.streams import Commits
from tests.support.waiting import within

from postwire.core.message import DeliveryGuarantee, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.maintenance import erasure
from postwire.outbox.sqlite import SqliteOutbox

DAY = 24 * build.HOUR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "postwire.db"


@pytest.fixture
async def on_file(path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(str(path))
    yield opened
    await opened.close()


def canary(number: int) -> str:
    return f"canary-{number:06d}."


def canaries_in(path: Path, count: int) -> set[int]:
    """Which of so many are to be read in the store's files."""
    log = path.with_name(path.name + "-wal")
    data = path.read_bytes() + (log.read_bytes() if log.exists() else b"")
    return {number for number in range(count) if canary(number).encode() in data}


async def minute(rig: Rig) -> None:
    """Let a minute pass."""
    for _ in range(6):
        await calm(rig)
        rig.clock.advance(10.0)
    await calm(rig)


async def calm(rig: Rig) -> None:
    """Return once nothing goes on by itself any more, between two commits either."""
    await rig.calm()
    assert isinstance(rig.outbox, SqliteOutbox)
    await rig.outbox._writer.run_between(lambda _: None)
    await rig.calm()


async def stop(rig: Rig) -> None:
    await rig.drain(0.0)


@pytest.mark.parametrize("size", [0, 600, 9_000], ids=["many a page", "some a page", "pages each"])
async def test_neither_file_holds_what_a_settled_message_said(on_file: SqliteOutbox, path: Path, size: int) -> None:
    """Among others that wait, in any order: SQLite clears what is deleted, and not what it has moved before."""
    dice = random.Random(size)
    count = 400
    alive = {}
    for number in range(count):
        of = build.command(build.sms(canary(number) + "x" * dice.randint(0, size)))
        new = build.new_message(of)
        await on_file.accept(new)
        alive[number] = new.record
        if dice.random() < 0.8:
            settled = dice.choice(list(alive)[-40:])
            assert await on_file.advance(alive[settled], build.ended(alive.pop(settled)))
    assert canaries_in(path, count) > set(alive), "the log still has them"
    assert await on_file.purge_erased()
    assert canaries_in(path, count) == set(alive)
    for number, record in alive.items():
        if number % 2:
            assert await on_file.advance(record, build.ended(record))
    assert await on_file.purge_erased()
    assert canaries_in(path, count) == {number for number in alive if not number % 2}


async def test_each_end_of_a_message_erases_it_within_a_minute(on_file: SqliteOutbox, path: Path) -> None:
    rig = Rig(on_file, provider=Puppet())
    await rig.boot()
    states = []
    for number, outcome in enumerate((Outcome.SUCCESS, Outcome.REJECTED, Outcome.UNCERTAIN)):
        rig.provider.answer = DispatchResult(outcome)
        of = build.command(build.sms(canary(number)), delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)
        states.append((await rig.send(of)).state)
    for number in (3, 4, 5):
        of = build.command(
            build.sms(canary(number)),
            send_time=START + 2_000_000,
            expire_time=START + 2_000_001 + (number // 5) * DAY,
            max_attempts=1_000,
        )
        record = await rig.send(of)
        if number == 3:
            states.append((await rig.delivery.cancel(record.message_id)).state)
    rig.provider.answer = DispatchResult(Outcome.ERROR)
    await minute(rig)
    assert states == [MessageState.SENT, MessageState.FAILED, MessageState.UNCERTAIN, MessageState.CANCELLED]
    assert canaries_in(path, 6) == {5}, "which is tried again"
    await stop(rig)


async def test_somebody_who_reads_is_not_waited_for_and_it_is_tried_again(on_file: SqliteOutbox, path: Path) -> None:
    rig = Rig(on_file)
    await rig.boot()
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM messages").fetchall()
    await rig.send(build.command(build.sms(canary(0))))
    assert not await within(on_file.purge_erased())
    await minute(rig)
    assert canaries_in(path, 1) == {0}
    sent = await rig.send()
    assert sent.state is MessageState.SENT, "and nobody else waits for the reader"
    reader.execute("COMMIT")
    await calm(rig)
    rig.clock.advance(erasure.TRY_AGAIN)
    await calm(rig)
    assert canaries_in(path, 1) == set()
    assert path.with_name("postwire.db-wal").stat().st_size == 0
    reader.close()
    await stop(rig)


async def test_contents_are_kept_for_as_long_as_is_asked(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path), keep_contents=True)
    rig = Rig(outbox, content_retention=DAY)
    await rig.boot()
    record = await rig.send(build.command(build.sms(canary(0))))
    await minute(rig)
    assert await outbox.content(record.message_id)
    rig.clock.advance(DAY / 1e6)
    await minute(rig)
    assert await outbox.content(record.message_id) is None
    assert canaries_in(path, 1) == set()
    assert await rig.kept(record.message_id) == record
    await stop(rig)
    await outbox.close()


async def test_what_was_kept_is_erased_once_it_is_not_to_be_kept_any_more(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path), keep_contents=True)
    rig = Rig(outbox, content_retention=DAY)
    for number in range(3):
        await rig.send(build.command(build.sms(canary(number))))
    await outbox.close()
    assert canaries_in(path, 3) == {0, 1, 2}
    outbox = await SqliteOutbox.open(str(path))
    rig = boot(outbox, 2)
    await rig.send(build.command(build.sms(canary(3)), send_time=START + DAY, wait_for=WaitFor.ACCEPTANCE))
    await rig.boot()
    await minute(rig)
    assert canaries_in(path, 4) == {3}
    await stop(rig)
    await outbox.close()


async def test_a_store_that_rests_is_not_written(on_file: SqliteOutbox) -> None:
    rig = Rig(on_file)
    await rig.boot()
    await rig.send(build.command(send_time=START + DAY, wait_for=WaitFor.ACCEPTANCE))
    await rig.send()
    await minute(rig)
    commits = Commits(on_file)
    emptied: list[object] = []
    on_file._empty_log = emptied.append  # type: ignore[assignment,method-assign]
    await minute(rig)
    assert (commits.count, emptied) == (0, [])
    await stop(rig)

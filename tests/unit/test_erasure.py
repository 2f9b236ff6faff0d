"""What settled messages said is in neither file any more, soon after: whatever order they came and went in."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from tests.support import build
from tests.support.canaries import canaries_in, canary
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider
from tests.support.store_files import boot
from tests.support.streams import Commits
from tests.support.waiting import within

from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
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


async def minute(harness: Harness) -> None:
    """Let a minute pass."""
    for _ in range(6):
        await calm(harness)
        harness.clock.advance(10.0)
    await calm(harness)


async def calm(harness: Harness) -> None:
    """Return once nothing goes on by itself any more, between two commits either."""
    await harness.calm()
    assert isinstance(harness.outbox, SqliteOutbox)
    await harness.outbox._writer.run_between(lambda _: None)
    await harness.calm()


async def stop(harness: Harness) -> None:
    await harness.drain(0.0)


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
    assert canaries_in(path) > set(alive), "the log still has them"
    assert await on_file.purge_erased()
    assert canaries_in(path) == set(alive)
    for number, record in alive.items():
        if number % 2:
            assert await on_file.advance(record, build.ended(record))
    assert await on_file.purge_erased()
    assert canaries_in(path) == {number for number in alive if not number % 2}


async def test_each_end_of_a_message_erases_it_within_a_minute(on_file: SqliteOutbox, path: Path) -> None:
    harness = Harness(on_file, provider=FakeProvider())
    await harness.boot()
    states = []
    for number, outcome in enumerate((Outcome.SUCCESS, Outcome.REJECTED, Outcome.UNCERTAIN)):
        harness.provider.answer = DispatchResult(outcome)
        of = build.command(build.sms(canary(number)), delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)
        states.append((await harness.send(of)).state)
    for number in (3, 4, 5):
        of = build.command(
            build.sms(canary(number)),
            send_time=START + 2_000_000,
            expire_time=START + 2_000_001 + (number // 5) * DAY,
            max_attempts=1_000,
        )
        record = await harness.send(of)
        if number == 3:
            states.append((await harness.delivery.cancel(record.message_id, by=LOCAL)).state)
    harness.provider.answer = DispatchResult(Outcome.ERROR)
    await minute(harness)
    assert states == [MessageState.SENT, MessageState.FAILED, MessageState.UNCERTAIN, MessageState.CANCELLED]
    assert canaries_in(path) == {5}, "which is tried again"
    await stop(harness)


async def test_somebody_who_reads_is_not_waited_for_and_it_is_tried_again(on_file: SqliteOutbox, path: Path) -> None:
    harness = Harness(on_file)
    await harness.boot()
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM messages").fetchall()
    await harness.send(build.command(build.sms(canary(0))))
    assert not await within(on_file.purge_erased())
    await minute(harness)
    assert canaries_in(path) == {0}
    sent = await harness.send()
    assert sent.state is MessageState.SENT, "and nobody else waits for the reader"
    reader.execute("COMMIT")

    async def tries() -> None:  # one may still be under way, on a thread, when the clock is moved on
        while canaries_in(path):
            await calm(harness)
            harness.clock.advance(erasure.TRY_AGAIN)

    await within(tries())
    await calm(harness)
    assert canaries_in(path) == set()
    assert path.with_name("postwire.db-wal").stat().st_size == 0
    reader.close()
    await stop(harness)


async def test_contents_are_kept_for_as_long_as_is_asked(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path), keep_contents=True)
    harness = Harness(outbox, content_retention=DAY)
    await harness.boot()
    record = await harness.send(build.command(build.sms(canary(0))))
    await minute(harness)
    assert await outbox.content(record.message_id, DEFAULT_TENANT)
    harness.clock.advance(DAY / 1e6)
    await minute(harness)
    assert await outbox.content(record.message_id, DEFAULT_TENANT) is None
    assert canaries_in(path) == set()
    assert await harness.kept(record.message_id) == record
    await stop(harness)
    await outbox.close()


async def test_what_was_kept_is_erased_once_it_is_not_to_be_kept_any_more(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path), keep_contents=True)
    harness = Harness(outbox, content_retention=DAY)
    for number in range(3):
        await harness.send(build.command(build.sms(canary(number))))
    await outbox.close()
    assert canaries_in(path) == {0, 1, 2}
    outbox = await SqliteOutbox.open(str(path))
    harness = boot(outbox, 2)
    await harness.send(build.command(build.sms(canary(3)), send_time=START + DAY, wait_for=WaitFor.ACCEPTANCE))
    await harness.boot()
    await minute(harness)
    assert canaries_in(path) == {3}
    await stop(harness)
    await outbox.close()


async def test_a_store_that_rests_is_not_written(on_file: SqliteOutbox) -> None:
    harness = Harness(on_file)
    await harness.boot()
    await harness.send(build.command(send_time=START + DAY, wait_for=WaitFor.ACCEPTANCE))
    await harness.send()
    await minute(harness)
    commits = Commits(on_file)
    emptied: list[object] = []
    on_file._empty_log = emptied.append  # type: ignore[assignment,method-assign]
    await minute(harness)
    assert (commits.count, emptied) == (0, [])
    await stop(harness)


async def test_tenants_keep_contents_for_as_long_as_each_asks(path: Path) -> None:
    outbox = await SqliteOutbox.open(str(path), keep_contents_of={"a": True, "b": True, "c": False})
    harness = Harness(outbox, content_retention_of={"a": DAY, "b": 3 * DAY, "c": 0})
    await harness.boot()
    sent = {
        tenant: await harness.send(build.command(build.sms(canary(number)), tenant=tenant))
        for number, tenant in enumerate("abcd")
    }

    async def left() -> str:
        await minute(harness)
        return "".join([tenant for tenant, one in sent.items() if await outbox.content(one.message_id, tenant)])

    assert await left() == "ab"
    harness.clock.advance(DAY / 1e6)
    assert await left() == "b"
    harness.clock.advance(2 * DAY / 1e6)
    assert await left() == ""
    assert canaries_in(path) == set()
    await stop(harness)
    await outbox.close()

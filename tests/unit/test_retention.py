"""Letting go of what is long settled: what goes and when, in which steps, and that a quiet store is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider
from tests.support.streams import Commits, accept_frame, commands
from tests.support.waiting import within

from postwire.core.errors import MessageNotFound, RequestIdReused
from postwire.core.listing import MessageFilter
from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageRecord, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.maintenance import retention
from postwire.outbox.base import Outbox
from postwire.outbox.sqlite import SqliteOutbox

DAY = 24 * build.HOUR
STEP = retention.STEP


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    yield opened
    await opened.close()


async def has(harness: Harness, *records: MessageRecord) -> list[bool]:
    return [await harness.outbox.get(record.message_id, DEFAULT_TENANT) is not None for record in records]


async def rows(outbox: Outbox, table: str) -> int:
    def count(connection: apsw.Connection) -> int:
        ((found,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        assert isinstance(found, int)
        return found

    assert isinstance(outbox, SqliteOutbox)
    return await outbox._read(count)


async def pass_time(harness: Harness, days: float) -> None:
    """Let time pass, and a walk through the store come to its end."""
    await harness.calm()
    harness.clock.advance(days * 86400)
    for _ in range(5):  # a step after the other, each after its rest
        await harness.calm()
        harness.clock.advance(retention.BETWEEN_STEPS)


async def stop(harness: Harness) -> None:
    await harness.drain(0.0)


# What goes, and when.


@pytest.mark.parametrize(
    ("keep_for", "days"),
    [(7 * DAY, 7), (2 * DAY, 2), (DAY, 1)],
    ids=["a week", "two days", "a day"],
)
async def test_what_is_settled_stays_for_so_long_and_then_goes(outbox: SqliteOutbox, keep_for: int, days: int) -> None:
    harness = Harness(outbox, retention=keep_for)
    await harness.boot()
    command = build.command(request_id="r")
    record = await harness.send(command)
    await pass_time(harness, days - 0.01)
    assert await harness.delivery.get(record.message_id, tenant=DEFAULT_TENANT) == record
    assert await harness.send(command) == record, "its request id is known for as long"
    await pass_time(harness, 0.02)
    with pytest.raises(MessageNotFound):
        await harness.delivery.get(record.message_id, tenant=DEFAULT_TENANT)
    assert [await rows(outbox, table) for table in ("messages", "contents", "attempts")] == [0, 0, 0]
    again = await harness.send(build.command(build.sms("another"), request_id="r"))
    assert again.message_id != record.message_id
    assert again.state is MessageState.SENT
    with pytest.raises(RequestIdReused):
        await harness.send(command)
    await stop(harness)


async def test_it_is_the_time_of_the_end_that_counts_and_not_that_of_the_beginning(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, retention=2 * DAY)
    await harness.boot()
    late = await harness.send(build.command(send_time=START + 3 * DAY, wait_for=WaitFor.ACCEPTANCE))
    early = await harness.send()
    await pass_time(harness, 3.001)
    assert await has(harness, early, late) == [False, True]
    await within(harness.noted.reached(late.message_id, MessageState.SENT))
    await pass_time(harness, 1.9)
    assert await has(harness, late) == [True]
    await pass_time(harness, 0.2)
    assert await has(harness, late) == [False]
    await stop(harness)


async def test_every_settled_state_goes_and_what_is_not_settled_stays(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, retention=DAY, provider=FakeProvider())
    await harness.boot()
    settled = {}
    for outcome in (Outcome.SUCCESS, Outcome.REJECTED, Outcome.UNCERTAIN):
        harness.provider.answer = DispatchResult(outcome)
        record = await harness.send(build.command(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE))
        settled[record.state] = record
    for state in (MessageState.EXPIRED, MessageState.CANCELLED):
        record = await harness.send(build.command(send_time=START + 1_000_000, expire_time=START + 2_000_000))
        settled[state] = record
    await harness.delivery.cancel(record.message_id, by=LOCAL)
    harness.clock.advance(3.0)
    await harness.calm()
    waiting = await harness.send(build.command(build.email(), send_time=START + 9 * DAY))
    harness.provider.answer = DispatchResult(Outcome.ERROR)
    retried = await harness.send(build.command(build.email(), expire_time=START + 9 * DAY, max_attempts=100))
    await pass_time(harness, 1.1)
    assert await has(harness, *settled.values()) == [False] * 5
    assert sorted(state.value for state in settled) == ["cancelled", "expired", "failed", "sent", "uncertain"]
    assert await has(harness, waiting, retried) == [True, True]
    assert await rows(outbox, "contents") == 2
    await stop(harness)


async def test_what_is_resolved_stays_for_as_long_again(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, retention=2 * DAY, provider=FakeProvider(answer=DispatchResult(Outcome.UNCERTAIN)))
    await harness.boot()
    record = await harness.send(build.command(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE))
    await pass_time(harness, 1.9)
    await harness.delivery.resolve(record.message_id, sent=True, by=LOCAL)
    await pass_time(harness, 1.9)
    assert await has(harness, record) == [True]
    await pass_time(harness, 0.2)
    assert await has(harness, record) == [False]
    await stop(harness)


async def test_what_an_earlier_boot_has_settled_goes_as_well(on_file: SqliteOutbox) -> None:
    first = Harness(on_file)
    record = await first.send()
    harness = Harness(on_file, retention=DAY)
    await harness.boot()
    await pass_time(harness, 1.1)
    assert await has(harness, record) == [False]
    await stop(harness)


# In small steps.


async def resting(harness: Harness) -> None:
    """Return once the rounds, the only ones of this harness, are over and wait for their next one."""
    async with asyncio.timeout(20):
        while not harness.clock.awaited:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def test_each_step_is_one_commit_of_bounded_size_with_a_rest_behind_it(
    on_file: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "KEPT_CHANGES", 10**9)
    harness = Harness(on_file, retention=DAY)
    caller = await accept_frame(harness, commands(2 * STEP + 50, wait_for=WaitFor.OUTCOME))
    await caller.until(2 * STEP + 50)
    await harness.completed()
    harness = Harness(on_file, retention=DAY)
    harness.clock.advance(1.1 * 86400)
    commits = Commits(on_file)
    harness.maintenance._retention.start()
    seen = []
    for _ in range(5):
        await resting(harness)
        seen.append((commits.count, await rows(on_file, "messages")))
        harness.clock.advance(retention.BETWEEN_STEPS)
    assert seen == [(1, STEP + 50), (2, 50), (3, 0), (3, 0), (3, 0)]
    await stop(harness)


async def test_a_step_removes_nothing_that_is_not_settled_between_what_is(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, retention=DAY)
    await harness.boot()
    records = []
    for number in range(30):
        options: dict[str, Any] = {"send_time": START + 9 * DAY} if number % 3 == 0 else {}
        records.append(await harness.send(build.command(wait_for=WaitFor.OUTCOME, **options)))
    await pass_time(harness, 1.1)
    assert await has(harness, *records) == [number % 3 == 0 for number in range(30)]
    assert (await outbox.list(MessageFilter(), 50, None, DEFAULT_TENANT)).records == tuple(reversed(records[::3]))
    await stop(harness)


async def test_a_walk_begins_anew_so_that_what_settles_late_goes_too(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, retention=DAY)
    await harness.boot()
    first = await harness.send(build.command(send_time=START + 2 * DAY, wait_for=WaitFor.ACCEPTANCE))
    others = [await harness.send() for _ in range(5)]
    await pass_time(harness, 1.5)
    assert await has(harness, first, *others) == [True] + [False] * 5
    await pass_time(harness, 0.501)
    await within(harness.noted.reached(first.message_id, MessageState.SENT))
    await pass_time(harness, 1.2)
    assert await has(harness, first) == [False]
    await stop(harness)


# Changes.


async def test_of_changes_the_last_are_kept(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "KEPT_CHANGES", 25)
    harness = Harness(outbox)
    await accept_frame(harness, commands(3 * STEP, send_time=START + DAY))
    assert await rows(outbox, "changes") == 3 * STEP
    (last,) = await outbox.last_position()
    await harness.boot()
    for count in (2 * STEP, STEP, 25, 25):
        await harness.calm()
        assert await rows(outbox, "changes") == count
        harness.clock.advance(retention.BETWEEN_STEPS)
    assert await outbox.last_position() == (last,)
    assert len((await outbox.changes((last - 25,), 100, DEFAULT_TENANT)).entries) == 25
    await stop(harness)


async def test_the_last_change_stays_though_its_message_is_gone(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else numbers would be given again, and whoever goes on behind one of them would miss what they now mean."""
    monkeypatch.setattr(retention, "KEPT_CHANGES", 0)
    harness = Harness(outbox, retention=DAY)
    await harness.boot()
    for _ in range(3):
        await harness.send()
    (last,) = await outbox.last_position()
    await pass_time(harness, 1.1)
    assert (await rows(outbox, "messages"), await rows(outbox, "changes")) == (0, 1)
    assert await outbox.last_position() == (last,)
    await harness.send()
    assert await outbox.last_position() == (last + 2,)
    await stop(harness)


# Rest.


async def test_nothing_is_written_where_there_is_nothing_to_remove(on_file: SqliteOutbox) -> None:
    harness = Harness(on_file, retention=DAY)
    await accept_frame(harness, commands(20, send_time=START + 30 * DAY, expire_time=START + 40 * DAY))
    await harness.send()
    await harness.calm()
    commits = Commits(on_file)
    harness.maintenance._retention.start()
    for _ in range(20):
        await harness.calm()
        harness.clock.advance(3600.0)
    assert commits.count == 0
    await pass_time(harness, 1.1)
    assert commits.count == 1, "and then the one message goes"
    await stop(harness)


async def test_an_empty_store_is_fine(on_file: SqliteOutbox) -> None:
    harness = Harness(on_file, retention=DAY)
    commits = Commits(on_file)
    harness.maintenance._retention.start()
    await pass_time(harness, 30)
    assert commits.count == 0
    await stop(harness)


async def test_it_ends_with_the_server(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, retention=DAY)
    await harness.boot()
    record = await harness.send()
    await stop(harness)
    await pass_time(harness, 30)
    assert await has(harness, record) == [True]


# Who changed what.


async def test_events_stay_for_as_long_as_they_are_kept_for_and_no_message_does(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, audit_retention=30 * DAY, retention=DAY)
    await harness.boot()
    record = await harness.send(build.command(send_time=START + build.HOUR, wait_for=WaitFor.ACCEPTANCE))
    await harness.delivery.cancel(record.message_id, by=LOCAL)
    await pass_time(harness, 29)
    assert await has(harness, record) == [False]
    assert await rows(outbox, "events") == 1
    await pass_time(harness, 2)
    assert await rows(outbox, "events") == 0
    await stop(harness)

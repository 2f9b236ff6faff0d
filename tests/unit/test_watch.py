"""Watching messages: what is shown, from where on, for how long, and that nothing is left of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.disk import Disk
from tests.support.harness import Harness
from tests.support.providers import FakeProvider
from tests.support.streams import accept_frame, commands
from tests.support.waiting import within
from tests.support.watching import LATER, Watching, now, touch, waiting

from postwire.core.errors import MessageNotFound, ShuttingDown, StoreUnavailable
from postwire.core.message import DEFAULT_TENANT, Channel, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.delivery import WatchEvent
from postwire.delivery.watch import BATCH, HEARTBEAT_INTERVAL
from postwire.outbox.sqlite import SqliteOutbox, feed, writer

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
CANCELLED = MessageState.CANCELLED


@pytest.fixture
async def harness(outbox: SqliteOutbox) -> Harness:
    return Harness(outbox)


# Messages by their ids.


async def test_ids_begin_with_the_messages_as_they_are(harness: Harness) -> None:
    sent, queued, _ = await harness.send(), await waiting(harness), await harness.send()
    watching = Watching(harness, queued.message_id, sent.message_id, queued.message_id)
    first = await watching.next()
    assert sorted(one.record.message_id for one in first if one.record) == sorted((sent.message_id, queued.message_id))
    assert all(one.record in (sent, queued) for one in first)
    assert first[-1].point == await now(harness)


async def test_then_comes_whatever_changes_and_nothing_of_others(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[DispatchResult(Outcome.ERROR)]))
    record = await waiting(harness)
    watching = await Watching(harness, record.message_id).begin()
    await harness.send()
    cancelled = await harness.delivery.cancel(record.message_id, by=LOCAL)
    (event,) = await watching.next()
    assert event.record == cancelled
    assert cancelled.revision > record.revision


async def test_each_state_is_shown_to_one_who_keeps_up_and_the_revision_rises(outbox: SqliteOutbox) -> None:
    provider = FakeProvider(held=True, answers=[DispatchResult(Outcome.ERROR)])
    harness = Harness(outbox, provider=provider)
    watching = await Watching(harness).begin()
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    call = harness.start()
    shown = [*await reading]
    provider.release()
    await call
    shown += await watching.next()
    shown_soon = asyncio.create_task(watching.next())
    await harness.calm()
    harness.clock.advance(1.0)
    shown += await shown_soon
    while shown[-1].record is None or shown[-1].record.state is not SENT:
        shown += await watching.next()
    records = [one.record for one in shown if one.record]
    assert [record.state for record in records] in ([SENDING, QUEUED, SENDING, SENT], [SENDING, QUEUED, SENT])
    revisions = [record.revision for record in records]
    assert revisions == sorted(set(revisions))


async def test_many_changes_since_are_one_sight_as_the_message_now_is(harness: Harness) -> None:
    record = await waiting(harness)
    others = [await waiting(harness) for _ in range(3)]
    watching = await Watching(harness, record.message_id, others[0].message_id).begin()
    kept = record
    for _ in range(20):
        kept = await touch(harness, kept)
    await harness.delivery.cancel(others[0].message_id, by=LOCAL)
    batch = await watching.next()
    assert [one.record.message_id for one in batch if one.record] == [record.message_id, others[0].message_id]
    assert batch[0].record == kept
    assert kept.revision >= record.revision + 40


async def test_a_change_in_the_moment_of_the_beginning_is_shown_once(harness: Harness, outbox: SqliteOutbox) -> None:
    """The records are read together with the number of the last change: else it would come again behind them."""
    record = await waiting(harness)
    watching = Watching(harness, record.message_id)
    beginning = asyncio.create_task(watching.next())
    cancelled = await harness.delivery.cancel(record.message_id, by=LOCAL)
    shown = [one.record for one in await beginning if one.record]
    following = asyncio.create_task(watching.next())
    await harness.calm()
    if following.done():
        shown += [one.record for one in await following if one.record]
    following.cancel()
    assert shown in ([record, cancelled], [cancelled])


@pytest.mark.parametrize("position", [0, 2])
async def test_an_id_of_no_message_is_told(harness: Harness, position: int) -> None:
    ids = [(await waiting(harness)).message_id for _ in range(2)]
    ids.insert(position, build.new_id())
    with pytest.raises(MessageNotFound):
        await Watching(harness, *ids).next()


async def test_a_parked_message_is_shown_with_the_time_at_which_its_route_opens(outbox: SqliteOutbox) -> None:
    answer = DispatchResult(Outcome.RATE_LIMITED, retry_after=600.0)
    harness = Harness(outbox, provider=FakeProvider(answer=answer))
    record = await harness.send()
    ((event,),) = [await Watching(harness, record.message_id).next()]
    assert event.record
    assert event.record == await harness.delivery.get(record.message_id, tenant=DEFAULT_TENANT)
    assert event.record.next_attempt_time == START + 600_000_000


# Messages by a filter.


async def test_a_filter_begins_with_a_sign_of_life_to_go_on_behind(harness: Harness) -> None:
    """Else whoever is cut off before the first change has nothing to go on with, and misses what comes meanwhile."""
    await waiting(harness)
    assert await Watching(harness).next() == [WatchEvent(None, await now(harness))]
    (event,) = await Watching(harness, channels=frozenset({Channel.SMS})).next()
    missed = await waiting(harness)
    assert [one.record for one in await Watching(harness, after=event.point).next()] == [missed]


async def test_a_filter_goes_on_with_what_is_new(harness: Harness) -> None:
    await harness.send()
    old = await waiting(harness)
    watching = await Watching(harness).begin()
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    assert not reading.done()
    new = await waiting(harness)
    assert [one.record for one in await reading] == [new]
    cancelled = await harness.delivery.cancel(old.message_id, by=LOCAL)
    assert [one.record for one in await watching.next()] == [cancelled], "old ones that change are new"


async def test_a_filter_narrows_the_choice(harness: Harness) -> None:
    watching = {
        "all": await Watching(harness).begin(),
        "sms": await Watching(harness, channels=frozenset({Channel.SMS})).begin(),
        "label": await Watching(harness, labels={"team": "auth"}).begin(),
        "cancelled": await Watching(harness, states=frozenset({CANCELLED})).begin(),
        "nobody's": await Watching(harness, provider_names=frozenset({"nobody"})).begin(),
    }
    reading = {name: asyncio.create_task(one.next()) for name, one in watching.items()}
    await harness.calm()
    sms = await waiting(harness)
    mail = await waiting(harness, content=build.email(), labels={"team": "auth"})
    cancelled = await harness.delivery.cancel(sms.message_id, by=LOCAL)
    shown: dict[str, list[MessageRecord]] = {}
    for name, last in (("all", cancelled), ("sms", cancelled), ("label", mail), ("cancelled", cancelled)):
        found = [one.record for one in await reading[name] if one.record]
        shown[name] = found if last in found else found + await watching[name].until(last)
    await harness.calm()
    assert [record.message_id for record in shown["sms"] if record.channel is not Channel.SMS] == []
    assert shown["label"] == [mail]
    assert shown["cancelled"] == [cancelled]
    assert mail in shown["all"]
    assert not reading["nobody's"].done()
    reading["nobody's"].cancel()


async def test_more_changes_than_are_read_at_once_all_come(harness: Harness) -> None:
    watching = Watching(harness, after=await now(harness))
    caller = await accept_frame(harness, commands(2 * BATCH + 7, send_time=LATER))
    batches = [await watching.next() for _ in range(3)]
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 7]
    assert [one.record for batch in batches for one in batch] == caller.records
    assert watching.resume == await now(harness)


async def test_who_is_far_behind_is_shown_each_revision_once(harness: Harness) -> None:
    """A message that changes again and again over more changes than are read at once."""
    record = await waiting(harness)
    watching = Watching(harness, after=await now(harness))
    kept, others = record, 0
    for _ in range(3):
        kept = await touch(harness, kept)
        others += len((await accept_frame(harness, commands(BATCH, send_time=LATER))).records)
    await harness.delivery.cancel(kept.message_id, by=LOCAL)
    shown: list[MessageRecord] = []
    while watching.resume != await now(harness):
        shown += [one.record for one in await watching.next() if one.record]
    of_it = [one for one in shown if one.message_id == record.message_id]
    assert [(one.state, one.revision) for one in of_it] == [(CANCELLED, kept.revision + 1)]
    assert len({(one.message_id, one.revision) for one in shown}) == len(shown) == others + 1


# Signs of life.


async def heartbeat(harness: Harness, watching: Watching) -> WatchEvent:
    """Let the time of a beat pass, and return what is shown then."""
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    harness.clock.advance(HEARTBEAT_INTERVAL - 0.001)
    await harness.calm()
    assert not reading.done()
    harness.clock.advance(0.001)
    (event,) = await reading
    return event


@pytest.mark.parametrize("by_id", [False, True])
async def test_silence_is_broken_by_a_beat_again_and_again(harness: Harness, by_id: bool) -> None:
    record = await waiting(harness)
    watching = await Watching(harness, *([record.message_id] if by_id else [])).begin()
    for _ in range(3):
        assert await heartbeat(harness, watching) == WatchEvent(None, await now(harness))
    assert HEARTBEAT_INTERVAL == 15.0


async def test_what_is_shown_puts_the_beat_off(harness: Harness) -> None:
    watching = await Watching(harness).begin()
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    harness.clock.advance(10.0)
    record = await waiting(harness)
    assert [one.record for one in await reading] == [record]
    assert (await heartbeat(harness, watching)).record is None


async def test_what_changes_of_others_puts_no_beat_off_and_is_not_gone_through_again(harness: Harness) -> None:
    """On a busy server hardly a moment passes without a change."""
    watching = await Watching(harness, provider_names=frozenset({"nobody"})).begin()
    reading = asyncio.create_task(watching.next())
    for _ in range(14):
        await waiting(harness)
        await harness.calm()
        harness.clock.advance(1.0)
    await harness.calm()
    assert not reading.done()
    await waiting(harness)
    await harness.calm()
    harness.clock.advance(1.0)
    assert await reading == [WatchEvent(None, await now(harness))], "and the token goes on"


# Ends.


@pytest.mark.parametrize("by_id", [False, True])
async def test_draining_ends_every_watch(harness: Harness, by_id: bool) -> None:
    record = await waiting(harness)
    watching = await Watching(harness, *([record.message_id] if by_id else [])).begin()
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    harness.delivery.start_draining()
    with pytest.raises(ShuttingDown):
        await reading
    with pytest.raises(ShuttingDown):
        await Watching(harness).next()


def alarms_of(harness: Harness) -> int:
    return sum(alarm.callback is not None for _, _, alarm in harness.clock._alarms)


@pytest.mark.parametrize("moment", ["reading", "between"])
async def test_hanging_up_leaves_nothing(harness: Harness, moment: str) -> None:
    await waiting(harness)
    await harness.calm()
    before, alarms = asyncio.all_tasks(), alarms_of(harness)
    watching = Watching(harness, after=await now(harness))
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    if moment == "reading":
        reading.cancel()
        await asyncio.wait([reading])
    else:
        await waiting(harness)
        await reading
    await watching.hang_up()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert isinstance(harness.outbox, SqliteOutbox)
    assert not harness.outbox._watching
    assert alarms_of(harness) == alarms


async def test_an_idle_watch_holds_no_more_from_beat_to_beat(harness: Harness) -> None:
    watching = await Watching(harness).begin()
    for _ in range(5):
        await heartbeat(harness, watching)
    assert isinstance(harness.outbox, SqliteOutbox)
    assert not harness.outbox._watching


async def test_a_store_that_cannot_be_read_ends_it(tmp_path: Path) -> None:
    outbox = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    harness = Harness(outbox)
    watching = await Watching(harness).begin()
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    await outbox.close()
    harness.clock.advance(HEARTBEAT_INTERVAL)
    with pytest.raises(StoreUnavailable):
        await reading


@pytest.fixture
async def on_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteOutbox]:
    monkeypatch.setattr(writer, "PROBE_INTERVAL", 0.005)
    opened = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    yield opened
    await opened.close()


async def test_a_commit_that_fails_wakes_nobody_for_good(
    on_file: SqliteOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its changes have had numbers, and whoever waits for these would look again and again."""
    looks = 0

    def counted(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return changes(*args)

    changes = feed.changes
    monkeypatch.setattr(feed, "changes", counted)
    harness = Harness(on_file)
    first = await waiting(harness)
    watching = Watching(harness, after=await now(harness))
    reading = asyncio.create_task(watching.next())
    await harness.calm()
    disk = Disk(tmp_path / "postwire.db")
    disk.fill()
    try:
        with pytest.raises(StoreUnavailable):
            await waiting(harness)
        await harness.calm()
        before = looks
        await harness.calm()
        assert looks == before
    finally:
        disk.free()
    await within(on_file.wait_available())
    cancelled = await harness.delivery.cancel(first.message_id, by=LOCAL)
    assert [one.record for one in await reading] == [cancelled]

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
from tests.support.providers import Puppet
from tests.support.rig import Rig
from tests.support.streams import commands, tell
from tests.support.waiting import within
from tests.support.watching import LATER, Watching, now, touch, waiting

from postwire.core.errors import MessageNotFound, ShuttingDown, StoreUnavailable
from postwire.core.message import Channel, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.delivery import Sight
from postwire.delivery.watch import BATCH, BEAT
from postwire.outbox.sqlite import SqliteOutbox, reads, writer

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
CANCELLED = MessageState.CANCELLED


@pytest.fixture
async def rig(outbox: SqliteOutbox) -> Rig:
    return Rig(outbox)


# Messages by their ids.


async def test_ids_begin_with_the_messages_as_they_are(rig: Rig) -> None:
    sent, queued, _ = await rig.send(), await waiting(rig), await rig.send()
    watching = Watching(rig, queued.message_id, sent.message_id, queued.message_id)
    first = await watching.next()
    assert sorted(one.record.message_id for one in first if one.record) == sorted((sent.message_id, queued.message_id))
    assert all(one.record in (sent, queued) for one in first)
    assert first[-1].point == await now(rig)


async def test_then_comes_whatever_changes_and_nothing_of_others(outbox: SqliteOutbox) -> None:
    rig = Rig(outbox, provider=Puppet(answers=[DispatchResult(Outcome.ERROR)]))
    record = await waiting(rig)
    watching = await Watching(rig, record.message_id).begin()
    await rig.send()
    cancelled = await rig.delivery.cancel(record.message_id)
    (sight,) = await watching.next()
    assert sight.record == cancelled
    assert cancelled.revision > record.revision


async def test_each_state_is_shown_to_one_who_keeps_up_and_the_revision_rises(outbox: SqliteOutbox) -> None:
    provider = Puppet(held=True, answers=[DispatchResult(Outcome.ERROR)])
    rig = Rig(outbox, provider=provider)
    watching = await Watching(rig).begin()
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    call = rig.start()
    shown = [*await reading]
    provider.let_go()
    await call
    shown += await watching.next()
    shown_soon = asyncio.create_task(watching.next())
    await rig.calm()
    rig.clock.advance(1.0)
    shown += await shown_soon
    while shown[-1].record is None or shown[-1].record.state is not SENT:
        shown += await watching.next()
    records = [one.record for one in shown if one.record]
    assert [record.state for record in records] in ([SENDING, QUEUED, SENDING, SENT], [SENDING, QUEUED, SENT])
    revisions = [record.revision for record in records]
    assert revisions == sorted(set(revisions))


async def test_many_changes_since_are_one_sight_as_the_message_now_is(rig: Rig) -> None:
    record = await waiting(rig)
    others = [await waiting(rig) for _ in range(3)]
    watching = await Watching(rig, record.message_id, others[0].message_id).begin()
    kept = record
    for _ in range(20):
        kept = await touch(rig, kept)
    await rig.delivery.cancel(others[0].message_id)
    batch = await watching.next()
    assert [one.record.message_id for one in batch if one.record] == [record.message_id, others[0].message_id]
    assert batch[0].record == kept
    assert kept.revision >= record.revision + 40


async def test_a_change_in_the_moment_of_the_beginning_is_shown_once(rig: Rig, outbox: SqliteOutbox) -> None:
    """The records are read together with the number of the last change: else it would come again behind them."""
    record = await waiting(rig)
    watching = Watching(rig, record.message_id)
    beginning = asyncio.create_task(watching.next())
    cancelled = await rig.delivery.cancel(record.message_id)
    shown = [one.record for one in await beginning if one.record]
    following = asyncio.create_task(watching.next())
    await rig.calm()
    if following.done():
        shown += [one.record for one in await following if one.record]
    following.cancel()
    assert shown in ([record, cancelled], [cancelled])


@pytest.mark.parametrize("position", [0, 2])
async def test_an_id_of_no_message_is_told(rig: Rig, position: int) -> None:
    ids = [(await waiting(rig)).message_id for _ in range(2)]
    ids.insert(position, build.new_id())
    with pytest.raises(MessageNotFound):
        await Watching(rig, *ids).next()


async def test_a_parked_message_is_shown_with_the_time_at_which_its_route_opens(outbox: SqliteOutbox) -> None:
    answer = DispatchResult(Outcome.RATE_LIMITED, retry_after=600.0)
    rig = Rig(outbox, provider=Puppet(answer=answer))
    record = await rig.send()
    ((sight,),) = [await Watching(rig, record.message_id).next()]
    assert sight.record
    assert sight.record == await rig.delivery.get(record.message_id)
    assert sight.record.next_attempt_time == START + 600_000_000


# Messages by a filter.


async def test_a_filter_begins_with_a_sign_of_life_to_go_on_behind(rig: Rig) -> None:
    """Else whoever is cut off before the first change has nothing to go on with, and misses what comes meanwhile."""
    await waiting(rig)
    assert await Watching(rig).next() == [Sight(None, await now(rig))]
    (sight,) = await Watching(rig, channels=frozenset({Channel.SMS})).next()
    missed = await waiting(rig)
    assert [one.record for one in await Watching(rig, after=sight.point).next()] == [missed]


async def test_a_filter_goes_on_with_what_is_new(rig: Rig) -> None:
    await rig.send()
    old = await waiting(rig)
    watching = await Watching(rig).begin()
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    assert not reading.done()
    new = await waiting(rig)
    assert [one.record for one in await reading] == [new]
    cancelled = await rig.delivery.cancel(old.message_id)
    assert [one.record for one in await watching.next()] == [cancelled], "old ones that change are new"


async def test_a_filter_narrows_the_choice(rig: Rig) -> None:
    watching = {
        "all": await Watching(rig).begin(),
        "sms": await Watching(rig, channels=frozenset({Channel.SMS})).begin(),
        "label": await Watching(rig, labels={"team": "auth"}).begin(),
        "cancelled": await Watching(rig, states=frozenset({CANCELLED})).begin(),
        "nobody's": await Watching(rig, provider_names=frozenset({"nobody"})).begin(),
    }
    reading = {name: asyncio.create_task(one.next()) for name, one in watching.items()}
    await rig.calm()
    sms = await waiting(rig)
    mail = await waiting(rig, content=build.email(), labels={"team": "auth"})
    cancelled = await rig.delivery.cancel(sms.message_id)
    shown: dict[str, list[MessageRecord]] = {}
    for name, last in (("all", cancelled), ("sms", cancelled), ("label", mail), ("cancelled", cancelled)):
        found = [one.record for one in await reading[name] if one.record]
        shown[name] = found if last in found else found + await watching[name].until(last)
    await rig.calm()
    assert [record.message_id for record in shown["sms"] if record.channel is not Channel.SMS] == []
    assert shown["label"] == [mail]
    assert shown["cancelled"] == [cancelled]
    assert mail in shown["all"]
    assert not reading["nobody's"].done()
    reading["nobody's"].cancel()


async def test_more_changes_than_are_read_at_once_all_come(rig: Rig) -> None:
    watching = Watching(rig, after=await now(rig))
    told = await tell(rig, commands(2 * BATCH + 7, send_time=LATER))
    batches = [await watching.next() for _ in range(3)]
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 7]
    assert [one.record for batch in batches for one in batch] == told.records
    assert watching.resume == await now(rig)


async def test_who_is_far_behind_is_shown_each_revision_once(rig: Rig) -> None:
    """A message that changes again and again over more changes than are read at once."""
    record = await waiting(rig)
    watching = Watching(rig, after=await now(rig))
    kept, others = record, 0
    for _ in range(3):
        kept = await touch(rig, kept)
        others += len((await tell(rig, commands(BATCH, send_time=LATER))).records)
    await rig.delivery.cancel(kept.message_id)
    shown: list[MessageRecord] = []
    while watching.resume != await now(rig):
        shown += [one.record for one in await watching.next() if one.record]
    of_it = [one for one in shown if one.message_id == record.message_id]
    assert [(one.state, one.revision) for one in of_it] == [(CANCELLED, kept.revision + 1)]
    assert len({(one.message_id, one.revision) for one in shown}) == len(shown) == others + 1


# Signs of life.


async def beat(rig: Rig, watching: Watching) -> Sight:
    """Let the time of a beat pass, and return what is shown then."""
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    rig.clock.advance(BEAT - 0.001)
    await rig.calm()
    assert not reading.done()
    rig.clock.advance(0.001)
    (sight,) = await reading
    return sight


@pytest.mark.parametrize("by_id", [False, True])
async def test_silence_is_broken_by_a_beat_again_and_again(rig: Rig, by_id: bool) -> None:
    record = await waiting(rig)
    watching = await Watching(rig, *([record.message_id] if by_id else [])).begin()
    for _ in range(3):
        assert await beat(rig, watching) == Sight(None, await now(rig))
    assert BEAT == 15.0


async def test_what_is_shown_puts_the_beat_off(rig: Rig) -> None:
    watching = await Watching(rig).begin()
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    rig.clock.advance(10.0)
    record = await waiting(rig)
    assert [one.record for one in await reading] == [record]
    assert (await beat(rig, watching)).record is None


async def test_what_changes_of_others_puts_no_beat_off_and_is_not_gone_through_again(rig: Rig) -> None:
    """On a busy server hardly a moment passes without a change."""
    watching = await Watching(rig, provider_names=frozenset({"nobody"})).begin()
    reading = asyncio.create_task(watching.next())
    for _ in range(14):
        await waiting(rig)
        await rig.calm()
        rig.clock.advance(1.0)
    await rig.calm()
    assert not reading.done()
    await waiting(rig)
    await rig.calm()
    rig.clock.advance(1.0)
    assert await reading == [Sight(None, await now(rig))], "and the token goes on"


# Ends.


@pytest.mark.parametrize("by_id", [False, True])
async def test_draining_ends_every_watch(rig: Rig, by_id: bool) -> None:
    record = await waiting(rig)
    watching = await Watching(rig, *([record.message_id] if by_id else [])).begin()
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    rig.delivery.start_draining()
    with pytest.raises(ShuttingDown):
        await reading
    with pytest.raises(ShuttingDown):
        await Watching(rig).next()


def alarms_of(rig: Rig) -> int:
    return sum(alarm.callback is not None for _, _, alarm in rig.clock._alarms)


@pytest.mark.parametrize("moment", ["reading", "between"])
async def test_hanging_up_leaves_nothing(rig: Rig, moment: str) -> None:
    await waiting(rig)
    await rig.calm()
    before, alarms = asyncio.all_tasks(), alarms_of(rig)
    watching = Watching(rig, after=await now(rig))
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    if moment == "reading":
        reading.cancel()
        await asyncio.wait([reading])
    else:
        await waiting(rig)
        await reading
    await watching.hang_up()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert isinstance(rig.outbox, SqliteOutbox)
    assert not rig.outbox._watching
    assert alarms_of(rig) == alarms


async def test_an_idle_watch_holds_no_more_from_beat_to_beat(rig: Rig) -> None:
    watching = await Watching(rig).begin()
    for _ in range(5):
        await beat(rig, watching)
    assert isinstance(rig.outbox, SqliteOutbox)
    assert not rig.outbox._watching


async def test_a_store_that_cannot_be_read_ends_it(tmp_path: Path) -> None:
    outbox = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    rig = Rig(outbox)
    watching = await Watching(rig).begin()
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    await outbox.close()
    rig.clock.advance(BEAT)
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

    changes = reads.changes
    monkeypatch.setattr(reads, "changes", counted)
    rig = Rig(on_file)
    first = await waiting(rig)
    watching = Watching(rig, after=await now(rig))
    reading = asyncio.create_task(watching.next())
    await rig.calm()
    disk = Disk(tmp_path / "postwire.db")
    disk.fill()
    try:
        with pytest.raises(StoreUnavailable):
            await waiting(rig)
        await rig.calm()
        before = looks
        await rig.calm()
        assert looks == before
    finally:
        disk.free()
    await within(on_file.wait_available())
    cancelled = await rig.delivery.cancel(first.message_id)
    assert [one.record for one in await reading] == [cancelled]

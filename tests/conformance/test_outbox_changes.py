"""What every outbox keeps to about what has changed, which those who watch go on from, and about letting go of what is
long settled.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, Reopen, change, dropped, failed_over, ids, keep, look_at_due, queue_up, take

from postwire.core import lifecycle
from postwire.core.errors import RequestIdReused, ResumeTokenExpired
from postwire.core.listing import MessageFilter, Position
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import BEGINNING, Accepted, Changes, NewMessage, Outbox, OutboxStats


async def reported(outbox: Outbox, after: Position, limit: int = 50) -> tuple[dict[str, MessageRecord], Position]:
    """What is told from there to the last change, each message as it was told last."""
    records: dict[str, MessageRecord] = {}
    seen: set[tuple[str, int]] = set()
    while True:
        found = await outbox.changes(after, limit, DEFAULT_TENANT)
        given = [(record.message_id, record.revision) for _, record in found.entries]
        assert not seen.intersection(given), "each revision is given once"
        seen.update(given)
        positions = [position for position, _ in found.entries]
        assert positions == sorted(set(positions))
        assert all(after < position <= found.last for position in positions)
        assert len(positions) <= limit
        records |= {record.message_id: record for _, record in found.entries}
        if found.last == after:
            return records, after
        after = found.last


def some_step(record: MessageRecord, number: int) -> MessageRecord:
    if record.state is MessageState.QUEUED:
        return build.retried(record)
    return failed_over(record) if number % 3 == 0 else build.ended(record, DispatchResult(list(Outcome)[number % 5]))


# Several at once.


async def test_of_several_that_are_accepted_together_each_gets_its_own_verdict(outbox: Outbox) -> None:
    old = await keep(outbox, request_id="old")
    calls = [build.command(build.sms(f"body {i}"), request_id=f"r-{i}") for i in range(4)]
    records = [build.accepted(of, provider_name="p" if i % 2 else "") for i, of in enumerate(calls)]
    news = [build.new_message(of, record=record) for of, record in zip(calls, records, strict=True)]
    other = build.new_message(build.command(build.sms("another"), request_id="r-0"))
    verdicts = await outbox.accept_all([*news, build.repeated(old), build.repeated(news[1]), other])
    assert list(verdicts[:4]) == [Accepted(record, created=True) for record in records]
    assert list(verdicts[4:6]) == [Accepted(old.record, created=False), Accepted(records[1], created=False)]
    assert isinstance(verdicts[6], RequestIdReused)
    for new in news:
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
        assert await outbox.content(new.record.message_id, DEFAULT_TENANT) == new.content
    assert await outbox.stats() == OutboxStats(5, START)
    assert await outbox.accept_all([]) == []


async def test_frames_and_single_calls_side_by_side_make_one_message_of_one_request_id(outbox: Outbox) -> None:
    start = await outbox.last_position()
    new = build.new_message(build.command(request_id="r"))
    frames = [outbox.accept_all([build.repeated(new) for _ in range(5)]) for _ in range(5)]
    singles = [outbox.accept(build.repeated(new)) for _ in range(5)]
    verdicts = [*itertools.chain(*await asyncio.gather(*frames)), *await asyncio.gather(*singles)]
    assert {type(one) for one in verdicts} == {Accepted}
    accepted = [one for one in verdicts if isinstance(one, Accepted)]
    assert sum(one.created for one in accepted) == 1
    assert len({one.record.message_id for one in accepted}) == 1
    assert len((await outbox.changes(start, 9, DEFAULT_TENANT)).entries) == 1


# What has changed.


async def test_each_change_has_a_position_and_what_changes_nothing_has_none(outbox: Outbox) -> None:
    start = await outbox.last_position()
    assert await outbox.changes(start, 9, DEFAULT_TENANT) == Changes((), start)
    new = await queue_up(outbox, request_id="r")
    first = await outbox.last_position()
    assert start < first
    assert await outbox.changes(start, 9, DEFAULT_TENANT) == Changes(((first, new.record),), first)
    taken = await take(outbox, new.record)
    second = await outbox.last_position()
    assert first < second
    assert await outbox.changes(first, 9, DEFAULT_TENANT) == Changes(((second, taken),), second)
    await outbox.accept(build.repeated(new))
    assert await outbox.advance(new.record, lifecycle.cancel(new.record, now=START)) is False
    await outbox.set_drained("p", True)
    await outbox.keep_metadata("name", "value")
    assert await outbox.last_position() == second
    assert await outbox.changes(second, 9, DEFAULT_TENANT) == Changes((), second)


async def test_a_message_that_changed_several_times_is_told_once_as_it_now_is(outbox: Outbox) -> None:
    places = [await outbox.last_position()]

    async def at(new: NewMessage) -> NewMessage:
        places.append(await outbox.last_position())
        return new

    one, other = await at(await keep(outbox)), await at(await keep(outbox))
    second = await change(outbox, one.record, failed_over(one.record))
    places.append(await outbox.last_position())
    third = await change(outbox, second, dropped(second))
    places.append(await outbox.last_position())
    start, first, two, three, four = places
    assert await outbox.changes(start, 9, DEFAULT_TENANT) == Changes(((two, other.record), (four, third)), four)
    # Whoever looks at less of it is told at its last change, so that no revision comes twice.
    assert await outbox.changes(start, 1, DEFAULT_TENANT) == Changes((), first)
    assert await outbox.changes(first, 2, DEFAULT_TENANT) == Changes(((two, other.record),), three)
    assert await outbox.changes(three, 1, DEFAULT_TENANT) == Changes(((four, third),), four)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_who_goes_on_from_where_they_were_is_told_of_everything(outbox: Outbox, limit: int) -> None:
    records: dict[str, MessageRecord] = {}
    seen: dict[str, MessageRecord] = {}
    after = start = await outbox.last_position()
    for number in range(8):
        for record in list(records.values())[number // 2 :: 3]:
            if not record.settled:
                records[record.message_id] = await change(outbox, record, some_step(record, number))
        news = await asyncio.gather(*(keep(outbox) for _ in range(5)))
        records |= {new.record.message_id: new.record for new in news}
        found, after = await reported(outbox, after, limit)
        assert after == await outbox.last_position()
        seen |= found
        assert seen == records
    everything, _ = await reported(outbox, start, limit)
    assert everything == records


async def test_what_never_was_is_refused(outbox: Outbox) -> None:
    last = await outbox.last_position()
    for strange in ((*last[:-1], last[-1] + 1), (*last, 1), ()):
        with pytest.raises(ResumeTokenExpired):
            await outbox.changes(strange, 9, DEFAULT_TENANT)
    await keep(outbox)
    last = await outbox.last_position()
    assert (await outbox.changes(last, 9, DEFAULT_TENANT)).last == last


async def test_positions_rise_on_after_reopening(reopen: Reopen) -> None:
    outbox = await reopen()
    name, start = await outbox.store_name(), await outbox.last_position()
    assert name
    first = await keep(outbox)
    middle = await outbox.last_position()
    outbox = await reopen()
    assert await outbox.store_name() == name
    assert await outbox.last_position() == middle
    second = await keep(outbox)
    assert list((await reported(outbox, start))[0].values()) == [first.record, second.record]
    last = await outbox.last_position()
    assert middle < last
    assert await outbox.remove_changes(1, 9) == 1
    outbox = await reopen()
    assert await outbox.last_position() == last, "a position is given once"
    third = await keep(outbox)
    assert [record for _, record in (await outbox.changes(middle, 9, DEFAULT_TENANT)).entries] == [
        second.record,
        third.record,
    ]


async def test_who_waits_for_a_change_is_woken_by_one(outbox: Outbox) -> None:
    start = await outbox.last_position()
    new = await keep(outbox)
    first = await outbox.last_position()
    await outbox.wait_changes(start)  # there is one
    waiting = [asyncio.ensure_future(outbox.wait_changes(first)) for _ in range(3)]
    waiting[2].cancel()
    for _ in range(3):  # what changes nothing wakes nobody
        await outbox.accept(build.repeated(new))
        await outbox.stats()
        await outbox.keep_metadata("name", "value")
    assert not any(one.done() for one in waiting[:2])
    after = await change(outbox, new.record, build.ended(new.record))
    await asyncio.gather(*waiting[:2])
    ((second, reported_of),) = (await outbox.changes(first, 9, DEFAULT_TENANT)).entries
    assert reported_of == after
    later = asyncio.ensure_future(outbox.wait_changes(second))
    await outbox.stats()
    assert not later.done()
    await keep(outbox)
    await later


async def test_records_are_given_of_those_that_there_are(outbox: Outbox) -> None:
    news = [await keep(outbox, content=build.email("a@example.com")) for _ in range(3)]
    await change(outbox, news[0].record, after := failed_over(news[0].record))
    wanted = [news[2].record.message_id, build.new_id(), news[0].record.message_id]
    found = {record.message_id: record for record in await outbox.records(wanted, DEFAULT_TENANT)}
    assert found == {news[2].record.message_id: news[2].record, news[0].record.message_id: after}
    assert list(await outbox.records([], DEFAULT_TENANT)) == []


# Letting go.


async def walk(outbox: Outbox, before: int, limit: int) -> int:
    """One walk through the store; returns how many steps it took."""
    position = BEGINNING
    for steps in range(50):
        if (reached := await outbox.remove_settled(position, before, limit)) is None:
            return steps
        assert reached > position
        position = reached
    raise AssertionError("it has no end")


@pytest.mark.parametrize(("limit", "steps"), [(1, 7), (3, 3), (7, 1), (100, 1)])
async def test_what_was_settled_before_a_time_is_removed_and_nothing_else(
    outbox: Outbox, limit: int, steps: int
) -> None:
    start = await outbox.last_position()
    news = [await keep(outbox, request_id=f"r-{i}", at="" if i == 4 else "p") for i in range(7)]
    ends = {0: 10, 1: 20, 3: 19, 5: 21, 6: 5}  # 2 is being sent, 4 waits
    records = {
        i: await change(outbox, news[i].record, build.ended(news[i].record, after=after)) for i, after in ends.items()
    }
    last = await outbox.last_position()
    assert await walk(outbox, START + 20, limit) == steps
    left = [news[2].record, news[4].record, records[1], records[5]]
    for record in left:
        assert await outbox.get(record.message_id, DEFAULT_TENANT) == record
        assert (await outbox.content(record.message_id, DEFAULT_TENANT) is None) == record.settled
    for i in (0, 3, 6):
        assert await outbox.get(records[i].message_id, DEFAULT_TENANT) is None
        assert await outbox.content(records[i].message_id, DEFAULT_TENANT) is None
        assert await outbox.find_by_request_id(f"r-{i}", DEFAULT_TENANT, news[i].payload_hash) is None
    listed = (await outbox.list(MessageFilter(), 50, None, DEFAULT_TENANT)).records
    assert {record.message_id for record in listed} == {record.message_id for record in left}
    assert await outbox.stats() == OutboxStats(2, START)
    assert set((await reported(outbox, start))[0]) == {record.message_id for record in left}
    assert await outbox.last_position() == last
    # A request id that is let go of is free again, and nothing of the old message is left for the new.
    again = await queue_up(outbox, request_id="r-0")
    assert await outbox.get(again.record.message_id, DEFAULT_TENANT) == again.record
    assert ids(await look_at_due(outbox, "q", EVER, 9)) == ids([again])


async def test_old_changes_are_forgotten_but_for_the_last(outbox: Outbox) -> None:
    news, places = [], [await outbox.last_position()]
    for _ in range(10):
        news.append(await keep(outbox))
        places.append(await outbox.last_position())
    assert await outbox.remove_changes(10, 50) == 0
    assert await outbox.remove_changes(6, 3) == 3
    assert await outbox.remove_changes(6, 3) == 1
    assert await outbox.remove_changes(6, 3) == 0
    with pytest.raises(ResumeTokenExpired):
        await outbox.changes(places[3], 9, DEFAULT_TENANT)
    assert [position for position, _ in (await outbox.changes(places[4], 50, DEFAULT_TENANT)).entries] == places[5:]
    assert await outbox.remove_changes(0, 50) == 5
    assert await outbox.changes(places[9], 9, DEFAULT_TENANT) == Changes(((places[10], news[-1].record),), places[10])
    assert await outbox.last_position() == places[10]


async def test_a_reader_of_what_was_forgotten_is_told_how_much_it_was_and_where_to_go_on(outbox: Outbox) -> None:
    places = [await outbox.last_position()]
    for _ in range(6):
        await keep(outbox)
        places.append(await outbox.last_position())
    assert await outbox.skip_dropped(places[1]) == (places[1], 0)
    assert await outbox.remove_changes(2, 50) == 4
    to, dropped = await outbox.skip_dropped(places[1])
    assert to == places[4]
    assert dropped in (3, 4), "or all of a step in which some of them were forgotten"
    assert await outbox.skip_dropped(places[4]) == (places[4], 0)
    assert await outbox.skip_dropped(places[6]) == (places[6], 0)
    assert len((await outbox.changes(places[4], 9, DEFAULT_TENANT)).entries) == 2


async def test_messages_that_are_gone_are_counted_and_those_of_others_are_not(outbox: Outbox) -> None:
    start = await outbox.last_position()
    old = [await keep(outbox) for _ in range(3)]
    for new in old:
        await change(outbox, new.record, build.ended(new.record))
    other, mine = await keep(outbox, tenant="acme"), await keep(outbox)
    assert (await outbox.changes(start, 50, DEFAULT_TENANT)).removed == 0
    assert await outbox.remove_settled(BEGINNING, EVER, 50) is not None
    found = await outbox.changes(start, 50, DEFAULT_TENANT)
    assert found.removed == 3
    assert [record.message_id for _, record in found.entries] == [mine.record.message_id]
    assert [record.message_id for _, record in (await outbox.changes(start, 50, "acme")).entries] == [
        other.record.message_id
    ]

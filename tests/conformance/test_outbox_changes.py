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
from postwire.core.listing import MessageFilter
from postwire.core.message import MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Accepted, Changes, Outbox, OutboxStats, Snapshot


async def told(outbox: Outbox, after: int, limit: int = 50) -> tuple[dict[str, MessageRecord], int]:
    """What is told from there to the last change, each message as it was told last."""
    records: dict[str, MessageRecord] = {}
    seen: set[tuple[str, int]] = set()
    while True:
        found = await outbox.changes(after, limit)
        given = [(record.message_id, record.revision) for _, record in found.numbered]
        assert not seen.intersection(given), "each revision is given once"
        seen.update(given)
        numbers = [number for number, _ in found.numbered]
        assert numbers == sorted(set(numbers))
        assert all(after < number <= found.last for number in numbers)
        assert len(numbers) <= limit
        records |= {record.message_id: record for _, record in found.numbered}
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
        assert await outbox.get(new.record.message_id) == new.record
        assert await outbox.content(new.record.message_id) == new.content
    assert await outbox.stats() == OutboxStats(5, START)
    assert await outbox.accept_all([]) == []


async def test_frames_and_single_calls_side_by_side_make_one_message_of_one_request_id(outbox: Outbox) -> None:
    new = build.new_message(build.command(request_id="r"))
    frames = [outbox.accept_all([build.repeated(new) for _ in range(5)]) for _ in range(5)]
    singles = [outbox.accept(build.repeated(new)) for _ in range(5)]
    verdicts = [*itertools.chain(*await asyncio.gather(*frames)), *await asyncio.gather(*singles)]
    assert {type(one) for one in verdicts} == {Accepted}
    accepted = [one for one in verdicts if isinstance(one, Accepted)]
    assert sum(one.created for one in accepted) == 1
    assert len({one.record.message_id for one in accepted}) == 1
    assert await outbox.last_change() == 1


# What has changed.


async def test_each_change_has_a_number_and_what_changes_nothing_has_none(outbox: Outbox) -> None:
    assert await outbox.last_change() == 0
    assert await outbox.changes(0, 9) == Changes((), 0)
    new = await queue_up(outbox, request_id="r")
    assert await outbox.changes(0, 9) == Changes(((1, new.record),), 1)
    taken = await take(outbox, new.record)
    assert await outbox.changes(1, 9) == Changes(((2, taken),), 2)
    await outbox.accept(build.repeated(new))
    assert await outbox.advance(new.record, lifecycle.cancel(new.record, now=START)) is False
    await outbox.set_drained("p", True)
    await outbox.keep_fact("name", "value")
    assert await outbox.last_change() == 2
    assert await outbox.changes(2, 9) == Changes((), 2)


async def test_a_message_that_changed_several_times_is_told_once_as_it_now_is(outbox: Outbox) -> None:
    one, other = await keep(outbox), await keep(outbox)
    second = await change(outbox, one.record, failed_over(one.record))
    third = await change(outbox, second, dropped(second))
    assert await outbox.changes(0, 9) == Changes(((2, other.record), (4, third)), 4)
    # Whoever looks at less of it is told at its last change, so that no revision comes twice.
    assert await outbox.changes(0, 1) == Changes((), 1)
    assert await outbox.changes(1, 2) == Changes(((2, other.record),), 3)
    assert await outbox.changes(3, 1) == Changes(((4, third),), 4)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_who_goes_on_from_where_they_were_is_told_of_everything(outbox: Outbox, limit: int) -> None:
    records: dict[str, MessageRecord] = {}
    seen: dict[str, MessageRecord] = {}
    after = 0
    for number in range(8):
        for record in list(records.values())[number // 2 :: 3]:
            if not record.settled:
                records[record.message_id] = await change(outbox, record, some_step(record, number))
        news = await asyncio.gather(*(keep(outbox) for _ in range(5)))
        records |= {new.record.message_id: new.record for new in news}
        found, after = await told(outbox, after, limit)
        assert after == await outbox.last_change()
        seen |= found
        assert seen == records
    everything, _ = await told(outbox, 0, limit)
    assert everything == records


async def test_what_is_not_known_of_any_more_or_never_was_is_refused(outbox: Outbox) -> None:
    with pytest.raises(ResumeTokenExpired):
        await outbox.changes(1, 9)
    await keep(outbox)
    assert (await outbox.changes(1, 9)).last == 1
    with pytest.raises(ResumeTokenExpired):
        await outbox.changes(2, 9)


async def test_changes_are_numbered_on_and_told_after_reopening(reopen: Reopen) -> None:
    outbox = await reopen()
    first = await keep(outbox)
    outbox = await reopen()
    assert await outbox.last_change() == 1
    second = await keep(outbox)
    assert await outbox.changes(0, 9) == Changes(((1, first.record), (2, second.record)), 2)
    assert await outbox.remove_changes(1, 9) == 1
    outbox = await reopen()
    assert await outbox.last_change() == 2, "numbers are given once"
    third = await keep(outbox)
    assert await outbox.changes(1, 9) == Changes(((2, second.record), (3, third.record)), 3)


async def test_who_waits_for_a_change_is_woken_by_one(outbox: Outbox) -> None:
    new = await keep(outbox)
    await outbox.wait_changes(0)  # there is one
    waiting = [asyncio.ensure_future(outbox.wait_changes(1)) for _ in range(3)]
    later = asyncio.ensure_future(outbox.wait_changes(2))
    waiting[2].cancel()
    for _ in range(3):  # what changes nothing wakes nobody
        await outbox.accept(build.repeated(new))
        await outbox.stats()
        await outbox.keep_fact("name", "value")
    assert not any(one.done() for one in (*waiting[:2], later))
    after = await change(outbox, new.record, build.ended(new.record))
    await asyncio.gather(*waiting[:2])
    assert (await outbox.changes(1, 9)).numbered == ((2, after),)
    assert not later.done()
    await keep(outbox)
    await later


async def test_records_are_given_of_those_that_there_are(outbox: Outbox) -> None:
    news = [await keep(outbox, content=build.email("a@example.com")) for _ in range(3)]
    await change(outbox, news[0].record, after := failed_over(news[0].record))
    wanted = [news[2].record.message_id, build.new_id(), news[0].record.message_id]
    snapshot = await outbox.snapshot(wanted)
    found = {record.message_id: record for record in snapshot.records}
    assert found == {news[2].record.message_id: news[2].record, news[0].record.message_id: after}
    assert snapshot.last == await outbox.last_change() == 4
    assert await outbox.snapshot([]) == Snapshot((), 4)


# Letting go.


async def walk(outbox: Outbox, before: int, limit: int) -> int:
    """One walk through the store; returns how many steps it took."""
    position = 0
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
    news = [await keep(outbox, request_id=f"r-{i}", at="" if i == 4 else "p") for i in range(7)]
    ends = {0: 10, 1: 20, 3: 19, 5: 21, 6: 5}  # 2 is being sent, 4 waits
    records = {
        i: await change(outbox, news[i].record, build.ended(news[i].record, after=after)) for i, after in ends.items()
    }
    last = await outbox.last_change()
    assert await walk(outbox, START + 20, limit) == steps
    left = [news[2].record, news[4].record, records[1], records[5]]
    for record in left:
        assert await outbox.get(record.message_id) == record
        assert (await outbox.content(record.message_id) is None) == record.settled
    for i in (0, 3, 6):
        assert await outbox.get(records[i].message_id) is None
        assert await outbox.content(records[i].message_id) is None
        assert await outbox.find(f"r-{i}", news[i].payload_hash) is None
    listed = (await outbox.list(MessageFilter(), 50, None)).records
    assert {record.message_id for record in listed} == {record.message_id for record in left}
    assert await outbox.stats() == OutboxStats(2, START)
    assert set((await told(outbox, 0))[0]) == {record.message_id for record in left}
    assert await outbox.last_change() == last
    # A request id that is let go of is free again, and nothing of the old message is left for the new.
    again = await queue_up(outbox, request_id="r-0")
    assert await outbox.get(again.record.message_id) == again.record
    assert ids(await look_at_due(outbox, "q", EVER, 9)) == ids([again])


async def test_old_changes_are_forgotten_but_for_the_last(outbox: Outbox) -> None:
    news = [await keep(outbox) for _ in range(10)]
    assert await outbox.remove_changes(10, 50) == 0
    assert await outbox.remove_changes(6, 3) == 3
    assert await outbox.remove_changes(6, 3) == 1
    assert await outbox.remove_changes(6, 3) == 0
    with pytest.raises(ResumeTokenExpired):
        await outbox.changes(3, 9)
    assert [number for number, _ in (await outbox.changes(4, 50)).numbered] == [5, 6, 7, 8, 9, 10]
    assert await outbox.remove_changes(0, 50) == 5
    assert await outbox.changes(9, 9) == Changes(((10, news[-1].record),), 10)
    assert await outbox.last_change() == 10

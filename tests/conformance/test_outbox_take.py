"""What every outbox keeps to when messages are taken out of a queue: what is decided of all of them is one commit."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, Q, Reopen, each, look_at_due, queue_up, take

from postwire.core import lifecycle
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState, Priority
from postwire.outbox.base import Outbox, QueuedMessage, TakenMessage

MINUTE = 60_000_000


def opened(queued: QueuedMessage) -> MessageRecord:
    return build.retried(queued.record)


async def test_what_is_opened_comes_with_its_content_and_is_on_record(outbox: Outbox) -> None:
    news = [await queue_up(outbox, send_time=START + later) for later in range(3)]
    seen: list[QueuedMessage] = []

    def decide(queued: QueuedMessage) -> MessageRecord:
        seen.append(queued)
        return opened(queued)

    taken = await outbox.take(Q, EVER, each(9), decide)
    assert [one.record for one in seen] == [new.record for new in news]
    assert [one.options.priority for one in seen] == [new.options.priority for new in news]
    assert list(taken) == [TakenMessage(build.retried(new.record), new.content) for new in news]
    for one in taken:
        assert await outbox.get(one.record.message_id, DEFAULT_TENANT) == one.record
    assert await look_at_due(outbox) == []
    assert await outbox.take(Q, EVER, each(9), decide) == ()


async def test_each_becomes_what_was_decided_of_it(outbox: Outbox) -> None:
    news = [await queue_up(outbox, send_time=START + later) for later in range(4)]
    start = await outbox.last_position()
    after = {
        news[0].record.message_id: lifecycle.expire(news[0].record, now=START + MINUTE),
        news[1].record.message_id: build.retried(news[1].record),
        news[3].record.message_id: lifecycle.requeue(news[3].record, now=START, due=START + MINUTE),
    }
    taken = await outbox.take(Q, EVER, each(9), lambda queued: after.get(queued.record.message_id))
    assert [one.record for one in taken] == list(after.values())
    assert [one.content for one in taken] == [None, news[1].content, None]
    kept = [await outbox.get(new.record.message_id, DEFAULT_TENANT) for new in news]
    assert kept == [after.get(new.record.message_id, new.record) for new in news]
    assert await outbox.content(news[0].record.message_id, DEFAULT_TENANT) is None, "it is settled"
    reported = await outbox.changes(start, 9, DEFAULT_TENANT)
    assert [record for _, record in reported.entries] == list(after.values())
    waits = [one.record for one in await look_at_due(outbox)]
    assert waits == [news[2].record, after[news[3].record.message_id]]


async def test_each_priority_has_a_limit_of_its_own(outbox: Outbox) -> None:
    news = {
        priority: [await queue_up(outbox, priority=priority, send_time=START + later) for later in range(3)]
        for priority in reversed(Priority)
    }
    taken = await outbox.take(Q, EVER, {Priority.LOW: 2, Priority.HIGH: 1}, opened)
    wanted = [*news[Priority.HIGH][:1], *news[Priority.LOW][:2]]
    assert [one.record.message_id for one in taken] == [new.record.message_id for new in wanted]
    assert await outbox.take(Q, EVER, {}, opened) == ()


async def test_what_somebody_else_has_changed_meanwhile_is_not_taken_and_the_others_are(outbox: Outbox) -> None:
    news = [await queue_up(outbox, send_time=START + later) for later in range(5)]
    raced = news[2].record
    cancelled = lifecycle.cancel(raced, now=START)
    cancelling: list[asyncio.Future[bool]] = []

    def decide(queued: QueuedMessage) -> MessageRecord:
        if queued.record == raced:
            cancelling.append(asyncio.ensure_future(outbox.advance(raced, cancelled)))
        return opened(queued)

    taken = [one.record for one in await outbox.take(Q, EVER, each(9), decide)]
    has_cancelled = await cancelling[0]
    kept = await outbox.get(raced.message_id, DEFAULT_TENANT)
    assert kept == (cancelled if has_cancelled else build.retried(raced))
    others = [build.retried(new.record) for new in news if new.record != raced]
    assert [one for one in taken if one.message_id != raced.message_id] == others
    assert (kept in taken) is not has_cancelled
    for one in others:
        assert await outbox.get(one.message_id, DEFAULT_TENANT) == one


async def test_what_is_taken_twice_at_once_is_taken_once(outbox: Outbox) -> None:
    news = [await queue_up(outbox) for _ in range(20)]
    found = await asyncio.gather(*(outbox.take(Q, EVER, each(9), opened) for _ in range(4)))
    ids = [one.record.message_id for batch in found for one in batch]
    assert len(ids) == len(set(ids))
    while taken := await outbox.take(Q, EVER, each(9), opened):
        ids += [one.record.message_id for one in taken]
    assert sorted(ids) == sorted(new.record.message_id for new in news)


async def test_a_fault_in_the_decision_takes_nothing(outbox: Outbox) -> None:
    news = [await queue_up(outbox, send_time=START + later) for later in range(3)]

    def decide(queued: QueuedMessage) -> MessageRecord:
        if queued.record == news[1].record:
            raise ZeroDivisionError
        return opened(queued)

    with pytest.raises(ZeroDivisionError):
        await outbox.take(Q, EVER, each(9), decide)
    assert [one.record for one in await look_at_due(outbox)] == [new.record for new in news]
    assert len(await outbox.take(Q, EVER, each(9), opened)) == 3


async def test_what_was_taken_is_an_orphan_of_the_next_boot(reopen: Reopen) -> None:
    outbox = await reopen()
    await queue_up(outbox)
    (taken,) = await outbox.take(Q, EVER, each(9), opened)
    outbox = await reopen()
    assert [one.record for one in await outbox.orphans(9)] == [taken.record]
    assert taken.record.state is MessageState.SENDING


async def test_heads_tell_how_many_are_due_and_when_the_next_is(outbox: Outbox) -> None:
    for priority, later in ((Priority.LOW, 0), (Priority.LOW, 5), (Priority.LOW, 9), (Priority.HIGH, 5)):
        await queue_up(outbox, priority=priority, send_time=START + later)
    await queue_up(outbox, queue="later", send_time=START + MINUTE)
    gone = await queue_up(outbox, queue="gone")
    await take(outbox, gone.record)
    keys = [Q._replace(name=name) for name in ("q", "later", "gone", "nobody's")]
    found = await outbox.heads(keys, START + 5, 100)
    assert {key.name: (dict(head.due), head.next_due) for key, head in found.items()} == {
        "q": ({Priority.LOW: 2, Priority.HIGH: 1}, START + 9),
        "later": ({}, START + MINUTE),
    }
    (head,) = (await outbox.heads([Q], EVER, 2)).values()
    assert 2 <= head.due[Priority.LOW] <= 3
    assert (head.due[Priority.HIGH], head.next_due) == (1, None)


async def test_large_contents_come_with_what_is_taken_as_well(outbox: Outbox) -> None:
    news = [await queue_up(outbox, content=build.email(text=str(i) * 300_000)) for i in range(3)]
    taken = await outbox.take(Q, EVER, each(9), opened)
    assert {one.record.message_id: one.content for one in taken} == {new.record.message_id: new.content for new in news}

"""What every outbox keeps to about what waits: what is due and in what order, and what has run out of time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import (
    EVER,
    TRACE,
    Reopen,
    change,
    dropped,
    failed_over,
    ids,
    keep,
    look_at_due,
    next_due,
    queue_up,
    stored,
    take,
    waited_in,
)

from postwire.core import lifecycle
from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageRecord, MessageState, Priority
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.outbox.base import Counts, Outbox, QueueKey, StoreLoad

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "all": {
        "priority": Priority.LOW,
        "delivery_guarantee": DeliveryGuarantee.AT_MOST_ONCE,
        "provider_name": "sms-eu",
        "max_attempts": 100,
        "send_time": START - 1,
        "expire_time": START + build.HOUR,
    },
    "high": {"priority": Priority.HIGH, "max_attempts": 1, "send_time": START + 1},
}


async def due(outbox: Outbox, queue: str = "q", now: int = EVER, limit: int = 1_000) -> list[str]:
    return ids(await look_at_due(outbox, queue, now, limit))


# What is due.


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("content", [build.sms("\u00fc \0"), build.email("a@example.com", "b@example.com")])
async def test_what_is_due_comes_with_all_that_was_accepted(reopen: Reopen, options: str, content: Any) -> None:
    outbox = await reopen()
    new = await queue_up(
        outbox, content=content, labels={"k": "\u00fc"}, request_id="r", accept_trace=TRACE, **OPTIONS[options]
    )
    assert await look_at_due(outbox, "q", EVER, 9) == [stored(new)]
    assert (await outbox.scan_queued((), 9))[0] == [stored(new)]
    assert new.options.expire_time in (None, new.record.expire_time)
    taken = await take(outbox, new.record)
    outbox = await reopen()
    assert await outbox.orphans(9) == [stored(new, taken)]


async def test_it_comes_with_the_attempts_that_were_made(outbox: Outbox) -> None:
    news = [await keep(outbox, queue="q") for _ in range(5)]
    records = []
    for number, new in enumerate(news):
        record = new.record
        for _ in range(number):
            record = await change(outbox, record, failed_over(record))
        records.append(await change(outbox, record, build.ended(record, DispatchResult(Outcome.UNCERTAIN), after=1)))
    assert [len(record.attempts) for record in records] == [1, 2, 3, 4, 5]
    settled = records.pop()
    assert settled.settled, "its attempts are spent"
    expected = [stored(new, record) for new, record in zip(news, records, strict=False)]
    assert await look_at_due(outbox, "q", EVER, 9) == expected


async def test_what_is_due_comes_by_priority_and_then_the_longest_due_first(outbox: Outbox) -> None:
    order = random.Random(3)
    times = order.sample(range(1_000), 60)
    news = [
        await queue_up(outbox, priority=order.choice(list(Priority)), send_time=START + time, now=START)
        for time in times
    ]
    ranks = list(Priority)
    expected = sorted(news, key=lambda new: (ranks.index(new.options.priority), new.record.next_attempt_time))
    assert [one.value for one in ranks] == ["high", "normal", "low"]
    for limit in (1, 7, 20, 45, 60, 61):
        assert await due(outbox, limit=limit) == ids(expected)[:limit]


async def test_only_what_is_due_by_then_comes(outbox: Outbox) -> None:
    news = [await queue_up(outbox, send_time=START + later) for later in (30, 10, 20)]
    by_time = ids([news[1], news[2], news[0]])
    for later, count in ((0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3)):
        assert await due(outbox, now=START + later) == by_time[:count]


async def test_only_its_own_queue_comes(outbox: Outbox) -> None:
    queues = ["sms", "sms#1", "sms#10", "SMS", "@sms", "s", "\u00fc %_"]
    by_queue = {queue: await queue_up(outbox, queue=queue) for queue in queues}
    for queue, new in by_queue.items():
        assert await due(outbox, queue) == ids([new])
        assert await next_due(outbox, queue) == START
    for nobodys in ("", "sms#2", "sm", "%"):
        assert await due(outbox, nobodys) == []
        assert await next_due(outbox, nobodys) is None
    assert await waited_in(outbox, *queues, "", "sms#2", "sm", "%") == sorted(queues)


async def test_what_does_not_wait_is_not_due(outbox: Outbox) -> None:
    waits = await queue_up(outbox)
    sending = await keep(outbox, queue="q")
    assert await due(outbox) == ids([waits])
    sent = await change(outbox, sending.record, build.ended(sending.record))
    cancelled = (await queue_up(outbox)).record
    await change(outbox, cancelled, lifecycle.cancel(cancelled, now=START))
    assert sent.settled
    assert await due(outbox) == ids([waits])
    taken = await take(outbox, waits.record)
    assert await due(outbox) == []
    assert await next_due(outbox, "q") is None
    assert await waited_in(outbox, "q", "a", "b") == []
    again = await change(outbox, taken, dropped(taken))
    assert await look_at_due(outbox, "q", EVER, 9) == [stored(waits, again)]


async def test_what_was_tried_is_due_when_it_is_to_be_tried_again(outbox: Outbox) -> None:
    new = await keep(outbox, queue="q")
    record = await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.ERROR), retry_after=500))
    time = record.next_attempt_time
    assert time is not None
    assert await next_due(outbox, "q") == time
    assert await due(outbox, now=time - 1) == []
    assert await due(outbox, now=time) == ids([new])


# When something is next due.


async def test_the_next_due_is_the_earliest_of_all_priorities(outbox: Outbox) -> None:
    assert await next_due(outbox, "q") is None
    for priority, later in ((Priority.LOW, 50), (Priority.HIGH, 70), (Priority.NORMAL, 60), (Priority.HIGH, 40)):
        await queue_up(outbox, priority=priority, send_time=START + later)
    await queue_up(outbox, queue="other", send_time=START + 1)
    times = []
    while (time := await next_due(outbox, "q")) is not None:
        (first,) = (one for one in await look_at_due(outbox, "q", time, 9) if one.record.next_attempt_time == time)
        times.append(time - START)
        await take(outbox, first.record)
    assert times == [40, 50, 60, 70]


async def test_a_queue_is_one_while_anything_waits_in_it(outbox: Outbox) -> None:
    assert await waited_in(outbox, "q", "a", "b") == []
    one, other = await queue_up(outbox, queue="a"), await queue_up(outbox, queue="a", send_time=EVER)
    third = await queue_up(outbox, queue="b", priority=Priority.LOW)
    await keep(outbox, queue="nobody waits")
    for new, left in ((one, ["a", "b"]), (other, ["b"]), (third, [])):
        assert new.record.state is MessageState.QUEUED
        await take(outbox, new.record)
        assert await waited_in(outbox, "a", "b", "nobody waits") == left


# What has run out of time.


async def test_what_has_run_out_of_time_comes_longest_ago_first(outbox: Outbox) -> None:
    order = random.Random(4)
    times = order.sample(range(1, 1_000), 30)
    news = [
        await queue_up(outbox, queue=order.choice("abc"), priority=order.choice(list(Priority)), expire_time=START + t)
        for t in times
    ]
    await keep(outbox, expire_time=START + 1)  # what is on its way is not held up
    expected = [new.record for new in sorted(news, key=lambda new: new.record.expire_time)]
    first = expected[0].expire_time
    assert await outbox.next_expiry() == first
    assert await outbox.expired(first - 1, 50) == []
    assert await outbox.expired(first, 50) == expected[:1]
    assert await outbox.expired(EVER, 50) == expected
    assert await outbox.expired(EVER, 7) == expected[:7]
    for record in expected[:29]:
        await change(outbox, record, lifecycle.expire(record, now=record.expire_time))
    assert await outbox.expired(EVER, 50) == expected[29:]
    assert await outbox.next_expiry() == expected[29].expire_time
    await take(outbox, expected[29])
    assert await outbox.expired(EVER, 50) == []
    assert await outbox.next_expiry() is None


async def test_what_expires_comes_with_its_attempts(outbox: Outbox) -> None:
    new = await keep(outbox, queue="q", content=build.email("a@example.com", "b@example.com"))
    record = await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.UNCERTAIN)))
    (expired,) = await outbox.expired(EVER, 9)
    assert expired == record
    after = await change(outbox, expired, lifecycle.expire(expired, now=expired.expire_time))
    assert after.state is MessageState.UNCERTAIN
    assert await outbox.get(after.message_id, DEFAULT_TENANT) == after


# How many there are.


async def test_what_is_not_settled_is_counted_by_queue_and_what_is_for_later_by_second(outbox: Outbox) -> None:
    assert await outbox.unsettled_counts(START) == Counts({}, {})
    second = START // 1_000_000
    waits = [await queue_up(outbox, priority=priority) for priority in Priority]
    soon = [await queue_up(outbox, priority=priority, send_time=START + 1_999_999) for priority in Priority]
    later = await queue_up(outbox, send_time=START + 7_000_000)
    other = await queue_up(outbox, queue="@p", send_time=START + 7_000_001)
    sending = await keep(outbox, queue="sms#1")
    retried = await keep(outbox, queue="sms#1")
    await change(outbox, retried.record, build.ended(retried.record, DispatchResult(Outcome.ERROR), retry_after=500))
    settled = await keep(outbox, queue="sms#2")
    await change(outbox, settled.record, build.ended(settled.record))

    def counts(queues: dict[str, int], later: dict[int, int]) -> Counts:
        return Counts(
            {QueueKey(DEFAULT_TENANT, name): count for name, count in queues.items()},
            {(DEFAULT_TENANT, at): count for at, count in later.items()},
        )

    queues = {"q": 7, "@p": 1, "sms#1": 2}
    assert await outbox.unsettled_counts(START) == counts(queues, {second + 1: 3, second + 7: 2})
    assert await outbox.unsettled_counts(START + 1_999_999) == counts(queues, {second + 7: 2})
    for new in (waits[0], soon[0], later):
        await change(outbox, new.record, lifecycle.cancel(new.record, now=START))
    await change(outbox, sending.record, build.ended(sending.record))
    assert await outbox.reassign([(other.record, "q")]) == 1
    assert await outbox.unsettled_counts(START) == counts({"q": 5, "sms#1": 1}, {second + 1: 2, second + 7: 1})
    assert await outbox.unsettled_counts(EVER) == counts({"q": 5, "sms#1": 1}, {})


# Two clocks. The wall clock is `ahead` of the one that all times here are by.


@pytest.mark.parametrize("ahead", [-build.HOUR, -1, 0, 1, build.HOUR])
async def test_what_is_scheduled_is_due_by_the_wall_clock(outbox: Outbox, ahead: int) -> None:
    scheduled = await queue_up(outbox, send_time=START + 5_000)
    assert await next_due(outbox, "q", ahead) == START + 5_000 - ahead
    assert await look_at_due(outbox, "q", START + 4_999 - ahead, 9, ahead) == []
    assert await look_at_due(outbox, "q", START + 5_000 - ahead, 9, ahead) == [stored(scheduled)]
    # Once it was tried, it waits like any other.
    record = await take(outbox, scheduled.record)
    waits = await change(outbox, record, build.ended(record, DispatchResult(Outcome.ERROR), retry_after=7))
    assert waits.next_attempt_time is not None
    assert await next_due(outbox, "q", ahead) == waits.next_attempt_time
    assert await look_at_due(outbox, "q", waits.next_attempt_time - 1, 9, ahead) == []
    assert len(await look_at_due(outbox, "q", waits.next_attempt_time, 9, ahead)) == 1


@pytest.mark.parametrize("ahead", [-300, 0, 300])
@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_the_longest_due_comes_first_by_whichever_clock(outbox: Outbox, ahead: int, limit: int) -> None:
    order = random.Random(7)
    due_at: dict[str, tuple[int, int]] = {}
    for time in order.sample(range(1, 1_000), 40):
        priority = order.choice(list(Priority))
        is_scheduled = order.random() < 0.5
        fields = {"send_time": START + time + ahead} if is_scheduled else {"now": START + time}
        now = {"now": START - 1_000} if is_scheduled else {}
        new = await queue_up(outbox, priority=priority, **fields, **now)
        due_at[new.record.message_id] = (list(Priority).index(priority), time)
    expected = sorted(due_at, key=due_at.__getitem__)
    assert ids(await look_at_due(outbox, "q", START + 1_000, limit, ahead)) == expected[:limit]
    half = [one for one in expected if due_at[one][1] <= 500]
    assert ids(await look_at_due(outbox, "q", START + 500, 100, ahead)) == half
    assert await next_due(outbox, "q", ahead) == START + min(time for _, time in due_at.values())


@pytest.mark.parametrize("ahead", [-300, 0, 300])
async def test_all_that_is_due_is_counted_by_whichever_clock(outbox: Outbox, ahead: int) -> None:
    assert await outbox.load(EVER, ahead) == StoreLoad(0, None, (await outbox.load(EVER)).size)
    await queue_up(outbox, now=START + 20)
    await queue_up(outbox, queue="r", priority=Priority.LOW, now=START + 30, tenant="other")
    await queue_up(outbox, send_time=START + 10 + ahead, now=START - 1_000)
    await keep(outbox, now=START)  # on its way
    found = [await outbox.load(START + time, ahead) for time in (9, 10, 20, 29, 30)]
    assert [one.due for one in found] == [0, 1, 2, 2, 3]
    assert [one.oldest_due_time for one in found] == [None, *[START + 10] * 4]
    assert all(one.size > 0 for one in found)


@pytest.mark.parametrize("ahead", [-build.HOUR, 0, build.HOUR])
async def test_time_runs_out_by_the_wall_clock_only_where_the_caller_has_said_when(outbox: Outbox, ahead: int) -> None:
    said = await queue_up(outbox, expire_time=START + 3 * build.HOUR)
    left = await queue_up(outbox)  # to the default, of four hours
    ends = {START + 3 * build.HOUR - ahead: said.record, START + 4 * build.HOUR: left.record}
    for end, record in sorted(ends.items()):
        assert await outbox.next_expiry(ahead) == end
        assert record not in await outbox.expired(end - 1, 9, ahead)
        assert record in await outbox.expired(end, 9, ahead)
        if end == min(ends):
            await change(outbox, record, lifecycle.expire(record, now=end))
    assert len(await outbox.expired(EVER, 1, ahead)) == 1


async def test_a_boot_brings_what_waits_onto_its_own_clock(reopen: Reopen) -> None:
    outbox = await reopen()
    scheduled = await queue_up(outbox, send_time=START + 5 * build.HOUR, expire_time=START + 6 * build.HOUR)
    fresh = await queue_up(outbox)
    failed = await keep(outbox, queue="q", now=START)
    retried = build.ended(failed.record, DispatchResult(Outcome.ERROR), retry_after=9_000_000)
    await change(outbox, failed.record, retried)
    sending = await keep(outbox)
    await outbox.keep_ahead(-build.HOUR)
    outbox = await reopen()
    now = START + 1 - build.HOUR
    for _ in range(2):  # it is made up for once
        await outbox.realign(now, now + build.HOUR, now + build.HOUR)
        by_id = {one.record.message_id: one.record for one in await look_at_due(outbox, "q", EVER, 9)}
        assert by_id[scheduled.record.message_id] == scheduled.record
        for before in (fresh.record, retried):
            after = by_id[before.message_id]
            assert after.next_attempt_time == (before.next_attempt_time or 0) - build.HOUR
            assert after.deadline == START + 3 * build.HOUR
        (orphan,) = await outbox.orphans(9)
        assert (orphan.record.message_id, orphan.record.deadline) == (
            sending.record.message_id,
            START + 3 * build.HOUR,
        )


async def test_after_a_boot_nobody_waits_for_longer_than_a_backoff_can_be(outbox: Outbox) -> None:
    scheduled = await queue_up(outbox, send_time=START + 5 * build.HOUR)
    fresh = await queue_up(outbox)
    failed = [await keep(outbox, queue="q") for _ in range(2)]
    soon, late = [
        await change(
            outbox, new.record, build.ended(new.record, DispatchResult(Outcome.ERROR), retry_after=retry_after)
        )
        for new, retry_after in zip(failed, (0, 1_000_000), strict=True)
    ]
    now = START - 1_000
    assert soon.next_attempt_time is not None
    await outbox.realign(now, soon.next_attempt_time, EVER)
    times = {one.record.message_id: one.record.next_attempt_time for one in await look_at_due(outbox, "q", EVER, 9)}
    assert times == {
        scheduled.record.message_id: START + 5 * build.HOUR,
        fresh.record.message_id: now,
        soon.message_id: soon.next_attempt_time,
        late.message_id: soon.next_attempt_time,
    }


DEFERRED = DispatchResult(Outcome.DEFERRED)
ONE_DEFERRED = DispatchResult(
    Outcome.ERROR, recipients=(RecipientResult(Outcome.DEFERRED), RecipientResult(Outcome.ERROR))
)
ONE_GONE = DispatchResult(Outcome.ERROR, recipients=(RecipientResult(Outcome.REJECTED), RecipientResult(Outcome.ERROR)))


@pytest.mark.parametrize(
    "results", [[DEFERRED], [ONE_DEFERRED], [DispatchResult(Outcome.ERROR), DEFERRED]], ids=["all", "one", "later"]
)
async def test_what_was_deferred_keeps_its_time_over_a_boot(outbox: Outbox, results: list[DispatchResult]) -> None:
    kept, late = [await _waits_after(outbox, *results, wait=wait) for wait in (build.HOUR, 3 * build.HOUR)]
    others = [
        await _waits_after(outbox, *before, wait=build.HOUR)
        for before in ([DEFERRED, DispatchResult(Outcome.ERROR)], [ONE_GONE], [DispatchResult(Outcome.RATE_LIMITED)])
    ]
    latest, latest_deferred = START + 1_000_000, START + 2 * build.HOUR
    await outbox.realign(START, latest, latest_deferred)
    times = {one.record.message_id: one.record.next_attempt_time for one in await look_at_due(outbox, "q", EVER, 9)}
    assert times == {kept.message_id: kept.next_attempt_time, late.message_id: latest_deferred} | dict.fromkeys(
        (one.message_id for one in others), latest
    )


async def _waits_after(outbox: Outbox, *results: DispatchResult, wait: int) -> MessageRecord:
    """An email whose attempts have ended so, and that waits for so long (µs) after the last."""
    record = (await keep(outbox, queue="q", content=build.email("a@example.com", "b@example.com"))).record
    for result in results[:-1]:
        record = await change(outbox, record, build.ended(record, result))
        record = await take(outbox, record)
    return await change(outbox, record, build.ended(record, results[-1], retry_after=wait))

"""What every outbox keeps to about what a boot asks of it: what a crash left, all that waits, and the little that it
keeps beside messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
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
from postwire.core.message import DEFAULT_TENANT, Note, NoteAction, Priority
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import BEGINNING, Outbox, ProviderState, StoredMessage


async def due(outbox: Outbox, queue: str) -> list[str]:
    return ids(await look_at_due(outbox, queue, EVER, 1_000))


async def everything_waiting(outbox: Outbox, limit: int, queues: Collection[str] | None = None) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    after = BEGINNING
    while True:
        page, after = await outbox.scan_queued(after, limit, queues)
        assert len(page) <= limit
        if not page:
            return found
        found += page
        assert len(found) < 100, "or it has no end"


# What a crash left.


async def test_what_was_being_sent_when_the_outbox_closed_is_found_when_it_opens(reopen: Reopen) -> None:
    outbox = await reopen()
    late = await keep(outbox, now=START + 9, accept_trace=TRACE)
    retried = await queue_up(outbox, now=START + 3, priority=Priority.HIGH)
    early = await keep(outbox, now=START, at="p-2")
    waits, tried, sent = await queue_up(outbox), await keep(outbox), await keep(outbox)
    again = await take(outbox, retried.record)
    tried_after = await change(outbox, tried.record, build.ended(tried.record, DispatchResult(Outcome.ERROR)))
    await change(outbox, sent.record, build.ended(sent.record))
    expected = [stored(early), stored(retried, again), stored(late)]
    for _ in range(2):
        outbox = await reopen()
        assert await outbox.orphans(9) == expected
        assert await outbox.orphans(2) == expected[:2]
    for number, orphan in enumerate(expected):
        record, next_step = lifecycle.close_attempt(
            orphan.record, lifecycle.ORPHANED, build.POLICY, now=START + 10, duration=None
        )
        assert next_step is lifecycle.NextStep.TRY_AGAIN
        after = await change(outbox, orphan.record, lifecycle.requeue(record, now=START + 10, due=START + 20))
        assert await outbox.get(after.message_id, DEFAULT_TENANT) == after
        assert await outbox.orphans(9) == expected[number + 1 :]
    outbox = await reopen()
    assert await outbox.orphans(9) == []
    assert await outbox.get(waits.record.message_id, DEFAULT_TENANT) == waits.record
    assert await outbox.get(tried_after.message_id, DEFAULT_TENANT) == tried_after


async def test_what_waits_still_waits_when_the_outbox_opens_again(reopen: Reopen) -> None:
    outbox = await reopen()
    news = [await queue_up(outbox, send_time=START + later, accept_trace=TRACE) for later in range(5)]
    outbox = await reopen()
    assert await look_at_due(outbox, "q", EVER, 9) == [stored(new) for new in news]
    assert (await waited_in(outbox, "q"), await next_due(outbox, "q")) == (["q"], START)
    assert await outbox.next_expiry() == news[0].record.expire_time
    taken = await take(outbox, news[0].record)
    assert await outbox.get(taken.message_id, DEFAULT_TENANT) == taken


# All that waits.


@pytest.mark.parametrize("limit", [1, 2, 5, 11, 12, 50])
async def test_what_waits_is_paged_through_once_each_in_the_order_of_acceptance(outbox: Outbox, limit: int) -> None:
    expected = []
    for number in range(30):
        if number % 3 == 0:
            await keep(outbox)
        else:
            new = await queue_up(outbox, queue=f"q-{number % 4}", send_time=START + 50 - number)
            expected.append(new)
            if number % 5 == 0:
                await change(outbox, new.record, lifecycle.cancel(new.record, now=START))
                expected.pop()
    assert await everything_waiting(outbox, limit) == [stored(new) for new in expected]


async def test_what_changes_between_pages_makes_no_gap_and_no_repeat(outbox: Outbox) -> None:
    news = [await queue_up(outbox) for _ in range(12)]
    found: list[str] = []
    after, rounds = BEGINNING, 0
    while True:
        page, after = await outbox.scan_queued(after, 4)
        if not page:
            break
        found += ids(page)
        rounds += 1
        assert rounds < 20
        for one in page[:2]:
            await take(outbox, one.record)
        await outbox.reassign([(one.record, "other") for one in page[2:]])
        if rounds < 3:
            news.append(await queue_up(outbox))
    assert found == ids(news)


async def test_what_is_moved_waits_in_its_new_queue_and_is_otherwise_as_it_was(outbox: Outbox) -> None:
    news = [await queue_up(outbox, send_time=START + later) for later in range(4)]
    moves = [(new.record, queue) for new, queue in zip(news, ("a", "b", "b"), strict=False)]
    unknown = replace(news[0].record, message_id=build.new_id())
    assert await outbox.reassign([*moves, (unknown, "of nobody")]) == 3
    moved = [replace(record, queue=queue) for record, queue in moves]
    assert await look_at_due(outbox, "q", EVER, 9) == [stored(news[3])]
    assert await look_at_due(outbox, "a", EVER, 9) == [stored(news[0], moved[0])]
    assert await look_at_due(outbox, "b", EVER, 9) == [stored(news[1], moved[1]), stored(news[2], moved[2])]
    assert await waited_in(outbox, "a", "b", "q", "of nobody") == ["a", "b", "q"]
    assert await next_due(outbox, "b") == START + 1
    taken = await take(outbox, moved[1])
    back = await change(outbox, taken, dropped(taken))
    assert await look_at_due(outbox, "b", EVER, 9) == [stored(news[2], moved[2]), stored(news[1], back)]
    assert await outbox.reassign([]) == 0


async def test_many_are_moved_at_once_while_others_are_taken(outbox: Outbox) -> None:
    news = [await queue_up(outbox) for _ in range(100)]
    takes = [outbox.advance(new.record, build.retried(new.record)) for new in news[::2]]
    moving = outbox.reassign([(new.record, "b") for new in news[1::2]])
    assert all(await asyncio.gather(*takes))
    assert await moving == 50
    assert await due(outbox, "q") == []
    assert sorted(await due(outbox, "b")) == sorted(ids(news[1::2]))


async def test_who_has_changed_or_was_moved_meanwhile_is_not_moved(outbox: Outbox) -> None:
    taken, moved, back, free = [await queue_up(outbox) for _ in range(4)]
    await take(outbox, taken.record)
    assert await outbox.reassign([(moved.record, "a")]) == 1
    opened = await take(outbox, back.record)
    waits = await change(outbox, opened, dropped(opened))
    assert await outbox.reassign([(one.record, "b") for one in (taken, moved, back, free)]) == 1
    assert await due(outbox, "b") == ids([free])
    assert await due(outbox, "a") == ids([moved])
    assert await due(outbox, "q") == ids([back])
    assert await outbox.reassign([(waits, "b")]) == 1


async def test_what_is_moved_is_no_news(outbox: Outbox) -> None:
    new = await queue_up(outbox)
    last = await outbox.last_position()
    assert await outbox.reassign([(new.record, "a")]) == 1
    assert await outbox.last_position() == last
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == replace(new.record, queue="a")


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_of_some_queues_that_alone_is_paged_through(outbox: Outbox, limit: int) -> None:
    names = ("a", "b", '"\u00fc', "a#1")
    news = [await queue_up(outbox, queue=names[number % 4]) for number in range(20)]
    for queues in ([], ["a"], ["b", '"\u00fc'], {"a#1", "nobody's"}, list(names), None):
        expected = [stored(new) for new in news if queues is None or new.record.queue in queues]
        assert await everything_waiting(outbox, limit, queues) == expected


# What is kept beside messages.


async def who_is_drained(outbox: Outbox) -> set[str]:
    return {name for name, state in (await outbox.provider_states()).items() if state.is_drained}


async def test_who_is_drained_is_kept_until_it_is_resumed(reopen: Reopen) -> None:
    outbox = await reopen()
    assert await outbox.provider_states() == {}
    for name, drained, after in (
        ("sms-eu", True, {"sms-eu"}),
        ("sms-eu", True, {"sms-eu"}),
        ("email", True, {"sms-eu", "email"}),
        ("nobody", False, {"sms-eu", "email"}),
        ("sms-eu", False, {"email"}),
    ):
        await outbox.set_drained(name, drained)
        assert await who_is_drained(outbox) == after
        outbox = await reopen()
        assert await who_is_drained(outbox) == after


async def test_a_fact_is_kept_until_it_is_another(reopen: Reopen) -> None:
    outbox = await reopen()
    assert await outbox.metadata("routes") is None
    for value in ("one", "one", "\u00fc \x01", ""):
        await outbox.keep_metadata("routes", value)
        assert await outbox.metadata("routes") == value
        outbox = await reopen()
        assert await outbox.metadata("routes") == value
    await outbox.keep_metadata("Routes", "other")
    assert [await outbox.metadata(name) for name in ("routes", "Routes", "route")] == ["", "other", None]


async def test_what_is_kept_beside_messages_is_seen_at_once(outbox: Outbox) -> None:
    writes: list[Any] = [outbox.set_drained(f"p-{i}", True) for i in range(20)]
    writes += [outbox.keep_metadata(f"f-{i}", str(i)) for i in range(20)]
    assert await asyncio.gather(*writes) == [None] * 40
    assert await who_is_drained(outbox) == {f"p-{i}" for i in range(20)}
    assert [await outbox.metadata(f"f-{i}") for i in range(20)] == [str(i) for i in range(20)]


DRAINED = Note(NoteAction.DRAIN, 'their incident 4711, "\u00fc"', START)
RESUMED = Note(NoteAction.RESUME, "", START + 1)
RESET = Note(NoteAction.RESET, "they are back", START + 2)


async def test_what_was_done_to_a_provider_is_kept_drained_or_not(reopen: Reopen) -> None:
    outbox = await reopen()
    await outbox.set_drained("a", True, DRAINED)
    await outbox.add_reset("b", RESET)
    await outbox.set_drained("a", True)  # again, which leaves the note
    for _ in range(2):
        assert await outbox.provider_states() == {
            "a": ProviderState(True, 0, DRAINED),
            "b": ProviderState(False, 1, RESET),
        }
        outbox = await reopen()
    await outbox.set_drained("a", False, RESUMED)
    await outbox.add_reset("b", replace(RESET, time=START + 5))
    await outbox.set_drained("b", True, DRAINED)
    for _ in range(2):
        assert await outbox.provider_states() == {
            "a": ProviderState(False, 0, RESUMED),
            "b": ProviderState(True, 2, DRAINED),
        }
        outbox = await reopen()


async def test_no_reset_is_lost_beside_others(outbox: Outbox) -> None:
    await asyncio.gather(*(outbox.add_reset(f"p-{i % 2}", RESET) for i in range(20)))
    assert {name: state.resets for name, state in (await outbox.provider_states()).items()} == {"p-0": 10, "p-1": 10}

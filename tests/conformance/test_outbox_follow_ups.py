"""What every outbox keeps to of messages that were sent and wait for a receipt: see `core.follow_up`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, KEEPING, Reopen, but_at_length, change

from postwire.core import follow_up
from postwire.core.audit import AuditEvent
from postwire.core.follow_up import UNDER_WAY
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import BEGINNING, ErasureCounts, Outbox

SECOND = 1_000_000
NAMES = ("sms-mms", "other")
EVENT = AuditEvent(START, DEFAULT_TENANT, "ops", "postwire.v1.DispatchService/EraseMessages", reason="asked for")


@pytest.fixture(params=but_at_length(KEEPING, "memory"))
async def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    """One that keeps contents."""
    opened = await KEEPING[request.param](tmp_path)
    yield opened
    await opened.close()


async def sent(outbox: Outbox, until: int = START + 45 * SECOND, tenant: str = DEFAULT_TENANT) -> MessageRecord:
    """A message that was sent, and waits for a receipt until then (µs, due clock)."""
    new = build.new_message()
    new = replace(new, record=replace(new.record, tenant=tenant))
    await outbox.accept(new)
    after = follow_up.expect_receipt(build.ended(new.record), build.POLICY, NAMES, until=until)
    assert follow_up.is_waiting(after)
    return await change(outbox, new.record, after)


async def opened(outbox: Outbox, record: MessageRecord) -> MessageRecord:
    return await change(outbox, record, follow_up.open_attempt(record, "other", now=START))


async def overdue(outbox: Outbox, now: int = EVER, limit: int = 9) -> list[MessageRecord]:
    return [one.record for one in await outbox.overdue(now, limit)]


async def test_they_are_due_by_their_time_those_that_wait_for_longest_first(outbox: Outbox) -> None:
    assert await outbox.next_follow_up() is None
    late, early = await sent(outbox, START + 9), await sent(outbox, START + 5, "acme")
    assert await outbox.next_follow_up() == START + 5
    assert await overdue(outbox, START + 4) == []
    assert await overdue(outbox, START + 5) == [early]
    assert await overdue(outbox) == [early, late]
    assert await overdue(outbox, limit=1) == [early]
    (first, _) = await outbox.overdue(EVER, 9)
    assert first.options.expire_time == early.expire_time


async def test_one_that_was_sent_waits_in_no_queue_and_is_not_counted(outbox: Outbox) -> None:
    await sent(outbox)
    assert (await outbox.stats()).unsettled == 0
    assert (await outbox.unsettled_counts(START)).queues == {}
    assert await outbox.heads(None, EVER, 9) == {}
    assert await outbox.orphans(9) == []


async def test_what_it_says_is_there_for_as_long_as_somebody_may_be_asked(outbox: Outbox) -> None:
    record = await sent(outbox)
    content = await outbox.content(record.message_id, DEFAULT_TENANT)
    assert content
    further = await opened(outbox, record)
    assert await outbox.content(record.message_id, DEFAULT_TENANT) == content
    ended, _ = follow_up.close_attempt(further, DispatchResult(Outcome.ERROR), now=START, duration=1)
    again = await change(outbox, further, replace(ended, follow_up_time=START + 9))
    assert await outbox.content(record.message_id, DEFAULT_TENANT) == content
    await change(outbox, again, follow_up.end(again, now=START))
    assert await outbox.content(record.message_id, DEFAULT_TENANT) is None


@pytest.mark.parametrize("state", [MessageState.DELIVERED, MessageState.UNDELIVERED])
async def test_a_receipt_ends_it_and_what_it_says_goes_in_the_same_commit(outbox: Outbox, state: MessageState) -> None:
    record = await sent(outbox)
    after = replace(record, state=state, revision=record.revision + 1, follow_up_time=None)
    await change(outbox, record, after)
    assert await outbox.content(record.message_id, DEFAULT_TENANT) is None
    assert (await overdue(outbox), await outbox.next_follow_up()) == ([], None)


async def test_contents_that_are_kept_stay(keeping: Outbox) -> None:
    record = await sent(keeping)
    await change(keeping, record, follow_up.end(record, now=START))
    assert await keeping.content(record.message_id, DEFAULT_TENANT)


async def test_the_walk_that_erases_contents_leaves_those_that_may_be_needed(keeping: Outbox) -> None:
    waits, open_one, over = [await sent(keeping) for _ in range(3)]
    await opened(keeping, open_one)
    await change(keeping, over, follow_up.end(over, now=START))
    assert await keeping.erase_contents(BEGINNING, EVER, 99)
    contents = [await keeping.content(one.message_id, DEFAULT_TENANT) for one in (waits, open_one, over)]
    assert [content is not None for content in contents] == [True, True, False]


async def test_an_open_one_comes_back_whole_and_is_never_due(outbox: Outbox) -> None:
    further = await opened(outbox, await sent(outbox))
    assert await outbox.get(further.message_id, DEFAULT_TENANT) == further
    assert further.follow_up_time == UNDER_WAY
    assert further.attempts[-1].receipt_overdue
    assert (await overdue(outbox), await outbox.next_follow_up()) == ([], None)


async def test_an_open_one_of_an_earlier_boot_is_an_orphan(reopen: Reopen) -> None:
    outbox = await reopen()
    waits, further = await sent(outbox), await opened(outbox, await sent(outbox))
    outbox = await reopen()
    (orphan,) = await outbox.orphans(9)
    assert orphan.record == further
    assert orphan.content == await outbox.content(further.message_id, DEFAULT_TENANT)
    ended, _ = follow_up.close_attempt(further, DispatchResult(Outcome.UNCERTAIN), now=START, duration=None)
    await change(outbox, further, ended)
    assert await outbox.orphans(9) == []
    assert await overdue(outbox) == [waits]


async def test_it_is_put_off_without_a_change_that_anybody_sees(outbox: Outbox) -> None:
    one, other = await sent(outbox, START + 1), await sent(outbox, START + 2)
    position = await outbox.last_position()
    assert await outbox.put_off([(one, START + 9), (other, START + 8)]) == 2
    assert await outbox.last_position() == position
    assert await overdue(outbox) == [replace(other, follow_up_time=START + 8), replace(one, follow_up_time=START + 9)]


async def test_it_is_not_put_off_once_somebody_has_changed_it(outbox: Outbox) -> None:
    record = await sent(outbox)
    further = await opened(outbox, record)
    assert await outbox.put_off([(record, START + 9), (replace(further, tenant="acme"), START + 9)]) == 0
    assert await outbox.get(record.message_id, DEFAULT_TENANT) == further


async def test_two_who_would_open_it_do_not_both(outbox: Outbox) -> None:
    record = await sent(outbox)
    await opened(outbox, record)
    assert not await outbox.advance(record, follow_up.open_attempt(record, "other", now=START))


async def test_an_erasure_ends_it(keeping: Outbox) -> None:
    record = await sent(keeping)
    assert await keeping.erase([record.message_id], DEFAULT_TENANT, EVENT) == ErasureCounts(1, 0)
    after = replace(record, revision=record.revision + 1, follow_up_time=None)
    assert await keeping.get(record.message_id, DEFAULT_TENANT) == after
    assert await overdue(keeping) == []
    assert not await keeping.advance(record, follow_up.open_attempt(record, "other", now=START))


async def test_an_erasure_passes_over_one_that_is_under_way(keeping: Outbox) -> None:
    further = await opened(keeping, await sent(keeping))
    assert await keeping.erase([further.message_id], DEFAULT_TENANT, EVENT) == ErasureCounts(0, 1)
    assert await keeping.get(further.message_id, DEFAULT_TENANT) == further
    assert await keeping.content(further.message_id, DEFAULT_TENANT)


async def test_retention_takes_it_along(outbox: Outbox) -> None:
    await sent(outbox)
    await outbox.remove_settled(BEGINNING, EVER, 99)
    assert (await overdue(outbox), await outbox.next_follow_up()) == ([], None)


async def test_a_boot_brings_its_time_onto_its_own_clock(outbox: Outbox) -> None:
    waits, further = await sent(outbox), await opened(outbox, await sent(outbox))
    await outbox.keep_ahead(-build.HOUR)
    now = START + 1 - build.HOUR
    for _ in range(2):  # it is made up for once
        await outbox.realign(now, EVER, EVER)
        after, still = [await outbox.get(one.message_id, DEFAULT_TENANT) for one in (waits, further)]
        assert after == replace(waits, follow_up_time=START + 45 * SECOND - build.HOUR, deadline=START + 3 * build.HOUR)
        assert still == replace(further, deadline=START + 3 * build.HOUR)


async def test_after_a_boot_nobody_waits_for_a_receipt_for_longer_than_any_route_says(reopen: Reopen) -> None:
    outbox = await reopen()
    soon, late, further = await sent(outbox, START + 3), await sent(outbox, START + 9), await sent(outbox)
    await opened(outbox, further)
    outbox = await reopen()
    await outbox.realign(START, EVER, EVER, latest_follow_up=START + 5)
    times = [one.follow_up_time for one in await overdue(outbox)]
    assert times == [soon.follow_up_time, START + 5]
    assert [one.record.message_id for one in await outbox.orphans(9)] == [further.message_id]
    assert late.follow_up_time == START + 9

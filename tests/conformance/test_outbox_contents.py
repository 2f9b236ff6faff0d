"""What every outbox keeps to about contents: there until their message is settled, and then for as long as asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import KEEPING, but_at_length, change, dropped, failed_over, keep, queue_up, take

from postwire.core import lifecycle
from postwire.core.errors import RequestIdReused
from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import BEGINNING, Accepted, Outbox

ONCE = lifecycle.Policy(max_attempts=5, delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)

ENDS: dict[MessageState, Callable[[MessageRecord], MessageRecord]] = {
    MessageState.SENT: lambda record: build.ended(record),
    MessageState.FAILED: lambda record: build.ended(record, DispatchResult(Outcome.REJECTED)),
    MessageState.UNCERTAIN: lambda record: build.ended(record, DispatchResult(Outcome.UNCERTAIN), policy=ONCE),
    MessageState.EXPIRED: lambda record: lifecycle.expire(record, now=START + 1),
    MessageState.CANCELLED: lambda record: lifecycle.cancel(record, now=START + 1),
}


@pytest.fixture(params=but_at_length(KEEPING, "memory"))
async def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    """One that keeps contents."""
    opened = await KEEPING[request.param](tmp_path)
    yield opened
    await opened.close()


@pytest.mark.parametrize("state", ENDS)
async def test_a_message_that_settles_loses_its_content_in_the_same_commit(outbox: Outbox, state: MessageState) -> None:
    waits = state in (MessageState.EXPIRED, MessageState.CANCELLED)
    new, other = await (queue_up if waits else keep)(outbox, request_id="r"), await keep(outbox)
    assert await outbox.content(new.record.message_id, DEFAULT_TENANT) == new.content
    after = await change(outbox, new.record, ENDS[state](new.record))
    assert after.state is state
    assert await outbox.content(after.message_id, DEFAULT_TENANT) is None
    assert await outbox.content(other.record.message_id, DEFAULT_TENANT) == other.content
    # The hash of what it said stays: its request id is still held to it.
    assert await outbox.accept(build.repeated(new)) == Accepted(after, created=False)
    with pytest.raises(RequestIdReused):
        await outbox.find_by_request_id("r", DEFAULT_TENANT, b"of another payload")


async def test_a_message_keeps_its_content_for_as_long_as_more_may_follow(outbox: Outbox) -> None:
    new = await keep(outbox)
    record = await change(outbox, new.record, failed_over(new.record))
    record = await change(outbox, record, build.ended(record, DispatchResult(Outcome.UNCERTAIN)))
    record = await take(outbox, record)
    record = await change(outbox, record, dropped(record))
    assert record.state is MessageState.QUEUED
    assert await outbox.content(record.message_id, DEFAULT_TENANT) == new.content


async def test_a_change_that_comes_too_late_erases_nothing(outbox: Outbox) -> None:
    new = await keep(outbox)
    failed = await change(outbox, new.record, failed_over(new.record))
    assert not await outbox.advance(new.record, build.ended(new.record))
    assert await outbox.content(failed.message_id, DEFAULT_TENANT) == new.content


async def test_among_many_changes_of_one_commit_only_those_that_settle_erase(outbox: Outbox) -> None:
    news = [await keep(outbox) for _ in range(300)]
    ends = [
        build.ended(new.record, DispatchResult(Outcome.ERROR)) if number % 3 else build.ended(new.record)
        for number, new in enumerate(news)
    ]
    assert all(await asyncio.gather(*(outbox.advance(new.record, end) for new, end in zip(news, ends, strict=True))))
    found = [await outbox.content(new.record.message_id, DEFAULT_TENANT) for new in news]
    assert found == [new.content if number % 3 else None for number, new in enumerate(news)]


async def test_who_resolves_an_uncertain_message_finds_it_erased(outbox: Outbox) -> None:
    new = await keep(outbox)
    uncertain = await change(outbox, new.record, ENDS[MessageState.UNCERTAIN](new.record))
    sent = await change(outbox, uncertain, lifecycle.resolve(uncertain, sent=True, now=START + 9))
    assert await outbox.content(sent.message_id, DEFAULT_TENANT) is None


async def test_contents_that_are_kept_are_erased_once_their_message_was_settled_before_a_time(keeping: Outbox) -> None:
    settled = [await keep(keeping, now=START + number) for number in range(10)]
    waiting = [await queue_up(keeping, now=START + number) for number in range(3)]
    ends = [await change(keeping, new.record, build.ended(new.record, after=10)) for new in settled]
    assert [await keeping.content(new.record.message_id, DEFAULT_TENANT) for new in settled] == [
        new.content for new in settled
    ]
    before = ends[6].update_time
    position, steps = BEGINNING, 0
    while (reached := await keeping.erase_contents(position, before, 4)) is not None:
        assert reached > position
        position, steps = reached, steps + 1
    assert steps >= 2
    found = [await keeping.content(new.record.message_id, DEFAULT_TENANT) for new in settled]
    assert found == [None] * 6 + [new.content for new in settled[6:]]
    assert [await keeping.content(new.record.message_id, DEFAULT_TENANT) for new in waiting] == [
        new.content for new in waiting
    ]
    assert [await keeping.get(end.message_id, DEFAULT_TENANT) for end in ends] == ends, "their records stay as they are"
    assert await keeping.purge_erased()


async def test_a_walk_ends_where_nothing_can_have_been_settled_yet(keeping: Outbox) -> None:
    assert await keeping.erase_contents((), START, 10) is None
    new = await keep(keeping, now=START)
    await change(keeping, new.record, build.ended(new.record))
    assert await keeping.erase_contents((), START, 10) is None
    assert await keeping.content(new.record.message_id, DEFAULT_TENANT) == new.content

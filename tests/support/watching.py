"""Those who watch messages, and messages to be watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.waiting import within

from postwire.core.listing import MessageFilter, ResumePoint
from postwire.core.message import DEFAULT_TENANT, MessageRecord, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.delivery import WatchEvent

LATER = START + build.HOUR


class Watching:
    """A watch that goes on when it is asked to. `resume` is what it has come to."""

    def __init__(self, harness: Harness, *message_ids: str, after: ResumePoint | None = None, **chosen: Any) -> None:
        self._batches = harness.delivery.watchers.watch(message_ids, MessageFilter(**chosen), after, DEFAULT_TENANT)
        self.resume = after

    async def begin(self) -> Watching:
        """Come to where only what is new follows."""
        await self.next()
        return self

    async def next(self) -> Sequence[WatchEvent]:
        batch = await within(anext(self._batches))
        assert batch
        positions = [one.point.position or () for one in batch]
        assert positions == sorted(positions)
        self.resume = batch[-1].point
        return batch

    async def until(self, record: MessageRecord) -> list[MessageRecord]:
        """All that is shown, until a record is; its message comes to no later one."""
        shown: list[MessageRecord] = []
        while record not in shown:
            shown += [one.record for one in await self.next() if one.record]
        assert shown[-1] == record
        return shown

    async def hang_up(self) -> None:
        await self._batches.aclose()


async def waiting(harness: Harness, **options: Any) -> MessageRecord:
    """A message that is sent in an hour."""
    return await harness.send(build.command(send_time=LATER, wait_for=WaitFor.ACCEPTANCE, **options))


async def now(harness: Harness, *, ago: int = 0) -> ResumePoint:
    """Behind the last change, or behind one some changes before it."""
    *others, last = await harness.outbox.last_position()
    return ResumePoint(await harness.outbox.store_name(), (*others, last - ago))


async def touch(harness: Harness, record: MessageRecord) -> MessageRecord:
    """Two changes that leave it queued."""
    taken = build.retried(record)
    assert await harness.outbox.advance(record, taken)
    after = build.ended(taken, DispatchResult(Outcome.RATE_LIMITED), retry_after=build.HOUR)
    assert await harness.outbox.advance(taken, after)
    return after

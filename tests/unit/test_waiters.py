"""Who waits for a message, as one pass after another works on it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.support import build
from tests.support.waiting import PATIENCE, within

from postwire.core.message import MessageState
from postwire.delivery.waiters import Waiter, WaiterRegistry


async def test_the_end_of_a_pass_is_not_that_of_the_next_which_has_begun_before_it() -> None:
    """A message may be taken out of its queue before the pass that has put it there knows that this is kept."""
    waiters, record = WaiterRegistry(), build.accepted()
    first, second = Waiter(), Waiter()
    waiters.activate(record, first)
    assert waiters.remove(record) is None, "whoever waits for this pass is told how it ends"
    waiters.activate(record, second)
    waiters.finish(record, first)
    assert waiters.get(record.message_id) is second
    waiters.finish(record, second)
    assert len(waiters) == 0


async def test_whoever_comes_before_a_task_has_begun_is_told_by_it() -> None:
    """The store has told him that the message is queued, and it was taken out meanwhile."""
    waiters, record = WaiterRegistry(), build.accepted()
    late, of_task = Waiter(), Waiter()
    waiters.attach(record, late)
    waiters.activate(record, of_task)
    assert waiters.get(record.message_id) is of_task
    assert waiters.queued == 0
    sent = of_task.record = replace(record, state=MessageState.SENT)
    waiting = asyncio.create_task(late.until_completed(asyncio.get_running_loop(), PATIENCE))
    await asyncio.sleep(0)
    waiters.finish(sent, of_task)
    await within(waiting)
    assert late.record == sent
    assert len(waiters) == 0

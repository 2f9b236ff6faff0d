"""Who waits for a message, as one pass after another works on it."""

from __future__ import annotations

from tests.support import build

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

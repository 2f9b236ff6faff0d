"""A queue whose messages another node is taking: rows that are locked are passed over, and still counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support import build
from tests.support.clock import ManualClock
from tests.support.nodes import SharingNode, in_postgres, passes
from tests.support.waiting import within

from postwire.core.message import MessageState, WaitFor
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.postgres.database import Lane


class Counting:
    """Counts how often something is called."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.count = 0

    def __call__(self, *args: Any) -> Any:
        self.count += 1
        return self.call(*args)


async def test_what_another_node_is_taking_is_not_asked_for_again_and_again() -> None:
    async with in_postgres() as shared:
        clock = ManualClock()
        node = SharingNode(shared[0], 1, clock)
        await node.boot()
        node.stop_sending()
        record = await node.send(build.command(wait_for=WaitFor.ACCEPTANCE))
        await node.calm()
        may_commit, is_locked = asyncio.Event(), asyncio.Event()

        async def lock(connection: Any) -> None:
            await connection.execute(f"SELECT FROM messages WHERE message_id = '{record.message_id}' FOR UPDATE")
            is_locked.set()
            await may_commit.wait()

        other = shared[1]
        assert isinstance(other, PostgresOutbox)
        taking = asyncio.create_task(other.database.transact(Lane.CLAIM, lock))
        await within(is_locked.wait())
        takes = Counting(node.outbox.take)
        node.outbox.take = takes  # type: ignore[assignment, method-assign]
        node.send_again()
        for _ in range(5):
            await node.calm()
        assert takes.count == 1, "the next is 50 ms later, by a clock that stands still"
        may_commit.set()
        await within(taking)
        await passes(clock, lambda: bool(node.provider.keys), node)
        await node.noted.reached(record.message_id, MessageState.SENT)
        await node.drain(0.0)

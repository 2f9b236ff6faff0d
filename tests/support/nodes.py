"""Several deliveries that share one store, as several nodes do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.clock import ManualClock
from tests.support.harness import Harness
from tests.support.postgres import new_database
from tests.support.providers import FakeProvider, registry_of
from tests.support.waiting import PATIENCE

from postwire.core.gate import Gate
from postwire.core.ids import MessageIds
from postwire.core.shares import NOTHING
from postwire.outbox.base import Outbox
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.sqlite import SqliteOutbox

Sharing = tuple[Outbox, Outbox]
"""One store as each of two nodes has it."""

STEP = 0.25
"""Seconds by which the clock goes on while something is waited for."""


class SharingNode(Harness):
    """A node of several, with a provider of its own by the name of `fake`. `number` tells its messages' ids apart."""

    def __init__(self, outbox: Outbox, number: int, clock: ManualClock, **given: Any) -> None:
        if "registry" not in given:
            given["provider"] = provider = given.get("provider") or FakeProvider()
            given["registry"] = registry_of(provider)
        super().__init__(
            outbox, clock=clock, ids=MessageIds(random.Random(number).getrandbits), is_shared=True, **given
        )

    @property
    def gate(self) -> Gate:
        """That of the first provider."""
        return next(iter(self.registry)).gate

    def stop_sending(self) -> None:
        """Have no share of any limit."""
        for entry in self.registry:
            entry.gate.limit(NOTHING, self.clock.monotonic())

    def send_again(self) -> None:
        """Have all of the limits."""
        for entry in self.registry:
            entry.gate.limit(entry.gate.whole_limits, self.clock.monotonic())


@asynccontextmanager
async def in_memory() -> AsyncIterator[Sharing]:
    """An embedded one, which both have."""
    outbox = await SqliteOutbox.open(":memory:")
    yield outbox, outbox
    await outbox.close()


@asynccontextmanager
async def in_postgres() -> AsyncIterator[Sharing]:
    """One in a database, with connections of each node."""
    url = await new_database()
    one, other = [await PostgresOutbox.open(url, name=f"node-{number}", lease=600.0) for number in (1, 2)]
    yield one, other
    await one.close()
    await other.close()


SHARED: Final = {"in memory": in_memory, "in PostgreSQL": in_postgres}


async def passes(clock: ManualClock, happened: Callable[[], bool], *nodes: Harness, step: float = STEP) -> float:
    """Have time go by until something has happened, `step` by step; returns how many seconds."""
    seconds = 0.0
    async with asyncio.timeout(PATIENCE):
        while not happened():
            for node in nodes:
                await node.calm()
            if happened():
                break
            clock.advance(step)
            seconds += step
            await asyncio.sleep(0)
    return seconds

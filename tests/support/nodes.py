"""Several deliveries that share one store, as several nodes do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from tests.support.clock import ManualClock
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of
from tests.support.waiting import PATIENCE

from postwire.core.gate import Gate
from postwire.core.ids import MessageIds
from postwire.core.shares import NOTHING
from postwire.outbox.base import Outbox

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


async def passes(clock: ManualClock, happened: Callable[[], bool], *nodes: Harness) -> float:
    """Have time go by until something has happened; returns how many seconds."""
    seconds = 0.0
    async with asyncio.timeout(PATIENCE):
        while not happened():
            for node in nodes:
                await node.calm()
            if happened():
                break
            clock.advance(STEP)
            seconds += STEP
            await asyncio.sleep(0)
    return seconds

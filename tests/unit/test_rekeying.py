"""The task that has a store encrypted anew: when it does the next step."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.clock import ManualClock

from postwire.core.errors import StoreUnavailable
from postwire.maintenance.rekeying import AFTER_NO_ROOM, Rekeying


class FullStore:
    """Has no room for any step."""

    available = True

    def __init__(self) -> None:
        self.steps = 0
        self.tried = asyncio.Event()

    async def rekey_step(self, now: int) -> None:
        self.steps += 1
        self.tried.set()
        raise StoreUnavailable


async def test_a_step_that_has_no_room_is_not_tried_again_at_once() -> None:
    store: Any = FullStore()
    clock = ManualClock()
    rekeying = Rekeying(outbox=store, clock=clock, keys=())
    rekeying.start()
    for steps in (1, 2):
        await store.tried.wait()
        store.tried.clear()
        clock.advance(AFTER_NO_ROOM - 1)
        await asyncio.sleep(0)
        assert store.steps == steps
        clock.advance(1)
    await rekeying.stop()

"""The task that has a store encrypted anew: when it does the next step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.support.clock import ManualClock
from tests.support.log_lines import lines, logging_as_it_was, start  # noqa: F401  # a fixture

from postwire.config.encryption_keys import EncryptionKey
from postwire.core.errors import StoreUnavailable
from postwire.maintenance.rekeying import AFTER_NO_ROOM, BETWEEN_LOOKS, Rekeying


class FullStore:
    """Has no room for any step."""

    available = True

    def __init__(self) -> None:
        self.steps = 0
        self.tried = asyncio.Event()

    def why_insufficient(self, keys: Sequence[EncryptionKey]) -> None:
        pass

    async def rekey_step(self, now: int) -> None:
        self.steps += 1
        self.tried.set()
        raise StoreUnavailable


class Needy(FullStore):
    """Needs keys, of which there is more or less to be said."""

    problem: str | None = None

    def why_insufficient(self, keys: Sequence[EncryptionKey]) -> Any:
        return self.problem

    async def rekey_step(self, now: int) -> None:
        self.tried.set()


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


async def test_a_key_that_the_store_has_come_to_need_is_told_of_once() -> None:
    stream = start()
    store: Any = Needy()
    clock = ManualClock()
    rekeying = Rekeying(outbox=store, clock=clock, keys=(), is_leader=lambda: True)
    rekeying.start()
    for problem in (None, "one", "one", None, "one"):
        store.problem = problem
        clock.advance(BETWEEN_LOOKS)
        await store.tried.wait()
        store.tried.clear()
    await rekeying.stop()
    reported = [(line["event"], line["level"], line["detail"]) for line in lines(stream)]
    assert reported == [("keys_missing", "warning", "one")] * 2

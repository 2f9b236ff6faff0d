"""Looks at all queues at once, now and then, where other nodes have messages wait in them: nobody tells of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from postwire.clock import Clock
from postwire.delivery.queues import BATCH
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import Head, QueueKey, WorkQueue

BETWEEN_LOOKS: Final = 1.0
"""Seconds. As long as this a message may wait at a node that has no slot for it, before another knows of it."""

MOST: Final = 2 * BATCH
"""How many messages of a priority are counted in each."""


class QueueHeads:
    """Reads what waits in every queue, and gives all of it to `found`."""

    def __init__(self, *, work: WorkQueue, clock: Clock, found: Callable[[Mapping[QueueKey, Head]], None]) -> None:
        self._work = work
        self._clock = clock
        self._found = found
        self._wakeable = WakeableTask(self._look, outbox=work, clock=clock)

    def start(self) -> None:
        """Begin, with a look at once."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._wakeable.stop()

    async def _look(self) -> float:
        await self._work.wait_available()
        due = self._clock.due()
        self._found(await self._work.heads(None, due, MOST, self._clock.wall() - due))
        return BETWEEN_LOOKS

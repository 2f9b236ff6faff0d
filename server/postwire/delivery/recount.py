"""Counts what is not settled anew, now and then, where other nodes share the store: what these take and settle is not
told to this one."""

from __future__ import annotations

from typing import Final

from postwire.clock import Clock
from postwire.core.backlog import Backlog
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import MessageStore

BETWEEN_COUNTS: Final = 30.0
"""Seconds. Meanwhile all that is not settled, in all, is counted for everybody by one of the nodes."""

IDLE: Final = 20
"""How many times as long as it takes to count nothing is counted, at the least: it takes long where much waits."""


class Recount:
    """Has the backlog go by what is in the store."""

    def __init__(self, *, messages: MessageStore, backlog: Backlog, clock: Clock) -> None:
        self._messages = messages
        self._backlog = backlog
        self._clock = clock
        self._has_begun = False
        self._wakeable = WakeableTask(self._count, outbox=messages, clock=clock)

    def start(self) -> None:
        """Begin, once it was counted for the first time."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Count no more."""
        await self._wakeable.stop()

    async def _count(self) -> float:
        if not self._has_begun:
            self._has_begun = True
            return BETWEEN_COUNTS
        began, before = self._clock.monotonic(), dict(self._backlog.queues)
        counts = await self._messages.unsettled_counts(self._clock.wall())
        self._backlog.reload(before, counts.queues, counts.scheduled)
        return max(BETWEEN_COUNTS, IDLE * (self._clock.monotonic() - began))

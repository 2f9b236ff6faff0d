"""Has the next provider asked for messages of which no receipt has come in time: see `core.follow_up`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from postwire.clock import Clock
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import QueuedMessage, WorkQueue

BATCH: Final = 64
"""How many messages are looked at at once."""

BETWEEN_BATCHES: Final = 0.05
"""Seconds. Where nobody is free for any of them, this is all that is done about it."""


class OverdueReceipts:
    """Looks for messages that are overdue, and hands them to `begin`, which takes each of them out of what is."""

    def __init__(
        self,
        *,
        work: WorkQueue,
        clock: Clock,
        begin: Callable[[Sequence[QueuedMessage]], Awaitable[bool]],
        interval: float = math.inf,
    ) -> None:
        """It looks at least every `interval` seconds: other nodes do not tell of what they have sent, and one of them
        may be gone."""
        self._interval = interval
        self._work = work
        self._clock = clock
        self._begin = begin
        self._wakeable = WakeableTask(self._run_once, outbox=work, clock=clock)
        self._next = math.inf  # µs, due clock

    def start(self) -> None:
        """Begin, with what is in the store."""
        self._wakeable.start()

    def expect(self, time: int) -> None:
        """A message waits for a receipt until `time` (µs, due clock)."""
        if time < self._next:
            self._wakeable.wake()

    def wake(self) -> None:
        """Look again at what waits."""
        self._wakeable.wake()

    async def stop(self) -> None:
        """Have nobody else asked."""
        await self._wakeable.stop()

    async def _run_once(self) -> float:
        self._next = math.inf
        if overdue := await self._work.overdue(self._clock.due(), BATCH):
            self._next = 0  # it looks again by itself
            return BETWEEN_BATCHES if await self._begin(overdue) else math.inf
        if (time := await self._work.next_follow_up()) is None:
            return self._interval
        self._next = time
        return min(max((time - self._clock.due()) / 1e6, BETWEEN_BATCHES), self._interval)

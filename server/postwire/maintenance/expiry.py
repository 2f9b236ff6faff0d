"""Ends the wait of messages whose time has run out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from postwire.clock import Clock
from postwire.core import lifecycle
from postwire.core.message import MessageRecord
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import MessageStore, WorkQueue

BATCH: Final = 256
"""How many messages are expired in one commit."""


class ExpirySweep:
    """Expires what waits for too long.

    `expired` is called with each message, as it was before and as it is now, once that is durable. It looks at the
    least every `interval` seconds: what waits at other nodes nobody reports here.
    """

    def __init__(
        self,
        *,
        messages: MessageStore,
        work: WorkQueue,
        clock: Clock,
        expired: Callable[[MessageRecord, MessageRecord], None],
        interval: float = math.inf,
    ) -> None:
        self._interval = interval
        self._messages = messages
        self._work = work
        self._clock = clock
        self._expired = expired
        self._wakeable = WakeableTask(self._run_once, outbox=work, clock=clock)
        self._next = math.inf  # µs, due clock

    def start(self) -> None:
        """Begin, with what is in the store."""
        self._wakeable.start()

    def expect(self, deadline: int) -> None:
        """A message waits that may not wait for longer than until `deadline` (µs, due clock)."""
        if deadline < self._next:
            self._wakeable.wake()

    def wake(self) -> None:
        """Look again at what waits."""
        self._wakeable.wake()

    async def _expire(self, record: MessageRecord) -> None:
        """End the wait of one message, unless somebody has changed it meanwhile."""
        after = lifecycle.expire(record, now=self._clock.wall())
        if await self._messages.advance(record, after):
            self._expired(record, after)

    async def stop(self) -> None:
        """Expire nothing more."""
        await self._wakeable.stop()

    async def _run_once(self) -> float:
        self._next = math.inf
        due = self._clock.due()
        ahead = self._clock.wall() - due
        expired = await self._work.expired(due, BATCH, ahead)
        if expired:
            await asyncio.gather(*map(self._expire, expired))
            return 0.0
        next_expiry = await self._work.next_expiry(ahead)
        if next_expiry is None:
            return self._interval
        self._next = next_expiry
        return min((next_expiry - self._clock.due()) / 1e6, self._interval)

"""Counts what is not settled, for all nodes that share a store."""

from __future__ import annotations

from typing import Final

from postwire.clock import Clock
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import Outbox

INTERVAL: Final = 5.0
"""Seconds between two counts. Each node adds what it has accepted since."""


class Recounting:
    """Keeps the count for all."""

    def __init__(self, *, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._wakeable = WakeableTask(self._run_once, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Count no more."""
        await self._wakeable.stop()

    async def _run_once(self) -> float:
        await self._outbox.keep_unsettled((await self._outbox.stats()).unsettled)
        return INTERVAL

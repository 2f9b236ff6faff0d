"""Erases what messages say once it is not needed any more, and has the store's log keep no copy of it for long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from postwire.clock import Clock
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import BEGINNING, NO_TENANTS, MessageStore

STEP: Final = 500
"""How many messages are looked at in one commit."""

BETWEEN_STEPS: Final = 0.05
"""Seconds."""

BETWEEN_WALKS: Final = 600.0
"""Seconds from one walk through the store to the next."""

EVER: Final = 2**62
"""A time (µs) behind all others."""

EMPTY_EVERY: Final = 30.0
"""Seconds between two emptyings of the log. No copy is to be older than a minute, and one may take several tries."""

TRY_AGAIN: Final = 1.0
"""Seconds until the next try where somebody reads."""


class Erasure:
    """Erases contents of messages that were settled longer than `keep_for` (µs) ago; those of `of_tenants`, by what is
    said there.

    With 0, the commit that settles a message erases its content. What is left are contents that an earlier release, or
    another setting, has kept: one walk at the start finds them.
    """

    def __init__(
        self, *, outbox: MessageStore, clock: Clock, keep_for: int, of_tenants: Mapping[str, int] = NO_TENANTS
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._keep_for = keep_for
        self._of_tenants = of_tenants
        self._has_walked = False
        self._walk = WakeableTask(self._step, outbox=outbox, clock=clock)
        self._emptying = WakeableTask(self._empty_log, outbox=outbox, clock=clock)
        self._position = BEGINNING
        self._is_done = False

    def start(self) -> None:
        """Begin."""
        self._walk.start()
        self._emptying.start()

    async def stop(self) -> None:
        """Erase nothing more."""
        await self._walk.stop()
        await self._emptying.stop()

    async def _step(self) -> float:
        if self._is_done:
            return math.inf
        before = self._before(self._keep_for)
        of_tenants = {tenant: self._before(keep_for) for tenant, keep_for in self._of_tenants.items()}
        position = await self._outbox.erase_contents(self._position, before, STEP, of_tenants)
        self._position = position or BEGINNING
        if position is not None:
            return BETWEEN_STEPS
        self._has_walked = True
        self._is_done = not any((self._keep_for, *self._of_tenants.values()))
        return BETWEEN_WALKS

    def _before(self, keep_for: int) -> int:
        """Before when those are to have been settled whose contents go. What is not kept at all goes by itself from the
        first walk on."""
        if keep_for:
            return self._clock.wall() - keep_for
        return 0 if self._has_walked else EVER

    async def _empty_log(self) -> float:
        return EMPTY_EVERY if await self._outbox.purge_erased() else TRY_AGAIN

"""Lets go of what is kept of receipts once nothing more is to come of it, in small steps."""

from __future__ import annotations

from typing import Final

from postwire.clock import Clock
from postwire.delivery.receipts import ReceiptTracker
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import BEGINNING, ReceiptStore
from postwire.receipts.inbox import UNKNOWN
from postwire.telemetry.base import Observer

STEP: Final = 200
"""How many are looked at in one commit."""

INBOUND_KEPT: Final = 365 * 86_400_000_000
"""µs for which it is known that a message of somebody has come in: whoever has seen one can send it again."""

BETWEEN_STEPS: Final = 0.05
"""Seconds."""

BETWEEN_WALKS: Final = 600.0
"""Seconds from one walk through the store to the next."""

BETWEEN_LOOKS: Final = 10.0
"""Seconds from one look at what is held to the next, while anything is."""


class ReceiptUpkeep:
    """Drops receipts that were held for longer than `hold_unknown` (µs); removes what was applied longer than `wait`
    (µs) ago, and erases the hashes of recipients of messages that were settled longer ago than that.
    """

    def __init__(
        self,
        *,
        outbox: ReceiptStore,
        tracker: ReceiptTracker,
        clock: Clock,
        observer: Observer,
        hold_unknown: int,
        wait: int,
        is_shared: bool = False,
    ) -> None:
        """`is_shared`: other nodes may hold receipts in the store as well."""
        self._is_shared = is_shared
        self._observer = observer
        self._outbox = outbox
        self._tracker = tracker
        self._clock = clock
        self._hold_unknown = hold_unknown
        self._wait = wait
        self._position = BEGINNING
        self._has_walked = False
        self._dropping = WakeableTask(self._drop, outbox=outbox, clock=clock)
        self._walk = WakeableTask(self._step, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._dropping.start()
        self._walk.start()

    async def stop(self) -> None:
        """Remove nothing more."""
        await self._dropping.stop()
        await self._walk.stop()

    async def _drop(self) -> float:
        if not (self._tracker.has_held or self._is_shared):
            return BETWEEN_LOOKS
        dropped = await self._outbox.drop_held(self._clock.wall() - self._hold_unknown, STEP)
        for provider_name, count in dropped.items():
            for _ in range(count):
                self._observer.receipt_refused(provider_name, UNKNOWN)
        if dropped:
            return BETWEEN_STEPS
        self._tracker.begin_recount()
        self._tracker.end_recount(await self._outbox.held_keys())
        return BETWEEN_LOOKS

    async def _step(self) -> float:
        if self._has_walked and not self._tracker.addresses.providers:
            return BETWEEN_WALKS  # nothing has come to be kept
        before = self._clock.wall() - self._wait
        removed = await self._outbox.remove_receipts(before, STEP)
        removed += await self._outbox.remove_inbound(self._clock.wall() - INBOUND_KEPT, STEP)
        position = await self._outbox.erase_hashes(self._position, before, STEP)
        self._position = position or BEGINNING
        self._has_walked |= position is None
        return BETWEEN_STEPS if position is not None or removed else BETWEEN_WALKS

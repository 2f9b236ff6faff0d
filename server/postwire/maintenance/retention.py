"""Lets go of what is long settled, in small steps, so that nobody who writes waits for it."""

from __future__ import annotations

from typing import Final

from postwire.clock import Clock
from postwire.delivery.wakeable_task import WakeableTask
from postwire.maintenance.clock_steps import ClockSteps
from postwire.outbox.base import BEGINNING, AuditLog, ChangeFeed, MessageStore, SuppressionStore

STEP: Final = 200
"""How many messages are looked at in one commit."""

BETWEEN_STEPS: Final = 0.05
"""Seconds."""

BETWEEN_WALKS: Final = 600.0
"""Seconds from one walk through the store to the next."""

KEPT_CHANGES: Final = 1_000_000
"""How many changes those who watch may be behind."""


class Retention:
    """Removes messages that were settled longer than `keep_for` (µs) ago, events that are older than `keep_events_for`
    (µs), old changes, suppressions that have expired, and counts of guards that are over.
    """

    def __init__(
        self,
        *,
        messages: MessageStore,
        feed: ChangeFeed,
        log: AuditLog,
        suppressions: SuppressionStore,
        clock: Clock,
        steps: ClockSteps,
        keep_for: int,
        keep_events_for: int,
    ) -> None:
        self._messages = messages
        self._feed = feed
        self._log = log
        self._suppressions = suppressions
        self._clock = clock
        self._steps = steps
        self._keep_for = keep_for
        self._keep_events_for = keep_events_for
        self._wakeable = WakeableTask(self._step, outbox=messages, clock=clock)
        self._position = BEGINNING

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Remove nothing more."""
        await self._wakeable.stop()

    async def _step(self) -> float:
        # A step forward makes nothing old. What was settled after a step back bears an earlier time, and is not older.
        now = self._clock.due() + self._steps.lowest
        position = await self._messages.remove_settled(self._position, now - self._keep_for, STEP)
        removed = await self._feed.remove_changes(KEPT_CHANGES, STEP)
        removed += await self._log.remove_events(now - self._keep_events_for, STEP)
        removed += await self._suppressions.remove_expired_suppressions(now, STEP)
        removed += await self._messages.remove_counts(self._clock.due(), STEP)
        self._position = position or BEGINNING
        return BETWEEN_STEPS if position is not None or removed else BETWEEN_WALKS

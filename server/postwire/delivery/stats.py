"""What is sent, and what waits: counted as it happens, and shown to those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from postwire.clock import Clock
from postwire.core.clock_steps import StepDetector
from postwire.core.errors import StoreUnavailable
from postwire.core.message import MessageRecord
from postwire.core.stats import Interval, RecentCounts
from postwire.delivery.wakeable_task import WakeableTask
from postwire.delivery.watch import HEARTBEAT_INTERVAL
from postwire.outbox.base import MessageStore
from postwire.telemetry.base import SilentObserver

WATCH_INTERVAL: Final = 1.0
"""Seconds between two looks of those who watch, and of the server at its store for all of them."""

MOST_READING: Final = 20
"""How many times as long as a look at the store takes it rests after one: those of a very large one take their time."""


@dataclass(frozen=True, slots=True)
class BacklogStatus:
    """What waits in the store, and how that stands. Times are in µs since the epoch, by the due clock; `size` is in
    bytes."""

    max_unsettled: int
    unsettled: int = 0
    due: int = 0
    oldest_due_time: int | None = None
    is_available: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class StatsChange:
    """Intervals that have changed, the backlog if it has, and the time (µs, due clock)."""

    intervals: Sequence[Interval]
    backlog: BacklogStatus | None
    time: int


class Stats(SilentObserver):
    """Counts messages by their channels, as they come to a state; and shows that, beside what waits in the store.

    Intervals go by the due clock: to set the wall clock moves none of them. Each is closed when an alarm says that it
    is over: to look at a clock for each message would cost twice as much. The store is asked only while somebody
    watches, for all who do.
    """

    def __init__(self, outbox: MessageStore, clock: Clock, steps: StepDetector, *, max_unsettled: int) -> None:
        """`steps` knows by how much the wall clock is ahead of the due clock."""
        self._outbox = outbox
        self._clock = clock
        self._steps = steps
        self._recent = RecentCounts(clock.due())
        self._accepted = self._recent.accepted
        self._reached = self._recent.reached
        self._watching: set[asyncio.Event] = set()
        self._ending = False
        self._nothing_known = BacklogStatus(max_unsettled)
        self._backlog: BacklogStatus | None = None
        self._sampler = WakeableTask(self._sample, outbox=outbox, clock=clock)
        self._close_in_time()

    def state_reached(self, record: MessageRecord) -> None:
        """See `Observer.state_reached`. A message that is accepted has its first revision."""
        self._reached[record.channel][record.state] += 1
        if record.revision == 1:
            self._accepted[record.channel] += 1

    def _close_in_time(self) -> None:
        now = self._clock.due()
        if not self._ending:
            self._clock.call_later((self._recent.advance(now) - now) / 1e6, self._close_in_time)

    async def watch(self) -> AsyncGenerator[StatsChange, None]:
        """What there is, then what has changed since, until the server ends; nothing as a sign of life, now and then.

        Whoever is slow to ask for more gets all that has changed meanwhile as one.
        """
        look = asyncio.Event()
        if not self._watching:
            self._backlog = None
            self._sampler.start()
        self._watching.add(look)
        try:
            if self._backlog is None and not self._ending:
                await self._until_look(look)
            shown: Interval | None = None
            shown_backlog: BacklogStatus | None = None
            heartbeat_at = self._clock.monotonic()
            while not self._ending:
                look.clear()
                now = self._clock.due()
                self._recent.advance(now)
                intervals = self._recent.since(shown)
                backlog = self._backlog if self._backlog != shown_backlog else None
                if intervals or backlog or self._clock.monotonic() >= heartbeat_at:
                    yield StatsChange(intervals, backlog, now)
                    heartbeat_at = self._clock.monotonic() + HEARTBEAT_INTERVAL
                    shown = intervals[-1] if intervals else shown
                    shown_backlog = backlog or shown_backlog
                if not self._ending:
                    await self._until_look(look)
        finally:
            self._watching.discard(look)
            if not self._watching:
                await self._sampler.stop()

    async def _until_look(self, look: asyncio.Event) -> None:
        alarm = self._clock.call_later(WATCH_INTERVAL, look.set)
        try:
            await look.wait()
        finally:
            alarm.cancel()

    def end_watches(self) -> None:
        """End all watches."""
        self._ending = True
        for look in self._watching:
            look.set()

    async def _sample(self) -> float:
        """Look at the store."""
        began = self._clock.monotonic()
        before = self._backlog
        try:
            stats = await self._outbox.stats()
            load = await self._outbox.load(self._clock.due(), self._steps.ahead)
        except StoreUnavailable:
            self._backlog = replace(before or self._nothing_known, is_available=False)
        else:
            self._backlog = replace(
                self._nothing_known,
                unsettled=stats.unsettled,
                due=load.due,
                oldest_due_time=load.oldest_due_time,
                is_available=self._outbox.available,
                size=load.size,
            )
        if before is None:  # which those wait for who have just come
            for look in self._watching:
                look.set()
        return max(WATCH_INTERVAL, MOST_READING * (self._clock.monotonic() - began))

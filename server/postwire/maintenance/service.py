"""Everything that is done now and then, put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.delivery import Delivery
from postwire.delivery.settings import Limits
from postwire.maintenance.clock_steps import ClockSteps
from postwire.maintenance.erasure import Erasure
from postwire.maintenance.expiry import ExpirySweep
from postwire.maintenance.orphans import Orphans, OrphanSweep
from postwire.maintenance.overdue_receipts import OverdueReceipts
from postwire.maintenance.recounting import Recounting
from postwire.maintenance.recovery import recover
from postwire.maintenance.rerouting import Rerouting, ReroutingSweep
from postwire.maintenance.retention import Retention
from postwire.outbox.base import Outbox
from postwire.providers.registry import Registry
from postwire.telemetry import names
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

_log = EventLog()


EXPIRY_INTERVAL: Final = 1.0
"""Seconds between two looks for what has run out of time, where it may wait at other nodes."""


OVERDUE_INTERVAL: Final = 5.0
"""Seconds between two looks for messages whose receipt is missing, where others may have sent some."""


class Duty(Protocol):
    """Something that one node does for all. It may be started again once it is stopped."""

    def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """Do nothing more."""
        ...


class Maintenance:
    """Recovers what an earlier boot has left, starts the delivery, and keeps the store in order while it runs.

    Where the store is shared, only what every node does is begun by `start`: `duties` are one node's at a time, and
    recovering is among them.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        registry: Registry,
        outbox: Outbox,
        clock: Clock,
        observer: Observer,
        limits: Limits,
        others: Callable[[], Collection[str]] = lambda: (),
    ) -> None:
        """`others` has the keys of the queues that other nodes serve."""
        self._delivery = delivery
        self._registry = registry
        self._outbox = outbox
        self._clock = clock
        is_shared = outbox.is_shared
        self._expiry = ExpirySweep(
            messages=outbox,
            work=outbox,
            clock=clock,
            expired=delivery.settled_in_queue,
            interval=EXPIRY_INTERVAL if is_shared else math.inf,
        )
        delivery.on_deadline = self._expiry.expect
        steps = ClockSteps(outbox=outbox, clock=clock, detector=delivery.clock_steps, wake=self._wake)
        self._steps = steps
        self._overdue = OverdueReceipts(
            work=outbox,
            clock=clock,
            begin=delivery.follow_ups.begin,
            interval=OVERDUE_INTERVAL if is_shared else math.inf,
        )
        delivery.executor.on_follow_up = self._overdue.expect
        self._retention = Retention(
            messages=outbox,
            feed=outbox,
            log=outbox,
            suppressions=outbox,
            clock=clock,
            steps=steps,
            keep_for=limits.retention,
            keep_events_for=limits.audit_retention,
        )
        erasure = Erasure(
            outbox=outbox,
            clock=clock,
            keep_for=limits.content_retention,
            of_tenants=limits.content_retention_of,
        )
        self.orphans = Orphans(outbox=outbox, registry=registry, executor=delivery.executor, observer=observer)
        """Closes attempts that nobody makes any more."""
        self._rerouting = Rerouting(outbox=outbox, registry=registry, others=others)
        self.duties: list[Duty] = [self._expiry, self._retention, erasure]
        """What one node does for all."""
        if is_shared:
            self.duties += [
                OrphanSweep(self.orphans, outbox=outbox, clock=clock),
                ReroutingSweep(self._rerouting, outbox=outbox, clock=clock),
                Recounting(outbox=outbox, clock=clock),
            ]

    async def start(self) -> None:
        """Recover what an earlier boot has left, start the delivery, and begin. May be called again if that fails.

        Raises:
            StoreUnavailable: the store cannot be read, or cannot commit.
        """
        if not self._outbox.is_shared:
            executor = self._delivery.executor
            orphans = await recover(self._outbox, self._registry, executor, self._clock, self.orphans, self._rerouting)
            if orphans:
                _log.warning(names.EVENT_ORPHANED, messages=orphans)
        await self._delivery.start()
        self._steps.start()
        self._overdue.start()
        if not self._outbox.is_shared:
            for duty in self.duties:
                duty.start()

    async def stop(self) -> None:
        """Do nothing more."""
        parts: list[Duty] = [self._steps, self._overdue, *self.duties]
        for part in parts:
            await part.stop()

    def _wake(self) -> None:
        self._expiry.wake()
        self._overdue.wake()
        self._delivery.wake()

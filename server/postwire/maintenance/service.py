"""Everything that is done now and then, put together."""

from __future__ import annotations

from postwire.clock import Clock
from postwire.delivery import Delivery
from postwire.delivery.settings import Limits
from postwire.maintenance.clock_steps import ClockSteps
from postwire.maintenance.erasure import Erasure
from postwire.maintenance.expiry import ExpirySweep
from postwire.maintenance.overdue_receipts import OverdueReceipts
from postwire.maintenance.recovery import recover
from postwire.maintenance.retention import Retention
from postwire.outbox.base import Outbox
from postwire.providers.registry import Registry
from postwire.telemetry import names
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

_log = EventLog()


class Maintenance:
    """Recovers what an earlier boot has left, starts the delivery, and keeps the store in order while it runs."""

    def __init__(
        self,
        delivery: Delivery,
        *,
        registry: Registry,
        outbox: Outbox,
        clock: Clock,
        observer: Observer,
        limits: Limits,
    ) -> None:
        self._delivery = delivery
        self._registry = registry
        self._outbox = outbox
        self._clock = clock
        self._observer = observer
        self._expiry = ExpirySweep(messages=outbox, work=outbox, clock=clock, expired=delivery.settled_in_queue)
        delivery.on_deadline = self._expiry.expect
        steps = ClockSteps(outbox=outbox, clock=clock, detector=delivery.clock_steps, wake=self._wake)
        self._steps = steps
        self._overdue = OverdueReceipts(work=outbox, clock=clock, begin=delivery.follow_ups.begin)
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
        self._erasure = Erasure(
            outbox=outbox,
            clock=clock,
            keep_for=limits.content_retention,
            of_tenants=limits.content_retention_of,
        )

    async def start(self) -> None:
        """Recover what an earlier boot has left, start the delivery, and begin.

        Raises:
            StoreUnavailable: the store cannot be read, or cannot commit.
        """
        executor = self._delivery.executor
        orphans = await recover(self._outbox, self._registry, executor, self._clock, self._observer)
        if orphans:
            _log.warning(names.EVENT_ORPHANED, messages=orphans)
        self._steps.start()
        await self._delivery.start()
        self._expiry.start()
        self._overdue.start()
        self._retention.start()
        self._erasure.start()

    async def stop(self) -> None:
        """Do nothing more."""
        for part in (self._steps, self._expiry, self._overdue, self._retention, self._erasure):
            await part.stop()

    def _wake(self) -> None:
        self._expiry.wake()
        self._overdue.wake()
        self._delivery.wake()

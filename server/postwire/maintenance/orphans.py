"""Closes attempts that nobody makes any more: those of a boot that is over, or of a node that is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from postwire.clock import Clock
from postwire.core import canonical, follow_up, lifecycle
from postwire.core.lifecycle import NextStep
from postwire.delivery.executor import Executor
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import Outbox, StoredMessage
from postwire.providers.registry import Registry
from postwire.telemetry import names
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

STEP: Final = 256
"""How many messages are looked at at once."""

INTERVAL: Final = 1.0
"""Seconds between two looks for what other nodes have left."""

_log = EventLog()


class Orphans:
    """Closes them. One is `uncertain`, with no verdict for its provider's breaker."""

    def __init__(self, *, outbox: Outbox, registry: Registry, executor: Executor, observer: Observer) -> None:
        self._outbox = outbox
        self._registry = registry
        self._executor = executor
        self._observer = observer

    async def close_all(self) -> int:
        """Close those that there are, and return how many messages had one.

        Raises:
            StoreUnavailable: not all of them are closed.
        """
        count = 0
        while orphans := await self._outbox.orphans(STEP):
            closed = sum(await asyncio.gather(*map(self.close, orphans)))
            count += closed
            if not closed:  # somebody else does it
                break
        return count

    async def close(self, stored: StoredMessage) -> bool:
        """Close the open attempt of a message; False where somebody else has changed it meanwhile."""
        if stored.record.settled:
            return await self._close_further(stored)
        policy, (now, due) = self._executor.policy(stored.options), self._executor.now()
        record, next_step = lifecycle.close_attempt(
            stored.record, lifecycle.ORPHANED, policy, now=now, duration=None, ahead=now - due
        )
        if next_step is not NextStep.NOTHING:
            record = lifecycle.requeue(record, now=now, due=self._executor.retry_time(len(record.attempts), due))
        is_kept = await self._outbox.advance(stored.record, record)
        if is_kept:
            self._observer.state_reached(record)
        return is_kept

    async def _close_further(self, stored: StoredMessage) -> bool:
        """Close a further attempt of a message that was sent before: it stays so, and has its time to be delivered."""
        policy, (now, due) = self._executor.policy(stored.options), self._executor.now()
        record, _ = follow_up.close_attempt(stored.record, lifecycle.ORPHANED, now=now, duration=None)
        route = self._registry.route_by_queue_key(record.queue)
        if route is None:
            with suppress(ValueError):
                message = canonical.decode_message(stored.content)
                route = self._registry.adopt(record.queue, message, record.tenant)
        if route and route.delivered_within is not None:
            until = due + int(route.delivered_within * 1e6)
            record = follow_up.expect_receipt(record, policy, route.names, until=until, ahead=now - due)
        return await self._outbox.advance(stored.record, record)


class OrphanSweep:
    """Closes them again and again, where other nodes may leave some at any time."""

    def __init__(self, orphans: Orphans, *, outbox: Outbox, clock: Clock) -> None:
        self._orphans = orphans
        self._wakeable = WakeableTask(self._run_once, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Close nothing more."""
        await self._wakeable.stop()

    async def _run_once(self) -> float:
        if count := await self._orphans.close_all():
            _log.warning(names.EVENT_ORPHANED, messages=count)
        return INTERVAL

"""What a boot does with what an earlier one has left, before anything new comes."""

from __future__ import annotations

from postwire.clock import Clock
from postwire.delivery.executor import Executor
from postwire.maintenance.orphans import Orphans
from postwire.maintenance.rerouting import Rerouting
from postwire.outbox.base import Outbox
from postwire.providers.registry import Registry


async def recover(
    outbox: Outbox, registry: Registry, executor: Executor, clock: Clock, orphans: Orphans, rerouting: Rerouting
) -> int:
    """Close attempts that a crash left open, and find the queues of what waits; returns how many were left open.

    Nothing depends on the wall clock to find an orphan: an attempt that is open belongs to a boot that is over.
    """
    now = clock.due()
    latest_follow_up = now + int(max((one.delivered_within or 0.0 for one in registry.all_routes()), default=0.0) * 1e6)
    await outbox.realign(
        now,
        executor.latest_retry(now),
        executor.latest_deferred(now),
        clock.machine(),
        latest_follow_up=latest_follow_up,
    )
    count = await orphans.close_all()
    await rerouting.find_queues()
    return count

"""Takes nodes for dead whose lease has run out."""

from __future__ import annotations

from postwire.clock import Clock
from postwire.core.leases import Terms
from postwire.delivery.wakeable_task import WakeableTask
from postwire.nodes.node import Node
from postwire.outbox.base import Membership
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

_log = EventLog()


class Reaper:
    """Looks for them as often as this node renews its own lease."""

    def __init__(self, node: Node, *, membership: Membership, terms: Terms, clock: Clock) -> None:
        self._node = node
        self._interval = terms.heartbeat / 1e6
        self._wakeable = WakeableTask(self._run_once, outbox=membership, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Take nobody for dead any more."""
        await self._wakeable.stop()

    async def _run_once(self) -> float:
        for number in await self._node.reap():
            _log.warning(names.EVENT_NODE_REAPED, node=number)
        return self._interval

"""What a node does beside delivering messages, and what it does as the leader: begun and ended with the service."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from postwire.clock import Clock
from postwire.core.errors import StoreUnavailable
from postwire.core.leases import Terms
from postwire.delivery import Delivery
from postwire.maintenance import Maintenance
from postwire.nodes.leadership import Leadership
from postwire.nodes.node import Node
from postwire.nodes.reaper import Reaper
from postwire.nodes.strays import StraySweep
from postwire.outbox.base import Outbox


class NodeDuties:
    """Where nobody else can serve the store there are none: `maintenance` has done it all by then."""

    def __init__(
        self, node: Node, terms: Terms, *, outbox: Outbox, clock: Clock, delivery: Delivery, maintenance: Maintenance
    ) -> None:
        self._node = node
        self.leadership: Final = Leadership(node)
        """What falls to the leader: more may be added before `start`."""
        if node.is_shared:
            self.leadership.add(Reaper(node, membership=outbox, terms=terms, clock=clock))
            for duty in maintenance.duties:
                self.leadership.add(duty)
        self._strays = StraySweep(
            outbox=outbox,
            attempts=delivery.open_attempts,
            orphans=maintenance.orphans,
            executor=delivery.executor,
            clock=clock,
            counts=node.counts,
        )

    def start(self) -> None:
        """Begin."""
        if self._node.is_shared:
            self._strays.start()
        self.leadership.start()

    async def stop(self) -> None:
        """Look for nothing more that was left behind, before a drain leaves some. The leader goes on until `close`."""
        if self._node.is_shared:
            await self._strays.stop()

    async def close(self) -> None:
        """Do nothing more. What a drain has left and nobody has sent waits again."""
        await self.leadership.stop()
        if self._node.is_shared:
            await self._strays.stop()
            with suppress(StoreUnavailable):
                await self._strays.give_back()

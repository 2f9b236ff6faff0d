"""Whose turn it is among tenants: as much for each as its weight says, and within a tenant one flow after the other.

Start-time fair queueing (Goyal, Vin and Cheng, IEEE/ACM Transactions on Networking 5(5), 1997) with messages of one
size. Each tenant has a tag, which grows by 1 / weight with every turn that it has; the smallest tag goes next, and of
those that are the same, who has waited for longest. So of any two that wait all the time, one is never ahead of the
other by more than a turn of each, however large their weights are: deficit round robin would give a tenant its whole
weight in a row. Who comes anew begins at the tag of whoever had the last turn: it makes up for nothing, and owes
nothing but its own last turn.
"""

from __future__ import annotations

import heapq
from typing import Final

from postwire.core.message import DEFAULT_TENANT, Priority

_TURN: Final = 1 << 32
"""What a turn adds to the tag of a tenant of weight 1. Whole numbers: nothing drifts, however long it goes on."""


class Flow:
    """What waits in one queue with one priority: `waiting` messages that no slot is granted for yet.

    One flow may wait for several providers at once, and takes the first that is free. It is of a `tenant`, whose
    `weight` it has.
    """

    __slots__ = ("priority", "tenant", "waiting", "weight")

    def __init__(self, priority: Priority, tenant: str = DEFAULT_TENANT, weight: int = 1) -> None:
        self.priority = priority
        self.tenant = tenant
        self.weight = weight
        self.waiting = 0


class _Line:
    """The flows of one tenant, in their order."""

    __slots__ = ("flows", "is_listed", "place", "tag")

    def __init__(self) -> None:
        self.flows: dict[Flow, None] = {}
        self.tag = 0
        self.place = 0  # since when it waits, or had its last turn: counted
        self.is_listed = False

    def first(self) -> Flow | None:
        """The first flow that anything waits in."""
        flows = self.flows
        while flows:
            flow = next(iter(flows))
            if flow.waiting > 0:
                return flow
            del flows[flow]  # it has what it waited for from somewhere else
        return None


class Turns:
    """Flows of one priority that wait for the same provider."""

    __slots__ = ("_count", "_lines", "_order", "_tag")

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        # By tag and place, one entry for each line that waits or has done so. Where a line has moved since, its entry
        # is put right once it comes to the front, which is no later than it is its turn: it can only have moved back.
        self._order: list[tuple[int, int, _Line]] = []
        self._tag = 0  # of the last turn
        self._count = 0

    def join(self, flow: Flow) -> None:
        """A flow waits here, behind the others of its tenant, until it leaves or nothing of it waits."""
        line = self._lines.get(flow.tenant)
        if line is None:
            line = self._lines[flow.tenant] = _Line()
        if line.first() is None:
            self._put(line, max(line.tag, self._tag))
        line.flows.setdefault(flow)

    def leave(self, flow: Flow) -> None:
        """It waits here no more."""
        if line := self._lines.get(flow.tenant):
            line.flows.pop(flow, None)

    def first(self) -> Flow | None:
        """Whose turn it is; None where nobody waits."""
        order = self._order
        while order:
            _, place, line = order[0]
            flow = line.first()
            if flow is None:
                heapq.heappop(order)
                line.is_listed = False
            elif place != line.place:
                heapq.heapreplace(order, (line.tag, line.place, line))
            else:
                return flow
        return None

    def take(self, flow: Flow) -> None:
        """One of the first flow's messages has had its turn."""
        line = self._lines[flow.tenant]
        del line.flows[flow]
        flow.waiting -= 1
        if flow.waiting > 0:
            line.flows[flow] = None  # behind the others
        self._tag = line.tag
        self._put(line, line.tag + _TURN // flow.weight)

    def _put(self, line: _Line, tag: int) -> None:
        self._count += 1
        line.tag, line.place = tag, self._count
        if not line.is_listed:
            line.is_listed = True
            heapq.heappush(self._order, (tag, self._count, line))

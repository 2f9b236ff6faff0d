"""Whose turn it is at one provider, when several queues wait for it.

A flow is what waits in one queue with one priority. A slot that comes free is granted to the highest priority that
waits, unless a lower one was passed over for too long; among flows of the same priority the tenants go in turn by their
weights, and the flows of one tenant one after the other: see `core.turns`. Whoever is granted a slot need not use it:
what is given back goes to the next.

No clock, no waiting and no I/O. Everything is kept in order, so that the same events always lead to the same grants.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.message import Priority
from postwire.core.turns import Flow, Turns

PASSED_OVER_AT_MOST: Final[Mapping[Priority, int]] = MappingProxyType({Priority.NORMAL: 4, Priority.LOW: 16})
"""For how many slots in a row a priority that waits may be passed over in favour of a higher one."""

_RISING: Final = (Priority.LOW, Priority.NORMAL)
_LOWER: Final = {
    Priority.HIGH: (Priority.NORMAL, Priority.LOW),
    Priority.NORMAL: (Priority.LOW,),
    Priority.LOW: (),
}
_AT_LEAST: Final = {
    Priority.HIGH: (Priority.HIGH,),
    Priority.NORMAL: (Priority.HIGH, Priority.NORMAL),
    Priority.LOW: (Priority.HIGH, Priority.NORMAL, Priority.LOW),
}


class Arbiter:
    """Grants the slots of one provider. `granted` counts those that were neither used nor given back yet."""

    __slots__ = ("_passed_over", "_turns", "granted")

    def __init__(self) -> None:
        self._turns = {priority: Turns() for priority in Priority}
        self._passed_over = dict.fromkeys(PASSED_OVER_AT_MOST, 0)
        self.granted = 0

    def join(self, flow: Flow) -> None:
        """A flow waits here until it leaves or nothing of it waits."""
        self._turns[flow.priority].join(flow)

    def leave(self, flow: Flow) -> None:
        """It waits here no more."""
        self._turns[flow.priority].leave(flow)

    def next(self) -> Flow | None:
        """Whose turn it is; None where nobody waits."""
        for priority in _RISING:
            if self._is_overdue(priority):
                return self._turns[priority].first()
        return next((flow for priority in Priority if (flow := self._turns[priority].first())), None)

    def grant(self) -> Flow | None:
        """Grant a slot that is free: to whom; None where nobody waits."""
        flow = self.next()
        if flow is None:
            return None
        self._turns[flow.priority].take(flow)
        self.granted += 1
        self._count(flow.priority)
        return flow

    def end_grants(self, count: int = 1) -> None:
        """Grants were used, or are given back unused. Whoever still waits then is to be counted in `Flow.waiting`."""
        self.granted -= count

    def may_pass(self, priority: Priority) -> bool:
        """Whether a message that has just come may have a slot that nobody was granted, past those who wait."""
        if any(self._turns[higher].first() for higher in _AT_LEAST[priority]):
            return False
        return not any(self._is_overdue(lower) for lower in _LOWER[priority])

    def note_passed(self, priority: Priority) -> None:
        """One that might pass has done so."""
        self._count(priority)

    def _is_overdue(self, priority: Priority) -> bool:
        return (
            self._passed_over[priority] >= PASSED_OVER_AT_MOST[priority] and self._turns[priority].first() is not None
        )

    def _count(self, priority: Priority) -> None:
        if priority in self._passed_over:
            self._passed_over[priority] = 0
        for lower in _LOWER[priority]:
            self._passed_over[lower] = self._passed_over[lower] + 1 if self._turns[lower].first() else 0

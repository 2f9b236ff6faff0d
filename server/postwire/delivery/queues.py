"""What waits in the outbox, and comes out of it: for each tenant one queue a route, so that a blocked one never delays
another.

A queue reads nothing before a slot of one of its providers is granted to it: what is parked in it costs nothing. Then
it has what is due taken, by priority and time, as many as it was granted slots, and each goes the same path that calls
take. How many wait, and of which priority, it knows by counting as far as a batch goes.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.core.errors import StoreUnavailable
from postwire.core.message import Priority
from postwire.core.routing import Route
from postwire.core.turns import Flow
from postwire.delivery.at_hand import AtHand, Fresh
from postwire.delivery.router import Grants, Router
from postwire.delivery.shared_gate import SharedGate
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import Head, QueueKey, WorkQueue

BATCH: Final = 64
"""How many messages of one priority are taken at once, in one commit."""

NOTHING: Final = Head({}, None)

HELD_FOR: Final = 50_000
"""µs after which there is another look at a queue whose messages are all being taken by others."""


class QueueHandler(Protocol):
    """Who takes messages out of a queue."""

    def serve(self, queue: Queue, limits: Mapping[Priority, int], grants: Grants) -> Awaitable[bool]:
        """Take what is due, as many of each priority as `limits` says, and see each through in a task of its own.

        Slots of `grants` are taken out of it as they are used. Done once what is taken is on record. Tells whether
        there was a message for each slot.

        Raises:
            StoreUnavailable: nothing is taken, or whether it is is unknown.
        """
        ...

    def complete_queue(self, route: Route) -> None:
        """Have no caller wait any longer for what waits for a route."""
        ...


class Queue:
    """The messages of one tenant, of a weight among others, that wait for one route."""

    def __init__(
        self,
        route: Route,
        key: QueueKey,
        *,
        weight: int,
        work: WorkQueue,
        router: Router,
        clock: Clock,
        handler: QueueHandler,
        at_hand: AtHand,
    ) -> None:
        self.at_hand = at_hand
        self.route = route
        self.key = key
        self._work = work
        self._router = router
        self._clock = clock
        self._handler = handler
        self._wakeable = WakeableTask(self._run_once, outbox=work, clock=clock)
        self._flows = {priority: Flow(priority, key.tenant, weight) for priority in Priority}
        self._grants: Counter[SharedGate] = Counter()
        self._granted: Counter[Priority] = Counter()
        self._taking: Counter[Priority] = Counter()  # what is being taken
        self._put: Counter[Priority] = Counter()  # what was put in, and due, since the last look into the store
        self._is_unknown = True  # how many wait
        self.is_held_elsewhere = False
        """Whether nothing was offered when something was to be taken: where several nodes take, the others have it."""
        self._uncounted: Sequence[Priority] = ()  # of which there are more than were counted
        self._next_due = math.inf  # µs, due clock: when the next that waits for its time is due, as far as is known

    def put(self, due: float, priority: Priority, fresh: Fresh | None = None) -> None:
        """Something of a priority waits here, from now until `due` (µs, due clock). It is `fresh` where it was just
        accepted."""
        if due > self._clock.due():
            if due < self._next_due:
                self._next_due = due
                self._wakeable.wake()
        else:
            self._put[priority] += 1
            self.at_hand.put(priority, due, fresh)
            flow = self._flows[priority]
            flow.waiting += 1
            if flow.waiting == 1:
                self._wait_anew()
        if not self._wakeable.started:
            self.look()

    def look(self) -> None:
        """Find out anew what waits here."""
        self._is_unknown = True
        self.at_hand.drop(self._clock.due())
        if self._wakeable.started:
            self._wakeable.wake()
        else:
            self._wakeable.start()

    def found(self, head: Head, most: int) -> None:
        """Somebody has looked at all queues, in which other nodes have messages wait as well, and found this of it,
        counted up to `most`. What is not known of here is looked at.

        What is at hand is taken without a look at the store. Where there is more of it than is counted, others may wait
        before it: so it is given up.
        """
        if head.next_due is not None and head.next_due < self._next_due:
            self._next_due = head.next_due
            self._wakeable.wake()
        known = {priority: flow.waiting + self._granted[priority] for priority, flow in self._flows.items()}
        is_long = self.at_hand.has_any and any(count >= most for count in known.values())
        if is_long or any(count > known[priority] + self._taking[priority] for priority, count in head.due.items()):
            self.look()
        elif not self._wakeable.started:
            self._wakeable.start()

    def granted(self, gate: SharedGate, flow: Flow) -> None:
        """See `WaitingQueue.granted`."""
        self._grants[gate] += 1
        self._granted[flow.priority] += 1
        self._wakeable.wake()

    def gate_changed(self, now: float) -> None:
        """See `WaitingQueue.gate_changed`. What waits here waits for those who would take it now, or once less busy."""
        flows = [flow for flow in self._flows.values() if flow.waiting]
        if not self._router.wait(self, self.route, flows, now):
            self._handler.complete_queue(self.route)  # it may be long: nobody is kept waiting
            self.at_hand.drop(self._clock.due())

    def offer(self, now: float) -> None:
        """See `WaitingQueue.offer`."""
        self._router.offer(self.route, now)

    def weigh(self, weight: int) -> None:
        """Take turns by another weight."""
        for flow in self._flows.values():
            flow.weight = weight

    async def stop(self) -> None:
        """Take nothing more."""
        await self._wakeable.stop()

    async def _run_once(self) -> float:
        """Take what was granted; returns for how many seconds there is nothing to do unless something happens."""
        await self._work.wait_available()  # what is taken and cannot be kept would be taken again at once
        while self._granted or self._is_unknown or self._next_due <= self._clock.due():
            grants, granted = self._grants, self._granted
            self._grants, self._granted = Counter(), Counter()
            self._taking = granted
            try:
                await self._serve(granted, grants)
            except BaseException as error:
                for flow in self._flows.values():  # until there has been a look at the store, nothing is to be granted
                    flow.waiting = 0
                self._is_unknown = True
                self.at_hand.drop(self._clock.due())
                if isinstance(error, StoreUnavailable) and not self._work.available:
                    return 0.0  # as soon as it can commit again
                raise
            finally:
                self._taking = Counter()
                while grants:  # none is left for what may still be under way
                    gate, count = grants.popitem()
                    gate.end_grants(count)
                self._wait_anew()
        return (self._next_due - self._clock.due()) / 1e6

    async def _serve(self, granted: Counter[Priority], grants: Counter[SharedGate]) -> None:
        """Take what was granted a slot, and count what waits besides where that may not be known."""
        has_come_due = self._next_due <= self._clock.due()
        if has_come_due:  # before what is at hand, it may be
            self.at_hand.drop(self._clock.due())
        is_known = not (self._is_unknown or has_come_due or self._is_low())
        if granted:
            limits = {priority: min(count, BATCH) for priority, count in granted.items()}
            self.is_held_elsewhere = False
            # It goes on by itself if this is broken off: what it has taken is seen through.
            is_known &= await asyncio.shield(self._handler.serve(self, limits, grants)) and limits == granted
        if not is_known:
            await self._count()

    def _is_low(self) -> bool:
        """Whether so few are left of those that were counted that there may be more than is known."""
        return any(self._flows[priority].waiting < BATCH for priority in self._uncounted)

    async def _count(self) -> None:
        """Count what waits, as far as two batches go; and find out when more is due."""
        now, key = self._clock.due(), self.key
        ahead = self._clock.wall() - now
        # What comes to be known meanwhile is not to be lost: the store may have been read before it was kept there.
        self._is_unknown, self._next_due = False, math.inf
        self._put.clear()
        head = (await self._work.heads([key], now, 2 * BATCH, ahead)).get(key, NOTHING)
        if head.next_due is not None:
            self._next_due = min(self._next_due, head.next_due)
        due = head.due
        if due and self.is_held_elsewhere:  # else it would be asked for again and again until they have committed
            self._next_due, due = min(self._next_due, now + HELD_FOR), {}
        self.is_held_elsewhere = False
        for priority, flow in self._flows.items():
            flow.waiting = max(due.get(priority, 0) - self._granted[priority], 0) + self._put[priority]
        self._uncounted = [priority for priority in Priority if due.get(priority, 0) >= 2 * BATCH]

    def _wait_anew(self) -> None:
        """Wait for what is there now, and take what is offered."""
        now = self._clock.monotonic()
        self.gate_changed(now)
        self.offer(now)

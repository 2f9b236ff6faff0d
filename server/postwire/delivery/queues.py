"""What waits in the outbox, and comes out of it: one queue a route, so that a blocked one never delays another.

A queue reads nothing before a slot of one of its providers is granted to it: what is parked in it costs nothing. Then
it takes what is due, by priority and time, as many as it was granted slots, and hands each to the same path that calls
take. How many wait, and of which priority, it knows by counting as far as a batch goes.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.core.arbiter import Flow
from postwire.core.message import Priority
from postwire.core.obstacles import Obstacle
from postwire.core.routing import Route
from postwire.core.waiting import deadline
from postwire.delivery.flight import Flight
from postwire.delivery.rounds import Rounds
from postwire.delivery.router import Pass, Router, Ticket
from postwire.delivery.sharing import SharedGate
from postwire.outbox.base import StoredMessage, WorkQueue

BATCH: Final = 64
"""How many messages of one priority are taken at once, in one commit."""


class Hands(Protocol):
    """Who a queue hands its messages to."""

    def take(self, stored: StoredMessage, on: Pass, ticket: Ticket) -> Awaitable[bool]:
        """See a message through, in a task of its own. Done once its attempt is on record, or cannot be: then False."""
        ...

    def postpone(self, stored: StoredMessage) -> Awaitable[None]:
        """Have a message wait for longer."""
        ...

    def land(self, message_id: str) -> None:
        """Have nobody wait for a message any longer."""
        ...

    def expire(self, stored: StoredMessage) -> Awaitable[None]:
        """End the wait of a message whose time has run out."""
        ...


class Queue:
    """The messages that wait for one route. `flights` are those of its messages that somebody waits for."""

    def __init__(self, route: Route, *, outbox: WorkQueue, router: Router, clock: Clock, hands: Hands) -> None:
        self.route = route
        self.flights: dict[str, Flight] = {}
        self._outbox = outbox
        self._router = router
        self._clock = clock
        self._hands = hands
        self._rounds = Rounds(self._round, outbox=outbox, clock=clock)
        self._flows = {priority: Flow(priority) for priority in Priority}
        self._grants: Counter[SharedGate] = Counter()
        self._granted: Counter[Priority] = Counter()
        self._put: Counter[Priority] = Counter()  # what was put in, and due, since the last look into the store
        self._is_unknown = True  # how many wait
        self._uncounted: Sequence[Priority] = ()  # of which there are more than were counted
        self._next_due = math.inf  # µs, due clock: when the next that waits for its time is due, as far as is known

    def put(self, due: float, priority: Priority) -> None:
        """Something of a priority waits here, from now until `due` (µs, due clock)."""
        if due > self._clock.due():
            if due < self._next_due:
                self._next_due = due
                self._rounds.wake()
        else:
            self._put[priority] += 1
            flow = self._flows[priority]
            flow.waiting += 1
            if flow.waiting == 1:
                self._wait_anew()
        if not self._rounds.started:
            self.look()

    def look(self) -> None:
        """Find out anew what waits here."""
        self._is_unknown = True
        if self._rounds.started:
            self._rounds.wake()
        else:
            self._rounds.start()

    def granted(self, gate: SharedGate, flow: Flow) -> None:
        """See `Waiter.granted`."""
        self._grants[gate] += 1
        self._granted[flow.priority] += 1
        self._rounds.wake()

    def gate_changed(self, now: float) -> None:
        """See `Waiter.gate_changed`. What waits here waits for those who would take it now, or once less busy."""
        flows = [flow for flow in self._flows.values() if flow.waiting]
        if not self._router.wait(self, self.route, flows, now):
            for message_id in self.flights:  # it may be long: nobody is kept waiting
                self._hands.land(message_id)
            self.flights.clear()

    def offer(self, now: float) -> None:
        """See `Waiter.offer`."""
        self._router.offer(self.route, now)

    async def stop(self) -> None:
        """Take nothing more."""
        await self._rounds.stop()

    async def _round(self) -> float:
        """Take what was granted; returns for how many seconds there is nothing to do unless something happens."""
        await self._outbox.wait_available()  # what is taken and cannot be kept would be taken again at once
        while self._granted or self._is_unknown or self._next_due <= self._clock.due():
            grants, granted = self._grants, self._granted
            self._grants, self._granted = Counter(), Counter()
            try:
                started = self._take(await self._read(granted), grants)
            except BaseException:
                for flow in self._flows.values():  # until there has been a look at the store, nothing is to be granted
                    flow.waiting = 0
                self._is_unknown = True
                raise
            finally:
                for gate, count in grants.items():
                    gate.end_grants(count)
                self._wait_anew()
            try:
                taken = await asyncio.gather(*started)
            except BaseException:  # the others may not have been taken, either
                self._is_unknown = True
                raise
            if False in taken:
                self._is_unknown = True
                return 0.0
        return (self._next_due - self._clock.due()) / 1e6

    async def _read(self, granted: Counter[Priority]) -> Sequence[StoredMessage]:
        """What was granted a slot, by priority and time. What waits besides is counted where it may not be known."""
        now, key = self._clock.due(), self.route.queue_key
        ahead = self._clock.wall() - now
        is_known = not (self._is_unknown or self._next_due <= now or self._is_low())
        batch: list[StoredMessage] = []
        for priority in Priority:
            if limit := min(granted[priority], BATCH):
                found = await self._outbox.due(key, now, limit, ahead, priority)
                is_known = is_known and len(found) == granted[priority]
                batch += found
        if not is_known:
            await self._count(batch)
        return batch

    def _is_low(self) -> bool:
        """Whether so few are left of those that were counted that there may be more than is known."""
        return any(self._flows[priority].waiting < BATCH for priority in self._uncounted)

    async def _count(self, batch: Sequence[StoredMessage]) -> None:
        """Count what waits besides `batch`, as far as two batches go; and find out when more is due."""
        now, key = self._clock.due(), self.route.queue_key
        ahead = self._clock.wall() - now
        # What comes to be known meanwhile is not to be lost: the store may have been read before it was kept there.
        self._is_unknown, self._next_due = False, math.inf
        self._put.clear()
        counts = await self._outbox.due_counts(key, now, 2 * BATCH, ahead)
        next_due = await self._outbox.next_due(key, ahead, now)
        if next_due is not None:
            self._next_due = min(self._next_due, next_due)
        taken = Counter(stored.options.priority for stored in batch)
        for priority, flow in self._flows.items():
            flow.waiting = max(counts[priority] - taken[priority] - self._granted[priority], 0) + self._put[priority]
        self._uncounted = [priority for priority in Priority if counts[priority] >= 2 * BATCH]

    def _take(self, batch: Sequence[StoredMessage], grants: Counter[SharedGate]) -> list[Awaitable[bool | None]]:
        """Hand over what there is a slot for; what is returned is done once that is on record."""
        started: list[Awaitable[bool | None]] = []
        due = self._clock.due()
        ahead = self._clock.wall() - due
        for stored in batch:
            if deadline(stored.record, ahead) <= due:  # no attempt begins so late
                started.append(self._hands.expire(stored))
                continue
            on = self._router.begin(self.route, stored.record.attempts, stored.options.priority)
            if ticket := self._router.pick(on, grants):
                started.append(self._hands.take(stored, on, ticket))
                continue
            self._is_unknown = True
            if not any(one.obstacle is Obstacle.RETRY_BUDGET for one in on.choice.passed_over):
                break  # the rest of them wait, in their order
            started.append(self._hands.postpone(stored))
        return started

    def _wait_anew(self) -> None:
        """Wait for what is there now, and take what is offered."""
        now = self._clock.monotonic()
        self.gate_changed(now)
        self.offer(now)

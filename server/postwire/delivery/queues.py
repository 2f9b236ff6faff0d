"""What waits in the outbox, and comes out of it: one queue a route, so that a blocked one never delays another.

A queue asks once whether anybody of its route would take a message, before it reads any: while every door is closed it
rests until the first of them may open, and what is parked in it costs nothing. Then it takes what is due, by priority
and time, as many as there is room for, and hands each to the same path that calls take.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.core.routing import Route
from postwire.core.waiting import deadline
from postwire.delivery.flight import Flight
from postwire.delivery.rounds import Rounds
from postwire.delivery.router import Pass, Router, Ticket
from postwire.outbox.base import Outbox, StoredMessage

BATCH: Final = 64
"""How many messages are taken at once, in one commit."""


class Hands(Protocol):
    """Who a queue hands its messages to."""

    def take(self, stored: StoredMessage, on: Pass, ticket: Ticket) -> Awaitable[None]:
        """See a message through, in a task of its own. Done once its attempt is on record, or could not be."""
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
    """The messages that wait for one route.

    `behind` tells that more is due than can be taken: whoever comes now goes to its end. `flights` are those of its
    messages that somebody waits for.
    """

    def __init__(self, route: Route, *, outbox: Outbox, router: Router, clock: Clock, hands: Hands) -> None:
        self.route = route
        self.behind = False
        self.flights: dict[str, Flight] = {}
        self._outbox = outbox
        self._router = router
        self._clock = clock
        self._hands = hands
        self._rounds = Rounds(self._round, outbox=outbox, clock=clock)
        self._next_due = math.inf  # µs, due clock; what is put in and due no earlier need not wake it

    def put(self, due: float) -> None:
        """Something waits here, from now until `due` (µs, due clock)."""
        if not self._rounds.started:
            self._rounds.start()
        elif due < self._next_due:
            self._rounds.wake()

    def wake(self) -> None:
        """Look again at what waits here."""
        self._rounds.wake()

    async def stop(self) -> None:
        """Take nothing more."""
        await self._rounds.stop()

    async def _round(self) -> float:
        """Take what can be taken; returns for how many seconds there is nothing to do unless something happens."""
        await self._outbox.wait_available()  # what is taken and cannot be kept would be taken again at once
        self._next_due = math.inf
        now = self._clock.monotonic()
        choice = self._router.look(self.route, now)
        if choice.chosen is None:
            return self._blocked(now, is_parked=not choice.waits_for)
        limit = min(BATCH, self._router.room(self.route))
        due = self._clock.due()
        ahead = self._clock.wall() - due
        batch = await self._outbox.due(self.route.key, due, limit, ahead)
        self.behind = len(batch) == limit
        if batch:
            await self._take(batch)
            return 0.0
        next_due = await self._outbox.next_due(self.route.key, ahead)
        if next_due is None:
            return math.inf
        self._next_due = next_due
        return (next_due - self._clock.due()) / 1e6

    def _blocked(self, now: float, *, is_parked: bool) -> float:
        """Rest until a door of the route changes, which is shut `now`; how long that is at the most."""
        self.behind = True
        self._next_due = -math.inf
        self._router.watch(self.route, self._rounds.wake)
        if is_parked:  # it may be long: nobody is kept waiting
            for message_id in self.flights:
                self._hands.land(message_id)
            self.flights.clear()
        opens_at = self._router.opens_at(self.route, now)
        return math.inf if opens_at is None else opens_at - self._clock.monotonic()

    async def _take(self, batch: Sequence[StoredMessage]) -> None:
        started: list[Awaitable[None]] = []
        due = self._clock.due()
        ahead = self._clock.wall() - due
        for stored in batch:
            if deadline(stored.record, ahead) <= due:  # no attempt begins so late
                started.append(self._hands.expire(stored))
                continue
            on = self._router.begin(self.route, stored.record.attempts)
            if ticket := self._router.pick(on):
                started.append(self._hands.take(stored, on, ticket))
            elif self._router.look(self.route).chosen is None:
                self.behind = True
                break  # the rest of them wait, in their order
            else:  # the door is open, but not for repeats
                started.append(self._hands.postpone(stored))
        await asyncio.gather(*started)

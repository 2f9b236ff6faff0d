"""What a node knows of the others that share its store, as its last heartbeat has found it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from postwire.clock import Clock
from postwire.outbox.base.membership import Heartbeat

LOOK_AGAIN: Final = 0.25
"""Seconds from one heartbeat to the next while somebody waits for what others do."""

SURELY_LATER: Final = 2
"""How many heartbeats are to be answered until one was sent later than now: the next may be on its way."""


class _Steered:
    """Somebody who has changed something about a provider, and waits until all have taken that over. `change` is its
    number, or a later one; it is known once `answers` are there."""

    __slots__ = ("answers", "change", "done")

    def __init__(self, answers: int, done: asyncio.Future[None]) -> None:
        self.answers = answers
        self.change: int | None = None
        self.done = done


class Peers:
    """See the module. Whoever sends heartbeats, one after the other, calls `heard` with what is answered."""

    def __init__(self, *, lease: float, clock: Clock) -> None:
        """`lease` is for how many seconds a heartbeat keeps a node among the living."""
        self._lease = lease
        self._clock = clock
        self._answers = 0
        self._steered: set[_Steered] = set()
        self._is_asking = False
        self.are_there = False
        """Whether any other node lives."""
        self.heartbeat_now: Callable[[], object] = lambda: None
        """Has the next heartbeat sent at once."""

    def heard(self, heartbeat: Heartbeat) -> None:
        """A heartbeat is answered."""
        self._answers += 1
        others = [one for one in heartbeat.members if one.number != heartbeat.number]
        self.are_there = bool(others)
        for one in self._steered:
            if one.change is None and one.answers <= self._answers:
                one.change = heartbeat.provider_change
            if one.change is not None and all(other.acknowledged >= one.change for other in others):
                _end(one.done)
        if not self._is_asking and any(not one.done.done() for one in self._steered):
            self._is_asking = True  # once, however many heartbeats are answered for other reasons meanwhile
            self._clock.call_later(LOOK_AGAIN, self._ask_again)

    def _ask_again(self) -> None:
        self._is_asking = False
        self.heartbeat_now()

    async def until_taken_over(self) -> None:
        """Return once each node that lives has taken over what operators have done to providers by now.

        That is so for certain after the time of a lease: whoever has sent a heartbeat since knows of it, and whoever
        has not is not among the living, and sends nothing any more.
        """
        one = _Steered(self._answers + SURELY_LATER, asyncio.get_running_loop().create_future())
        self._steered.add(one)
        alarm = self._clock.call_later(self._lease, lambda: _end(one.done))
        self.heartbeat_now()
        try:
            await one.done
        finally:
            alarm.cancel()
            self._steered.discard(one)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

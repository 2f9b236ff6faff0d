"""How fast PDUs may follow one another."""

from __future__ import annotations

import math


class Pace:
    """Gives turns, `rate` a second, in the order in which they are asked for."""

    __slots__ = ("_interval", "_next")

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = -math.inf

    def wait(self, now: float) -> float:
        """How many seconds there are to the next turn."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> float:
        """Take the next turn. Returns how many seconds there are to it."""
        wait = self.wait(now)
        self._next = now + wait + self._interval
        return wait

"""Breakers with one bug each: those that `tests/unit/test_breaker_pitfalls.py` is there to notice."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from tests.support.breakers import FAILURE, HALF_OPEN, NONE, OPEN, SUCCESS

from postwire.core.breaker import Breaker, BreakerSettings, Permit, Verdict


class Stampeding(Breaker):
    """Half-open lets everybody through until the first result is there."""

    def __init__(self, settings: BreakerSettings, **others: Any) -> None:
        super().__init__(replace(settings, probe_calls=sys.maxsize), **others)


class BurningProbes(Breaker):
    """A result that says nothing is not looked at, so that its probe stays out."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if verdict is not NONE:
            super().release(permit, verdict, now, duration)


class LeakingWhenCancelled(Breaker):
    """Cancellation is no `Exception`, so what is done about exceptions is not done about it."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if not isinstance(sys.exception(), asyncio.CancelledError):
            super().release(permit, verdict, now, duration)


class ClosingWhenCancelled(Breaker):
    """A probe that did not fail has succeeded."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if permit.is_probe and verdict is NONE:
            verdict = SUCCESS
        super().release(permit, verdict, now, duration)


class BelievingStaleSuccess(Breaker):
    """Any success while it is half-open closes it, whoever's it is."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if self.state is HALF_OPEN and verdict is SUCCESS:
            self._close()
        super().release(permit, verdict, now, duration)


class BelievingStaleFailure(Breaker):
    """Any failure while it is not closed opens it, whoever's it is and again if need be."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if self.state in (OPEN, HALF_OPEN) and verdict is FAILURE:
            self._open(now)
        super().release(permit, verdict, now, duration)


def make_room(breaker: Breaker) -> None:
    """For one probe more."""
    settings = breaker._settings
    breaker._settings = replace(settings, probe_calls=settings.probe_calls + 1)


class Minting(Breaker):
    """Whatever comes back counts one down, whether it counted one up in this half-open or long before."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if 0 <= permit.generation < self._generation:
            make_room(self)
        super().release(permit, verdict, now, duration)


class OnTheWallClock(Breaker):
    """Reads the time of day, which is set and stepped, instead of taking what it is given."""

    def admits(self, now: float) -> bool:
        self._now = -math.inf
        return super().admits(time.time())

    def acquire(self, now: float) -> Permit | None:
        self._now = -math.inf
        return super().acquire(time.time())

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        self._now = -math.inf
        super().release(permit, verdict, time.time(), duration)


class LockedDuringCalls(Breaker):
    """Holds a lock from the permit to the result."""

    def __init__(self, settings: BreakerSettings, **others: Any) -> None:
        super().__init__(settings, **others)
        self._lock = threading.Lock()

    def acquire(self, now: float) -> Permit | None:
        self._lock.acquire()
        return super().acquire(now)

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        super().release(permit, verdict, now, duration)
        self._lock.release()


class CountingMistakes(Breaker):
    """A caller's mistake did not fail at the provider, so it counts as a success there."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if not permit.is_probe and verdict is NONE:
            verdict = SUCCESS
        super().release(permit, verdict, now, duration)


class FreeingTwice(Breaker):
    """A permit that is given back after each try, and once more at the end, makes room each time."""

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        if permit.is_probe and permit.generation < 0:
            make_room(self)
        super().release(permit, verdict, now, duration)


class WaitingForEver(Breaker):
    """Every call reports some day, does it not?"""

    def __init__(self, settings: BreakerSettings, **others: Any) -> None:
        super().__init__(replace(settings, lease=math.inf), **others)

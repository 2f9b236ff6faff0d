"""The clocks. Everything that needs the time is given one of these, so that tests can be the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """Something that will happen later."""

    def cancel(self) -> None:
        """Have it not happen."""
        ...


class Clock(Protocol):
    """Two clocks: one for points in time, which may step, and one for intervals, which never does."""

    def wall(self) -> int:
        """The time of day, in µs since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point in the past; only differences mean something."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """Have `callback` called on the event loop once so many seconds have passed."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def wall(self) -> int:
        """See `Clock.wall`."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, callback)

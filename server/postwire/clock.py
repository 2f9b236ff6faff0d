"""The clocks. Everything that needs the time is given one of these, so that tests can be the clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for points in time, which may step, and one for intervals, which never does."""

    def wall(self) -> int:
        """The time of day, in µs since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point in the past; only differences mean something."""
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

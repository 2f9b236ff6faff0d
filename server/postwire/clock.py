"""The clocks. Everything that needs the time is given one of these, so that tests can be the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol


class Alarm(Protocol):
    """Something that will happen later."""

    def cancel(self) -> None:
        """Have it not happen."""
        ...


class Clock(Protocol):
    """Three clocks: the time of day, which may step; one that began with it and never steps; and one for intervals."""

    def wall(self) -> int:
        """The time of day, in µs since the Unix epoch: what callers mean, and what they are shown."""
        ...

    def due(self) -> int:
        """What the time of day would be, had nobody set it since this clock was made, in µs since the Unix epoch.

        Time during which the machine was suspended counts, where the system has such a clock. What waits is due by it.
        """
        ...

    def monotonic(self) -> float:
        """Seconds since some point in the past; only differences mean something."""
        ...

    def machine(self) -> tuple[str, int] | None:
        """The name of this boot of the machine, and for how many µs it has run since: as long as the name is the same,
        that goes on evenly, from one process to the next. None where the system does not tell.
        """
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """Have `callback` called on the event loop once about so many seconds have passed.

        It may come a little early: uvloop counts in whole milliseconds. Who is called looks at the clock, once.
        """
        ...


BOOT_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The system's clock that nobody sets (clock_gettime(2)). Only Linux has one that goes on while it is suspended."""

MACHINE_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux names each boot of the machine (random(4))."""


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ("_started",)

    def __init__(self) -> None:
        self._started = time.time_ns() - time.clock_gettime_ns(BOOT_CLOCK)

    def wall(self) -> int:
        """See `Clock.wall`."""
        return time.time_ns() // 1000

    def due(self) -> int:
        """See `Clock.due`."""
        return (self._started + time.clock_gettime_ns(BOOT_CLOCK)) // 1000

    monotonic = staticmethod(time.monotonic)
    """See `Clock.monotonic`. Every message asks several times: the system's function itself."""

    def machine(self) -> tuple[str, int] | None:
        """See `Clock.machine`."""
        try:
            name = MACHINE_BOOT.read_text(encoding="ascii").strip()
        except OSError:
            return None
        return name, time.clock_gettime_ns(BOOT_CLOCK) // 1000

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, callback)

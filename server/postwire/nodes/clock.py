"""The clock of a store that several nodes share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from postwire.clock import BOOT_CLOCK, Alarm


def boot_time() -> int:
    """What the system's clock says that nobody sets, in µs."""
    return time.clock_gettime_ns(BOOT_CLOCK) // 1000


def wall_time() -> int:
    """What the system's clock says that may be set, in µs since the epoch."""
    return time.time_ns() // 1000


class NodeClock:
    """The time as the store has it: see `postwire.clock.Clock`.

    It is the system's clock that nobody sets, and what the store's was ahead of it when that was asked. So a step of
    the machine's wall clock changes nothing, what waits is due at one moment at all nodes, and `wall` and `due` are
    one.
    """

    def __init__(self, *, boot_time: Callable[[], int] = boot_time) -> None:
        self.boot_time = boot_time
        self._ahead = wall_time() - boot_time()  # until the store is asked

    @property
    def ahead(self) -> int:
        """By how much (µs) the store's clock is ahead of `boot_time`."""
        return self._ahead

    def measured(self, sent: int, time: int, received: int) -> None:
        """The store has said that it is `time` (µs) between `sent` and `received`, by `boot_time`.

        Within that its clock is not known, and ours stays as it is where it may be right.
        """
        self._ahead = min(max(self._ahead, time - received), time - sent)

    def wall(self) -> int:
        """See `Clock.wall`."""
        return self.boot_time() + self._ahead

    def due(self) -> int:
        """See `Clock.due`."""
        return self.boot_time() + self._ahead

    monotonic = staticmethod(time.monotonic)
    """See `Clock.monotonic`."""

    def machine(self) -> tuple[str, int] | None:
        """See `Clock.machine`. It is not this machine's."""
        return None

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, callback)

"""A clock that moves only when a test moves it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

START = 1_700_000_000_000_000
"""Where manual clocks start, in µs since the epoch."""


class _Alarm:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """See `postwire.clock.Clock`. All of its clocks stand still until `advance`, which also sets off alarms.

    As on a real one, alarms may come early, by `haste`; and the monotonic one may go on whenever it is read, by
    `reading_takes`, which sets off nothing. Both are in seconds.
    """

    def __init__(self, wall: int = START) -> None:
        self.haste = self.reading_takes = 0.0
        self._wall = self._due = wall
        self._monotonic = 1000.0
        self._alarms: list[tuple[float, int, _Alarm]] = []
        self._order = itertools.count()

    def wall(self) -> int:
        return self._wall

    def due(self) -> int:
        return self._due

    def monotonic(self) -> float:
        self._monotonic += self.reading_takes
        return self._monotonic

    def machine(self) -> None:
        return None

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Alarm:
        alarm = _Alarm(callback)
        heapq.heappush(self._alarms, (self._monotonic + seconds, next(self._order), alarm))
        return alarm

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it."""
        return any(alarm.callback for _, _, alarm in self._alarms)

    def advance(self, seconds: float) -> None:
        self._wall += round(seconds * 1e6)
        self._due += round(seconds * 1e6)
        self._monotonic += seconds
        while self._alarms and self._alarms[0][0] <= self._monotonic + self.haste:
            callback = heapq.heappop(self._alarms)[2].callback
            if callback:
                callback()

    def step_wall(self, seconds: float) -> None:
        """What an administrator or NTP does: the time of day jumps, and no time passes."""
        self._wall += round(seconds * 1e6)

    def suspend(self, seconds: float) -> None:
        """What a closed lid does: time passes, and the clock that alarms go by stands still."""
        self._wall += round(seconds * 1e6)
        self._due += round(seconds * 1e6)

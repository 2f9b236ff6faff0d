"""A clock that moves only when a test moves it."""

from __future__ import annotations

START = 1_700_000_000_000_000
"""Where manual clocks start, in µs since the epoch."""


class ManualClock:
    """See `postwire.clock.Clock`. Both of its clocks stand still until `advance`."""

    def __init__(self, wall: int = START) -> None:
        self._wall = wall
        self._monotonic = 1000.0

    def wall(self) -> int:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._wall += round(seconds * 1e6)
        self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """What an administrator or NTP does: the time of day jumps, and no time passes."""
        self._wall += round(seconds * 1e6)

"""Tells when the wall clock was set, by a clock that nobody sets."""

from __future__ import annotations

from typing import Final

STEP: Final = 1_000_000
"""µs. What is less is taken for the adjustments that NTP makes all the time; they add up until they are more."""

BLUR: Final = 100_000
"""µs. Where more passed while the two clocks were read, their difference says nothing."""


class StepDetector:
    """By how much (µs) the wall clock is `ahead` of the due clock, but for what is no step; and the `lowest` it was.

    `highest` is the most by which any time that was given to `due_at` was ahead, steps or not.
    """

    __slots__ = ("ahead", "highest", "lowest")

    def __init__(self) -> None:
        self.ahead = 0
        self.lowest = 0
        self.highest = 0

    def observe(self, before: int, wall: int, after: int) -> int:
        """By how much the wall clock was set since the last time; 0 where it was not.

        `before` and `after` are the due clock, read right before and right after the wall clock.
        """
        step = wall - after - self.ahead
        if after - before > BLUR or abs(step) <= STEP:
            return 0
        self.ahead += step
        self.lowest = min(self.lowest, self.ahead)
        return step

    def due_at(self, wall: int, due: int) -> int:
        """What the due clock was when the wall clock was read as `wall`; `due` is what it was read as about then.

        Two readings are some time apart. What is stored as due is `wall` less what the clock was set by, to the µs: so
        that callers find in a record what they were answered, and waits replay. In the moment after the wall clock was
        set, before `observe` has seen it, the due clock's own reading counts.
        """
        if wall - due > self.highest:
            self.highest = wall - due
        exact = wall - self.ahead
        return exact if abs(exact - due) <= STEP else due

    def longest_since(self, time: int, wall: int, due: int) -> int | None:
        """How long (µs) it can have been at the most since `time`, which was noted by the wall clock; both clocks are
        read now. None where that is unknown, since the wall clock stands before it: it was set back.

        Of what this boot has noted that is an upper bound, wherever the wall clock was set to meanwhile. What an
        earlier one has is taken to be as old as the wall clock says.
        """
        return None if wall < time else max(wall, due + self.highest) - time

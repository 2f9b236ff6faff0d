"""When a batch goes: at once where little is going on, and once nothing more comes where much is."""

from __future__ import annotations

from typing import Final

MAX_TURNS: Final = 32
"""For how many turns of the event loop a batch is gathered while each of them brings more."""

PACED_FROM: Final = 16
"""A batch of more operations than these is followed by one that is gathered for longer."""

PACE: Final = 0.004
"""Seconds between two looks at one that is."""

MAX_PACES: Final = 2
"""How many such looks there are at the most, while each of them finds more: 8 ms."""


class Pace:
    """Gathers one batch after another. A small machine: `look` says whether to wait, and for how long.

    A commit costs the same for one operation as for many. Under gRPC a turn of the loop brings about one event, so a
    batch that goes with the first turn that brings nothing holds few, and most of those who write again come just too
    late for it. So it is held for as long as every few milliseconds bring more, but only where the one before was
    large: who calls alone, or with a few others, waits for nothing.
    """

    __slots__ = ("_is_paced", "_looks", "_seen", "_turns")

    def __init__(self) -> None:
        self._is_paced = False
        self._begin()

    def _begin(self) -> None:
        self._seen = self._turns = self._looks = 0

    def look(self, pending: int) -> float | None:
        """Seconds until the next look, while `pending` operations wait: 0 is the next turn of the loop. None: they are
        to go now, which is to be told by `gone`."""
        grows, self._seen = pending > self._seen, pending
        if not self._looks and grows and self._turns < MAX_TURNS:
            self._turns += 1
            return 0.0
        if self._is_paced and pending and self._looks < MAX_PACES and (grows or not self._looks):
            self._looks += 1
            return PACE
        return None

    def gone(self, count: int) -> None:
        """So many operations went."""
        if count:  # where nothing waits for a moment, as much goes on as before
            self._is_paced = count > PACED_FROM
        self._begin()

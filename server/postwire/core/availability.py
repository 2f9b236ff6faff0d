"""Whether a provider can be used at all: whether it was opened, and accepts the account that it is configured with.

    UNAVAILABLE -- `note_opened` --> AVAILABLE <-- the vendor takes our account -- MISCONFIGURED
                                        +-- `note_misconfigured` ----------------------^

A provider that refuses our account is left alone for a while, which doubles each time it does so again; then it is
tried with one message at a time, until an answer says that it takes the account. No clock: every call is given `now`,
in seconds on a monotonic clock.
"""

from __future__ import annotations

import math
from typing import Final

from postwire.core.obstacles import Obstacle

PROBE_AFTER: Final = 30.0
"""Seconds for which a provider is left alone that refuses our account. Doubled with each refusal in a row."""

PROBE_AFTER_MAX: Final = 300.0
"""Seconds, at most, of any such pause."""


def probe_pause(refusals: int) -> float:
    """Seconds for which a provider is left alone that has refused our account so many times in a row, at least 1."""
    return min(PROBE_AFTER * 2.0 ** min(refusals - 1, 16), PROBE_AFTER_MAX)


class Availability:
    """See the module. `blocked` is False while there is nothing to ask: nearly always."""

    __slots__ = ("_is_probing", "_opening", "_probe_at", "_refusals", "_refuses", "blocked")

    def __init__(self) -> None:
        self.blocked = False
        self._opening: Obstacle | None = None
        self._refuses = False  # our account, as far as is known
        self._refusals = 0  # of this account, in a row
        self._probe_at = -math.inf
        self._is_probing = False

    @property
    def state(self) -> Obstacle | None:
        """`UNAVAILABLE` or `MISCONFIGURED`; None for one that is available."""
        return self._opening or (Obstacle.MISCONFIGURED if self._refuses else None)

    def obstacle(self, now: float) -> Obstacle | None:
        """What keeps an attempt from being made now. None: one may be made, and if `state` says otherwise, only one."""
        if self._opening:
            return self._opening
        if self._refuses and (self._is_probing or now < self._probe_at):
            return Obstacle.MISCONFIGURED
        return None

    def until(self, now: float) -> float | None:
        """When to ask again; None if nobody can know, or if one may be made now."""
        if self._opening or not self._refuses or self._is_probing or now >= self._probe_at:
            return None
        return self._probe_at

    def enter(self) -> bool:
        """An attempt is made. Returns whether it is one that finds out about our account, to be passed to `leave`."""
        if not self._refuses:
            return False
        self._is_probing = True
        return True

    def leave(self, now: float) -> None:
        """That attempt has ended, whatever it found: if nothing, the next one may be made after as long a pause."""
        self._is_probing = False
        if self._refuses and now >= self._probe_at:
            self._probe_at = now + probe_pause(max(self._refusals, 1))

    def abandon(self) -> None:
        """That attempt was not made after all: another one may be."""
        self._is_probing = False

    def note_opening(self, why_not: Obstacle) -> None:
        """It cannot be used before it is opened."""
        self._opening = why_not
        self._update()

    def note_opened(self) -> None:
        """It is opened."""
        self._opening = None
        self._update()

    def note_misconfigured(self, now: float) -> None:
        """It has refused our account. What was sent before it did so, and is refused alike, is no further step."""
        if self._refuses and now < self._probe_at:
            return
        self._refuses = True
        self._refusals += 1
        self._probe_at = now + probe_pause(self._refusals)
        self._update()

    def note_configured(self) -> None:
        """It has taken our account, or somebody says that it would."""
        self._refuses = False
        self._refusals = 0
        self._probe_at = -math.inf
        self._update()

    def note_renewed(self) -> None:
        """Our account may be another from now on: one attempt may find out at once, whatever was found out before."""
        self._is_probing = False
        self._refusals = 0
        self._probe_at = -math.inf

    def _update(self) -> None:
        self.blocked = self.state is not None

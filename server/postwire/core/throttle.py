"""What happens again and again is reported at a limited rate, and what is left out is counted.

A token bucket a key: a few at once go through, so that the first are seen in full, then one an interval, so that a
storm stays in sight for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from postwire.core.limits import TokenBucket

K = TypeVar("K", bound=Hashable)


class _Limited:
    __slots__ = ("bucket", "held_back")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.held_back = 0


class Throttle(Generic[K]):
    """Lets `burst` events of a key through at once, and one every `interval` seconds in the long run.

    So at most `burst + t / interval` of a key go through in any `t` seconds. With more than `most` keys, the one that
    came first is forgotten, and begins anew; without, none is: there are to be few.
    """

    __slots__ = ("_burst", "_interval", "_limited", "_most")

    def __init__(self, *, burst: int, interval: float, most: int | None = None) -> None:
        self._burst = burst
        self._interval = interval
        self._most = most
        self._limited: dict[K, _Limited] = {}

    def admit(self, key: K, now: float) -> int | None:
        """Whether an event goes through: None if it is held back, or else how many were since the last that did.

        `now` is in seconds, on a clock that does not step back.
        """
        limited = self._limited.get(key)
        if limited is None:
            if len(self._limited) == self._most:
                del self._limited[next(iter(self._limited))]
            limited = self._limited[key] = _Limited(TokenBucket(1 / self._interval, self._burst))
        if not limited.bucket.available(now):
            limited.held_back += 1
            return None
        limited.bucket.take(now)
        held_back, limited.held_back = limited.held_back, 0
        return held_back

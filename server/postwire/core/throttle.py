"""What happens again and again is told at a limited rate, and what is left out is counted.

A token bucket a key: a few at once go through, so that the first are seen in full, then one an interval, so that a
storm stays in sight for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class _Bucket:
    __slots__ = ("filled_at", "held_back", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.filled_at = now
        self.held_back = 0


class Throttle(Generic[K]):
    """Lets `burst` events of a key through at once, and one every `interval` seconds in the long run.

    So at most `burst + t / interval` of a key go through in any `t` seconds. A key is never forgotten: there are to be
    few.
    """

    __slots__ = ("_buckets", "_burst", "_interval")

    def __init__(self, *, burst: int, interval: float) -> None:
        self._burst = burst
        self._interval = interval
        self._buckets: dict[K, _Bucket] = {}

    def admit(self, key: K, now: float) -> int | None:
        """Whether an event goes through: None if it is held back, or else how many were since the last that did.

        `now` is in seconds, on a clock that does not step back.
        """
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
        tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) / self._interval)
        if tokens < 1:
            bucket.held_back += 1
            return None
        bucket.tokens, bucket.filled_at = tokens - 1, now
        held_back, bucket.held_back = bucket.held_back, 0
        return held_back

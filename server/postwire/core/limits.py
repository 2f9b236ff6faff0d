"""How fast things may go on, and how often again.

Times are in seconds, on a monotonic clock. If it does step back, it counts as standing still: nothing comes free by it.
"""

from __future__ import annotations

import math
from typing import Final


class Spread:
    """Delays from a half of `middle` to one and a half of it, so that those who are sent away together do not come back
    together. They are evenly spread however many there are of them (a Weyl sequence), and the same in every run."""

    __slots__ = ("_at", "_middle")

    _STEP: Final = (math.sqrt(5) - 1) / 2
    """The golden ratio's: of all steps, the one that leaves the most even gaps."""

    def __init__(self, middle: float) -> None:
        self._middle = middle
        self._at = 0.0

    def next(self) -> float:
        """The next delay, in seconds."""
        self._at = (self._at + self._STEP) % 1.0
        return self._middle * (0.5 + self._at)


class TokenBucket:
    """Lets `burst` through at once, and `rate` a second in the long run.

    So at most `burst + rate * t` go through in any `t` seconds. It keeps the time of the next token rather than a
    number of tokens ("virtual scheduling", ITU-T I.371, annex A): at the time that `next_time` returns there is one for
    sure, so that nobody who waits for it wakes up an instant too early, again and again.
    """

    __slots__ = ("_changed_at", "_interval", "_last", "_next", "_origin", "_span", "_taken")

    def __init__(self, rate: float, burst: int) -> None:
        """A full bucket.

        Raises:
            ValueError: the rate is not a number above 0, or the burst is less than 1.
        """
        if not 0 < rate < math.inf or burst < 1:
            raise ValueError("a bucket has a rate above 0 and a burst of at least 1")
        self._set(rate, burst)
        # The next token is there at origin + taken * interval. Added up step by step, it would drift with each rounding
        # and would not return to what it was when a token is given back.
        self._origin = -math.inf
        self._taken = 0.0
        self._next = -math.inf
        self._last = self._changed_at = -math.inf

    def _set(self, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._span = (burst - 1) * self._interval

    def limit(self, rate: float, burst: int, now: float) -> None:
        """Go on with another rate and burst. What is there stays there, but for what is more than the burst."""
        now = max(now, self._last)
        tokens = min(self._span, now - self._next) / self._interval + 1.0  # less than 1 where the next is on its way
        self._set(rate, burst)
        self._begin(now, min(tokens, float(burst)))

    def empty(self, now: float) -> None:
        """Have no token be there: the next one comes an interval from now."""
        self._begin(max(now, self._last), 0.0)

    def _begin(self, now: float, tokens: float) -> None:
        """Count on from `tokens` at a time."""
        self._origin = self._next = now - (tokens - 1.0) * self._interval
        self._taken = 0.0
        self._last = self._changed_at = now

    def available(self, now: float) -> bool:
        """Whether there is a token."""
        return now >= self._next or self._last >= self._next

    def count(self, now: float) -> int:
        """How many tokens there are."""
        if not self.available(now):
            return 0
        # What is lost to rounding is not worth a token.
        return 1 + int(min(self._span, max(now, self._last) - self._next) / self._interval + 1e-9)

    def take(self, now: float) -> None:
        """Take a token. The caller has seen that there is one."""
        if now > self._last:
            self._last = now
        full = self._last - self._span
        if self._next < full:
            self._origin = full
            self._taken = 1.0
        else:
            self._taken += 1.0
        self._next = self._origin + self._taken * self._interval

    def give_back(self, taken_at: float) -> None:
        """Give back a token that was taken at `taken_at` and not used.

        All of it comes back if none was taken since. Otherwise it is less what flowed in until the last of those: had
        this one never been taken, that might have found the bucket full and been lost, and the promise of this class
        leaves no room for more. Nothing comes back of what was taken from another bucket, before the last `limit`.
        """
        if taken_at < self._changed_at:
            return
        self._taken -= max(0.0, 1.0 - (self._last - taken_at) / self._interval)
        self._next = self._origin + self._taken * self._interval

    def next_time(self, now: float) -> float:
        """When there is a token: `now`, if there is one."""
        return now if self.available(now) else self._next


class _Recent:
    """Counts what happened in the last few seconds of the clock, the one that is under way among them."""

    __slots__ = ("_counts", "_second", "_size", "ends", "total")

    def __init__(self, seconds: int) -> None:
        self._size = seconds
        self._counts = [0] * seconds
        self._second = 0
        self.total = 0
        self.ends = -math.inf
        """When the second under way is over."""

    def add(self, now: float) -> None:
        if now >= self.ends:
            self.turn(now)
        self._counts[self._second % self._size] += 1
        self.total += 1

    def remove(self, added_at: float) -> None:
        """Take back what was added at `added_at`, unless that is forgotten by now."""
        second = math.floor(added_at)
        if second > self._second - self._size:
            self._counts[second % self._size] -= 1
            self.total -= 1

    def turn(self, now: float) -> None:
        """Go on to the second in which `now` is, if it is a later one."""
        if now < self.ends:
            return
        second = math.floor(now)
        for passed in range(max(self._second, second - self._size) + 1, second + 1):
            self.total -= self._counts[passed % self._size]
            self._counts[passed % self._size] = 0
        self._second = second
        self.ends = second + 1.0

    def total_next(self) -> int:
        """What is left of the total when the second under way is over."""
        return self.total - self._counts[(self._second + 1) % self._size]


class RetryBudget:
    """Repeats for a provider in trouble: a tenth of the first attempts of the last 10 s, plus one a second.

    Exactly: of the repeats in any 10 s (one end left out), at most 10 are of the one a second. The others are no more
    than a tenth of the first attempts noted in the 10 s up to the last of them. To hold this with counts by the second,
    9 to 10 s of first attempts stand against 10 to 11 s of repeats.
    """

    __slots__ = ("_firsts", "_repeats", "_steady")

    WINDOW: Final = 10
    """Of how many seconds first attempts count."""

    PER_REPEAT: Final = 10
    """How many first attempts make one repeat."""

    def __init__(self) -> None:
        self._firsts = _Recent(self.WINDOW)
        self._repeats = _Recent(self.WINDOW + 1)
        self._steady = TokenBucket(1.0, 1)

    def first_attempt(self, now: float) -> None:
        """Note a first attempt."""
        self._firsts.add(now)

    def forget(self, noted_at: float) -> None:
        """Take back the note of a first attempt that was not made."""
        self._firsts.remove(noted_at)

    def allows(self, now: float) -> bool:
        """Whether there is a repeat to be had."""
        return self._shares(now) or self._steady.available(now)

    def take(self, now: float) -> bool:
        """Take a repeat; the caller has seen that there is one. Tells whether it is of the tenth, for `give_back`."""
        # The tenth first: the one a second stays ready for when first attempts run dry.
        shares = self._shares(now)
        if shares:
            self._repeats.add(now)
        else:
            self._steady.take(now)
        return shares

    def give_back(self, taken_at: float, *, shared: bool) -> None:
        """Give back a repeat that was not made. `shared` is what `take` returned."""
        if shared:
            self._repeats.remove(taken_at)
        else:
            self._steady.give_back(taken_at)

    def next_time(self, now: float) -> float:
        """When there is a repeat to be had, even if nothing else happens: `now`, if there is one."""
        if self.allows(now):
            return now
        # Later turns need no look: by then the one a second is there.
        steady = self._steady.next_time(now)
        next_shares = (self._repeats.total_next() + 1) * self.PER_REPEAT <= self._firsts.total_next()
        return min(steady, self._firsts.ends) if next_shares else steady

    def _shares(self, now: float) -> bool:
        self._firsts.turn(now)
        self._repeats.turn(now)
        return (self._repeats.total + 1) * self.PER_REPEAT <= self._firsts.total

"""What each of several nodes has of the limits of a provider, so that all of them together keep within these.

A share hangs on nothing but who holds one: those whom nobody has marked dead, in the order of their numbers. The more
there are, and the more of them stand before a node, the less it has, of each kind. So as long as every node counts at
least those who send, all of them together never send more than is allowed, however different what they know is: each
has at most what it would have if exactly those who send were there, and these are the whole.

That everybody counts those who send is held by three rules: who has come anew sends nothing before all others have said
that they count him (`seen`); they say so once they keep to the smaller share, with all that they have in flight; and
nobody is left out before he is marked dead. What a rate has saved up is nobody else's: who comes anew begins without,
whoever was there before. See docs/adr/0050.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """How many attempts of a provider may be under way, and how many may begin a second in the long run and at once.
    Without a `rate`, the burst means nothing."""

    max_concurrent: int
    rate: float | None = None
    burst: int = 1


NOTHING: Final = Limits(0, 0.0)
"""The share of who may send nothing."""


def share(whole: Limits, position: int, count: int) -> Limits:
    """What the node at `position` (from 0) has of limits that `count` nodes share.

    Attempts under way are whole ones: the first have one more where they do not go into equal parts, and where there
    are fewer than nodes, the last have none. These have nothing of the rate either, which the others share.
    """
    max_concurrent = whole.max_concurrent // count + (position < whole.max_concurrent % count)
    if not max_concurrent:
        return NOTHING
    rate = None if whole.rate is None else whole.rate / min(count, whole.max_concurrent)
    return Limits(max_concurrent, rate, max(1, whole.burst // count))


class Standing:
    """Who holds shares as far as one node knows, and whether it has one itself: see the module.

    It is asked and told by whoever sends heartbeats: `heard` with the answer to each, `seen` before the next.
    """

    __slots__ = ("_kept_to", "holders", "is_open", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.holders: Sequence[int] = ()
        self.is_open = False
        """Whether this node has a share."""
        self._kept_to = 0

    @property
    def seen(self) -> int:
        """The highest number of a node beside whom this one keeps to its share."""
        return self._kept_to

    def heard(self, holders: Collection[int], seen: Mapping[int, int]) -> bool:
        """A heartbeat has found who is not marked dead, and what those have `seen` who live; returns whether this node
        has another share now."""
        before = self.holders, self.is_open
        self.holders = sorted({*holders, self.number})
        self.is_open = self.is_open or all(one >= self.number for node, one in seen.items() if node != self.number)
        return (self.holders, self.is_open) != before

    def keeps_to_it(self) -> None:
        """All that this node has in flight fits its share."""
        self._kept_to = max((self._kept_to, *self.holders))

    def share(self, whole: Limits) -> Limits:
        """What this node has of the limits of a provider."""
        if not self.is_open:
            return NOTHING
        return share(whole, self.holders.index(self.number), len(self.holders))

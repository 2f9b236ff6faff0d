"""How much has happened of late: counts of the last 15 min, in intervals of 5 s.

Times are in µs, on a clock that does not step. What is counted goes into the interval that is open, and whoever counts
has it closed as soon as it is over: so a message costs an addition or two, and no look at a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from postwire.core.message import Channel, MessageState
from postwire.core.values import frozen

INTERVAL: Final = 5_000_000
"""How long an interval is. Each begins at a multiple of it."""

KEPT: Final = 180
"""How many intervals are kept, with the one that is open."""


_FAILED: Final = (MessageState.FAILED, MessageState.UNDELIVERED, MessageState.EXPIRED)


class ChannelCounts(NamedTuple):
    """How many messages of a channel came to what."""

    accepted: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    uncertain: int = 0


@frozen
class Interval:
    """What happened between `start_time` and the next interval, on the channels on which anything did."""

    start_time: int
    counts: Mapping[Channel, ChannelCounts]


class RecentCounts:
    """The intervals. `accepted` and `reached` are of the one that is open, and to be counted with: how many messages of
    a channel were accepted, and how many have come to each state, whether anybody asks for that or not."""

    __slots__ = ("_closed", "_start_time", "accepted", "reached")

    def __init__(self, now: int) -> None:
        self.accepted: Final = dict.fromkeys(Channel, 0)
        self.reached: Final = {channel: dict.fromkeys(MessageState, 0) for channel in Channel}
        self._start_time = now - now % INTERVAL
        self._closed: deque[Interval] = deque(maxlen=KEPT - 1)  # those in which anything happened

    def advance(self, now: int) -> int:
        """Close the interval that is open, if it is over. Returns when the one ends that is open now."""
        if now >= self._start_time + INTERVAL:
            if (over := self._opened()).counts:
                self._closed.append(over)
            for channel, reached in self.reached.items():
                self.accepted[channel] = 0
                reached.update(dict.fromkeys(reached, 0))
            self._start_time = now - now % INTERVAL
        return self._start_time + INTERVAL

    def since(self, shown: Interval | None) -> list[Interval]:
        """The intervals in which anything happened, oldest first: those that whoever has been `shown` all up to one has
        not seen as they are. Only the last one can have changed since."""
        oldest = self._start_time - (KEPT - 1) * INTERVAL
        if shown:
            oldest = max(oldest, shown.start_time)
        found = [one for one in (*self._closed, self._opened()) if one.start_time >= oldest and one.counts]
        return [one for one in found if one != shown]

    def _opened(self) -> Interval:
        counts = {channel: self._counts_of(channel) for channel in Channel}
        return Interval(self._start_time, {channel: one for channel, one in counts.items() if any(one)})

    def _counts_of(self, channel: Channel) -> ChannelCounts:
        reached = self.reached[channel]
        return ChannelCounts(
            accepted=self.accepted[channel],
            sent=reached[MessageState.SENT],
            delivered=reached[MessageState.DELIVERED],
            failed=sum(reached[state] for state in _FAILED),
            uncertain=reached[MessageState.UNCERTAIN],
        )

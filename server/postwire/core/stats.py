"""How much has happened of late: counts of the last 15 min, in intervals of 5 s.

Times are in µs, on a clock that does not step. What is counted goes into the interval that is open, and whoever counts
has it closed once it is over: so a message costs a comparison and an addition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from postwire.core.message import Channel, MessageState
from postwire.core.values import frozen

INTERVAL: Final = 5_000_000
"""How long an interval is. Each begins at a multiple of it."""

KEPT: Final = 180
"""How many intervals are kept, with the one that is open."""


class ChannelCounts(NamedTuple):
    """How many messages of a channel came to what."""

    accepted: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    uncertain: int = 0


ACCEPTED: Final = ChannelCounts._fields.index("accepted")
"""Where a message is counted that was accepted."""

COUNTED: Final[Mapping[MessageState, int]] = MappingProxyType(
    {
        MessageState.SENT: ChannelCounts._fields.index("sent"),
        MessageState.DELIVERED: ChannelCounts._fields.index("delivered"),
        MessageState.FAILED: ChannelCounts._fields.index("failed"),
        MessageState.UNDELIVERED: ChannelCounts._fields.index("failed"),
        MessageState.EXPIRED: ChannelCounts._fields.index("failed"),
        MessageState.UNCERTAIN: ChannelCounts._fields.index("uncertain"),
    }
)
"""Where a message is counted that has come to a state. Others are not."""


@frozen
class Interval:
    """What happened between `start_time` and the next interval, on the channels on which anything did."""

    start_time: int
    counts: Mapping[Channel, ChannelCounts]


class RecentCounts:
    """The intervals. `open` has what is to be counted with, of each channel: a list by `ACCEPTED` and `COUNTED`."""

    __slots__ = ("_closed", "_start_time", "open")

    def __init__(self, now: int) -> None:
        self.open: Final = {channel: [0] * len(ChannelCounts._fields) for channel in Channel}
        self._start_time = now - now % INTERVAL
        self._closed: deque[Interval] = deque(maxlen=KEPT - 1)  # those in which anything happened

    def advance(self, now: int) -> int:
        """Close the interval that is open, if it is over. Returns when the one ends that is open now."""
        if now >= self._start_time + INTERVAL:
            if (over := self._opened()).counts:
                self._closed.append(over)
                for counts in self.open.values():
                    counts[:] = [0] * len(counts)
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
        counts = {channel: ChannelCounts(*counts) for channel, counts in self.open.items() if any(counts)}
        return Interval(self._start_time, counts)

"""How many messages are not settled, in each queue and in all, and how many of them are for later.

What is allowed is shared, so that the queue of a channel that is out of service never closes the others: a queue may
hold `SHARE` times what is left of it, and what is scheduled for later half of it. See `core.admission`, which does the
same for what is in flight.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Final

SHARE: Final = 4
"""How many times what is left one queue may hold."""

SHARED_FROM: Final = 100
"""With room for fewer messages than this, none of it is shared out."""

_SECOND: Final = 1_000_000


class Backlog:
    """Counts against what is allowed. All times are in µs, on the clock of the callers' send times.

    `queues` has the count of each queue that holds anything.
    """

    __slots__ = ("_due", "_for_later", "_max", "_max_per_queue", "_max_scheduled", "_scheduled", "queues", "total")

    def __init__(self, *, max_unsettled: int, max_per_queue: int = 0, max_scheduled: int = 0) -> None:
        """`max_per_queue` and `max_scheduled` take the place of the shares, unless they are 0."""
        is_shared = max_unsettled >= SHARED_FROM
        self._max = max_unsettled
        self._max_per_queue = max_per_queue or (0 if is_shared else max_unsettled)
        self._max_scheduled = max_scheduled or (max_unsettled // 2 if is_shared else max_unsettled)
        self.queues: dict[str, int] = {}
        self.total = 0
        # What is for later, by the second in which it is due, and those seconds as a heap.
        self._scheduled: dict[int, int] = {}
        self._due: list[int] = []
        self._for_later = 0

    def load(self, queues: Mapping[str, int], scheduled: Mapping[int, int]) -> None:
        """Begin with what a store holds: see `Counts`."""
        for queue, count in queues.items():
            self.queues[queue] = self.queues.get(queue, 0) + count
            self.total += count
        for second, count in scheduled.items():
            self._schedule(second, count)

    def scheduled(self, now: int) -> int:
        """How many are for later than the second of `now`."""
        second = now // _SECOND
        while self._due and self._due[0] <= second:
            self._for_later -= self._scheduled.pop(heapq.heappop(self._due))
        return self._for_later

    def why_full(self, queue: str, send_time: int | None, now: int) -> str | None:
        """Why a new message cannot be taken, for its caller; None if it can. `send_time`: if it is for later."""
        if self.total >= self._max:
            return "too many messages wait to be sent: try again later"
        most = self._max_per_queue or SHARE * (self._max - self.total)
        if self.queues.get(queue, 0) >= most:
            return "too many messages wait for the providers of this one: try again later"
        if send_time is not None and self.scheduled(now) >= self._max_scheduled:
            return "too many messages wait for their send_time: try again later"
        return None

    def add(self, queue: str, send_time: int | None = None) -> None:
        """A message is taken; for later, if it has a send time."""
        self.queues[queue] = self.queues.get(queue, 0) + 1
        self.total += 1
        if send_time is not None:
            self._schedule(send_time // _SECOND, 1)

    def remove(self, queue: str, send_time: int | None = None) -> None:
        """A message is settled, or was not taken after all. `send_time`: if it was waiting for that."""
        self.total -= 1
        count = self.queues[queue] - 1
        if count:
            self.queues[queue] = count
        else:
            del self.queues[queue]
        # A second that is over is forgotten, and with it what was due then.
        if send_time is not None and self._scheduled.get(second := send_time // _SECOND):
            self._scheduled[second] -= 1
            self._for_later -= 1

    def _schedule(self, second: int, count: int) -> None:
        if second in self._scheduled:
            self._scheduled[second] += count
        else:
            self._scheduled[second] = count
            heapq.heappush(self._due, second)
        self._for_later += count

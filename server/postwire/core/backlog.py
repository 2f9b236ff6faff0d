"""How many messages are not settled: of each tenant, in each queue and in all; and how many of them are for later.

What is allowed is shared, so that the queue of a channel that is out of service never closes the others, nor that of
another tenant: a queue may hold `SHARE` times what is left of it, and what is scheduled for later half of it. Where
there are tenants, each may have scheduled `SHARE` times what is left of that. See `core.admission`, which does the same
for what is in flight.

Where several nodes share a store, each counts what it has done itself. What others do shows in what is counted in the
store now and then, upon which each goes on: of a message that one node has taken and another has settled, the one
counts too much until then, and the other too little. So what is allowed is held to roughly.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from typing import Final

from postwire.core.queue_keys import QueueKey

SHARE: Final = 4
"""How many times what is left one queue may hold."""

SHARED_FROM: Final = 100
"""With room for fewer messages than this, none of it is shared out."""

_SECOND: Final = 1_000_000

MOST_NOTED: Final = 120
"""How many of its own counts a node remembers, in case somebody else's is as old as that."""


Later = Mapping[tuple[str, int], int]
"""What is for later, by its tenant and the second in which it is due."""


class _Later:
    """What is for later, by the second in which it is due."""

    __slots__ = ("_counts", "_due", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._due: list[int] = []  # the seconds, as a heap
        self._total = 0

    def count(self, now: int) -> int:
        """How many are for later than the second of `now`."""
        second = now // _SECOND
        while self._due and self._due[0] <= second:
            self._total -= self._counts.pop(heapq.heappop(self._due))
        return self._total

    def add(self, second: int, count: int = 1) -> None:
        if second in self._counts:
            self._counts[second] += count
        else:
            self._counts[second] = count
            heapq.heappush(self._due, second)
        self._total += count

    def remove(self, second: int) -> None:
        # A second that is over is forgotten, and with it what was due then.
        if self._counts.get(second):
            self._counts[second] -= 1
            self._total -= 1


class Backlog:
    """Counts against what is allowed. All times are in µs, on the clock of the callers' send times.

    `queues` has the count of each queue that holds anything, and `tenants` that of each tenant.
    """

    __slots__ = (
        "_found",
        "_is_shared",
        "_later",
        "_later_of",
        "_max",
        "_max_per_queue",
        "_max_scheduled",
        "_noted",
        "has_tenants",
        "queues",
        "tenants",
        "total",
    )

    def __init__(
        self, *, max_unsettled: int, max_per_queue: int = 0, max_scheduled: int = 0, has_tenants: bool = False
    ) -> None:
        """`max_per_queue` and `max_scheduled` take the place of the shares, unless they are 0."""
        is_shared = max_unsettled >= SHARED_FROM
        self.has_tenants = has_tenants
        self._is_shared = is_shared
        self._max = max_unsettled
        self._max_per_queue = max_per_queue or (0 if is_shared else max_unsettled)
        self._max_scheduled = max_scheduled or (max_unsettled // 2 if is_shared else max_unsettled)
        self.queues: dict[QueueKey, int] = {}
        self.tenants: dict[str, int] = {}
        self.total = 0
        self._later = _Later()
        self._later_of: dict[str, _Later] = {}
        self._found = 0  # how much of the total was found in the store, and does not come from here
        self._noted: deque[tuple[int, int]] = deque(maxlen=MOST_NOTED)

    def load(self, queues: Mapping[QueueKey, int], scheduled: Later) -> None:
        """Begin with what a store holds: see `Counts`."""
        for queue, count in queues.items():
            self._count(queue, count)
        for (tenant, second), count in scheduled.items():
            self._schedule(tenant, second, count)

    def reload(self, before: Mapping[QueueKey, int], queues: Mapping[QueueKey, int], scheduled: Later) -> None:
        """Go on with what a store holds by now, as in `load`. `before` is a copy of `queues` of the time at which that
        began to be read: what has changed here since then is counted on top of it."""
        since = {queue: count - before.get(queue, 0) for queue, count in self.queues.items()}
        since |= {queue: -count for queue, count in before.items() if queue not in self.queues}
        own, self.queues, self.tenants, self.total = self.total - self._found, {}, {}, 0
        self._later, self._later_of = _Later(), {}
        for queue in {*queues, *since}:
            if (count := queues.get(queue, 0) + since.get(queue, 0)) > 0:
                self._count(queue, count)
        for (tenant, second), count in scheduled.items():
            self._schedule(tenant, second, count)
        self._found = self.total - own

    def note(self, now: int) -> None:
        """Remember how much has come and gone here by now, for `correct`."""
        self._noted.append((now, self.total - self._found))

    def correct(self, total: int, counted_at: int) -> None:
        """Somebody has counted all that is not settled in the store, at some time: so much it is in all, and what has
        come and gone here since then. It was noted how much that is."""
        own = self.total - self._found
        then = next((count for time, count in reversed(self._noted) if time <= counted_at), None)
        if then is not None:
            self.total = max(total + own - then, 0)
            self._found = self.total - own

    def scheduled(self, now: int) -> int:
        """How many are for later than the second of `now`."""
        return self._later.count(now)

    def of_tenant(self, tenant: str) -> int:
        """How many of a tenant's messages are not settled."""
        return self.tenants.get(tenant, 0)

    def why_full(self, queue: QueueKey, send_time: int | None, now: int) -> str | None:
        """Why a new message cannot be taken, for its caller; None if it can. `send_time`: if it is for later."""
        if self.total >= self._max:
            return "too many messages wait to be sent: try again later"
        most = self._max_per_queue or SHARE * (self._max - self.total)
        if self.queues.get(queue, 0) >= most:
            return "too many messages wait for the providers of this one: try again later"
        if send_time is not None and self._is_full_for_later(queue.tenant, now):
            return "too many messages wait for their send_time: try again later"
        return None

    def _is_full_for_later(self, tenant: str, now: int) -> bool:
        left = self._max_scheduled - self.scheduled(now)
        if left <= 0 or not (self.has_tenants and self._is_shared):
            return left <= 0
        own = self._later_of.get(tenant)
        return own is not None and own.count(now) >= SHARE * left

    def add(self, queue: QueueKey, send_time: int | None = None) -> None:
        """A message is taken; for later, if it has a send time."""
        self._count(queue, 1)
        if send_time is not None:
            self._schedule(queue.tenant, send_time // _SECOND, 1)

    def remove(self, queue: QueueKey, send_time: int | None = None) -> None:
        """A message is settled, or was not taken after all. `send_time`: if it was waiting for that."""
        self._count(queue, -1)
        if send_time is not None:
            self._later.remove(send_time // _SECOND)
            if own := self._later_of.get(queue.tenant):
                own.remove(send_time // _SECOND)

    def _count(self, queue: QueueKey, change: int) -> None:
        self.total += change
        of_queues, of_tenants, tenant = self.queues, self.tenants, queue.tenant
        if count := of_queues.get(queue, 0) + change:  # less than 0 of what others have taken, and was settled here
            of_queues[queue] = count
        else:
            del of_queues[queue]
        if count := of_tenants.get(tenant, 0) + change:
            of_tenants[tenant] = count
        else:
            del of_tenants[tenant]

    def _schedule(self, tenant: str, second: int, count: int) -> None:
        self._later.add(second, count)
        if self.has_tenants:
            own = self._later_of.get(tenant)
            if own is None:
                own = self._later_of[tenant] = _Later()
            own.add(second, count)

"""What waits: what is due in a queue, what has run out of time, and what was left in the middle of an attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Protocol

from postwire.core.message import MessageRecord, Priority
from postwire.outbox.base.availability import Availability
from postwire.outbox.base.messages import StoredMessage


class WorkQueue(Availability, Protocol):
    """Tells what is to be done, and when."""

    async def due(
        self, queue: str, now: int, limit: int, ahead: int = 0, only: Priority | None = None
    ) -> Sequence[StoredMessage]:
        """At most `limit` messages that wait in `queue` and are due: by priority, then longest due first.

        `now` is by the due clock. Here and below, the wall clock is `ahead` µs ahead of it: see `core.waiting`. `only`
        those of one priority, if it is given. Fewer than are there where their contents are large, but none only where
        there is none.
        """
        ...

    async def due_counts(self, queue: str, now: int, most: int, ahead: int = 0) -> Mapping[Priority, int]:
        """How many messages of each priority wait in `queue` and are due; counted up to `most` or a little more."""
        ...

    async def next_due(self, queue: str, ahead: int = 0, after: int | None = None) -> int | None:
        """When the next message of `queue` is due (µs, due clock; it may be past), if any waits there.

        Of those that are due later than `after`, if it is given.
        """
        ...

    async def queues(self) -> Sequence[str]:
        """The keys of the queues that anything waits in."""
        ...

    async def expired(self, now: int, limit: int, ahead: int = 0) -> Sequence[MessageRecord]:
        """Queued messages whose time has run out, longest ago first. `now` is by the due clock."""
        ...

    async def next_expiry(self, ahead: int = 0) -> int | None:
        """When the time of the next queued message runs out (due clock)."""
        ...

    def keep_ahead(self, ahead: int) -> Awaitable[None]:
        """Keep by how much the wall clock has come to be ahead of the due clock, for `realign` at the next boot."""
        ...

    def realign(self, now: int, latest: int) -> Awaitable[None]:
        """Bring the times of what waits onto the due clock of this boot, which shows `now`; before all else is done.

        What an earlier boot has kept by `keep_ahead` is added to them. Nobody waits for the next attempt beyond
        `latest`, nor for the first one beyond `now`, unless it is scheduled.
        """
        ...

    async def orphans(self, limit: int) -> Sequence[StoredMessage]:
        """Messages with an open attempt, oldest first: at boot these are left from a process that is gone."""
        ...

    async def scan_queued(
        self, after: int, limit: int, queues: Collection[str] | None = None
    ) -> tuple[Sequence[StoredMessage], int]:
        """At most `limit` queued messages in the order of acceptance, behind the position `after`; and the position of
        the last.

        Those that wait in one of `queues`, or all of them where that is None.
        """
        ...

    def reassign(self, moves: Sequence[tuple[MessageRecord, str]]) -> Awaitable[int]:
        """Put queued messages into other queues, in one commit; returns how many were.

        Each applies where the message still is at the revision of its record, and in the queue of it (fencing). The
        revision stays: nothing has changed that a caller can see.
        """
        ...

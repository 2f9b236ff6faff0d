"""What waits: what is due in a queue, what has run out of time, and what was left in the middle of an attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from postwire.core.message import MAX_TIME, DispatchOptions, MessageRecord, Priority
from postwire.core.queue_keys import QueueKey
from postwire.core.values import frozen
from postwire.outbox.base.availability import Availability
from postwire.outbox.base.messages import Cursor, StoredMessage


@frozen
class QueuedMessage:
    """A message that waits, in its queue or for a receipt; without its content. Its `expire_time` is the record's."""

    record: MessageRecord
    options: DispatchOptions
    accept_trace: str = ""


Decide = Callable[[QueuedMessage], MessageRecord | None]
"""Says what is to become of the record of a message that is due; None: nothing."""


@frozen(repr=False)
class TakenMessage:
    """What became of a message that was due; with its content if an attempt was opened, and that can be read.

    One that is `damaged` never will be: what is kept of it was changed, or the key is lost.
    """

    record: MessageRecord
    content: bytes | None
    damaged: bool = False


@frozen
class Head:
    """What waits in a queue: how many messages of each priority are due, and when (µs, due clock) the next one is."""

    due: Mapping[Priority, int]
    next_due: int | None


class WorkQueue(Availability, Protocol):
    """Tells what is to be done, and when: in queues for one tenant each, in the sweeps for all of them."""

    def take(
        self,
        queue: QueueKey,
        now: int,
        limits: Mapping[Priority, int],
        decide: Decide,
        ahead: int = 0,
    ) -> Awaitable[Sequence[TakenMessage]]:
        """Take what waits in `queue` and is due: by priority, and then the longest due first.

        At most so many of each priority as `limits` says; fewer than are there where their contents are large, but none
        only where there is none. `now` is by the due clock. Here and below, the wall clock is `ahead` µs ahead of it:
        see `core.waiting`.

        `decide` is asked of each in turn, without a pause between; it says what the record is to become, or None where
        the message is to be left as it is. All that it has said is kept in one commit, but for messages that somebody
        else has changed meanwhile. Returns those that were kept, in their order.

        Raises:
            StoreUnavailable: none is taken, or whether they are is unknown.
        """
        ...

    async def heads(
        self, keys: Collection[QueueKey] | None, now: int, most: int, ahead: int = 0
    ) -> Mapping[QueueKey, Head]:
        """What waits in those of the queues `keys` in which anything does; in all, of all tenants, where that is None.

        What is due by `now` is counted up to `most`, or a little more; of what comes later, the time is given.
        """
        ...

    async def expired(self, now: int, limit: int, ahead: int = 0) -> Sequence[MessageRecord]:
        """Queued messages whose time has run out, longest ago first. `now` is by the due clock."""
        ...

    async def next_expiry(self, ahead: int = 0) -> int | None:
        """When the time of the next queued message runs out (due clock)."""
        ...

    def keep_ahead(self, ahead: int) -> Awaitable[None]:
        """Keep by how much the wall clock has come to be ahead of the due clock, for `realign` at the next opening."""
        ...

    def realign(
        self,
        now: int,
        latest: int,
        latest_deferred: int,
        machine: tuple[str, int] | None = None,
        latest_follow_up: int = MAX_TIME,
    ) -> Awaitable[None]:
        """Bring the times of what waits onto the due clock of this opening, which shows `now`; before all else is done.

        What an earlier one has kept by `keep_ahead` is added to them. Nobody waits for the next attempt beyond
        `latest`, or beyond `latest_deferred` where the last one was deferred for any who are left (see
        `core.retries.is_deferred`), nor for the first one beyond `now`, unless it is scheduled; and for a receipt
        nobody waits beyond `latest_follow_up`.

        What guards count by goes on as `machine` says, which is as `Clock.machine` has it: see
        `core.guards.GuardClock`.
        """
        ...

    async def orphans(self, limit: int) -> Sequence[StoredMessage]:
        """Messages whose open attempt belongs to a member that is gone, oldest first: those that are SENDING before
        those with a further attempt (see `core.follow_up`)."""
        ...

    async def overdue(self, now: int, limit: int) -> Sequence[QueuedMessage]:
        """At most `limit` messages whose `follow_up_time` has come by `now` (due clock), longest ago first. None whose
        further attempt is open."""
        ...

    async def next_follow_up(self) -> int | None:
        """The first `follow_up_time` (due clock) of a message whose further attempt is not open."""
        ...

    def put_off(self, moves: Sequence[tuple[MessageRecord, int]]) -> Awaitable[int]:
        """Give messages another `follow_up_time`, in one commit; returns how many have it.

        Each applies where the message still is at the revision of its record (fencing). The revision stays: nothing has
        changed that a caller can see.
        """
        ...

    async def scan_queued(
        self, after: Cursor, limit: int, queues: Collection[str] | None = None
    ) -> tuple[Sequence[StoredMessage], Cursor]:
        """At most `limit` queued messages in the order of acceptance, behind `after`; and how far they reach.

        Of all tenants; those that wait in a queue of one of these names, or all of them where that is None.
        """
        ...

    def reassign(self, moves: Sequence[tuple[MessageRecord, str]]) -> Awaitable[int]:
        """Put queued messages into other queues, in one commit; returns how many were.

        Each applies where the message still is at the revision of its record, and in the queue of it (fencing). The
        revision stays: nothing has changed that a caller can see.
        """
        ...

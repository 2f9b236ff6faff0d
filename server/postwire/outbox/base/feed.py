"""What has changed, in an order that those who watch go on in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from postwire.core.listing import Position
from postwire.core.message import MessageRecord
from postwire.outbox.base.availability import Availability


@dataclass(frozen=True, slots=True)
class Changes:
    """Messages that have changed, each with the position of its change, in order; and up to where all are given.

    `removed` is how many there were that are not kept any more, of whatever tenant.
    """

    entries: tuple[tuple[Position, MessageRecord], ...]
    last: Position
    removed: int = 0


@dataclass(frozen=True, slots=True)
class FeedLag:
    """What holds up the feed of a store that several share: a transaction that began so many seconds ago, of the
    server's process `pid`, or a prepared one that is called `gid`."""

    seconds: float
    pid: int | None = None
    gid: str | None = None


class ChangeFeed(Availability, Protocol):
    """What has changed, in order. A position is that of one change, and rises from each to the next."""

    async def store_name(self) -> str:
        """The name of the store, which no other has, nor one that a copy was put in the place of.

        Positions mean something only in the store that gave them.
        """
        ...

    async def last_position(self) -> Position:
        """The position of the last change of any message, from which a new reader goes on."""
        ...

    async def changes(self, after: Position, limit: int, tenant: str) -> Changes:
        """What became of the next `limit` changes behind a position; of messages of other tenants, nothing.

        A message that has changed several times is given once, and not yet where more of its changes come behind these:
        so a reader that goes on from there sees each revision once at the most.

        Raises:
            ResumeTokenExpired: what came behind it is not known any more, never was, or it is no position of this kind
                of store.
        """
        ...

    async def skip_dropped(self, after: Position) -> tuple[Position, int]:
        """Where a reader can go on that was at `after`, and how many changes behind that are not known any more.

        It may count those before it in, that were forgotten together with some behind it.
        """
        ...

    async def wait_changes(self, after: Position) -> None:
        """Return once there is a change behind a position."""
        ...

    async def remove_changes(self, keep: int, limit: int) -> int:
        """Forget old changes, but for the last `keep`, and at most `limit`; returns how many."""
        ...

    async def feed_lag(self) -> FeedLag | None:
        """What holds up the feed, so that nothing later is told; None where nothing does."""
        ...

"""The part of the outbox that is about changes: see `outbox.base.ChangeFeed`.

A position is the server's timeline, the transaction that made a change, and its number among those of that.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from postwire.core.errors import ResumeTokenExpired, StoreUnavailable
from postwire.core.listing import Position
from postwire.outbox.base import Changes, FeedLag
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.locks import Lock, take_lock
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection, Record

POLL: Final = 0.1
"""Seconds from one look for changes to the next, while anybody waits for one."""

DROPS: Final = 1_000
"""Of how many steps of `remove_changes` it is known how many changes each has forgotten."""

STORE: Final = "store"
"""The fact that names the store: no other has this name. What a client has of its changes is held to it."""

_SYSTEM: Final = "system_identifier"
"""The fact that says of which server its transactions are."""


async def settle(connection: Connection) -> None:
    """Give the store a name, and have it know its server, before it is used; in a transaction of its own.

    One that was put into another server is another store: what was called by a transaction there is nothing here.
    """
    await take_lock(connection, Lock.STORE)
    (found,) = await connection.fetch(QUERIES["system_identifier"])
    known = await connection.fetch(QUERIES["fact"], _SYSTEM)
    if not known or known[0]["value"] != found["system_identifier"]:
        await connection.execute(QUERIES["forget_changes"])
        await connection.execute(QUERIES["keep_fact"], STORE, secrets.token_hex(16))
        await connection.execute(QUERIES["keep_fact"], _SYSTEM, found["system_identifier"])
    await connection.execute(QUERIES["begin_timeline"])


class Feed(Part):
    """See the module."""

    _poll: asyncio.Task[None] | None = None
    _held_up: tuple[str, float] = ("", 0.0)
    """Which transaction held up the feed, and since when that is known (seconds, on the loop's clock)."""

    @functools.cached_property
    def _waiting(self) -> dict[asyncio.Future[None], Position]:
        """Who waits for a change, and behind which position."""
        return {}

    async def store_name(self) -> str:
        """See `Outbox.store_name`."""
        (found,) = await self.database.fetch(Lane.READ, "fact", STORE)
        name: str = found["value"]
        return name

    async def last_position(self) -> Position:
        """See `Outbox.last_position`."""
        (ends,) = await self.database.fetch(Lane.READ, "feed_ends")
        return ends["timeline"], ends["xid"], ends["n"]

    async def changes(self, after: Position, limit: int, tenant: str) -> Changes:
        """See `Outbox.changes`."""
        timeline, xid, number = _parts(after)
        found = await self.database.fetch(Lane.READ, "changes_after", timeline, str(xid), number, limit, tenant)
        ends = found[0]
        if (
            not ends["is_of_here"]
            or not (ends["floor_xid"], ends["floor_n"]) <= (xid, number) <= (ends["last_xid"], ends["last_n"])
        ):  # fmt: skip
            raise ResumeTokenExpired
        now: int = ends["timeline"]
        seen = [one for one in found if one["xid"] is not None]
        # A revision that a later change has overtaken is left to that change: else it would come twice.
        entries = tuple(((now, one["xid"], one["n"]), rows.record_from(one)) for one in seen if one["message_id"])
        removed = len({one["changed"] for one in seen if not one["is_there"]})
        return Changes(entries, (now, seen[-1]["xid"], seen[-1]["n"]) if seen else (now, xid, number), removed)

    async def skip_dropped(self, after: Position) -> tuple[Position, int]:
        """See `Outbox.skip_dropped`."""
        (ends,) = await self.database.fetch(Lane.READ, "feed_ends")
        floor = ends["floor_xid"], ends["floor_n"]
        last = ends["xid"], ends["n"]
        start = after[1:] if len(after) == _LENGTH else (0, 0)
        (dropped,) = await self.database.fetch(Lane.READ, "dropped_behind", str(start[0]), start[1], DROPS)
        count = dropped["total"] - dropped["before"] if start < floor else 0
        return (ends["timeline"], *min(max(start, floor), last)), count

    async def wait_changes(self, after: Position) -> None:
        """See `Outbox.wait_changes`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = after
        if self._poll is None:
            self._poll = asyncio.get_running_loop().create_task(self._watch())
        try:
            await future
        finally:
            del self._waiting[future]

    async def remove_changes(self, keep: int, limit: int) -> int:
        """See `Outbox.remove_changes`."""

        async def remove(connection: Connection) -> Sequence[Record]:
            await connection.execute(QUERIES["lock_feed"])
            return await connection.fetch(QUERIES["remove_changes"], max(keep, 1), limit, DROPS)

        (found,) = await self.database.transact(Lane.CONTROL, remove)
        count: int = found["count"]
        return count

    async def feed_lag(self) -> FeedLag | None:
        """See `Outbox.feed_lag`."""
        found = await self.database.fetch(Lane.READ, "feed_lag")
        if not found:
            return None
        (holding,) = found
        now = asyncio.get_running_loop().time()
        if self._held_up[0] != holding["xid"]:
            self._held_up = holding["xid"], now
        return FeedLag(max(holding["lag"] or 0.0, now - self._held_up[1]), holding["pid"], holding["gid"])

    async def _stop_watching(self) -> None:
        """Let go of all who wait: what they ask next says that the store is closed."""
        if self._poll:
            self._poll.cancel()
            await asyncio.wait([self._poll])
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def _watch(self) -> None:
        """Look for changes for all who wait, as long as anybody does: one look a node, and not one for each."""
        try:
            while self._waiting:
                with suppress(StoreUnavailable):  # it comes back, and they have missed nothing
                    last = await self.last_position()
                    for future, after in self._waiting.items():
                        if last > after and not future.done():
                            future.set_result(None)
                await asyncio.sleep(POLL)
        finally:
            self._poll = None


_LENGTH: Final = 3


def _parts(position: Position) -> tuple[int, int, int]:
    if len(position) != _LENGTH:
        raise ResumeTokenExpired
    timeline, xid, number = position
    return timeline, xid, number

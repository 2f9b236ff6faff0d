"""The part of the outbox that tells what is to be done, and when: see `outbox.base.WorkQueue`, and `taking`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Final
from uuid import UUID

from postwire.core.follow_up import UNDER_WAY
from postwire.core.message import MessageRecord, Priority
from postwire.core.waiting import deadline
from postwire.outbox.base import Cursor, Head, QueuedMessage, QueueKey, StoredMessage
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.queries import Record
from postwire.outbox.postgres.taking import MAX_CONTENTS, Taking, decrypted, fitting

LATEST: Final = 2**63 - 1
"""The latest time that the database knows (µs), past all others."""


class Work(Taking):
    """See the module."""

    async def heads(
        self, keys: Collection[QueueKey] | None, now: int, most: int, ahead: int = 0
    ) -> Mapping[QueueKey, Head]:
        """See `Outbox.heads`."""
        until = min(now, LATEST), min(now + ahead, LATEST)
        if keys is None:
            found = await self.database.fetch(Lane.CLAIM, "all_heads", *until, most)
        else:
            if len(keys) > 1:  # of many keys, few may have anything: those are found in one go
                keys = [one for one in await self._queues() if one in keys]
            if not keys:
                return {}
            names, tenants = [one.name for one in keys], [one.tenant for one in keys]
            of = [
                (rows.PRIORITY_NUMBERS[priority], by_wall_clock, until[by_wall_clock])
                for priority, by_wall_clock in product(Priority, (False, True))
            ]
            found = await self.database.fetch(Lane.CLAIM, "heads", names, tenants, *rows.columns(of, 3), most)
        counts: defaultdict[QueueKey, Counter[Priority]] = defaultdict(Counter)
        times: defaultdict[QueueKey, list[int]] = defaultdict(list)
        for one in found:
            key = QueueKey(one["tenant"], one["queue"])
            if one["count"]:
                counts[key][rows.PRIORITIES[one["priority"]]] += one["count"]
            if one["time"] is not None:
                times[key].append(one["time"] - (ahead if one["scheduled"] else 0))
        return {key: Head(counts[key], min(times[key], default=None)) for key in {*counts, *times}}

    async def _queues(self) -> list[QueueKey]:
        """The queues that anything waits in, of all tenants."""
        return [QueueKey(one["tenant"], one["queue"]) for one in await self.database.fetch(Lane.CLAIM, "queues")]

    async def expired(self, now: int, limit: int, ahead: int = 0) -> Sequence[MessageRecord]:
        """See `Outbox.expired`."""
        found = await self.database.fetch(Lane.CONTROL, "expired", min(now + ahead, LATEST), now, limit)
        records = sorted(map(rows.record_from, found), key=lambda record: deadline(record, ahead))
        return records[:limit]

    async def next_expiry(self, ahead: int = 0) -> int | None:
        """See `Outbox.next_expiry`."""
        ((expiry, due),) = await self.database.fetch(Lane.CONTROL, "next_expiry")
        times = (due, None if expiry is None else expiry - ahead)
        return min((time for time in times if time is not None), default=None)

    async def orphans(self, limit: int) -> Sequence[StoredMessage]:
        """See `Outbox.orphans`."""
        return await self._with_contents(await self.database.fetch(Lane.CONTROL, "orphans", limit))

    async def overdue(self, now: int, limit: int) -> Sequence[QueuedMessage]:
        """See `Outbox.overdue`."""
        found = await self.database.fetch(Lane.CONTROL, "overdue", min(now, UNDER_WAY - 1), limit)
        return [*map(rows.queued_from, found)]

    async def next_follow_up(self) -> int | None:
        """See `Outbox.next_follow_up`."""
        ((time,),) = await self.database.fetch(Lane.CONTROL, "next_follow_up")
        return None if time is None else int(time)

    async def put_off(self, moves: Sequence[tuple[MessageRecord, int]]) -> int:
        """See `Outbox.put_off`."""
        moved = [(one.message_id, one.tenant, one.revision, time) for one, time in moves]
        return await self._moved("put_off", rows.columns(moved, 4))

    async def scan_queued(
        self, after: Cursor, limit: int, queues: Collection[str] | None = None
    ) -> tuple[Sequence[StoredMessage], Cursor]:
        """See `Outbox.scan_queued`."""
        chosen = None if queues is None else [*queues]
        found = await self.database.fetch(Lane.CONTROL, "scan_queued", id_of(after), chosen, limit)
        stored = await self._with_contents(found)
        return stored, cursor_of(found[len(stored) - 1]["message_id"]) if stored else after

    async def reassign(self, moves: Sequence[tuple[MessageRecord, str]]) -> int:
        """See `Outbox.reassign`."""
        moved = [(one.message_id, one.tenant, one.revision, one.queue, queue) for one, queue in moves]
        return await self._moved("reassign", rows.columns(moved, 5))

    async def _moved(self, query: str, columns: Sequence[object]) -> int:
        ((count,),) = await self.database.fetch(Lane.CONTROL, query, self.number, *columns)
        return int(count)

    async def _with_contents(self, found: Sequence[Record]) -> list[StoredMessage]:
        """The messages of rows, with their contents: no more than are read at once."""
        if not found:
            return []
        ids = [str(one["message_id"]) for one in found]
        sizes = await self.database.fetch(Lane.CONTROL, "sizes_of", ids)
        size_of = {str(one["message_id"]): one["size"] for one in sizes}
        count = fitting([size_of.get(one, 0) for one in ids], MAX_CONTENTS)
        contents = await self.contents(Lane.CONTROL, ids[:count])
        stored = []
        for row in found[:count]:
            one = rows.queued_from(row)
            content = decrypted(self.cipher, contents.get(one.record.message_id, b""), one.record) or b""
            stored.append(StoredMessage(one.record, one.options, content, one.accept_trace))
        return stored


def id_of(cursor: Cursor) -> UUID:
    """The id that a walk has come to: that of no message at its beginning."""
    return UUID(int=cursor[0] if cursor else 0)


def cursor_of(message_id: UUID) -> Cursor:
    """How far a walk has come that has come to a message."""
    return (message_id.int,)

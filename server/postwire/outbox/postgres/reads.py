"""The part of the outbox that reads messages for somebody, and counts them: see `outbox.base.MessageStore`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from postwire.core import listing
from postwire.core.canonical import is_payload
from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import MessageRecord
from postwire.outbox.base import Counts, KeyLacking, OutboxStats, QueueKey, StoreLoad
from postwire.outbox.cipher import key_id_of
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection, Record

COUNTING: Final = 60.0
"""Seconds that it may take to count all that is not settled."""

_BEFORE_ALL: Final = UUID(int=0)
_AFTER_ALL: Final = UUID(int=2**128 - 1)
_NOWHERE: Final = "\0"
"""What no text in the database has, so that nothing is found that is to have it: it cannot even be asked for."""


class Reads(Part):
    """See the module."""

    async def get(self, message_id: str, tenant: str) -> MessageRecord | None:
        """See `Outbox.get`."""
        found = await self.database.fetch(Lane.READ, "message_by_id", message_id, tenant)
        return rows.record_from(found[0]) if found else None

    async def find_by_request_id(
        self, request_id: str, tenant: str, payload_hash: bytes | None = None
    ) -> MessageRecord | None:
        """See `Outbox.find_by_request_id`."""
        if _NOWHERE in request_id:
            return None
        found = await self.database.fetch(Lane.READ, "message_by_request_id", tenant, request_id)
        if found and payload_hash is not None:
            # Who asks with a hash repeats a message, and takes what is found for an OK. So it is read again, with a
            # commit that has it be where a commit has to be.
            found = await self.database.fetch(Lane.CONTROL, "find_repeated", [tenant], [request_id])
            if found and not is_payload(found[0]["payload_hash"], payload_hash, self.lookup_key_now):
                raise RequestIdReused
        return rows.record_from(found[0]) if found else None

    async def records(self, message_ids: Sequence[str], tenant: str) -> Sequence[MessageRecord]:
        """See `Outbox.records`."""
        found = await self.database.fetch(Lane.READ, "messages_by_ids", message_ids, tenant)
        return tuple(map(rows.record_from, found))

    async def content(self, message_id: str, tenant: str) -> bytes | None:
        """See `Outbox.content`."""
        found = await self.database.fetch(Lane.READ, "content_of", message_id, tenant)
        if not found:
            return None
        content = found[0]["content"]
        if key_id_of(content) in self.lacked_keys:
            raise KeyLacking
        return self.cipher.decrypt_content(content, tenant=tenant, message_id=message_id) or None

    async def list(self, chosen: MessageFilter, size: int, after: str | None, tenant: str) -> Page:
        """See `Outbox.list`."""
        if chosen.request_ids:
            return await self._page_of_requests(chosen, size, after, tenant)
        start = UUID(after) if after else _AFTER_ALL
        # In two steps that may see two moments: what comes between them is newer than where the stretch ends, or lies
        # within, and is shown as all else there.
        ends = await self.database.fetch(Lane.READ, "list_end", tenant, start, listing.SCAN_LIMIT - 1)
        end: UUID | None = ends[0]["message_id"] if ends else None
        oldest = _first_id_at(chosen.create_time_from)
        is_last = end is None or end < oldest
        stretch = (tenant, start, oldest if is_last else end)
        found = await self._listed(chosen, size, *stretch)
        records = tuple(map(rows.record_from, found))
        if len(records) == size:
            return Page(records, records[-1].message_id)
        return Page(records, None if end is None or is_last else str(end))

    async def _listed(self, chosen: MessageFilter, size: int, *stretch: object) -> Sequence[Record]:
        if any(_NOWHERE in name or _NOWHERE in value for name, value in chosen.labels.items()):
            return ()
        return await self.database.fetch(
            Lane.READ,
            "list_messages",
            *stretch,
            size,
            _words([channel.value for channel in chosen.channels]),
            _words([state.value for state in chosen.states]),
            _words(chosen.provider_names),
            json.dumps(dict(chosen.labels)) if chosen.labels else None,
            chosen.create_time_from,
            chosen.create_time_to,
        )

    async def _page_of_requests(self, chosen: MessageFilter, size: int, after: str | None, tenant: str) -> Page:
        """A page of those that have one of the request ids: they are found by an index, and are never many."""
        asked = _words(chosen.request_ids) or []
        found = await self.database.fetch(Lane.READ, "messages_of_requests", tenant, asked)
        records = map(rows.record_from, found)
        admitted = [one for one in records if chosen.admits(one) and (after is None or one.message_id < after)]
        admitted.sort(key=lambda one: one.message_id, reverse=True)
        return Page(tuple(admitted[:size]), admitted[size - 1].message_id if len(admitted) > size else None)

    async def stats(self) -> OutboxStats:
        """See `Outbox.stats`."""

        async def read(connection: Connection) -> OutboxStats:
            (found,) = await connection.fetch(QUERIES["stats"])
            return OutboxStats(found["unsettled"], found["oldest"])

        return await self.database.use(Lane.CONTROL, read, patience=COUNTING)

    async def load(self, now: int, ahead: int = 0) -> StoreLoad:
        """See `Outbox.load`."""

        async def read(connection: Connection) -> StoreLoad:
            (found,) = await connection.fetch(QUERIES["load"], now, now + ahead)
            return StoreLoad(found["due"], found["oldest"], found["size"])

        return await self.database.use(Lane.CONTROL, read, patience=COUNTING)

    async def unsettled_counts(self, now: int) -> Counts:
        """See `Outbox.unsettled_counts`."""

        async def read(connection: Connection) -> Counts:
            queues = await connection.fetch(QUERIES["unsettled_by_queue"])
            later = await connection.fetch(QUERIES["scheduled_by_second"], now)
            return Counts(
                Counter({QueueKey(one["tenant"], one["queue"]): one["count"] for one in queues}),
                Counter({(one["tenant"], one["second"]): one["count"] for one in later}),
            )

        return await self.database.transact(Lane.CONTROL, read, one_moment=True, patience=COUNTING)


def _words(words: Collection[str]) -> list[str] | None:
    """What is asked for of these, as a filter that a NULL does not narrow."""
    return [word for word in words if _NOWHERE not in word] if words else None


def _first_id_at(create_time: int | None) -> UUID:
    """Sorts before the id of every message that was accepted at `create_time` or later: an id never lags the clock."""
    return _BEFORE_ALL if create_time is None else UUID(int=max(create_time, 0) // 1000 << 80)

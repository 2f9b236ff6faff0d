"""The part of the outbox that is about who serves it: see `outbox.base.Membership`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from datetime import datetime, timedelta
from typing import Final

from postwire.core.leases import may_take_part
from postwire.outbox.base import Announcement, Heartbeat, Member, NodeDead, NodeShare, ProviderState, StoredMessage
from postwire.outbox.cipher import Damaged
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.kept import provider_states_from
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import Record
from postwire.outbox.postgres.rows import queued_from

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)


class PostgresMembership(Part):
    """See the module."""

    is_shared: Final = True
    _states: tuple[int, Mapping[str, ProviderState]] = (0, {})
    """The last change of providers that is known, and what they were after it."""

    async def note_keys(self, key_ids: Sequence[str], *, is_encrypted: bool) -> None:
        """Note which keys the store may need, and whether all of it is encrypted."""
        raise NotImplementedError

    async def heartbeat(self, announcement: Announcement, gap: int) -> Heartbeat:
        """See `Outbox.heartbeat`."""
        found = await self.database.fetch(
            Lane.HEARTBEAT,
            "heartbeat",
            self.number,
            gap * _MICROSECOND,
            sorted(announcement.queue_keys),
            announcement.config_digest,
            announcement.clock_offset,
            announcement.seen,
            announcement.acknowledged,
            json.dumps([astuple(share) for share in announcement.shares]),
        )
        if not found:
            raise NodeDead
        me = found[0]
        change = me["provider_change"]
        if change != self._states[0]:
            # Later than the change: what is acknowledged was seen. By the same connection, since no heartbeat is to
            # wait for those who read.
            states = await self.database.fetch(Lane.HEARTBEAT, "provider_states")
            self._states = change, provider_states_from(states)
        await self.note_keys(me["key_ids"], is_encrypted=me["is_encrypted"])
        count, time = map(int, me["unsettled"].split()) if me["unsettled"] else (None, 0)
        return Heartbeat(
            self.number,
            _members(found),
            time=me["now"],
            may_reap=me["may_reap"],
            provider_change=change,
            provider_states=self._states[1],
            unsettled=count,
            unsettled_time=time,
            not_dead=tuple(sorted(me["not_dead"])),
        )

    async def members(self) -> Sequence[Member]:
        """See `Outbox.members`."""
        return _members(await self.database.fetch(Lane.READ, "members"))

    async def reap(self, expected: int, tolerance: int) -> Sequence[int]:
        """See `Outbox.reap`."""
        time, within = _EPOCH + expected * _MICROSECOND, tolerance * _MICROSECOND
        # Where nobody waits for long: what is expected is soon over.
        found = await self.database.fetch(Lane.HEARTBEAT, "reap", self.number, time, within)
        return [one["node"] for one in found]

    async def strays(self, carried: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """See `Outbox.strays`."""
        found = await self.database.fetch(Lane.CONTROL, "strays", self.number, list(carried), limit)
        return [self._stored(one) for one in found]

    async def keep_unsettled(self, count: int) -> None:
        """See `Outbox.keep_unsettled`."""
        await self.database.fetch(Lane.CONTROL, "keep_unsettled", count)

    def fence(self, is_fenced: bool) -> None:
        """See `Outbox.fence`."""
        self.database.fence(is_fenced)

    async def leave(self) -> None:
        """See `Outbox.leave`."""
        await self.database.fetch(Lane.HEARTBEAT, "leave", self.number)

    def _stored(self, row: Record) -> StoredMessage:
        queued, content = queued_from(row), b""
        record = queued.record
        with suppress(Damaged):
            content = self.cipher.decrypt_content(
                row["content"] or b"", tenant=record.tenant, message_id=record.message_id
            )
        return StoredMessage(record, queued.options, content, queued.accept_trace)


def _members(rows: Iterable[Record]) -> tuple[Member, ...]:
    members: list[Member] = []
    ranked = 0
    for row in sorted(rows, key=lambda row: row["node"]):
        rank = None
        if may_take_part(row["clock_offset"]):
            rank, ranked = ranked, ranked + 1
        members.append(
            Member(
                number=row["node"],
                name=row["name"],
                version=row["version"],
                start_time=_microseconds(row["start_time"]),
                lease_until_time=_microseconds(row["lease_until"]),
                rank=rank,
                is_leader=rank == 0,
                queue_keys=tuple(row["queues"]),
                config_digest=row["config_digest"],
                clock_offset=row["clock_offset"],
                seen=row["seen"],
                acknowledged=row["acknowledged"],
                shares=tuple(NodeShare(*share) for share in json.loads(row["shares"])),
            )
        )
    return tuple(members)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND

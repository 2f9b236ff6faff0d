"""The part of the outbox that goes through the messages, a few at a time, to remove what is old and erase what is to be
kept no longer; and that erases what somebody asks it to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from postwire.core.audit import AuditEvent
from postwire.core.follow_up import UNDER_WAY
from postwire.outbox.base import NO_TENANTS, Cursor, ErasureCounts
from postwire.outbox.postgres import guards
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection, Record
from postwire.outbox.postgres.taking import fitting
from postwire.outbox.postgres.work import cursor_of, id_of

ERASED_BYTES: Final = 4 * 1024 * 1024
"""How many bytes of contents are erased in one commit, but for a single one that is larger: others wait for that."""


class Walks(Part):
    """See the module."""

    async def remove_settled(self, after: Cursor, before: int, limit: int) -> Cursor | None:
        """See `Outbox.remove_settled`."""
        found = await self.database.fetch(Lane.CONTROL, "settled_step", id_of(after), limit, before)
        step = _step(found, before)
        if step is None:
            return None
        end, ids = step

        async def remove(connection: Connection) -> None:
            locked = await connection.fetch(QUERIES["lock_settled"], ids, before)
            await connection.execute(QUERIES["remove_messages"], [one["message_id"] for one in locked])

        if ids:
            await self.database.transact(Lane.CONTROL, remove)
        return end

    async def erase_contents(
        self, after: Cursor, before: int, limit: int, of_tenants: Mapping[str, int] = NO_TENANTS
    ) -> Cursor | None:
        """See `Outbox.erase_contents`."""
        times = [*of_tenants], [*of_tenants.values()]
        found = await self.database.fetch(Lane.CONTROL, "contents_step", id_of(after), limit, before, *times)
        step = _step(found, max((before, *of_tenants.values())))
        if step is None:
            return None
        end, ids = step
        if ids:
            await self.database.fetch(Lane.CONTROL, "erase_settled", ids)
        return end

    async def erasable(self, message_ids: Sequence[str], tenant: str) -> ErasureCounts:
        """See `Outbox.erasable`."""
        found = await self.database.fetch(Lane.CONTROL, "erasable", message_ids, tenant, UNDER_WAY)
        return _counts(found)

    async def erase(self, message_ids: Sequence[str], tenant: str, event: AuditEvent) -> ErasureCounts:
        """See `Outbox.erase`."""
        erased = 0

        async def some(connection: Connection) -> tuple[int, ErasureCounts]:
            """As many of them as one commit may erase; and how many there were."""
            await connection.execute(QUERIES["lock_messages_of"], message_ids, tenant)
            found = await connection.fetch(QUERIES["erasable"], message_ids, tenant, UNDER_WAY)
            settled = [one for one in found if one["settled"]]
            if not settled:
                return 0, _counts(found)
            chosen = settled[: fitting([one["size"] for one in settled], ERASED_BYTES)]
            await connection.execute(
                QUERIES["erase"],
                [one["message_id"] for one in chosen],
                event.time,
                event.tenant,
                event.principal,
                event.method,
                event.result,
                event.reason,
            )
            return len(chosen), _counts(found)

        while True:
            done, counts = await self.database.transact(Lane.CONTROL, some)
            erased += done
            if done == counts.erased:
                return ErasureCounts(erased, counts.unsettled)

    async def remove_counts(self, now: int, limit: int) -> int:
        """See `Outbox.remove_counts`."""
        return await self.database.transact(Lane.CONTROL, lambda connection: guards.remove(connection, now, limit))

    async def purge_erased(self) -> bool:
        """See `Outbox.purge_erased`. What the database leaves behind is its own to overwrite: nothing waits for us."""
        return True


def _step(found: Sequence[Record], before: int) -> tuple[Cursor, Sequence[UUID]] | None:
    """How far a step reaches, and the messages in it that are to go: fewer where they are large. None where none of
    them can have been settled before a time, nor any that comes later: they were accepted after that."""
    if not found or min(one["create_time"] for one in found) >= before:
        return None
    going = [one for one in found if one["goes"]]
    if not going:
        return cursor_of(found[-1]["message_id"]), ()
    count = fitting([one["size"] or 0 for one in going], ERASED_BYTES)
    end = found[-1] if count == len(going) else going[count - 1]
    return cursor_of(end["message_id"]), [one["message_id"] for one in going[:count]]


def _counts(found: Sequence[Record]) -> ErasureCounts:
    settled = sum(one["settled"] for one in found)
    return ErasureCounts(settled, len(found) - settled)

"""Who must not be written to, in the store: see `outbox.base.SuppressionStore`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from postwire.core.audit import AuditEvent
from postwire.core.suppression import Suppression, SuppressionPage, SuppressionPosition, SuppressionReason
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.kept import note_events
from postwire.outbox.postgres.locks import Lock, take_lock
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection, Record
from postwire.outbox.texts import SUPPRESSION_REASONS

_LAST: Final = 2**63 - 1
"""Behind every time, and every number."""


class Suppressions(Part):
    """See the module."""

    @property
    def has_suppressions(self) -> bool:
        """See `Outbox.has_suppressions`. Another node may have added one this instant."""
        return True

    async def add_suppressions(
        self, of: Mapping[str, Sequence[Suppression]], event: AuditEvent | None = None, *, only_new: bool = False
    ) -> int:
        """See `Outbox.add_suppressions`."""
        new = {(tenant, one.address_hash, one.sender): one for tenant, some in of.items() for one in some}

        async def add(connection: Connection) -> int:
            await take_lock(connection, Lock.SUPPRESSIONS)
            added = await _add(connection, new, only_new) if new else 0
            await note_events(connection, [event] if event else [])
            return added

        return await self.database.transact(Lane.CONTROL, add)

    async def remove_suppressions(
        self,
        hashes: Sequence[bytes],
        tenants: Collection[str],
        now: int,
        event: AuditEvent | None = None,
        *,
        senders: Collection[str] | None = None,
        reason: SuppressionReason | None = None,
    ) -> int:
        """See `Outbox.remove_suppressions`."""
        asked = [(tenant, one) for tenant in dict.fromkeys(tenants) for one in dict.fromkeys(hashes)]

        async def remove(connection: Connection) -> int:
            await take_lock(connection, Lock.SUPPRESSIONS)
            there = await connection.fetch(QUERIES["suppressions_of"], *rows.columns(asked, 2))
            found = [
                (one["tenant"], suppression_from(one))
                for one in there
                if (senders is None or one["sender"] in senders) and (reason is None or one["reason"] == reason.value)
            ]
            if found:
                old = [(tenant, one.address_hash, one.sender) for tenant, one in found]
                await connection.execute(QUERIES["remove_suppressions"], *rows.columns(old, 3))
            await note_events(connection, [event] if event else [])
            return len({(tenant, one.address_hash) for tenant, one in found if is_in_force(one, now)})

        return await self.database.transact(Lane.CONTROL, remove)

    async def suppressions(self, hashes: Sequence[bytes], tenant: str, now: int) -> Sequence[Suppression]:
        """See `Outbox.suppressions`."""
        asked = [(tenant, one) for one in dict.fromkeys(hashes)]
        if not asked:
            return []
        found = await self.database.fetch(Lane.READ, "suppressions_of", *rows.columns(asked, 2))
        return [one for one in map(suppression_from, found) if is_in_force(one, now)]

    async def list_suppressions(
        self, size: int, after: SuppressionPosition | None, tenant: str, now: int
    ) -> SuppressionPage:
        """See `Outbox.list_suppressions`."""
        time, number = after or (_LAST, _LAST)
        found = await self.database.fetch(Lane.READ, "list_suppressions", tenant, time, number, size + 1)
        listed = [(one["suppression"], suppression_from(one)) for one in found[:size]]
        shown = tuple(one for _, one in listed if is_in_force(one, now))
        if len(found) <= size:
            return SuppressionPage(shown, None)
        key, last = listed[-1]
        return SuppressionPage(shown, SuppressionPosition(last.create_time, key))

    async def remove_expired_suppressions(self, now: int, limit: int) -> int:
        """See `Outbox.remove_expired_suppressions`."""
        return len(await self.database.fetch(Lane.CONTROL, "remove_expired_suppressions", now, limit))


def suppression_from(row: Record) -> Suppression:
    """That of a row of `SUPPRESSION`."""
    return Suppression(
        address_hash=row["address_hash"],
        reason=SUPPRESSION_REASONS[row["reason"]],
        source=row["source"],
        create_time=row["create_time"],
        key_id=row["key_id"],
        expire_time=row["expire_time"],
        sender=row["sender"],
    )


def is_in_force(one: Suppression, now: int) -> bool:
    """Whether it has not expired."""
    return one.expire_time is None or one.expire_time > now


async def _add(connection: Connection, new: Mapping[tuple[str, bytes, str], Suppression], only_new: bool) -> int:
    """Add what is new, by its tenant, hash and sender; returns how many of it were not in force."""
    asked = list(dict.fromkeys((tenant, address_hash) for tenant, address_hash, _ in new))
    there = {
        key
        for one in await connection.fetch(QUERIES["suppressions_of"], *rows.columns(asked, 2))
        if (key := (one["tenant"], one["address_hash"], one["sender"])) in new
        and is_in_force(suppression_from(one), new[key].create_time)
    }
    added = [_row(tenant, one) for (tenant, _, _), one in new.items()]
    await connection.execute(QUERIES["add_suppressions"], *rows.columns(added, 8), only_new)
    return len(new.keys() - there)


def _row(tenant: str, one: Suppression) -> rows.Row:
    return (
        tenant,
        one.address_hash,
        one.sender,
        one.reason.value,
        one.source,
        one.create_time,
        one.expire_time,
        one.key_id,
    )

"""Who must not be written to, in the store: see `outbox.base.SuppressionStore`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import apsw

from postwire.core.suppression import (
    Suppression,
    SuppressionPage,
    SuppressionPosition,
    SuppressionReason,
    suppressed_positions,
)
from postwire.outbox.base import NewMessage
from postwire.outbox.sqlite.queries import QUERIES, SUPPRESSION, Bulk, Row
from postwire.outbox.texts import SUPPRESSION_REASONS


class SuppressionTable:
    """The writing thread's part; `has_any` is for everybody."""

    def __init__(self, connection: apsw.Connection) -> None:
        ((found,),) = connection.execute(QUERIES["last_suppression"]).fetchall()
        self.has_any = bool(found)
        """Whether there may be any: once there were, it stays, since it is no more than a look that it spares."""
        self._find = Bulk("suppressions_of")
        self._add = Bulk("add_suppressions")
        self._add_new = Bulk("add_new_suppressions")
        self._remove = Bulk("remove_suppressions")

    def positions(self, connection: apsw.Connection, news: Sequence[NewMessage]) -> Mapping[int, frozenset[int]]:
        """Which recipients of messages that are about to be accepted are suppressed: by the index of the message."""
        asking = [
            (index, new)
            for index, new in enumerate(news)
            if new.recipient_hashes and new.record.attempts and not new.options.ignore_suppression
        ]
        if not asking:
            return {}
        asked: list[Row] = [(new.record.tenant, one) for _, new in asking for one in new.recipient_hashes]
        found = self._found(self._find.read(connection, asked))
        if not found:
            return {}
        positions = (
            (
                index,
                suppressed_positions(
                    new.recipient_hashes, found.get(new.record.tenant, ()), new.scope, new.record.update_time
                ),
            )
            for index, new in asking
        )
        return {index: some for index, some in positions if some}

    def add(self, connection: apsw.Connection, of: Mapping[str, Sequence[Suppression]], *, only_new: bool) -> int:
        """See `SuppressionStore.add_suppressions`."""
        new = {(tenant, one.address_hash, one.sender): one for tenant, some in of.items() for one in some}
        if not new:
            return 0
        there = {
            (tenant, one.address_hash, one.sender)
            for tenant, some in self._of(connection, {key[:2] for key in new}).items()
            for one in some
            if (key := (tenant, one.address_hash, one.sender)) in new and _is_in_force(one, new[key].create_time)
        }
        self.has_any = True
        (self._add_new if only_new else self._add).run(
            connection, [_row(tenant, one) for (tenant, _, _), one in new.items()]
        )
        return len(new.keys() - there)

    def remove(
        self,
        connection: apsw.Connection,
        hashes: Sequence[bytes],
        tenants: Collection[str],
        now: int,
        senders: Collection[str] | None,
        reason: SuppressionReason | None,
    ) -> int:
        """See `SuppressionStore.remove_suppressions`."""
        found = [
            (tenant, one)
            for tenant, some in self._of(connection, {(tenant, one) for tenant in tenants for one in hashes}).items()
            for one in some
            if (senders is None or one.sender in senders) and (reason is None or one.reason is reason)
        ]
        if found:
            self._remove.run(connection, [(tenant, one.address_hash, one.sender) for tenant, one in found])
        return len({(tenant, one.address_hash) for tenant, one in found if _is_in_force(one, now)})

    def _of(
        self, connection: apsw.Connection, asked: Collection[tuple[str, bytes]]
    ) -> Mapping[str, Sequence[Suppression]]:
        return self._found(self._find.read(connection, list(asked))) if asked else {}

    def _found(self, rows: Sequence[Sequence[Any]]) -> Mapping[str, Sequence[Suppression]]:
        found: dict[str, list[Suppression]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(_suppression(row))
        return found


def suppressions(connection: apsw.Connection, hashes: Sequence[bytes], tenant: str, now: int) -> list[Suppression]:
    """See `SuppressionStore.suppressions`."""
    found = Bulk("suppressions_of").read(connection, [(tenant, one) for one in dict.fromkeys(hashes)])
    return [one for one in map(_suppression, found) if _is_in_force(one, now)]


def page(
    connection: apsw.Connection, size: int, after: SuppressionPosition | None, tenant: str, now: int
) -> SuppressionPage:
    """See `SuppressionStore.list_suppressions`."""
    time, number = after or (_LAST, _LAST)
    found: list[tuple[Any, ...]] = connection.execute(
        QUERIES["list_suppressions"], {"tenant": tenant, "time": time, "number": number, "size": size + 1}
    ).fetchall()
    rest = found[size:]
    listed = [(row[0], _suppression(row[1:])) for row in found[:size]]
    shown = tuple(one for _, one in listed if _is_in_force(one, now))
    if not rest:
        return SuppressionPage(shown, None)
    key, last = listed[-1]
    return SuppressionPage(shown, SuppressionPosition(last.create_time, key))


def remove_expired(connection: apsw.Connection, now: int, limit: int) -> int:
    """See `SuppressionStore.remove_expired_suppressions`."""
    connection.execute(QUERIES["remove_expired_suppressions"], (now, limit))
    return connection.changes()


_LAST: Final = 2**63 - 1
"""Behind every time, and every number."""


def _is_in_force(one: Suppression, now: int) -> bool:
    return one.expire_time is None or one.expire_time > now


def _row(tenant: str, one: Suppression) -> Row:
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


def _suppression(row: Sequence[Any]) -> Suppression:
    """That of a row of `SUPPRESSION`."""
    of = dict(zip(SUPPRESSION, row, strict=True))
    del of["tenant"]
    return Suppression(**of | {"reason": SUPPRESSION_REASONS[of["reason"]]})

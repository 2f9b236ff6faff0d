"""The part of the outbox that is about receipts: see `outbox.base.ReceiptStore`.

How many of them are not applied stands in the row of their message, which is locked before they are kept: so a change
that opens an attempt sees it, however long it has waited for the row. See docs/adr/0044.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from postwire.outbox import texts
from postwire.outbox.base import (
    Cursor,
    HeldKey,
    KeptAs,
    PendingReceipt,
    ReceiptFate,
    ReceiptReport,
    ReportedMessage,
)
from postwire.outbox.matching import keys_of
from postwire.outbox.postgres import receipt_rows, rows
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.locks import Lock, take_lock
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection
from postwire.outbox.postgres.receipt_batches import ReceiptBatches
from postwire.outbox.postgres.resolving import Resolved, Resolving


class Receipts(Part):
    """See the module."""

    _batches: ReceiptBatches | None = None

    async def keep_receipts(self, reports: Sequence[ReceiptReport], max_held: int) -> Sequence[KeptAs]:
        """See `Outbox.keep_receipts`."""
        if not reports:
            return []
        if self._batches is None:
            self._batches = ReceiptBatches(self._keep_batch)
        return await self._batches.add(reports, max_held)

    async def _keep_batch(self, reports: Sequence[ReceiptReport], max_held: int) -> Sequence[KeptAs]:
        return await self.database.transact(Lane.CONTROL, lambda connection: _keep(connection, reports, max_held))

    async def release_held(self, keys: Sequence[HeldKey]) -> Sequence[str]:
        """See `Outbox.release_held`."""
        ids = [(key.provider_name, key.name) for key in keys if key.provider_name]
        named = [UUID(key.name) for key in keys if not key.provider_name]
        if not await self.database.fetch(Lane.READ, "held_under", *rows.columns(ids, 2), named):
            return []  # mostly
        return await self.database.transact(Lane.CONTROL, lambda connection: _release(connection, ids, named))

    async def held_keys(self) -> Sequence[HeldKey]:
        """See `Outbox.held_keys`."""
        found: list[HeldKey] = []
        for one in await self.database.fetch(Lane.READ, "held_keys"):
            message_id = str(one["message_id"]) if one["message_id"] else ""
            found += keys_of(one["provider_name"], one["provider_message_id"], message_id)
        return found

    async def drop_held(self, before: int, limit: int) -> Mapping[str, int]:
        """See `Outbox.drop_held`."""
        dropped = await self.database.fetch(Lane.CONTROL, "drop_held_before", before, limit)
        return dict(Counter(one["provider_name"] for one in dropped))

    async def pending_receipts(self, after: int, limit: int) -> Sequence[PendingReceipt]:
        """See `Outbox.pending_receipts`."""
        found = await self.database.fetch(Lane.READ, "pending_receipts", after, limit)
        return [PendingReceipt(one["receipt"], str(one["message_id"])) for one in found]

    async def reported(self, message_ids: Sequence[str]) -> Sequence[ReportedMessage]:
        """See `Outbox.reported`."""
        ids = list(message_ids)

        async def read(connection: Connection) -> tuple[list[Any], list[Any]]:
            messages = await connection.fetch(QUERIES["reported_messages"], ids)
            return messages, await connection.fetch(QUERIES["receipts_of"], ids) if messages else []

        messages, receipts = await self.database.transact(Lane.READ, read, one_moment=True)
        of: dict[UUID, list[Any]] = {}
        for one in receipts:
            of.setdefault(one["message_id"], []).append(receipt_rows.kept_from(one))
        return [
            ReportedMessage(
                rows.record_from(one),
                tuple(of.get(one["message_id"], ())),
                texts.hashes_from(one["hashes"]),
                one["sender"] or "",
            )
            for one in messages
        ]

    async def finish_receipts(self, numbers: Sequence[int], now: int | None) -> None:
        """See `Outbox.finish_receipts`."""

        async def finish(connection: Connection) -> None:
            await connection.fetch(QUERIES["lock_unapplied"], list(numbers))
            await connection.execute(QUERIES["finish_receipts"], list(numbers), now)

        await self.database.transact(Lane.CONTROL, finish)

    async def remove_receipts(self, before: int, limit: int) -> int:
        """See `Outbox.remove_receipts`."""
        return len(await self.database.fetch(Lane.CONTROL, "remove_done_receipts", before, limit))

    async def is_inbound_known(self, provider_name: str, event: bytes) -> bool:
        """See `Outbox.is_inbound_known`."""
        return bool(await self.database.fetch(Lane.READ, "inbound_event", provider_name, event))

    async def keep_inbound(self, provider_name: str, event: bytes, now: int) -> None:
        """See `Outbox.keep_inbound`."""
        await self.database.fetch(Lane.CONTROL, "keep_inbound_event", provider_name, event, now)

    async def remove_inbound(self, before: int, limit: int) -> int:
        """See `Outbox.remove_inbound`."""
        return len(await self.database.fetch(Lane.CONTROL, "remove_inbound_events", before, limit))

    async def erase_hashes(self, after: Cursor, before: int, limit: int) -> Cursor | None:
        """See `Outbox.erase_hashes`."""
        start = UUID(int=after[0] if after else 0)
        seen = await self.database.fetch(Lane.CONTROL, "erase_hashes", start, before, limit)
        # Those that come later were accepted later, so they cannot have been settled by then either.
        if not seen or seen[0]["create_time"] >= before:
            return None
        return (seen[-1]["message_id"].int,)


async def _keep(connection: Connection, reports: Sequence[ReceiptReport], max_held: int) -> list[KeptAs]:
    known = await Resolving.look_up(connection, reports)
    fates: list[KeptAs | None] = [None] * len(reports)
    resolved: dict[int, Resolved] = {}
    unknown: list[int] = []
    new: set[tuple[str, bytes, int]] = set()
    for at, report in enumerate(reports):
        found = known.resolve(report)
        if found is None:
            if known.is_elsewhere(report):
                fates[at] = KeptAs(ReceiptFate.REFUSED)
            else:
                unknown.append(at)
        elif not known.has_room(found.message_id):
            fates[at] = KeptAs(ReceiptFate.REFUSED)
        else:
            resolved[at] = found
            keys = {(report.provider_name, report.event, recipient) for recipient in found.recipients}
            known.note_kept(found.message_id, len(keys - new))
            new |= keys
    inserted = await _insert(connection, [(reports[at], found) for at, found in resolved.items()])
    for at, found in resolved.items():
        keys = {(reports[at].provider_name, reports[at].event, recipient) for recipient in found.recipients}
        fate = ReceiptFate.KEPT if keys & inserted else ReceiptFate.DOUBLE
        inserted -= keys  # one of the same batch that is the same is a double
        fates[at] = KeptAs(fate, str(found.message_id))
    if unknown:
        held = await _hold(connection, [reports[at] for at in unknown], max_held)
        for at, kept_as in zip(unknown, held, strict=True):
            fates[at] = kept_as
    return [one for one in fates if one]


async def _insert(
    connection: Connection, some: Sequence[tuple[ReceiptReport, Resolved]]
) -> set[tuple[str, bytes, int]]:
    """Keep receipts that are resolved; returns which were not there, by provider, event and recipient."""
    new = [
        receipt_rows.receipt_row(report, resolved.message_id, resolved.attempt, recipient)
        for report, resolved in some
        for recipient in resolved.recipients
    ]
    if not new:
        return set()
    found = await connection.fetch(QUERIES["insert_receipts"], *rows.columns(new, receipt_rows.COLUMNS))
    return {(one["provider_name"], one["event"], one["recipient"]) for one in found}


async def _hold(connection: Connection, reports: Sequence[ReceiptReport], max_held: int) -> list[KeptAs]:
    """Hold receipts, and drop what is too much, as if they came one after the other."""
    await take_lock(connection, Lock.HELD)
    counts = Counter({one["provider_name"]: one["count"] for one in await connection.fetch(QUERIES["held_counts"])})
    new = [receipt_rows.held_row(report) for report in reports]
    found = await connection.fetch(QUERIES["hold_receipts"], *rows.columns(new, receipt_rows.COLUMNS))
    inserted = {(one["provider_name"], one["event"]) for one in found}
    fates: list[KeptAs] = []
    too_many: Counter[str] = Counter()
    for report in reports:
        key = report.provider_name, report.event
        if key not in inserted:
            fates.append(KeptAs(ReceiptFate.DOUBLE))
            continue
        inserted.discard(key)
        counts[report.provider_name] += 1
        if counts.total() <= max_held:
            fates.append(KeptAs(ReceiptFate.HELD))
            continue
        ((largest, _),) = counts.most_common(1)
        counts[largest] -= 1
        too_many[largest] += 1
        fates.append(KeptAs(ReceiptFate.HELD, dropped=largest))
    for provider_name, count in too_many.items():
        await connection.execute(QUERIES["drop_oldest_held"], provider_name, count)
    return fates


async def _release(connection: Connection, ids: Sequence[tuple[str, str]], named: Sequence[UUID]) -> list[str]:
    asked = *rows.columns(ids, 2), list(named)
    seen = await connection.fetch(QUERIES["held_under"], *asked)
    known = await Resolving.look_up(connection, [receipt_rows.report_from(one) for one in seen])
    await take_lock(connection, Lock.HELD)
    reports = {one["held"]: receipt_rows.report_from(one) for one in seen}
    resolved = {held: found for held, report in reports.items() if (found := known.resolve(report))}
    if not resolved:
        return []
    # Another node may have released some meanwhile.
    dropped = {one["held"] for one in await connection.fetch(QUERIES["drop_held"], list(resolved))}
    released = [(reports[held], found) for held, found in resolved.items() if held in dropped]
    await _insert(connection, released)
    return list(dict.fromkeys(str(found.message_id) for _, found in released))

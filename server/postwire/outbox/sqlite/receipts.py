"""Receipts in the store: each is resolved, kept and applied in the order of commits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import apsw

from postwire.core.message import MessageRecord
from postwire.outbox import texts
from postwire.outbox.base import receipts as seam
from postwire.outbox.base.receipts import (
    HeldKey,
    KeptAs,
    PendingReceipt,
    ReceiptFate,
    ReceiptReport,
    ReportedMessage,
)
from postwire.outbox.matching import keys_of, meant_by
from postwire.outbox.sqlite import reads, receipt_rows, rows
from postwire.outbox.sqlite.queries import QUERIES, RECEIPT
from postwire.outbox.texts import ALL


@dataclass(slots=True)
class _Counted:
    """What a transaction has changed of that which is counted: so that one that fails has not."""

    kept: list[tuple[bytes, int]] = field(default_factory=list)
    applied: list[int] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Resolved:
    message_id: bytes
    attempt: int
    recipients: Sequence[int]


class ReceiptTable:
    """All of it is for whoever has the transaction.

    Which receipts are not applied, and how many are held, is known without asking: where there are none, nothing that a
    message comes by costs anything.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._unapplied: dict[bytes, set[int]] = {}
        self._message_of: dict[int, bytes] = {}
        for message_id, number, applied in _all(connection, "pending_receipts"):
            if not applied:
                self._add(message_id, number)
        self._held: Counter[str] = Counter(dict(_all(connection, "held_counts")))
        self._counted = _Counted()

    def begin(self) -> None:
        """A transaction begins: what was noted of one that failed has not been."""
        self._counted = _Counted()

    def note_commit(self) -> None:
        """What was done is on disk."""
        done, self._counted = self._counted, _Counted()
        for message_id, number in done.kept:
            self._add(message_id, number)
        for number in done.applied:
            if message_id_of := self._message_of.pop(number, None):
                numbers = self._unapplied[message_id_of]
                numbers.discard(number)
                if not numbers:
                    del self._unapplied[message_id_of]
        for provider_name, count in done.held.items():
            self._held[provider_name] += count
            if not self._held[provider_name]:
                del self._held[provider_name]

    @property
    def has_unapplied(self) -> bool:
        """Whether there are any that are not applied."""
        return bool(self._unapplied)

    def stand_in_the_way(self, before: MessageRecord, after: MessageRecord, applied: Sequence[int]) -> bool:
        """Whether a change opens an attempt, and there are receipts that it does not apply."""
        if len(after.attempts) <= len(before.attempts):
            return False
        return not self._unapplied.get(rows.id_bytes(before.message_id), set()) <= set(applied)

    def note_applied(self, numbers: Iterable[int]) -> None:
        """The receipts with these numbers are applied."""
        self._counted.applied += numbers

    def _add(self, message_id: bytes, number: int) -> None:
        self._unapplied.setdefault(message_id, set()).add(number)
        self._message_of[number] = message_id

    def keep(self, connection: apsw.Connection, reports: Sequence[ReceiptReport], max_held: int) -> list[KeptAs]:
        """See `ReceiptStore.keep_receipts`."""
        return [self._keep(connection, one, max_held) for one in reports]

    def release(self, connection: apsw.Connection, keys: Sequence[HeldKey]) -> list[str]:
        """See `ReceiptStore.release_held`."""
        found: dict[str, None] = {}
        for key in keys:
            if key.provider_name:
                held = _all(connection, "held_by_provider_id", key.provider_name, key.name)
            else:
                held = _all(connection, "held_by_message", UUID(key.name).bytes)
            for number, *row in held:
                report = receipt_rows.report_from(row)
                if resolved := self._resolve(connection, report):
                    self._insert(connection, report, resolved)
                    self._drop(connection, number, report.provider_name)
                    found[rows.id_text(resolved.message_id)] = None
        return list(found)

    def drop_held(self, connection: apsw.Connection, before: int, limit: int) -> dict[str, int]:
        """See `ReceiptStore.drop_held`."""
        dropped: Counter[str] = Counter()
        for number, provider_name in _all(connection, "held_before", before, limit):
            self._drop(connection, number, provider_name)
            dropped[provider_name] += 1
        return dict(dropped)

    def finish(self, connection: apsw.Connection, numbers: Sequence[int], now: int | None) -> None:
        """See `ReceiptStore.finish_receipts`."""
        connection.execute(QUERIES["finish_receipts"], {"receipts": json.dumps(list(numbers)), "now": now})
        self.note_applied(numbers)

    def _keep(self, connection: apsw.Connection, report: ReceiptReport, max_held: int) -> KeptAs:
        resolved = self._resolve(connection, report)
        if resolved is None:
            if report.message_id and not report.provider_message_id and self._is_elsewhere(connection, report):
                return KeptAs(ReceiptFate.REFUSED)
            return self._hold(connection, report, max_held)
        ((count,),) = _all(connection, "receipts_to_count", resolved.message_id, seam.MAX_PER_MESSAGE)
        if count >= seam.MAX_PER_MESSAGE:
            return KeptAs(ReceiptFate.REFUSED)
        is_new = self._insert(connection, report, resolved)
        return KeptAs(ReceiptFate.KEPT if is_new else ReceiptFate.DOUBLE, rows.id_text(resolved.message_id))

    def _insert(self, connection: apsw.Connection, report: ReceiptReport, resolved: _Resolved) -> bool:
        is_new = False
        for recipient in resolved.recipients:
            row = receipt_rows.receipt_row(report, resolved.message_id, resolved.attempt, recipient)
            connection.execute(QUERIES["insert_receipt"], row)
            if connection.changes():
                is_new = True
                self._counted.kept.append((resolved.message_id, connection.last_insert_rowid()))
        return is_new

    def _resolve(self, connection: apsw.Connection, report: ReceiptReport) -> _Resolved | None:
        """The attempt and the recipients that a receipt is about; None where they are not known."""
        by_id = _all(connection, "provider_id", report.provider_name, report.provider_message_id)
        named = UUID(report.message_id).bytes if report.message_id else b""
        found: list[tuple[bytes, int, int]] = []
        if named:
            # Its reference may be that of the first of several attempts that are the same to the vendor: the id is more
            # exact. But an id alone does not lead to another message than the one that the reference names.
            found = [one for one in by_id if one[0] == named] or [(named, report.attempt_number, ALL)]
        for message_id, attempt, recipient in found + [one for one in by_id if one[0] != named]:
            rows_of = _all(connection, "attempt_of_receipt", message_id, attempt)
            for provider_name, positions, count, hashes in rows_of:
                if provider_name == report.provider_name:
                    of_attempt = range(count) if positions is None else json.loads(positions)
                    recipients = meant_by(report, of_attempt, count, recipient, texts.hashes_from(hashes))
                    return _Resolved(message_id, attempt, recipients)
        return None

    def _is_elsewhere(self, connection: apsw.Connection, report: ReceiptReport) -> bool:
        """Whether the attempt that a reference names was at another provider."""
        return bool(_all(connection, "attempt_of_receipt", UUID(report.message_id).bytes, report.attempt_number))

    def _hold(self, connection: apsw.Connection, report: ReceiptReport, max_held: int) -> KeptAs:
        connection.execute(QUERIES["hold_receipt"], receipt_rows.held_row(report))
        if not connection.changes():
            return KeptAs(ReceiptFate.DOUBLE)
        self._counted.held[report.provider_name] += 1
        held = Counter(self._held)
        held.update(self._counted.held)
        if held.total() <= max_held:
            return KeptAs(ReceiptFate.HELD)
        ((largest, _),) = held.most_common(1)
        ((oldest,),) = _all(connection, "oldest_held", largest)
        self._drop(connection, oldest, largest)
        return KeptAs(ReceiptFate.HELD, dropped=largest)

    def _drop(self, connection: apsw.Connection, number: int, provider_name: str) -> None:
        connection.execute(QUERIES["drop_held"], (number,))
        self._counted.held[provider_name] -= 1


def held_keys(connection: apsw.Connection) -> list[HeldKey]:
    """See `ReceiptStore.held_keys`."""
    found: list[HeldKey] = []
    for provider_name, provider_message_id, message_id in _all(connection, "held_keys"):
        found += keys_of(provider_name, provider_message_id, rows.id_text(message_id) if message_id else "")
    return found


def is_inbound_known(connection: apsw.Connection, provider_name: str, event: bytes) -> bool:
    """See `ReceiptStore.is_inbound_known`."""
    return bool(connection.execute(QUERIES["inbound_event"], (provider_name, event)).fetchall())


def pending(connection: apsw.Connection, after: int, limit: int) -> list[PendingReceipt]:
    """See `ReceiptStore.pending_receipts`."""
    found = _all(connection, "pending_after", after, limit)
    return [PendingReceipt(number, rows.id_text(message_id)) for number, message_id in found]


def reported(connection: apsw.Connection, message_ids: Sequence[str]) -> list[ReportedMessage]:
    """See `ReceiptStore.reported`."""
    ids = json.dumps([rows.id_bytes(one).hex() for one in message_ids])
    with reads.one_moment(connection):
        messages = _all(connection, "messages_of_all_tenants", ids)
        records = reads.records_of(connection, messages)
        receipts: dict[bytes, list[Any]] = {}
        for message_id, *row in _all(connection, "receipts_of", ids):
            receipts.setdefault(message_id, []).append(row[: len(RECEIPT)])
        whom = [_all(connection, "recipients_of", row[0]) for row in messages]
    return [
        ReportedMessage(
            record,
            tuple(map(receipt_rows.kept_from, receipts.get(row[1], ()))),
            texts.hashes_from(one[0][0]) if one else (),
            one[0][1] if one else "",
        )
        for row, record, one in zip(messages, records, whom, strict=True)
    ]


def applied_rows(numbers: Iterable[int], now: int) -> list[tuple[int, int]]:
    """The rows of `apply_receipts`."""
    return [(number, now) for number in numbers]


def _all(connection: apsw.Connection, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
    return connection.execute(QUERIES[query], bindings).fetchall()

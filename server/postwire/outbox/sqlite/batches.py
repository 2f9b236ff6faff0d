"""The work of one transaction: any number of messages accepted and changed, each by one statement for all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import apsw

from postwire.core import follow_up, suppressing
from postwire.core.audit import AuditEvent
from postwire.core.canonical import is_payload
from postwire.core.errors import RequestIdReused
from postwire.core.message import Channel, MessageRecord
from postwire.outbox.base import Accepted, ErasureCounts, NewMessage
from postwire.outbox.operations import Change, Pair
from postwire.outbox.sqlite import feed, follow_ups, reads, receipt_rows, rows
from postwire.outbox.sqlite.guards import GuardCounts
from postwire.outbox.sqlite.keys import Keys
from postwire.outbox.sqlite.operations import Accept, Call, Fenced, New, Statements
from postwire.outbox.sqlite.queries import PAYLOAD_HASH, QUERIES, Row
from postwire.outbox.sqlite.receipts import ReceiptTable, applied_rows
from postwire.outbox.sqlite.suppressions import SuppressionTable
from postwire.outbox.sqlite.transactions import Operation

LIGHT_ROWS: Final = 256
"""How many messages and recipients a batch may have that is run on the event loop: some milliseconds."""

LIGHT_BYTES: Final = 64 * 1024
"""How large the contents of a batch may be in all that is, which are encrypted there."""

LIGHT_ERASED: Final = 256 * 1024
"""How large those may be in all that it erases, which are overwritten page by page: a millisecond."""


class Batches:
    """See `transactions.Batch`. All of it is for whoever has the transaction, but for what is only looked at.

    `seen_change` is the number of the last change that is on disk. `has_erased` says whether a content was erased since
    the log was emptied. `cipher` encrypts contents: here, so that another takes over between two commits, and what is
    large holds up nobody but those who write.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        boot: int,
        keep_contents: bool,
        keep_contents_of: Mapping[str, bool],
        keys: Keys,
    ) -> None:
        self.statements = Statements()
        self.has_erased = keys.cipher.current is not None  # the lookup key may have lain in clear until now
        self._boot = boot
        self._keep_contents = keep_contents
        self._keep_contents_of = keep_contents_of
        self._lookup_key = keys.lookup_key
        self.cipher = keys.cipher
        self.receipts = ReceiptTable(connection)
        self.suppressions = SuppressionTable(connection)
        self.guards = GuardCounts(connection, keys.lookup_key)
        self._last_key = reads.one_int(connection, "last_key")
        self._last_change = self.seen_change = feed.last_change(connection)

    def note_commit(self) -> None:
        """What was done is on disk."""
        self.seen_change = self._last_change
        self.receipts.note_commit()

    def is_light(self, connection: apsw.Connection, operations: Sequence[Operation]) -> bool:
        """See `transactions.Batch`."""
        count = size = 0
        erased: list[Row] = []
        for one in operations:
            if isinstance(one, Accept):
                count += len(one.news)
                for new in one.news:
                    count += len(new.message.record.recipients)
                    size += len(new.message.content)
            elif isinstance(one, Change):
                count += len(one.pairs)
                for before, after in one.pairs:
                    count += len(before.recipients)
                    if after.channel is not Channel.SMS and self._is_erased(before, after):
                        erased.append(_id_row(after))
            else:
                return False
        if count > LIGHT_ROWS or size > LIGHT_BYTES:
            return False
        sizes: list[int] = [one for (one,) in self.statements.sizes.read(connection, erased)]
        return sum(sizes) <= LIGHT_ERASED

    def __call__(self, connection: apsw.Connection, operations: Sequence[Operation]) -> None:
        """Do the work of one transaction. Changes go first, so that repeated requests see them."""
        self._last_change = self.seen_change  # what a transaction noted that failed has not been
        self.receipts.begin()
        self._run_changes(connection, [one for one in operations if isinstance(one, Change)])
        accepts = [one for one in operations if isinstance(one, Accept)]
        self._run_accepts(connection, [new for one in accepts for new in one.news])
        for accept in accepts:
            accept.result = [new.result for new in accept.news] if accept.several else accept.news[0].result
        for one in operations:
            if isinstance(one, Call):
                one.result = one.function(connection)

    def _run_changes(self, connection: apsw.Connection, operations: Sequence[Change]) -> None:
        pairs = [pair for one in operations for pair in one.pairs]
        if not pairs:
            return
        if len({before.message_id for before, _ in pairs}) != len(pairs):
            raise Fenced  # what is done below for all of them at once would mix up the changes of one
        if self.receipts.has_unapplied and any(
            self.receipts.stand_in_the_way(*pair, one.receipts) for one in operations for pair in one.pairs
        ):
            if len(operations) > 1:
                raise Fenced
            free = [pair for pair in pairs if not self.receipts.stand_in_the_way(*pair, operations[0].receipts)]
            kept_of = iter(self._keep_together(connection, free) if free else ())
            each = [pair in free and next(kept_of) for pair in pairs]
            operations[0].result = each if operations[0].several else each[0]
            return
        if len(pairs) > 1 and len(operations) == 1:
            operations[0].result = self._keep_together(connection, pairs)
            return
        kept = self._keep(connection, pairs)
        if kept is None:
            raise Fenced  # the writer then does them one by one, and each learns its own result
        for one in operations:
            one.result = [kept] * len(one.pairs) if one.several else kept
        if kept:
            self.note_events(connection, [one.event for one in operations if one.event])
            for one in operations:
                if one.receipts or one.provider_ids:
                    self._note_reported(connection, one)

    def _note_reported(self, connection: apsw.Connection, change: Change) -> None:
        """Keep what came with a change: which receipts it applies, and which ids a provider gave."""
        ((before, after),) = change.pairs
        self.statements.applied.run(connection, applied_rows(change.receipts, after.update_time))
        self.receipts.note_applied(change.receipts)
        message_id = rows.id_bytes(before.message_id)
        self.statements.provider_ids.run(
            connection, [receipt_rows.provider_id_row(message_id, one) for one in change.provider_ids]
        )

    def _keep_together(self, connection: apsw.Connection, pairs: Sequence[Pair]) -> Sequence[bool]:
        """Keep changes that belong to one commit, and return of each whether it was in time."""
        connection.execute(QUERIES["begin_changes"])
        kept = self._keep(connection, pairs)
        if kept is None:  # some came too late, and which of them is found out one by one
            connection.execute(QUERIES["undo_changes"])
        connection.execute(QUERIES["end_changes"])
        return [bool(self._keep(connection, [pair])) if kept is None else kept for pair in pairs]

    def _keep(self, connection: apsw.Connection, pairs: Sequence[Pair]) -> bool | None:
        """Keep changes of as many messages, if all are in time. None where only some are: it is half done."""
        changed = self.statements.update.run(connection, [rows.changed_row(*pair) for pair in pairs])
        if changed != len(pairs):
            return None if len(pairs) > 1 else False
        self._note_changes(connection, [after for _, after in pairs])
        if settled := [_id_row(after) for before, after in pairs if self._is_erased(before, after)]:
            self.statements.erase.run(connection, settled)
            self.has_erased = True
        self.statements.follow_ups.run(connection, [row for pair in pairs if (row := follow_ups.changed_row(*pair))])
        self.statements.close.run(connection, [row for pair in pairs if (row := rows.closed_row(*pair))])
        self.statements.drop.run(connection, [row for pair in pairs if (row := rows.dropped_row(*pair))])
        self.statements.reported.run(connection, [row for pair in pairs if (row := rows.reported_row(*pair))])
        self.statements.notes.run(connection, [row for pair in pairs if (row := rows.noted_row(*pair))])
        self.statements.attempts.run(
            connection,
            [rows.attempt_row(after, self._boot) for before, after in pairs if _opens(before, after)],
        )
        return True

    def _is_erased(self, before: MessageRecord, after: MessageRecord) -> bool:
        """Whether what a message says goes with a change."""
        return follow_up.is_last_word(before, after) and self._erases(after)

    def _erases(self, record: MessageRecord) -> bool:
        """Whether what a message says goes as it is settled."""
        return not self._keep_contents_of.get(record.tenant, self._keep_contents)

    def _run_accepts(self, connection: apsw.Connection, news: Sequence[New]) -> None:
        news = self.guards.admit(connection, news)
        if not news:
            return
        first = self._last_key + 1
        messages = self._suppressed(connection, [new.message for new in news])
        inserted = self.statements.messages.run(
            connection,
            [rows.message_row(message, key, self._lookup_key) for key, message in enumerate(messages, first)],
        )
        fresh: list[tuple[int, NewMessage]] = []
        repeats: list[New] = []
        for key, (new, message) in enumerate(zip(news, messages, strict=True), first):
            if inserted == len(news) or self._owner(connection, message)[0] == key:
                fresh.append((key, message))
                new.result = Accepted(message.record, created=True)
            else:
                repeats.append(new)
        self.statements.contents.run(connection, [(key, self._encrypted(message)) for key, message in fresh])
        self.statements.labels.run(
            connection, [row for key, message in fresh if (row := rows.labels_row(message.record, key))]
        )
        self.statements.recipients.run(
            connection,
            [
                (key, b"".join(message.recipient_hashes), message.sender)
                for key, message in fresh
                if message.keeps_hashes
            ],
        )
        self.statements.attempts.run(
            connection,
            [rows.attempt_row(message.record, self._boot) for _, message in fresh if message.record.attempts],
        )
        self._note_changes(connection, [message.record for _, message in fresh])
        for new in repeats:  # last, since the message that they repeat may be of this batch
            found = self._owner(connection, new.message)
            new.result = (
                Accepted(reads.with_attempts(connection, found), created=False)
                if is_payload(found[PAYLOAD_HASH], new.message.payload_hash, self._lookup_key)
                else RequestIdReused()
            )
        # Not taken back if the commit fails: keys only have to rise.
        self._last_key += len(news)

    def _suppressed(self, connection: apsw.Connection, news: Sequence[NewMessage]) -> Sequence[NewMessage]:
        """Messages as they are accepted, once those of their recipients are out who are suppressed."""
        if not self.suppressions.has_any:
            return news
        made = list(news)
        for index, positions in self.suppressions.positions(connection, news).items():
            record = news[index].record
            after = suppressing.suppress(record, positions, now=record.update_time)
            made[index] = replace(news[index], record=replace(after, revision=record.revision))
        return made

    def _encrypted(self, new: NewMessage) -> bytes:
        record = new.record
        if record.settled and self._erases(record):  # nobody is to have it
            return b""
        return self.cipher.encrypt_content(new.content, tenant=record.tenant, message_id=record.message_id)

    def _note_changes(self, connection: apsw.Connection, records: Sequence[MessageRecord]) -> None:
        self._note_revisions(connection, [(rows.id_bytes(one.message_id), one.revision) for one in records])

    def _note_revisions(self, connection: apsw.Connection, revisions: Sequence[tuple[bytes, int]]) -> None:
        first = self._last_change + 1
        self.statements.changes.run(connection, [(change, *one) for change, one in enumerate(revisions, first)])
        self._last_change += len(revisions)

    def erase(
        self, connection: apsw.Connection, message_ids: Sequence[str], tenant: str, event: AuditEvent
    ) -> tuple[int, ErasureCounts]:
        """Erase what is left of settled messages but their records, each with an event. Returns of how many, and how
        many there were: where contents are large, not all are erased at once."""
        found, counts = reads.erasable(connection, message_ids, tenant)
        if found:
            keys = json.dumps([key for key, _, _ in found])
            for query in ("erase_contents_of", "erase_labels_of", "erase_hashes_of", "note_erased"):
                connection.execute(QUERIES[query], (keys,))
            self._note_revisions(connection, [(message_id, revision + 1) for _, message_id, revision in found])
            self.note_events(
                connection, [replace(event, target=str(UUID(bytes=message_id))) for _, message_id, _ in found]
            )
            self.has_erased = True
        return len(found), counts

    def note_events(self, connection: apsw.Connection, events: Sequence[AuditEvent]) -> None:
        """Keep what was done by whom, with what was done."""
        self.statements.events.run(connection, [rows.event_row(one) for one in events])

    def _owner(self, connection: apsw.Connection, new: NewMessage) -> Sequence[Any]:
        """The row of the message that has the request id: its own, or an earlier one's."""
        (found,) = connection.execute(
            QUERIES["message_by_request_id"], (new.record.tenant, new.record.request_id)
        ).fetchall()
        return found


def _id_row(record: MessageRecord) -> Row:
    return (rows.id_bytes(record.message_id),)


def _opens(before: MessageRecord, after: MessageRecord) -> bool:
    return len(after.attempts) > len(before.attempts)

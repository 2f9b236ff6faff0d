"""The part of the outbox that is about accepting, changing and reading messages: see `outbox.base.MessageStore`."""

from __future__ import annotations

from collections.abc import Sequence

from postwire.core import follow_up
from postwire.core.audit import AuditEvent
from postwire.core.canonical import is_payload
from postwire.core.errors import RequestIdReused, StoreUnavailable
from postwire.core.message import MessageRecord
from postwire.outbox.base import Accepted, NewMessage, NotAccepted, ProviderMessageId
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.part import Part


class Messages(Part):
    """See the module."""

    async def accept(self, new: NewMessage) -> Accepted:
        """See `Outbox.accept`."""
        (result,) = await self.accept_all([new])
        if isinstance(result, Accepted):
            return result
        raise result

    async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | NotAccepted]:
        """See `Outbox.accept_all`."""
        accepted = [rows.accepted_row(new, self.lookup_key_now, self._encrypted(new)) for new in news]
        found = await self.database.fetch(Lane.WRITE, "accept", self.number, *rows.columns(accepted, 30))
        inserted = {str(one["message_id"]) for one in found}
        results: list[Accepted | NotAccepted] = []
        for new in news:
            record = new.record
            if record.message_id in inserted:
                results.append(Accepted(record, created=True))
                continue
            there = await self.database.fetch(
                Lane.WRITE, "messages_by_request_ids", [record.tenant], [record.request_id]
            )
            if not there:
                raise StoreUnavailable
            if is_payload(there[0]["payload_hash"], new.payload_hash, self.lookup_key_now):
                results.append(Accepted(rows.record_from(there[0]), created=False))
            else:
                results.append(RequestIdReused())
        return results

    async def advance(
        self,
        before: MessageRecord,
        after: MessageRecord,
        tried: Sequence[MessageRecord] = (),
        event: AuditEvent | None = None,
        *,
        receipts: Sequence[int] = (),
        provider_ids: Sequence[ProviderMessageId] = (),
    ) -> bool:
        """See `Outbox.advance`."""
        (kept,) = await self.advance_all([(before, after)])
        return kept or (bool(tried) and await self.get(before.message_id, before.tenant) in (after, *tried))

    async def advance_all(self, changes: Sequence[tuple[MessageRecord, MessageRecord]]) -> Sequence[bool]:
        """See `Outbox.advance_all`."""
        changed = [rows.changed_row(before, after, 0, erases=self._erased(before, after)) for before, after in changes]
        found = await self.database.fetch(Lane.WRITE, "advance", self.number, *rows.columns(changed, 20))
        kept = {str(one["message_id"]) for one in found}
        return [before.message_id in kept for before, _ in changes]

    async def get(self, message_id: str, tenant: str) -> MessageRecord | None:
        """See `Outbox.get`."""
        found = await self.database.fetch(Lane.READ, "message_by_id", message_id, tenant)
        return rows.record_from(found[0]) if found else None

    def _encrypted(self, new: NewMessage) -> bytes:
        record = new.record
        if record.settled and self.erases(record):  # nobody is to have it
            return b""
        return self.cipher.encrypt_content(new.content, tenant=record.tenant, message_id=record.message_id)

    def _erased(self, before: MessageRecord, after: MessageRecord) -> bool:
        """Whether what a message says goes with a change."""
        return follow_up.is_last_word(before, after) and self.erases(after)

"""The part of the outbox that is about accepting and changing messages: see `outbox.base.MessageStore`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from postwire.core.audit import AuditEvent
from postwire.core.message import MessageRecord
from postwire.outbox.base import Accepted, NewMessage, NotAccepted, ProviderMessageId
from postwire.outbox.operations import Future
from postwire.outbox.postgres.operations import Accept, Change, New
from postwire.outbox.postgres.reads import Reads
from postwire.outbox.postgres.writer import Writer


class Messages(Reads):
    """See the module."""

    writer: Writer

    def accept(self, new: NewMessage) -> Awaitable[Accepted]:
        """See `Outbox.accept`."""
        return self._accept(self.writer.submit(Accept([New(new)], False, self._future())))

    async def _accept(self, future: Future) -> Accepted:
        result: Accepted | NotAccepted = await future
        if isinstance(result, Accepted):
            return result
        raise result

    async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | NotAccepted]:
        """See `Outbox.accept_all`."""
        results: Sequence[Accepted | NotAccepted] = await self.writer.submit(
            Accept(list(map(New, news)), True, self._future())
        )
        return results

    def advance(
        self,
        before: MessageRecord,
        after: MessageRecord,
        tried: Sequence[MessageRecord] = (),
        event: AuditEvent | None = None,
        *,
        receipts: Sequence[int] = (),
        provider_ids: Sequence[ProviderMessageId] = (),
    ) -> Awaitable[bool]:
        """See `Outbox.advance`."""
        change = self.writer.submit(Change([(before, after)], False, self._future(), event, receipts, provider_ids))
        return self._or_tried(change, before, (after, *tried)) if tried else change

    def advance_all(self, changes: Sequence[tuple[MessageRecord, MessageRecord]]) -> Awaitable[Sequence[bool]]:
        """See `Outbox.advance_all`."""
        return self.writer.submit(Change(changes, True, self._future()))

    async def _or_tried(self, change: Future, before: MessageRecord, tried: Sequence[MessageRecord]) -> bool:
        return await change or await self.get(before.message_id, before.tenant) in tried

    def _future(self) -> Future:
        return asyncio.get_running_loop().create_future()

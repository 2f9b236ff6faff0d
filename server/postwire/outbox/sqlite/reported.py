"""The part of the outbox that is about receipts: see `outbox.base.ReceiptStore`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

import apsw

from postwire.outbox.base import Cursor, HeldKey, KeptAs, PendingReceipt, ReceiptReport, ReportedMessage
from postwire.outbox.base.messages import NO_TENANTS
from postwire.outbox.sqlite import receipts
from postwire.outbox.sqlite.kept import Kept
from postwire.outbox.sqlite.queries import QUERIES


class Reported(Kept):
    """How it reads and writes is the outbox's."""

    async def _walk(
        self,
        counting: str,
        changing: Sequence[str],
        after: Cursor,
        before: int,
        limit: int,
        of_tenants: Mapping[str, int] = NO_TENANTS,
    ) -> Cursor | None:
        """Change what is counted of the next messages; returns how far they reach."""
        raise NotImplementedError

    async def keep_receipts(self, reports: Sequence[ReceiptReport], max_held: int) -> Sequence[KeptAs]:
        """See `Outbox.keep_receipts`."""
        fates: Sequence[KeptAs] = await self._call(
            lambda connection: self._batches.receipts.keep(connection, reports, max_held)
        )
        return fates

    async def release_held(self, keys: Sequence[HeldKey]) -> Sequence[str]:
        """See `Outbox.release_held`."""
        found: Sequence[str] = await self._call(lambda connection: self._batches.receipts.release(connection, keys))
        return found

    async def held_keys(self) -> Sequence[HeldKey]:
        """See `Outbox.held_keys`."""
        return await self._read(receipts.held_keys)

    async def drop_held(self, before: int, limit: int) -> Mapping[str, int]:
        """See `Outbox.drop_held`."""
        dropped: Mapping[str, int] = await self._call(
            lambda connection: self._batches.receipts.drop_held(connection, before, limit)
        )
        return dropped

    async def pending_receipts(self, after: int, limit: int) -> Sequence[PendingReceipt]:
        """See `Outbox.pending_receipts`."""
        return await self._read(receipts.pending, after, limit)

    async def reported(self, message_ids: Sequence[str]) -> Sequence[ReportedMessage]:
        """See `Outbox.reported`."""
        return await self._read(receipts.reported, message_ids)

    def finish_receipts(self, numbers: Sequence[int], now: int | None) -> Awaitable[None]:
        """See `Outbox.finish_receipts`."""
        return self._call(lambda connection: self._batches.receipts.finish(connection, numbers, now))

    async def remove_receipts(self, before: int, limit: int) -> int:
        """See `Outbox.remove_receipts`."""
        return await self._remove_before("oldest_done", "remove_done_receipts", before, limit)

    async def is_inbound_known(self, provider_name: str, event: bytes) -> bool:
        """See `Outbox.is_inbound_known`."""
        return await self._read(receipts.is_inbound_known, provider_name, event)

    def keep_inbound(self, provider_name: str, event: bytes, now: int) -> Awaitable[None]:
        """See `Outbox.keep_inbound`."""

        def keep(connection: apsw.Connection) -> None:
            connection.execute(QUERIES["keep_inbound_event"], (provider_name, event, now))

        return self._call(keep)

    async def remove_inbound(self, before: int, limit: int) -> int:
        """See `Outbox.remove_inbound`."""
        return await self._remove_before("oldest_inbound_event", "remove_inbound_events", before, limit)

    async def erase_hashes(self, after: Cursor, before: int, limit: int) -> Cursor | None:
        """See `Outbox.erase_hashes`."""
        return await self._walk("hashes_step", ("erase_hashes",), after, before, limit)

"""The part of the outbox that counts what is not settled: see `outbox.base.MessageStore`."""

from __future__ import annotations

from postwire.outbox.base import Counts, OutboxStats, StoreLoad
from postwire.outbox.sqlite import reads
from postwire.outbox.sqlite.kept import Kept


class Counted(Kept):
    """How it reads is the outbox's."""

    async def stats(self) -> OutboxStats:
        """See `Outbox.stats`."""
        return await self._read(reads.stats)

    async def load(self, now: int, ahead: int = 0) -> StoreLoad:
        """See `Outbox.load`."""
        return await self._read(reads.load, now, ahead)

    async def unsettled_counts(self, now: int) -> Counts:
        """See `Outbox.unsettled_counts`."""
        return await self._read(reads.unsettled_counts, now)

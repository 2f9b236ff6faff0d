"""What the store keeps beside messages: what operators have done, what the service notes of itself, and its keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar, TypeVarTuple, Unpack

import apsw

from postwire.config.encryption_keys import EncryptionKey
from postwire.core.audit import AuditEvent, AuditFilter, AuditPage, AuditPosition
from postwire.core.message import Note
from postwire.core.suppression import Suppression, SuppressionPage, SuppressionPosition, SuppressionReason
from postwire.outbox import texts
from postwire.outbox.base import ProviderState, Rekey
from postwire.outbox.operations import Future
from postwire.outbox.sqlite import reads, suppressions
from postwire.outbox.sqlite.batches import Batches
from postwire.outbox.sqlite.encryption import Encryption
from postwire.outbox.sqlite.queries import QUERIES

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Kept:
    """The part of the outbox that is about all that. How it reads and writes is the outbox's."""

    _batches: Batches
    _encryption: Encryption

    async def _read(self, function: Callable[[apsw.Connection, Unpack[Ts]], T], *args: *Ts) -> T:
        """Have something read, and return it."""
        raise NotImplementedError

    def _call(self, function: Callable[[apsw.Connection], object]) -> Future:
        """Have something rare done on the writing thread, in a commit with whatever else there is."""
        raise NotImplementedError

    async def _remove_before(self, asking: str, removing: str, before: int, limit: int) -> int:
        """Remove at most `limit` rows from before a time (µs), if the earliest that `asking` finds is; returns how
        many."""
        earliest = await self._read(reads.earliest, asking)
        if earliest is None or earliest >= before:
            return 0

        def remove(connection: apsw.Connection) -> int:
            connection.execute(QUERIES[removing], (before, limit))
            return connection.changes()

        removed: int = await self._call(remove)
        return removed

    async def provider_states(self) -> Mapping[str, ProviderState]:
        """See `Outbox.provider_states`."""
        return await self._read(reads.provider_states)

    def set_drained(
        self, provider_name: str, drained: bool, note: Note | None = None, event: AuditEvent | None = None
    ) -> Awaitable[None]:
        """See `Outbox.set_drained`."""

        def write(connection: apsw.Connection) -> None:
            connection.execute(QUERIES["drain" if drained else "resume"], (provider_name,))
            if note:
                connection.execute(QUERIES["keep_provider_note"], (provider_name, texts.note_text(note)))
            self._batches.note_events(connection, [event] if event else [])

        return self._call(write)

    def add_reset(self, provider_name: str, note: Note, event: AuditEvent | None = None) -> Awaitable[None]:
        """See `Outbox.add_reset`."""

        def write(connection: apsw.Connection) -> None:
            connection.execute(QUERIES["add_reset"], (provider_name,))
            connection.execute(QUERIES["keep_provider_note"], (provider_name, texts.note_text(note)))
            self._batches.note_events(connection, [event] if event else [])

        return self._call(write)

    def add_event(self, event: AuditEvent) -> Awaitable[None]:
        """See `Outbox.add_event`."""
        return self._call(lambda connection: self._batches.note_events(connection, [event]))

    async def events(self, chosen: AuditFilter, size: int, after: AuditPosition | None) -> AuditPage:
        """See `Outbox.events`."""
        return await self._read(reads.events, chosen, size, after)

    async def remove_events(self, before: int, limit: int) -> int:
        """See `Outbox.remove_events`."""
        return await self._remove_before("oldest_event", "remove_events", before, limit)

    @property
    def has_suppressions(self) -> bool:
        """See `Outbox.has_suppressions`."""
        return self._batches.suppressions.has_any

    def add_suppressions(
        self, of: Mapping[str, Sequence[Suppression]], event: AuditEvent | None = None, *, only_new: bool = False
    ) -> Awaitable[int]:
        """See `Outbox.add_suppressions`."""

        def write(connection: apsw.Connection) -> int:
            added = self._batches.suppressions.add(connection, of, only_new=only_new)
            self._batches.note_events(connection, [event] if event else [])
            return added

        return self._call(write)

    def remove_suppressions(
        self,
        hashes: Sequence[bytes],
        tenants: Collection[str],
        now: int,
        event: AuditEvent | None = None,
        *,
        senders: Collection[str] | None = None,
        reason: SuppressionReason | None = None,
    ) -> Awaitable[int]:
        """See `Outbox.remove_suppressions`."""

        def write(connection: apsw.Connection) -> int:
            removed = self._batches.suppressions.remove(connection, hashes, tenants, now, senders, reason)
            self._batches.note_events(connection, [event] if event else [])
            return removed

        return self._call(write)

    async def suppressions(self, hashes: Sequence[bytes], tenant: str, now: int) -> Sequence[Suppression]:
        """See `Outbox.suppressions`."""
        return await self._read(suppressions.suppressions, hashes, tenant, now)

    async def list_suppressions(
        self, size: int, after: SuppressionPosition | None, tenant: str, now: int
    ) -> SuppressionPage:
        """See `Outbox.list_suppressions`."""
        return await self._read(suppressions.page, size, after, tenant, now)

    async def remove_expired_suppressions(self, now: int, limit: int) -> int:
        """See `Outbox.remove_expired_suppressions`."""
        if not self.has_suppressions:
            return 0
        removed: int = await self._call(lambda connection: suppressions.remove_expired(connection, now, limit))
        return removed

    async def remove_counts(self, now: int, limit: int) -> int:
        """See `Outbox.remove_counts`."""
        first = await self._read(reads.earliest, "first_gone")
        if first is None or not self._batches.guards.is_gone(first, now):
            return 0
        removed: int = await self._call(lambda connection: self._batches.guards.remove(connection, now, limit))
        return removed

    async def metadata(self, name: str) -> str | None:
        """See `Outbox.metadata`."""
        return await self._read(reads.read_metadata, name)

    def keep_metadata(self, name: str, value: str) -> Awaitable[None]:
        """See `Outbox.keep_metadata`."""

        def write(connection: apsw.Connection) -> None:  # not the cursor, which is the writing thread's
            connection.execute(QUERIES["keep_fact"], (name, value))

        return self._call(write)

    async def feed_lag(self) -> None:
        """See `Outbox.feed_lag`. There is one who writes, and whatever is on disk is told."""

    async def lookup_key(self) -> bytes:
        """See `Outbox.lookup_key`."""
        return self._encryption.lookup_key

    def why_insufficient(self, keys: Sequence[EncryptionKey]) -> str | None:
        """See `Outbox.why_insufficient`."""
        return self._encryption.why_insufficient(keys)

    async def use_keys(self, keys: Sequence[EncryptionKey]) -> None:
        """See `Outbox.use_keys`."""
        await self._encryption.use_keys(keys)

    async def rekey(self) -> Rekey | None:
        """See `Outbox.rekey`."""
        return await self._encryption.rekey()

    async def start_rekey(self, now: int, event: AuditEvent | None = None) -> Rekey:
        """See `Outbox.start_rekey`."""
        return await self._encryption.start_rekey(now, event)

    async def rekey_step(self, now: int) -> Rekey | None:
        """See `Outbox.rekey_step`."""
        return await self._encryption.rekey_step(now)

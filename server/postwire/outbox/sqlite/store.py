"""The outbox in one SQLite file (or in memory, for tests)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Self, TypeVar, TypeVarTuple, Unpack

import apsw

from postwire.config.encryption_keys import EncryptionKey
from postwire.core.audit import AuditEvent
from postwire.core.errors import StoreUnavailable
from postwire.core.listing import MessageFilter, Page, Position
from postwire.core.message import MAX_TIME, MessageRecord, MessageState, Priority
from postwire.outbox.base import (
    NO_TENANTS,
    Accepted,
    Changes,
    Cursor,
    Decide,
    ErasureCounts,
    Head,
    NewMessage,
    NotAccepted,
    OutboxError,
    ProviderMessageId,
    QueuedMessage,
    QueueKey,
    StoredMessage,
    TakenMessage,
)
from postwire.outbox.operations import Change, Future
from postwire.outbox.sqlite import feed, follow_ups, reads, rows
from postwire.outbox.sqlite.alignment import AHEAD, kept_ahead, realign
from postwire.outbox.sqlite.batches import Batches
from postwire.outbox.sqlite.boots import STORE
from postwire.outbox.sqlite.counted import Counted
from postwire.outbox.sqlite.encryption import Encryption
from postwire.outbox.sqlite.keys import NO_KEYS, take_up
from postwire.outbox.sqlite.membership import LoneMember
from postwire.outbox.sqlite.opening import OpenStore
from postwire.outbox.sqlite.operations import Accept, Call, New
from postwire.outbox.sqlite.queries import QUERIES
from postwire.outbox.sqlite.reported import Reported
from postwire.outbox.sqlite.schema import plain, truncate_log
from postwire.outbox.sqlite.writer import Writer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_REMOVED: Final = ("labels", "contents", "recipients", "receipts", "provider_ids", "attempts", "messages")
"""What belongs to a message, in the order in which it is removed."""

UNREADABLE: Final = "the store cannot be read: try again"


class SqliteOutbox(LoneMember, Counted, Reported):
    """See `outbox.base.Outbox`. Made by `open`."""

    def __init__(
        self,
        store: OpenStore,
        *,
        keep_contents: bool,
        keep_contents_of: Mapping[str, bool],
        keys: Sequence[EncryptionKey] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._writing = store.writing
        self._reading = store.reading
        self._closed = False
        self._watching: set[Future] = set()
        self._start_time = time.time_ns() // 1000
        self.boot = reads.one_int(self._writing, "insert_boot", self._start_time)
        """The number of this opening, which no other has."""
        found = NO_KEYS if keys is None else take_up(self._writing, keys)
        self._batches = Batches(
            self._writing,
            boot=self.boot,
            keep_contents=keep_contents,
            keep_contents_of=keep_contents_of,
            keys=found,
        )
        # In memory a second connection would have a memory of its own, so reads take the writing thread.
        self._readers = ThreadPoolExecutor(1, "postwire-reader") if self._reading else None
        self._writer = Writer(
            self._writing,
            self._batches,
            self._batches.note_commit,
            self._wake_watchers,
            is_in_place=store.is_in_place,
        )
        self._encryption = Encryption(
            self._batches, found, read=self._read, write=self._call, run_between=self._writer.run_between
        )

    @classmethod
    async def open(
        cls,
        path: str,
        *,
        sync: str = "full",
        keep_contents: bool = False,
        keep_contents_of: Mapping[str, bool] = NO_TENANTS,
        keys: Sequence[EncryptionKey] | None = (),
    ) -> Self:
        """Open the store at `path`, making it if need be; `:memory:` keeps it in memory.

        `sync` is SQLite's `synchronous`: under `full` a commit survives a power cut, under `normal` a crash of the
        process. With `keep_contents`, what a message says stays when it is settled, until `erase_contents`; of some
        tenants, by `keep_contents_of`.

        The first of `keys` encrypts contents, all of them decrypt. None is for who accepts nothing and reads no
        content: what is encrypted stays so.

        Raises:
            OutboxError: another process owns it, it has a second name, cannot be written, is not ours, or is newer than
                this program; or it may need a key that is not there.
        """
        store = OpenStore.open(path, sync=sync)
        try:
            return cls(store, keep_contents=keep_contents, keep_contents_of=keep_contents_of, keys=keys)
        except OutboxError:
            store.close()
            raise
        except apsw.Error as error:
            store.close()
            raise OutboxError(f"store.path: cannot write {path}: {plain(error)}") from None

    @property
    def available(self) -> bool:
        """See `Outbox.available`."""
        return self._writer.available

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        """See `Outbox.on_availability`."""
        self._writer.on_availability(listener)

    def on_gone(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, on the loop, if the file is moved away or replaced: nothing is kept from then on."""
        self._writer.on_gone(listener)

    @property
    def warnings(self) -> Sequence[str]:
        """What was found at the opening that the operator should know of, a line each."""
        return self._store.warnings

    async def wait_available(self) -> None:
        """See `Outbox.wait_available`."""
        await self._writer.wait_available()

    def accept(self, new: NewMessage) -> Awaitable[Accepted]:
        """See `Outbox.accept`."""
        return self._writer.submit(Accept([New(new)], False, self._loop.create_future()))

    async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | NotAccepted]:
        """See `Outbox.accept_all`."""
        results: Sequence[Accepted | NotAccepted] = await self._writer.submit(
            Accept(list(map(New, news)), True, self._loop.create_future())
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
        change = self._writer.submit(
            Change([(before, after)], False, self._loop.create_future(), event, receipts, provider_ids)
        )
        return self._or_tried(change, before, (after, *tried)) if tried else change

    def advance_all(self, changes: Sequence[tuple[MessageRecord, MessageRecord]]) -> Awaitable[Sequence[bool]]:
        """See `Outbox.advance_all`."""
        return self._writer.submit(Change(changes, True, self._loop.create_future()))

    async def _or_tried(self, change: Future, before: MessageRecord, tried: Sequence[MessageRecord]) -> bool:
        return await change or await self.get(before.message_id, before.tenant) in tried

    async def get(self, message_id: str, tenant: str) -> MessageRecord | None:
        """See `Outbox.get`."""
        return await self._read(reads.get, rows.id_bytes(message_id), tenant)

    async def find_by_request_id(
        self, request_id: str, tenant: str, payload_hash: bytes | None = None
    ) -> MessageRecord | None:
        """See `Outbox.find_by_request_id`."""
        return await self._read(reads.find, tenant, request_id, payload_hash, self._encryption.lookup_key)

    async def list(self, chosen: MessageFilter, size: int, after: str | None, tenant: str) -> Page:
        """See `Outbox.list`."""
        return await self._read(reads.page, tenant, chosen, size, after)

    async def take(
        self,
        queue: QueueKey,
        now: int,
        limits: Mapping[Priority, int],
        decide: Decide,
        ahead: int = 0,
    ) -> Sequence[TakenMessage]:
        """See `Outbox.take`."""
        found, contents = await self._read(reads.due, queue, now, limits, ahead)
        pairs = [(one.record, after) for one in found if (after := decide(one))]
        if not pairs:
            return ()
        kept = await self.advance_all(pairs)
        records = [after for (_, after), is_kept in zip(pairs, kept, strict=True) if is_kept]
        opened = {one.message_id for one in records if one.state is MessageState.SENDING}
        if large := opened - contents.keys():
            with suppress(Exception):  # they are taken all the same, and the caller puts them back
                contents |= await self._read(reads.contents, [*map(rows.id_bytes, large)])
        cipher = self._batches.cipher
        if sum(len(contents[one]) for one in opened & contents.keys()) > reads.SMALL_CONTENTS:
            return await self._loop.run_in_executor(self._readers, reads.taken, cipher, records, contents)
        return reads.taken(cipher, records, contents)

    async def heads(
        self, keys: Collection[QueueKey] | None, now: int, most: int, ahead: int = 0
    ) -> Mapping[QueueKey, Head]:
        """See `Outbox.heads`."""
        return await self._read(reads.heads, keys, now, most, ahead)

    async def expired(self, now: int, limit: int, ahead: int = 0) -> Sequence[MessageRecord]:
        """See `Outbox.expired`."""
        return await self._read(reads.expired, now, limit, ahead)

    async def next_expiry(self, ahead: int = 0) -> int | None:
        """See `Outbox.next_expiry`."""
        return await self._read(reads.next_expiry, ahead)

    def keep_ahead(self, ahead: int) -> Awaitable[None]:
        """See `Outbox.keep_ahead`."""
        return self.keep_metadata(AHEAD, str(ahead))

    def realign(
        self,
        now: int,
        latest: int,
        latest_deferred: int,
        machine: tuple[str, int] | None = None,
        latest_follow_up: int = MAX_TIME,
    ) -> Awaitable[None]:
        """See `Outbox.realign`."""
        times = {
            "now": now,
            "latest": latest,
            "latest_deferred": latest_deferred,
            "latest_follow_up": latest_follow_up,
        }

        def write(connection: apsw.Connection) -> None:
            self._batches.guards.resume(connection, now, kept_ahead(connection), machine)
            realign(connection, times)

        return self._call(write)

    async def orphans(self, limit: int) -> Sequence[StoredMessage]:
        """See `Outbox.orphans`."""
        return await self._read(reads.orphans, limit, self._batches.cipher)

    async def overdue(self, now: int, limit: int) -> Sequence[QueuedMessage]:
        """See `Outbox.overdue`."""
        return await self._read(follow_ups.overdue, now, limit)

    async def next_follow_up(self) -> int | None:
        """See `Outbox.next_follow_up`."""
        return await self._read(follow_ups.next_follow_up)

    def put_off(self, moves: Sequence[tuple[MessageRecord, int]]) -> Awaitable[int]:
        """See `Outbox.put_off`."""
        return self._call(lambda connection: follow_ups.put_off(connection, self._batches.statements.follow_ups, moves))

    async def scan_queued(
        self, after: Cursor, limit: int, queues: Collection[str] | None = None
    ) -> tuple[Sequence[StoredMessage], Cursor]:
        """See `Outbox.scan_queued`."""
        found, end = await self._read(reads.scan_queued, _key_of(after), limit, queues, self._batches.cipher)
        return found, (end,)

    def reassign(self, moves: Sequence[tuple[MessageRecord, str]]) -> Awaitable[int]:
        """See `Outbox.reassign`."""
        changed = [(rows.id_bytes(one.message_id), one.tenant, one.revision, one.queue, queue) for one, queue in moves]
        return self._call(lambda connection: self._batches.statements.reassign.run(connection, changed))

    async def store_name(self) -> str:
        """See `Outbox.store_name`."""
        return await self._read(reads.read_metadata, STORE) or ""

    async def last_position(self) -> Position:
        """See `Outbox.last_position`."""
        return (await self._read(feed.last_change),)

    async def changes(self, after: Position, limit: int, tenant: str) -> Changes:
        """See `Outbox.changes`."""
        return await self._read(feed.changes, after, limit, tenant)

    async def skip_dropped(self, after: Position) -> tuple[Position, int]:
        """See `Outbox.skip_dropped`."""
        return await self._read(feed.skip_dropped, after)

    async def wait_changes(self, after: Position) -> None:
        """See `Outbox.wait_changes`."""
        while (self._batches.seen_change,) <= after:
            future = self._loop.create_future()
            self._watching.add(future)
            try:
                await future
            finally:
                self._watching.discard(future)

    async def records(self, message_ids: Sequence[str], tenant: str) -> Sequence[MessageRecord]:
        """See `Outbox.records`."""
        return await self._read(reads.records, [*map(rows.id_bytes, message_ids)], tenant)

    async def remove_settled(self, after: Cursor, before: int, limit: int) -> Cursor | None:
        """See `Outbox.remove_settled`."""
        return await self._walk("step", [f"remove_{name}" for name in _REMOVED], after, before, limit)

    async def erase_contents(
        self, after: Cursor, before: int, limit: int, of_tenants: Mapping[str, int] = NO_TENANTS
    ) -> Cursor | None:
        """See `Outbox.erase_contents`."""
        return await self._walk("erasure_step", ("erase_settled",), after, before, limit, of_tenants)

    async def erasable(self, message_ids: Sequence[str], tenant: str) -> ErasureCounts:
        """See `Outbox.erasable`."""
        _, counts = await self._read(reads.erasable, message_ids, tenant)
        return counts

    async def erase(self, message_ids: Sequence[str], tenant: str, event: AuditEvent) -> ErasureCounts:
        """See `Outbox.erase`."""
        erased = 0
        while True:
            found: tuple[int, ErasureCounts] = await self._call(
                lambda connection: self._batches.erase(connection, message_ids, tenant, event)
            )
            done, counts = found
            erased += done
            if done == counts.erased:
                return ErasureCounts(erased, counts.unsettled)

    async def _walk(
        self,
        counting: str,
        changing: Sequence[str],
        after: Cursor,
        before: int,
        limit: int,
        of_tenants: Mapping[str, int] = NO_TENANTS,
    ) -> Cursor | None:
        key = _key_of(after)
        step = await self._read(reads.step, counting, key, before, limit, of_tenants)
        if step is None:
            return None
        end, count = step
        bindings = {"after": key, "end": end, "before": before, "of_tenants": json.dumps(dict(of_tenants))}

        def change(connection: apsw.Connection) -> None:
            for query in changing:
                connection.execute(QUERIES[query], bindings)
            self._batches.has_erased = True

        if count:
            await self._call(change)
        return (end,)

    async def purge_erased(self) -> bool:
        """See `Outbox.purge_erased`."""
        if self._reading is None:  # in memory there is no log
            return True
        if self._batches.has_erased:
            await self._writer.run_between(self._empty_log)
        return not self._batches.has_erased

    def _empty_log(self, connection: apsw.Connection) -> None:
        if truncate_log(connection):
            self._batches.has_erased = False

    async def remove_changes(self, keep: int, limit: int) -> int:
        """See `Outbox.remove_changes`."""
        count = min(limit, await self._read(feed.changes_beyond, max(keep, 1)))
        if count:
            await self._call(lambda connection: connection.execute(QUERIES["remove_changes"], (count,)))
        return count

    async def content(self, message_id: str, tenant: str) -> bytes | None:
        """See `Outbox.content`."""
        return await self._read(reads.content, message_id, tenant, self._batches.cipher)

    async def close(self) -> None:
        """See `Outbox.close`."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        if self._readers and self._reading:
            self._reading.interrupt()  # a long read is not worth waiting for
            await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._store.close)

    async def _read(self, function: Callable[[apsw.Connection, Unpack[Ts]], T], *args: *Ts) -> T:
        reading = self._reading
        if self._closed or self._writer.is_gone:
            raise StoreUnavailable(UNREADABLE)
        if self._readers is None or reading is None:
            result: T = await self._call(lambda connection: function(connection, *args))
            return result
        try:
            return await self._loop.run_in_executor(self._readers, lambda: function(reading, *args))
        except apsw.Error:
            raise StoreUnavailable(UNREADABLE) from None

    def _call(self, function: Callable[[apsw.Connection], object]) -> Future:
        """Have something rare done on the writing thread, in a commit with whatever else there is."""
        return self._writer.submit(Call(function, self._loop.create_future()))

    def _wake_watchers(self) -> None:
        if self._watching:
            watching, self._watching = self._watching, set()
            for future in watching:
                if not future.done():
                    future.set_result(None)


def _key_of(cursor: Cursor) -> int:
    return cursor[0] if cursor else 0

"""The outbox in one SQLite file (or in memory, for tests)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self, TypeVar, TypeVarTuple, Unpack

import apsw

from postwire.core.errors import RequestIdReused, StoreUnavailable
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import DEFAULT_TENANT, MessageRecord, Note, Priority
from postwire.outbox.base import (
    Accepted,
    Changes,
    Counts,
    NewMessage,
    OutboxError,
    OutboxStats,
    Snapshot,
    StoredMessage,
)
from postwire.outbox.sqlite import reads, rows
from postwire.outbox.sqlite.opening import OpenStore
from postwire.outbox.sqlite.operations import Accept, Call, Change, Fenced, New, Statements
from postwire.outbox.sqlite.queries import QUERIES, Row
from postwire.outbox.sqlite.schema import plain, truncate_log
from postwire.outbox.sqlite.writer import Future, Operation, Writer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_AHEAD: Final = "ahead"
"""The fact that `keep_ahead` keeps."""

UNREADABLE: Final = "the store cannot be read: try again"


class SqliteOutbox:
    """See `outbox.base.Outbox`. Made by `open`."""

    def __init__(self, store: OpenStore, *, keep_contents: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._writing = store.writing
        self._reading = store.reading
        self._keep_contents = keep_contents
        self._has_erased = False  # since the log was emptied; the writing thread's
        self._closed = False
        self._statements = Statements()
        self._last_key = reads.one_int(self._writing, "last_key")
        self._last_change = self._seen_change = reads.last_change(self._writing)
        self._watching: set[Future] = set()
        self._boot = reads.one_int(self._writing, "insert_boot", time.time_ns() // 1000)
        # In memory a second connection would have a memory of its own, so reads take the writing thread.
        self._readers = ThreadPoolExecutor(1, "postwire-reader") if self._reading else None
        self._writer = Writer(
            self._writing,
            self._run_batch,
            self._note_commit,
            self._wake_watchers,
            is_in_place=store.is_in_place,
        )

    @classmethod
    async def open(cls, path: str, *, sync: str = "full", keep_contents: bool = False) -> Self:
        """Open the store at `path`, making it if need be; `:memory:` keeps it in memory.

        `sync` is SQLite's `synchronous`: under `full` a commit survives a power cut, under `normal` a crash of the
        process. With `keep_contents`, what a message says stays when it is settled, until `erase_contents`.

        Raises:
            OutboxError: another process owns it, it has a second name, cannot be written, is not ours, or is newer than
                this program.
        """
        store = OpenStore.open(path, sync=sync)
        try:
            return cls(store, keep_contents=keep_contents)
        except apsw.Error as error:
            store.close()
            raise OutboxError(f"store.path: cannot write {path}: {plain(error)}") from None

    @property
    def boot(self) -> int:
        """See `Outbox.boot`."""
        return self._boot

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

    async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | RequestIdReused]:
        """See `Outbox.accept_all`."""
        results: Sequence[Accepted | RequestIdReused] = await self._writer.submit(
            Accept(list(map(New, news)), True, self._loop.create_future())
        )
        return results

    def advance(self, before: MessageRecord, after: MessageRecord) -> Awaitable[bool]:
        """See `Outbox.advance`."""
        return self._writer.submit(Change(before, after, self._loop.create_future()))

    async def get(self, message_id: str) -> MessageRecord | None:
        """See `Outbox.get`."""
        return await self._read(reads.get, rows.id_bytes(message_id))

    async def find(self, request_id: str, payload_hash: bytes, tenant: str = DEFAULT_TENANT) -> MessageRecord | None:
        """See `Outbox.find`."""
        return await self._read(reads.find, tenant, request_id, payload_hash)

    async def get_by_request_id(self, request_id: str, tenant: str = DEFAULT_TENANT) -> MessageRecord | None:
        """See `Outbox.get_by_request_id`."""
        return await self._read(reads.get_by_request_id, tenant, request_id)

    async def list(self, chosen: MessageFilter, size: int, after: str | None, tenant: str = DEFAULT_TENANT) -> Page:
        """See `Outbox.list`."""
        return await self._read(reads.page, tenant, chosen, size, after)

    async def due(
        self, queue: str, now: int, limit: int, ahead: int = 0, only: Priority | None = None
    ) -> Sequence[StoredMessage]:
        """See `Outbox.due`."""
        return await self._read(reads.due, queue, now, limit, ahead, only)

    async def due_counts(self, queue: str, now: int, most: int, ahead: int = 0) -> Mapping[Priority, int]:
        """See `Outbox.due_counts`."""
        return await self._read(reads.due_counts, queue, now, most, ahead)

    async def next_due(self, queue: str, ahead: int = 0, after: int | None = None) -> int | None:
        """See `Outbox.next_due`."""
        return await self._read(reads.next_due, queue, ahead, after)

    async def queues(self) -> Sequence[str]:
        """See `Outbox.queues`."""
        return await self._read(reads.queues)

    async def expired(self, now: int, limit: int, ahead: int = 0) -> Sequence[MessageRecord]:
        """See `Outbox.expired`."""
        return await self._read(reads.expired, now, limit, ahead)

    async def next_expiry(self, ahead: int = 0) -> int | None:
        """See `Outbox.next_expiry`."""
        return await self._read(reads.next_expiry, ahead)

    def keep_ahead(self, ahead: int) -> Awaitable[None]:
        """See `Outbox.keep_ahead`."""
        return self.keep_fact(_AHEAD, str(ahead))

    def realign(self, now: int, latest: int) -> Awaitable[None]:
        """See `Outbox.realign`."""

        def realign(connection: apsw.Connection) -> None:
            by = int(reads.fact(connection, _AHEAD) or 0)
            for queue, priority in itertools.product(reads.queues(connection), Priority):
                bindings = {"queue": queue, "priority": priority.value, "by": by, "now": now, "latest": latest}
                if by:
                    connection.execute(QUERIES["shift_due"], bindings)
                connection.execute(QUERIES["bound_due"], bindings)
            if by:
                connection.execute(QUERIES["shift_deadlines"], {"by": by})
                connection.execute(QUERIES["keep_fact"], (_AHEAD, "0"))

        return self._call(realign)

    async def orphans(self, limit: int) -> Sequence[StoredMessage]:
        """See `Outbox.orphans`."""
        return await self._read(reads.orphans, limit)

    async def scan_queued(
        self, after: int, limit: int, queues: Collection[str] | None = None
    ) -> tuple[Sequence[StoredMessage], int]:
        """See `Outbox.scan_queued`."""
        return await self._read(reads.scan_queued, after, limit, queues)

    def reassign(self, moves: Sequence[tuple[MessageRecord, str]]) -> Awaitable[int]:
        """See `Outbox.reassign`."""
        changed = [(rows.id_bytes(one.message_id), one.revision, one.queue, queue) for one, queue in moves]
        return self._call(lambda connection: self._statements.reassign.run(connection, changed))

    async def last_change(self) -> int:
        """See `Outbox.last_change`."""
        return await self._read(reads.last_change)

    async def changes(self, after: int, limit: int) -> Changes:
        """See `Outbox.changes`."""
        return await self._read(reads.changes, after, limit)

    async def wait_changes(self, after: int) -> None:
        """See `Outbox.wait_changes`."""
        while self._seen_change <= after:
            future = self._loop.create_future()
            self._watching.add(future)
            try:
                await future
            finally:
                self._watching.discard(future)

    async def snapshot(self, message_ids: Sequence[str]) -> Snapshot:
        """See `Outbox.snapshot`."""
        return await self._read(reads.snapshot, list(map(rows.id_bytes, message_ids)))

    async def remove_settled(self, after: int, before: int, limit: int) -> int | None:
        """See `Outbox.remove_settled`."""
        return await self._walk("step", ("remove_contents", "remove_attempts", "remove_messages"), after, before, limit)

    async def erase_contents(self, after: int, before: int, limit: int) -> int | None:
        """See `Outbox.erase_contents`."""
        return await self._walk("erasure_step", ("erase_settled",), after, before, limit)

    async def _walk(self, counting: str, changing: Sequence[str], after: int, before: int, limit: int) -> int | None:
        step = await self._read(reads.step, counting, after, before, limit)
        if step is None:
            return None
        end, count = step
        bindings = {"after": after, "end": end, "before": before}

        def change(connection: apsw.Connection) -> None:
            for query in changing:
                connection.execute(QUERIES[query], bindings)
            self._has_erased = True

        if count:
            await self._call(change)
        return end

    async def empty_log(self) -> bool:
        """See `Outbox.empty_log`."""
        if self._reading is None:  # in memory there is no log
            return True
        if self._has_erased:
            await self._writer.run_between(self._empty_log)
        return not self._has_erased

    def _empty_log(self, connection: apsw.Connection) -> None:
        if truncate_log(connection):
            self._has_erased = False

    async def remove_changes(self, keep: int, limit: int) -> int:
        """See `Outbox.remove_changes`."""
        count = min(limit, await self._read(reads.changes_beyond, max(keep, 1)))
        if count:
            await self._call(lambda connection: connection.execute(QUERIES["remove_changes"], (count,)))
        return count

    async def drained(self) -> frozenset[str]:
        """See `Outbox.drained`."""
        return await self._read(reads.drained)

    def set_drained(self, provider_name: str, drained: bool, note: Note | None = None) -> Awaitable[None]:
        """See `Outbox.set_drained`."""

        def write(connection: apsw.Connection) -> None:
            connection.execute(QUERIES["drain" if drained else "resume"], (provider_name,))
            if note:
                connection.execute(QUERIES["keep_provider_note"], (provider_name, rows.note_text(note)))

        return self._call(write)

    async def provider_notes(self) -> Mapping[str, Note]:
        """See `Outbox.provider_notes`."""
        return await self._read(reads.provider_notes)

    def keep_provider_note(self, provider_name: str, note: Note) -> Awaitable[None]:
        """See `Outbox.keep_provider_note`."""
        return self._write("keep_provider_note", [(provider_name, rows.note_text(note))])

    async def fact(self, name: str) -> str | None:
        """See `Outbox.fact`."""
        return await self._read(reads.fact, name)

    def keep_fact(self, name: str, value: str) -> Awaitable[None]:
        """See `Outbox.keep_fact`."""
        return self._write("keep_fact", [(name, value)])

    async def stats(self) -> OutboxStats:
        """See `Outbox.stats`."""
        return await self._read(reads.stats)

    async def unsettled_counts(self, now: int) -> Counts:
        """See `Outbox.unsettled_counts`."""
        return await self._read(reads.unsettled_counts, now)

    async def content(self, message_id: str) -> bytes | None:
        """See `Outbox.content`."""
        return await self._read(reads.content, rows.id_bytes(message_id))

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

    def _write(self, query: str, bindings: Sequence[Row]) -> Future:
        """Have one statement done for each of `bindings`."""

        def write(connection: apsw.Connection) -> None:  # not the cursor, which is the writing thread's
            connection.executemany(QUERIES[query], bindings)

        return self._call(write)

    def _call(self, function: Callable[[apsw.Connection], object]) -> Future:
        """Have something rare done on the writing thread, in a commit with whatever else there is."""
        return self._writer.submit(Call(function, self._loop.create_future()))

    def _run_batch(self, connection: apsw.Connection, operations: Sequence[Operation]) -> None:
        """One transaction's work, on the writing thread. Changes go first, so that repeated requests see them."""
        self._last_change = self._seen_change  # what a transaction noted that failed has not been
        self._run_changes(connection, [one for one in operations if isinstance(one, Change)])
        accepts = [one for one in operations if isinstance(one, Accept)]
        self._run_accepts(connection, [new for one in accepts for new in one.news])
        for accept in accepts:
            accept.result = [new.result for new in accept.news] if accept.several else accept.news[0].result
        for one in operations:
            if isinstance(one, Call):
                one.result = one.function(connection)

    def _run_changes(self, connection: apsw.Connection, operations: Sequence[Change]) -> None:
        if not operations:
            return
        if len({one.before.message_id for one in operations}) != len(operations):
            raise Fenced  # what is done below for all of them at once would mix up the changes of one
        changed = self._statements.update.run(
            connection, [rows.changed_row(one.before, one.after) for one in operations]
        )
        if changed != len(operations) > 1:
            raise Fenced  # the writer then does them one by one, and each learns its own result
        for one in operations:
            one.result = changed == len(operations)
        if not changed:
            return
        pairs = [(one.before, one.after) for one in operations]
        self._note_changes(connection, [after for _, after in pairs])
        if not self._keep_contents and (
            settled := [_id_row(after) for before, after in pairs if _settles(before, after)]
        ):
            self._statements.erase.run(connection, settled)
            self._has_erased = True
        self._statements.close.run(connection, [row for pair in pairs if (row := rows.closed_row(*pair))])
        self._statements.drop.run(connection, [row for pair in pairs if (row := rows.dropped_row(*pair))])
        self._statements.notes.run(connection, [row for pair in pairs if (row := rows.noted_row(*pair))])
        self._statements.attempts.run(
            connection,
            [rows.attempt_row(after, self._boot) for before, after in pairs if _opens(before, after)],
        )

    def _run_accepts(self, connection: apsw.Connection, news: Sequence[New]) -> None:
        if not news:
            return
        first = self._last_key + 1
        inserted = self._statements.messages.run(
            connection, [rows.message_row(new.message, key) for key, new in enumerate(news, first)]
        )
        fresh: list[tuple[int, NewMessage]] = []
        repeats: list[New] = []
        for key, new in enumerate(news, first):
            if inserted == len(news) or self._owner(connection, new.message)[0] == key:
                fresh.append((key, new.message))
                new.result = Accepted(new.message.record, created=True)
            else:
                repeats.append(new)
        self._statements.contents.run(connection, [(key, message.content) for key, message in fresh])
        self._statements.attempts.run(
            connection,
            [rows.attempt_row(message.record, self._boot) for _, message in fresh if message.record.attempts],
        )
        self._note_changes(connection, [message.record for _, message in fresh])
        for new in repeats:  # last, since the message that they repeat may be of this batch
            found = self._owner(connection, new.message)
            new.result = (
                Accepted(reads.with_attempts(connection, found), created=False)
                if found[3] == new.message.payload_hash
                else RequestIdReused()
            )
        # Not taken back if the commit fails: keys only have to rise.
        self._last_key += len(news)

    def _note_changes(self, connection: apsw.Connection, records: Sequence[MessageRecord]) -> None:
        first = self._last_change + 1
        self._statements.changes.run(
            connection,
            [(change, rows.id_bytes(one.message_id), one.revision) for change, one in enumerate(records, first)],
        )
        self._last_change += len(records)

    def _note_commit(self) -> None:
        self._seen_change = self._last_change

    def _wake_watchers(self) -> None:
        if self._watching:
            watching, self._watching = self._watching, set()
            for future in watching:
                if not future.done():
                    future.set_result(None)

    def _owner(self, connection: apsw.Connection, new: NewMessage) -> Sequence[Any]:
        """The row of the message that has the request id: its own, or an earlier one's."""
        (found,) = connection.execute(QUERIES["message_by_request_id"], (new.tenant, new.record.request_id)).fetchall()
        return found


def _settles(before: MessageRecord, after: MessageRecord) -> bool:
    return after.settled and not before.settled


def _id_row(record: MessageRecord) -> Row:
    return (rows.id_bytes(record.message_id),)


def _opens(before: MessageRecord, after: MessageRecord) -> bool:
    return len(after.attempts) > len(before.attempts)

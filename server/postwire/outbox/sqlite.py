"""The outbox in one SQLite file (or in memory, for tests)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from uuid import UUID

import apsw

from postwire.core.errors import RequestIdReused, StoreUnavailable
from postwire.core.listing import SCAN_LIMIT, MessageFilter, Page
from postwire.core.message import DEFAULT_TENANT, MessageRecord
from postwire.outbox import rows
from postwire.outbox.base import Accepted, NewMessage, OutboxError, OutboxStats
from postwire.outbox.queries import QUERIES, Bulk, SQLValue
from postwire.outbox.schema import IN_MEMORY, FileLock, connect, migrate, plain
from postwire.outbox.writer import Future, Operation, Writer

T = TypeVar("T")

UNREADABLE: Final = "the store cannot be read: try again"


@dataclass(slots=True, eq=False)
class _Accept:
    new: NewMessage
    future: Future
    result: object = None


@dataclass(slots=True, eq=False)
class _Record:
    record: MessageRecord
    future: Future
    result: object = None


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[apsw.Connection], object]
    future: Future
    result: object = None


@dataclass(slots=True)
class _Statements:
    messages: Bulk = field(default_factory=lambda: Bulk("insert_messages"))
    contents: Bulk = field(default_factory=lambda: Bulk("insert_contents"))
    attempts: Bulk = field(default_factory=lambda: Bulk("insert_attempts"))
    close: Bulk = field(default_factory=lambda: Bulk("close_attempts"))
    update: Bulk = field(default_factory=lambda: Bulk("update_messages"))


class _Fenced(Exception):
    """Some results of a batch came too late; they have to be told apart."""


class SqliteOutbox:
    """See `outbox.base.Outbox`. Made by `open`."""

    def __init__(self, *, writing: apsw.Connection, reading: apsw.Connection | None, lock: FileLock | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._writing = writing
        self._reading = reading
        self._lock = lock
        self._closed = False
        self._statements = _Statements()
        self._last_key = _one_int(writing, "last_key")
        self._boot = _one_int(writing, "insert_boot", time.time_ns() // 1000)
        self._readers = ThreadPoolExecutor(1, "postwire-reader") if reading else None
        self._writer = Writer(writing, self._run_batch)

    @classmethod
    async def open(cls, path: str, *, sync: str = "full") -> Self:
        """Open the store at `path`, making it if need be; `:memory:` keeps it in memory.

        `sync` is SQLite's `synchronous`: under `full` a commit survives a power cut, under `normal` a crash of the
        process.

        Raises:
            OutboxError: it is locked by another process, cannot be written, is not ours, or is newer than this program.
        """
        if path == IN_MEMORY:
            # A second connection would open a memory of its own, so reads take the writing thread.
            writing = connect(path, sync=sync)
            migrate(writing, path)
            return cls(writing=writing, reading=None, lock=None)
        lock = FileLock(Path(path))
        try:
            writing = connect(path, sync=sync)
            migrate(writing, path)
            return cls(writing=writing, reading=connect(path, sync=sync, read_only=True), lock=lock)
        except apsw.Error as error:
            lock.release()
            raise OutboxError(f"store.path: cannot write {path}: {plain(error)}") from None
        except BaseException:
            lock.release()
            raise

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

    async def wait_available(self) -> None:
        """See `Outbox.wait_available`."""
        await self._writer.wait_available()

    def accept(self, new: NewMessage) -> Awaitable[Accepted]:
        """See `Outbox.accept`."""
        return self._writer.submit(_Accept(new, self._loop.create_future()))

    def record(self, record: MessageRecord) -> Awaitable[bool]:
        """See `Outbox.record`."""
        return self._writer.submit(_Record(record, self._loop.create_future()))

    async def get(self, message_id: str) -> MessageRecord | None:
        """See `Outbox.get`."""
        key = rows.id_bytes(message_id)
        return await self._read(lambda connection: _get(connection, key))

    async def find(self, request_id: str, payload_hash: bytes, tenant: str = DEFAULT_TENANT) -> MessageRecord | None:
        """See `Outbox.find`."""
        return await self._read(lambda connection: _find(connection, tenant, request_id, payload_hash))

    async def list(self, chosen: MessageFilter, size: int, after: str | None, tenant: str = DEFAULT_TENANT) -> Page:
        """See `Outbox.list`."""
        return await self._read(lambda connection: _list(connection, tenant, chosen, size, after))

    async def stats(self) -> OutboxStats:
        """See `Outbox.stats`."""
        return await self._read(_stats)

    async def content(self, message_id: str) -> bytes | None:
        """See `Outbox.content`."""
        key = rows.id_bytes(message_id)

        def read(connection: apsw.Connection) -> bytes | None:
            found: list[tuple[Any, ...]] = connection.execute(QUERIES["content_of"], (key,)).fetchall()
            return found[0][0] if found else None

        return await self._read(read)

    async def close(self) -> None:
        """See `Outbox.close`."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        if self._readers and self._reading:
            self._reading.interrupt()  # a long read is not worth waiting for
            await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
            self._reading.close()
        # Last, since the last connection to close folds the log into the file.
        await asyncio.to_thread(self._writing.close)
        if self._lock:
            self._lock.release()

    async def _read(self, function: Callable[[apsw.Connection], T]) -> T:
        reading = self._reading
        if self._closed:
            raise StoreUnavailable(UNREADABLE)
        if self._readers is None or reading is None:
            result: T = await self._writer.submit(_Call(function, self._loop.create_future()))
            return result
        try:
            return await self._loop.run_in_executor(self._readers, function, reading)
        except apsw.Error:
            raise StoreUnavailable(UNREADABLE) from None

    def _run_batch(self, connection: apsw.Connection, operations: Sequence[Operation]) -> None:
        """One transaction's work, on the writing thread. Results go first, so that repeated requests see them."""
        self._run_records(connection, [one for one in operations if isinstance(one, _Record)])
        self._run_accepts(connection, [one for one in operations if isinstance(one, _Accept)])
        for one in operations:
            if isinstance(one, _Call):
                one.result = one.function(connection)

    def _run_records(self, connection: apsw.Connection, operations: Sequence[_Record]) -> None:
        if not operations:
            return
        records = [one.record for one in operations]
        self._statements.close.run(connection, [rows.ended_row(record) for record in records])
        changed = self._statements.update.run(connection, [rows.changed_row(record) for record in records])
        if changed != len(operations) > 1:
            raise _Fenced  # the writer then does them one by one, and each learns its own result
        for one in operations:
            one.result = changed == len(operations)

    def _run_accepts(self, connection: apsw.Connection, operations: Sequence[_Accept]) -> None:
        if not operations:
            return
        first = self._last_key + 1
        inserted = self._statements.messages.run(
            connection, [rows.message_row(one.new, key) for key, one in enumerate(operations, first)]
        )
        fresh: list[tuple[int, _Accept]] = []
        repeats: list[_Accept] = []
        for key, one in enumerate(operations, first):
            if inserted == len(operations) or self._owner(connection, one)[0] == key:
                fresh.append((key, one))
                one.result = Accepted(one.new.record, created=True)
            else:
                repeats.append(one)
        self._statements.contents.run(connection, [(key, one.new.content) for key, one in fresh])
        self._statements.attempts.run(connection, [rows.attempt_row(one.new, self._boot) for _, one in fresh])
        for one in repeats:  # last, since the message that they repeat may be of this batch
            found = self._owner(connection, one)
            one.result = (
                Accepted(_with_attempts(connection, found), created=False)
                if found[3] == one.new.payload_hash
                else RequestIdReused()
            )
        # Not taken back if the commit fails: keys only have to rise.
        self._last_key += len(operations)

    def _owner(self, connection: apsw.Connection, one: _Accept) -> Sequence[Any]:
        """The row of the message that has the operation's request id: its own, or an earlier one's."""
        (found,) = connection.execute(
            QUERIES["message_by_request_id"], (one.new.tenant, one.new.record.request_id)
        ).fetchall()
        return found


def _one_int(connection: apsw.Connection, query: str, *bindings: SQLValue) -> int:
    ((value,),) = connection.execute(QUERIES[query], bindings).fetchall()
    assert isinstance(value, int)
    return value


def _list(connection: apsw.Connection, tenant: str, chosen: MessageFilter, size: int, after: str | None) -> Page:
    start = rows.id_bytes(after) if after else rows.AFTER_ALL_IDS
    with _one_moment(connection):
        scan = {"tenant": tenant, "after": start, "scan": SCAN_LIMIT}
        ends: list[tuple[Any, ...]] = connection.execute(QUERIES["list_end"], scan).fetchall()
        end: bytes | None = ends[0][0] if ends else None
        oldest = rows.first_id_at(chosen.create_time_from)
        is_last = end is None or end < oldest
        narrowed = {"tenant": tenant, "after": start, "end": oldest if is_last else end, "size": size}
        bindings = rows.filter_bindings(chosen) | narrowed
        found = connection.execute(QUERIES["list_messages"], bindings).fetchall()
        attempts: dict[Any, list[Any]] = {}
        for message_id, *attempt in connection.execute(QUERIES["attempts_of_all"], (rows.ids_text(found),)).fetchall():
            attempts.setdefault(message_id, []).append(attempt)
    records = tuple(rows.record_from(row, attempts.get(row[1], ())) for row in found)
    if len(records) == size:
        return Page(records, records[-1].message_id)
    return Page(records, None if is_last else str(UUID(bytes=end)))


def _stats(connection: apsw.Connection) -> OutboxStats:
    found: list[tuple[Any, ...]] = connection.execute(QUERIES["stats"]).fetchall()
    return OutboxStats(*found[0])


def _with_attempts(connection: apsw.Connection, found: Sequence[Any]) -> MessageRecord:
    return rows.record_from(found, connection.execute(QUERIES["attempts_of"], (found[1],)).fetchall())


@contextmanager
def _one_moment(connection: apsw.Connection) -> Iterator[None]:
    """Around reads that belong together: all of them see the same state of the store."""
    connection.execute(QUERIES["savepoint"])
    try:
        yield
    finally:
        connection.execute(QUERIES["release"])


def _get(connection: apsw.Connection, message_id: bytes) -> MessageRecord | None:
    with _one_moment(connection):
        found = connection.execute(QUERIES["message_by_id"], (message_id,)).fetchall()
        return _with_attempts(connection, found[0]) if found else None


def _find(connection: apsw.Connection, tenant: str, request_id: str, payload_hash: bytes) -> MessageRecord | None:
    with _one_moment(connection):
        found = connection.execute(QUERIES["message_by_request_id"], (tenant, request_id)).fetchall()
        if found and found[0][3] != payload_hash:
            raise RequestIdReused
        return _with_attempts(connection, found[0]) if found else None

"""Filling an empty database with what another kind of store holds: see docs/adr/0045."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import asyncpg

from postwire.core.guards import GuardClock
from postwire.core.message import MessageState
from postwire.core.waiting import is_scheduled
from postwire.outbox import texts
from postwire.outbox.base import OutboxError
from postwire.outbox.copied import TABLES, CopiedMessage, Row, Sum
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.connecting import Hosts
from postwire.outbox.postgres.feed import settle
from postwire.outbox.postgres.queries import QUERIES, WORK, Connection
from postwire.outbox.postgres.schema import migrate

COPYING: Final = "copying"
"""The fact that says how far a copy has come. While it is there, nobody serves the database."""

COPIED_FROM: Final = "copied_from"
"""The same of a copy that is done."""

NO_NODE: Final = 0
"""Stands for the process that left an attempt open: the number of no node, so that it is found to be gone."""

_LOCK: Final = 0x706F7376

MESSAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": (*WORK, "attempt_number", "provider_name", "unapplied"),
    "contents": ("message_id", "content"),
    "recipients": ("message_id", "hashes", "sender"),
    "waiting": (
        "message_id", "tenant", "queue", "priority", "scheduled", "next_attempt_time", "expire_time", "deadline",
    ),
    "flying": ("message_id", "node"),
    "follow_ups": ("message_id", "follow_up_time"),
}  # fmt: skip
"""The columns of what a message consists of."""

_NUMBERED: Final = {"receipts": "receipt", "held_receipts": "held", "suppressions": "suppression", "events": "event"}


def message_rows(one: CopiedMessage) -> Mapping[str, Row]:
    """The rows that keep a message, by table."""
    record, options = one.queued.record, one.queued.options
    message_id = record.message_id
    number, provider_name = rows.latest(record)
    values = {
        "message_id": message_id,
        "tenant": record.tenant,
        "request_id": record.request_id,
        "payload_hash": one.payload_hash,
        "channel": record.channel.value,
        "state": record.state.value,
        "create_time": record.create_time,
        "update_time": record.update_time,
        "expire_time": record.expire_time,
        "deadline": record.deadline,
        "next_attempt_time": record.next_attempt_time,
        "follow_up_time": record.follow_up_time,
        "send_time": options.send_time,
        "revision": record.revision,
        "queue": record.queue,
        "error_code": record.error_code,
        "attempts": rows.attempts_text(record.attempts),
        "recipients": texts.recipients_text(record.recipients),
        "labels": json.dumps(dict(record.labels)) if record.labels else None,
        "note": texts.note_text(record.note) if record.note else None,
        "receipts": texts.listed_text(record.receipts),
        "priority": rows.PRIORITY_NUMBERS[options.priority],
        "delivery_guarantee": options.delivery_guarantee.value,
        "pinned_provider_name": options.provider_name,
        "max_attempts": options.max_attempts,
        "accept_trace": one.queued.accept_trace,
        "ignore_suppression": options.ignore_suppression,
        "attempt_number": number,
        "provider_name": provider_name,
        "unapplied": one.unapplied,
        "scheduled": is_scheduled(record),
    }
    found: dict[str, Row] = {"messages": tuple(values[column] for column in MESSAGES["messages"])}
    if one.content:
        found["contents"] = message_id, one.content
    if one.hashes:
        found["recipients"] = message_id, one.hashes, one.sender
    if record.state is MessageState.QUEUED:
        found["waiting"] = tuple(values[column] for column in MESSAGES["waiting"])
    if rows.has_open(record):
        found["flying"] = message_id, NO_NODE
    elif record.follow_up_time is not None:
        found["follow_ups"] = message_id, record.follow_up_time
    return found


class TakingOver:
    """See the module. Made by `open`. All of it can be broken off at any point, and goes on where it was."""

    def __init__(self, connection: Connection, progress: Mapping[str, Any], *, was_done: bool) -> None:
        self._connection = connection
        self._progress = dict(progress)
        self.was_done: Final = was_done
        """Whether all of it was copied before."""

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, password: str | None, source: str) -> AsyncIterator[Self]:
        """Begin to fill the database with what `source` names, or go on.

        Raises:
            OutboxError: it cannot be reached or is not ours, it is not empty, or is being filled with something else.
        """
        try:
            connection = await Hosts(url, password).connect()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            raise OutboxError("store.url: the database cannot be reached") from None
        try:
            await connection.execute("SET idle_in_transaction_session_timeout = 0")  # it waits for who reads
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                raise OutboxError("store.url: somebody else copies into the database just now")
            await migrate(connection)
            async with connection.transaction():
                await settle(connection)
                progress, was_done = await _begin(connection, source)
            yield cls(connection, progress, was_done=was_done)
        except asyncpg.PostgresError as error:
            state = f"SQLSTATE {error.sqlstate}, {type(error).__name__}"
            raise OutboxError(f"store.url: the database refuses it ({state})") from None
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            raise OutboxError("store.url: the database was lost: run it again, and it goes on where it was") from None
        finally:
            connection.terminate()

    @property
    def after(self) -> int:
        """The key of the last message that is copied."""
        return int(self._progress["after"])

    @property
    def copied(self) -> int:
        """How many messages are."""
        return int(self._progress["copied"])

    async def add_messages(self, messages: Sequence[CopiedMessage]) -> None:
        """Keep messages that come next, in one commit."""
        made = [message_rows(one) for one in messages]
        async with self._connection.transaction():
            for table in MESSAGES:
                await self._copy(table, MESSAGES[table], [one[table] for one in made if table in one])
            await self._note(after=messages[-1].key, copied=self.copied + len(messages))

    async def fill_table(self, table: str, read: Callable[[], Iterable[Row]]) -> None:
        """Fill one of `TABLES`, in one commit; unless that is done."""
        if table in self._progress["tables"]:
            return
        async with self._connection.transaction():
            await self._copy(table, TABLES[table], read())
            if column := _NUMBERED.get(table):
                await self._connection.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"
                )
            await self._note(tables=[*self._progress["tables"], table])

    async def sums(self, progress: Callable[[], None]) -> Mapping[str, Sum]:
        """What is in the database now, table by table. `progress` is called for each message."""
        found = {}
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            for table, columns in {**MESSAGES, **TABLES}.items():
                found[table] = Sum()
                async for row in self._connection.cursor(f"SELECT {', '.join(columns)} FROM {table}", prefetch=1_000):
                    found[table].add([row])
                    if table == "messages":
                        progress()
        return found

    async def finish(self, facts: Mapping[str, str], guard_clock: GuardClock | None) -> None:
        """Have it be a store that can be served.

        Raises:
            OutboxError: somebody serves it already.
        """
        async with self._connection.transaction():
            if await self._connection.fetchval(QUERIES["is_served"]):
                raise OutboxError("store.url: a node serves the database: stop it, empty the database, and begin anew")
            for name, value in facts.items():
                await self._connection.execute(QUERIES["keep_fact"], name, value)
            if guard_clock:
                await self._connection.execute(
                    QUERIES["keep_guard_clock"],
                    guard_clock.latest,
                    guard_clock.shift,
                    guard_clock.machine,
                    guard_clock.machine_shift,
                )
            await self._connection.execute(QUERIES["end_copying"], COPYING)
            await self._connection.execute(QUERIES["keep_fact"], COPIED_FROM, json.dumps(self._progress))
        await self._connection.execute("ANALYZE")

    async def _copy(self, table: str, columns: Sequence[str], records: Iterable[Row]) -> None:
        await self._connection.copy_records_to_table(table, columns=columns, records=iter(records))

    async def _note(self, **changes: Any) -> None:
        progress = self._progress | changes
        await self._connection.execute(QUERIES["keep_fact"], COPYING, json.dumps(progress))
        self._progress = progress


async def _begin(connection: Connection, source: str) -> tuple[Mapping[str, Any], bool]:
    """How far the copy has come, and whether it was done before."""
    progress: dict[str, Any]
    if text := await connection.fetchval(QUERIES["fact"], COPYING):
        progress = json.loads(text)
        if progress["source"] != source:
            raise OutboxError(
                "store.url: another store was being copied into the database, or this one has been served since: give "
                "an empty database"
            )
        return progress, False
    is_served = await connection.fetchval(QUERIES["is_served"])
    if text := await connection.fetchval(QUERIES["fact"], COPIED_FROM):
        progress = json.loads(text)
        if progress["source"] == source:
            if is_served:
                raise OutboxError("store.url: it is copied already, and a node serves the database")
            return progress, True
    held = [
        table for table in (*MESSAGES, *TABLES) if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})")
    ]
    if held:
        raise OutboxError(f"store.url: the database is not empty (it has {', '.join(held)}): give an empty one")
    if is_served:
        raise OutboxError("store.url: a node serves the database: stop it first")
    progress = {"source": source, "after": 0, "copied": 0, "tables": []}
    await connection.execute(QUERIES["keep_fact"], COPYING, json.dumps(progress))
    return progress, False


async def refuse_unfinished(connection: Connection) -> None:
    """Make sure that a database is not half of a copy.

    Raises:
        OutboxError: it is.
    """
    if await connection.fetchval(QUERIES["fact"], COPYING):
        raise OutboxError("store.url: `postwire store copy` into the database was not finished: run it again")


def sums_of(messages: Iterator[CopiedMessage], tables: Callable[[str], Iterable[Row]]) -> Mapping[str, Sum]:
    """What is to be in the database, table by table."""
    found = {table: Sum() for table in (*MESSAGES, *TABLES)}
    for one in messages:
        for table, row in message_rows(one).items():
            found[table].add([row])
    for table in TABLES:
        found[table].add(tables(table))
    return found

"""The outboxes that the conformance suite is held against, and what its files do with them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.postgres import new_database

from postwire.config.encryption_keys import EncryptionKey
from postwire.core import lifecycle
from postwire.core.message import DEFAULT_TENANT, MessageRecord, Priority
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import NewMessage, Outbox, QueuedMessage, QueueKey, StoredMessage
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.sqlite import SqliteOutbox

Opening = Callable[[Path], Coroutine[Any, Any, Outbox]]
EncryptedOpening = Callable[[Path, Sequence[EncryptionKey]], Coroutine[Any, Any, Outbox]]
Reopen = Callable[[], Coroutine[Any, Any, Outbox]]

KEYS: Final = tuple(EncryptionKey(f"key-{number}", bytes([number]) * 32) for number in range(1, 4))

_databases: dict[Path, str] = {}


async def open_postgres(
    folder: Path, keys: Sequence[EncryptionKey] | None = (), *, keep_contents: bool = False
) -> Outbox:
    """Open the one in the database that stands for a folder, as a node that is new each time. Whoever had it open is
    dead, as if its lease had run out."""
    if folder not in _databases:
        _databases[folder] = await new_database()
    else:
        connection = await asyncpg.connect(_databases[folder])
        await connection.execute("UPDATE nodes SET dead = true")
        await connection.close()
    return await PostgresOutbox.open(_databases[folder], keys=keys, keep_contents=keep_contents)


async def kept_bytes(folder: Path) -> bytes:
    """All that is kept of the outbox of a folder: what lies in its files, or in the tables that stand for it."""
    if folder not in _databases:
        return await asyncio.to_thread(lambda: b"".join(path.read_bytes() for path in folder.iterdir()))
    found = io.BytesIO()
    connection = await asyncpg.connect(_databases[folder])
    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        await connection.copy_from_table(table, output=found, format="binary")
    await connection.close()
    return found.getvalue()


PLACES: Final[Mapping[str, Opening]] = {
    "file": lambda folder: SqliteOutbox.open(str(folder / "postwire.db")),
    "file, sync normal, encrypted": lambda folder: SqliteOutbox.open(
        str(folder / "postwire.db"), sync="normal", keys=KEYS
    ),
    "memory": lambda _: SqliteOutbox.open(":memory:"),
    "postgres": open_postgres,
}
"""By name: how to open one whose files are in a folder."""

KEEPING: Final[Mapping[str, Opening]] = {
    "file": lambda folder: SqliteOutbox.open(str(folder / "postwire.db"), keep_contents=True),
    "memory": lambda _: SqliteOutbox.open(":memory:", keep_contents=True),
    "postgres": lambda folder: open_postgres(folder, keep_contents=True),
}
"""The same, of those that keep what a message says when it is settled."""

ENCRYPTING: Final[Mapping[str, EncryptedOpening]] = {
    "file": lambda folder, keys: SqliteOutbox.open(str(folder / "postwire.db"), keys=keys),
    "postgres": open_postgres,
}
"""Those that keep what they have, by name: how to open one with keys."""

LASTING: Final = ("file", "file, sync normal, encrypted", "postgres")
"""Those that keep what they have when they are closed."""


def but_at_length(places: Iterable[str], left_out: str) -> list[Any]:
    """All of them, for a fixture, but that `make test` leaves one to `make test-long`.

    What that one does, two others do between them: files that are encrypted, and one in memory that is not.
    """
    return [pytest.param(one, marks=pytest.mark.long if one == left_out else ()) for one in places]


Q: Final = QueueKey(DEFAULT_TENANT, "q")
"""The queue that messages of the default tenant wait in, if nothing else is said."""

EVER: Final = 2**62
"""A time behind all others."""

TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PATIENT: Final = lifecycle.Policy(max_attempts=1_000)


async def keep(
    outbox: Outbox,
    *,
    at: str = "p",
    queue: str = "",
    now: int = START,
    tenant: str = DEFAULT_TENANT,
    accept_trace: str = "",
    trace_id: str = "",
    **command: Any,
) -> NewMessage:
    """Have a message accepted, with attempt 1 open `at` a provider; the rest is for `build.command`."""
    of = build.command(**command)
    record = build.accepted(of, provider_name=at, queue=queue, now=now, trace_id=trace_id)
    record = replace(record, tenant=tenant)
    new = replace(build.new_message(of, record=record), accept_trace=accept_trace)
    assert (await outbox.accept(new)).created
    return new


async def queue_up(outbox: Outbox, **fields: Any) -> NewMessage:
    """Have a message accepted that waits, in `q` if nothing else is said."""
    return await keep(outbox, at="", **({"queue": "q"} | fields))


def each(limit: int) -> dict[Priority, int]:
    """So many of each priority."""
    return dict.fromkeys(Priority, limit)


async def look_at_due(
    outbox: Outbox, queue: str = "q", now: int = EVER, limit: int = 1_000, ahead: int = 0
) -> list[StoredMessage]:
    """The first that are due, none of which is taken."""
    found: list[QueuedMessage] = []
    assert not await outbox.take(QueueKey(DEFAULT_TENANT, queue), now, each(limit), found.append, ahead)
    stored = []
    for one in found[:limit]:
        content = await outbox.content(one.record.message_id, DEFAULT_TENANT)
        assert content is not None
        stored.append(StoredMessage(one.record, one.options, content, one.accept_trace))
    return stored


async def next_due(outbox: Outbox, queue: str = "q", ahead: int = 0) -> int | None:
    """When the first that waits in a queue is due, however long ago."""
    key = QueueKey(DEFAULT_TENANT, queue)
    head = (await outbox.heads([key], 0, 1, ahead)).get(key)
    if head is None:
        return None
    assert not head.due
    return head.next_due


async def waited_in(outbox: Outbox, *keys: str) -> list[str]:
    """In which of these queues anything waits."""
    found = await outbox.heads([QueueKey(DEFAULT_TENANT, key) for key in keys], EVER, 1)
    return sorted(key.name for key in found)


async def change(outbox: Outbox, before: MessageRecord, after: MessageRecord) -> MessageRecord:
    """Have a change kept that is in time."""
    assert await outbox.advance(before, after)
    return after


async def take(outbox: Outbox, record: MessageRecord, provider_name: str = "p") -> MessageRecord:
    """Have the next attempt of a queued message opened."""
    return await change(outbox, record, build.retried(record, provider_name))


def failed_over(record: MessageRecord, provider_name: str = "p-2", **result: Any) -> MessageRecord:
    """The record once its open attempt has failed, and the next one is open: one change."""
    now = record.update_time + 20_000
    failure = DispatchResult(Outcome.ERROR, **result)
    closed, next_step = lifecycle.close_attempt(record, failure, PATIENT, now=now, duration=20_000)
    assert next_step is lifecycle.NextStep.FAIL_OVER
    return lifecycle.open_attempt(closed, provider_name, now=now)


def dropped(record: MessageRecord) -> MessageRecord:
    """The record once its open attempt was taken back."""
    now = record.update_time + 20_000
    return lifecycle.drop_attempt(record, now=now, due=now)


def ids(messages: Iterable[NewMessage | StoredMessage]) -> list[str]:
    return [one.record.message_id for one in messages]


def stored(new: NewMessage, record: MessageRecord | None = None) -> StoredMessage:
    """A message as it comes out of the store."""
    record = record or new.record
    return StoredMessage(record, replace(new.options, expire_time=record.expire_time), new.content, new.accept_trace)

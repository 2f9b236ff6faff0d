"""The indexes that the schema asks for, made while nodes go on writing.

A database that is in use gets new tables and columns at the start of a node, but no index on a table that was there
before: that would hold up every write for as long as it takes. Such an index is made by `build`, beside the writes.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from postwire.outbox.base import OutboxError
from postwire.outbox.postgres.connecting import Hosts
from postwire.outbox.postgres.queries import QUERIES, Connection
from postwire.outbox.postgres.schema import INDEX, migrate, migrations, versions

_BUILDING: Final = 0x706F7375
"""The advisory lock of who makes indexes. Not the one of a migration: a node that waits for that has a transaction
open, and whoever makes an index beside the writes waits for all of those."""

_DROPPED: Final = re.compile(r"^DROP INDEX (?:IF EXISTS )?(\w+);$", re.MULTILINE)

LOOKS: Final = 0.5
"""Seconds from one look at how far an index has come to the next."""

Progress = Callable[[str, int, int], None]
"""Called with the name of an index, and how much of its table is read: blocks, and of how many."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done to a database: the version of its schema `before` and `after`, and the indexes that were made."""

    before: int
    after: int
    indexes: tuple[str, ...]


def wanted(scripts: Iterable[str]) -> Mapping[str, str]:
    """The indexes that there are after these scripts, by their names, each with the statement that makes it."""
    found: dict[str, str] = {}
    for script in scripts:
        for name in _DROPPED.findall(script):
            found.pop(name, None)
        found |= {match[1]: match[0] for match in INDEX.finditer(script)}
    return found


@functools.cache
def _wanted_now() -> Mapping[str, str]:
    return wanted(migrations())


async def missing(connection: Connection) -> list[str]:
    """The names of the indexes that are wanted and not there, or that somebody began to make and did not finish."""
    names = list(_wanted_now())
    there = {one["name"] for one in await connection.fetch(QUERIES["indexes"], names) if one["valid"]}
    return [name for name in names if name not in there]


async def build(url: str, password: str | None, progress: Progress = lambda name, done, total: None) -> Migrated:
    """Bring a database to the newest version of the schema, and make the indexes that are missing beside the writes of
    the nodes.

    Interrupted, it is finished by running it again.

    Raises:
        OutboxError: it cannot be reached, is not ours, or newer than this program; or somebody else does it just now.
    """
    hosts = Hosts(url, password)
    try:
        connection = await hosts.connect()
        try:
            return await _build(connection, hosts, progress)
        finally:
            connection.terminate()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise OutboxError(f"store.url: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, asyncpg.PostgresError):
        return f"the database refuses it (SQLSTATE {error.sqlstate}, {type(error).__name__})"
    return "the database cannot be reached"


async def _build(connection: Connection, hosts: Hosts, progress: Progress) -> Migrated:
    await connection.execute("SET lock_timeout = 0")  # it waits for the transactions of others, however long they take
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _BUILDING):
        raise OutboxError("store.url: somebody else makes its indexes just now, wait until that is done")
    before, _ = await versions(connection)
    await migrate(connection)
    names = await missing(connection)
    for name in names:
        watching = asyncio.get_running_loop().create_task(_watch(hosts, name, progress))
        try:
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            await connection.execute(re.sub(r"\bINDEX\b", "INDEX CONCURRENTLY", _wanted_now()[name], count=1))
        finally:
            watching.cancel()
            await asyncio.wait([watching])
    after, _ = await versions(connection)
    return Migrated(before, after, tuple(names))


async def _watch(hosts: Hosts, name: str, progress: Progress) -> None:
    """Say how far an index has come, as far as that is to be seen."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await hosts.connect()
        try:
            while True:
                for one in await connection.fetch(QUERIES["index_progress"]):
                    progress(name, one["done"], one["total"])
                await asyncio.sleep(LOOKS)
        finally:
            connection.terminate()

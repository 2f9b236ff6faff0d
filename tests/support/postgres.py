"""A PostgreSQL server for the tests of one process, and in it a database for each test."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import asyncpg
import pytest
from tests.support.copied_postgres import CopiedPostgres

from postwire.cli.demo.local_postgres import LocalPostgres, NoPostgres
from postwire.outbox.postgres.queries import Connection
from postwire.outbox.postgres.schema import migrate

NOT_SYNCED: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "300",
    "max_prepared_transactions": "2",
    "max_wal_size": "128MB",
    "autovacuum": "off",  # it would go from one database to the next all the time
}
"""For tests of what is asked and answered: nothing of it is to survive."""

_TEMPLATE: Final = "postwire_template"
_numbers: Final = itertools.count(1)


KEPT_DATABASES: Final = 8
"""How many databases are left alone, the newest. An older one that nobody uses is emptied for the next test: that takes
a fifth of the time that making one does."""

_made: Final[list[str]] = []
_initial: Final[list[str]] = []  # what brings a database back to what it was


@contextmanager
def skipped_without_postgres() -> Iterator[None]:
    """Skip a test where there is no PostgreSQL, but not where one does not work."""
    try:
        yield
    except NoPostgres as error:
        pytest.skip(str(error))


@functools.cache
def server() -> LocalPostgres:
    """The server of this process."""
    with skipped_without_postgres():
        made = CopiedPostgres.make(NOT_SYNCED)
    atexit.register(made.remove)
    return made


async def new_database() -> str:
    """The URL of a database that nobody else uses, with our schema and nothing in it."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_new_database(server()), _loop()))


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """That of the connections that databases are made and emptied by, which stay from test to test: to open one costs
    the server more than to empty a database does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def end() -> None:
        for connection in _connections.values():
            loop.call_soon_threadsafe(connection.terminate)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    atexit.register(end)  # after the server is made, and so before it is removed
    return loop


_one_by_one: Final = asyncio.Lock()
_connections: Final[dict[str, Connection]] = {}


async def _connection(url: str) -> Connection:
    if url not in _connections or _connections[url].is_closed():
        _connections[url] = await asyncpg.connect(url)
    return _connections[url]


async def _new_database(where: LocalPostgres) -> str:
    async with _one_by_one:
        name = await _emptied(where)
        if name is None:
            name = f"test_{next(_numbers)}"
            connection = await _connection(where.url())
            if not _made:
                await _make_template(connection, where)
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
        _made.append(name)
        return where.url(name)


async def _make_template(connection: Connection, where: LocalPostgres) -> None:
    await connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    within = await asyncpg.connect(where.url(_TEMPLATE))
    await migrate(within)
    tables = [one["table"] for one in await within.fetch(_TABLES)]
    filled = [one for one in tables if await within.fetchval(f"SELECT EXISTS (SELECT FROM {one})")]
    _initial.append(await within.fetchval(_SHAPE))
    _initial.extend(f"DELETE FROM {one}" for one in tables)
    for one in filled:
        rows = await within.fetchval(f"SELECT json_agg(of) FROM {one} AS of")
        text = rows.replace("'", "''")
        _initial.append(f"INSERT INTO {one} SELECT * FROM json_populate_recordset(NULL::{one}, '{text}')")
    _initial.extend(f"ALTER SEQUENCE {one['sequence']} RESTART" for one in await within.fetch(_SEQUENCES))
    await within.close()


async def _emptied(where: LocalPostgres) -> str | None:
    """A database that nobody uses any more, one of the oldest, as if it were new, if there is one."""
    for name in _made[:-KEPT_DATABASES]:
        within = await _connection(where.url(name))
        if await within.fetchval(_IN_USE):
            continue
        _made.remove(name)
        shape, *script = _initial
        if await within.fetchval(_SHAPE) == shape:
            await within.execute(";".join(script))
            return name
        await _connections.pop(where.url(name)).close()
        # Else a test has changed its schema: it is left as it is.
    return None


_IN_USE: Final = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())
"""

_TABLES: Final = """
SELECT oid::regclass::text AS table FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""

_SEQUENCES: Final = """
SELECT oid::regclass::text AS sequence FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""

_SHAPE: Final = """
SELECT md5(string_agg(relname || ':' || coalesce(reloptions::text, '') || ':' || relnatts, ',' ORDER BY relname))
    || (SELECT count(*) FROM pg_index WHERE NOT indisvalid)
FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""
"""What tells a database with our schema from one whose schema was changed."""

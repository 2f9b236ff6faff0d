"""A PostgreSQL server for the tests of one process, and in it a database for each test."""

from __future__ import annotations

import atexit
import functools
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import asyncpg
import pytest

from postwire.cli.demo.local_postgres import LocalPostgres, NoPostgres
from postwire.outbox.postgres.queries import Connection
from postwire.outbox.postgres.schema import migrate

NOT_SYNCED: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "300",
    "max_prepared_transactions": "2",
    "autovacuum": "off",  # it would go from one database to the next all the time
}
"""For tests of what is asked and answered: nothing of it is to survive."""

_TEMPLATE: Final = "postwire_template"
_numbers: Final = itertools.count(1)


KEPT_DATABASES: Final = 24
"""How many databases there are at once: of more, the oldest goes that nobody uses."""

_made: Final[list[str]] = []


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
        made = LocalPostgres.make(NOT_SYNCED)
    atexit.register(made.remove)
    return made


async def new_database() -> str:
    """The URL of a database that nobody else uses, with our schema and nothing in it."""
    where = server()
    connection = await asyncpg.connect(where.url())
    try:
        if not _made:
            await connection.execute(f"CREATE DATABASE {_TEMPLATE}")
            within = await asyncpg.connect(where.url(_TEMPLATE))
            await migrate(within)
            await within.close()
        name = f"test_{next(_numbers)}"
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
        _made.append(name)
        await _drop_unused(connection)
    finally:
        await connection.close()
    return where.url(name)


async def _drop_unused(connection: Connection) -> None:
    used = {one["datname"] for one in await connection.fetch("SELECT datname FROM pg_stat_activity")}
    for name in _made[:-KEPT_DATABASES]:
        if name not in used:
            await connection.execute(f"DROP DATABASE {name}")
            _made.remove(name)

"""A PostgreSQL server for the tests of one process, and in it a database for each test."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
from collections.abc import Mapping
from typing import Final

import asyncpg
import pytest

from postwire.cli.demo.local_postgres import LocalPostgres, NoPostgres
from postwire.outbox.postgres.schema import migrate

NOT_SYNCED: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "300",
    "max_prepared_transactions": "2",
    "autovacuum_naptime": "5s",
}
"""For tests of what is asked and answered: nothing of it is to survive."""

_TEMPLATE: Final = "postwire_template"
_numbers: Final = itertools.count(1)


@functools.cache
def server() -> LocalPostgres:
    """The server of this process. Where there is no PostgreSQL the test is skipped, which `make interop` tells of."""
    try:
        made = LocalPostgres.make(NOT_SYNCED)
    except NoPostgres as error:
        if os.environ.get("POSTWIRE_TEST_COMPLETE"):
            raise
        pytest.skip(str(error))
    atexit.register(made.remove)
    return made


_made: set[str] = set()


async def new_database() -> str:
    """The URL of a database that nobody else uses, with our schema and nothing in it."""
    where = server()
    connection = await asyncpg.connect(where.url())
    try:
        if _TEMPLATE not in _made:
            await connection.execute(f"CREATE DATABASE {_TEMPLATE}")
            within = await asyncpg.connect(where.url(_TEMPLATE))
            await migrate(within)
            await within.close()
            _made.add(_TEMPLATE)
        name = f"test_{next(_numbers)}"
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
    finally:
        await connection.close()
    return where.url(name)

"""Every statement for PostgreSQL is one that the server takes, with the schema as it is."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
from tests.support.postgres import new_database

from postwire.outbox.postgres import queries
from postwire.outbox.postgres.queries import QUERIES


async def test_the_server_takes_every_statement() -> None:
    connection = await asyncpg.connect(await new_database())
    refused = {}
    for name, statement in QUERIES.items():
        try:
            await connection.prepare(statement)
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    await connection.close()
    assert not refused


def test_no_write_notifies_anybody() -> None:
    """A commit with a notification waits for all others that have one: it costs a sync of its own, a quarter of what a
    server gets done. Whoever waits for something asks for it instead."""
    folder = Path(queries.__file__).parent
    sources = [path for path in folder.rglob("*") if path.suffix in (".sql", ".py")]
    assert {"queries.py", "work.sql"} <= {path.name for path in sources}
    notifying = [path.name for path in sources if re.search(r"\bnotify\b|pg_notify", path.read_text("utf-8").lower())]
    assert notifying == []

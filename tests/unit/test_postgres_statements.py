"""Every statement for PostgreSQL is one that the server takes, with the schema as it is."""

from __future__ import annotations

import asyncpg
from tests.support.postgres import new_database

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

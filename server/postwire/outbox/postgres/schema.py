"""Bringing a database to the newest version of the schema, or refusing it."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Final

import asyncpg

from postwire.outbox.base import OutboxError
from postwire.outbox.postgres.queries import Connection

_LOCK: Final = 0x706F7374  # "post"
"""The advisory lock under which one node at a time does it."""

VERSION: Final = "schema_version"
MIN_READER: Final = "min_reader"
"""The facts that say of which version a database is, and which version a program must know that uses it."""


INDEX: Final = re.compile(r"^CREATE (?:UNIQUE )?INDEX (\w+)\s+ON (\w+)\b[^;]*;$", re.MULTILINE)
"""A statement of a script that makes an index: its name, and its table."""

_TABLE: Final = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)


@functools.cache
def migrations() -> list[str]:
    """The scripts that lead from an empty database to the newest version, in order."""
    folder = resources.files(__package__).joinpath("migrations")
    return [
        entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    ]


async def migrate(connection: Connection) -> None:
    """Bring a database to the newest version, all of it in one transaction. What another node has done stays.

    One that is in use gets no index on what was there before: see `indexes`.

    Raises:
        OutboxError: it is another program's, or of a version that this program does not know.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        version, min_reader = await versions(connection)
        known = len(migrations())
        if min_reader > known:
            raise OutboxError(
                f"store.url: the database has schema version {version}, which needs a postwire that knows version "
                f"{min_reader}, and this one knows up to {known}: a newer release wrote it"
            )
        for script in migrations()[version:]:
            await connection.execute(without_slow_indexes(script) if version else script)
        if version < known:
            await connection.execute(
                "INSERT INTO facts (name, value) VALUES ($1, $2), ($3, $4) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                VERSION,
                str(known),
                MIN_READER,
                str(1),
            )


def without_slow_indexes(script: str) -> str:
    """A script without the indexes on tables that it does not make."""
    made = set(_TABLE.findall(script))
    return INDEX.sub(lambda match: match[0] if match[2] in made else "", script)


async def versions(connection: Connection) -> tuple[int, int]:
    """Return the version of the schema of a database, 0 where it has none, and the one that a program must know that
    uses it."""
    if not await connection.fetchval("SELECT to_regclass('facts') IS NOT NULL"):
        return 0, 0
    try:
        found = await connection.fetch("SELECT name, value FROM facts WHERE name IN ($1, $2)", VERSION, MIN_READER)
    except asyncpg.UndefinedColumnError:
        raise OutboxError("store.url: the database has a table facts of another program") from None
    facts = {one["name"]: int(one["value"]) for one in found}
    return facts.get(VERSION, 0), facts.get(MIN_READER, 0)

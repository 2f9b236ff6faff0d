"""PostgreSQL for the bench: a server on disk, as it comes, and a database for each set of nodes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
from tests.bench.bench import FRAME, Bench
from tests.bench.jobs import QUEUED, Streams
from tests.bench.processes import BenchError, Server, postwire_server
from tests.bench.progress import say

from postwire.cli.demo.local_postgres import LocalPostgres, NoPostgres

SETTINGS: Final = {"max_connections": "100"}
"""As it comes, and so with an fsync behind every commit."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")

_ANEW: Final = {
    # A UUID of version 7 whose time and sequence go on from the template's.
    "message_id": "(lpad(to_hex(m.create_time / 1000 + 1 + number / 4096), 12, '0') || '7'"
    " || lpad(to_hex(number % 4096), 3, '0') || '8' || substr(md5(number::text), 1, 15))::uuid",
    "request_id": "md5('copy ' || number)",
}
"""What tells a copy of a message from its template, by column."""

_LEFT_BEHIND: Final = {
    "messages": "messages",
    "contents": "contents",
    "messages SENT": "messages WHERE state = 'sent'",
    "messages with one attempt that succeeded": (
        "messages WHERE attempt_number = 1 AND attempts::json -> 0 ->> 3 = 'success'"
    ),
}


class NoDatabase(BenchError):
    """There is no PostgreSQL here. One line for people."""


class Database:
    """A server, and what it has used."""

    def __init__(self, postgres: LocalPostgres) -> None:
        self._postgres = postgres

    def create(self, name: str) -> str:
        """Make a database; returns its URL."""
        asyncio.run(self._run("postgres", f'CREATE DATABASE "{name}"'))
        return self._postgres.url(name)

    def cpu(self) -> float:
        """Seconds of CPU that all its processes have used so far, user and system, in hundredths."""
        parent = self._postgres.process_id
        ticks = sum(process_fields(parent)[11:15])  # its own, and of its children those that have ended
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    fields = process_fields(int(folder.name))
                except (OSError, ValueError):
                    continue  # it has ended, and is its parent's from now on
                if fields[1] == parent:
                    ticks += sum(fields[11:13])
        return ticks / _TICKS

    def check(self, title: str, name: str, *, messages: int, sent: int) -> None:
        """Make sure that nodes have done their work: see `check_stored` of `stores`.

        Raises:
            BenchError: they have not.
        """
        counts = ", ".join(f"(SELECT count(*) FROM {source})" for source in _LEFT_BEHIND.values())
        (row,) = asyncio.run(self._run(name, f"SELECT {counts}"))
        found = dict(zip(_LEFT_BEHIND, row, strict=True))
        expected = dict(zip(_LEFT_BEHIND, (messages, messages - sent, sent, sent), strict=True))
        if found != expected:
            raise BenchError(f"{title}: the database is to hold {expected}, and holds {found}")

    def copy_last(self, name: str, copies: int) -> None:
        """Make copies of the last message, which waits."""
        asyncio.run(self._copy_last(name, copies))

    async def _copy_last(self, name: str, copies: int) -> None:
        (last,) = await self._run(name, "SELECT message_id FROM messages ORDER BY message_id DESC LIMIT 1")
        for table in ("messages", "waiting", "contents", "changes"):
            columns = await self._run(
                name,
                "SELECT column_name FROM information_schema.columns"
                f" WHERE table_name = '{table}' AND is_identity = 'NO' AND column_name <> 'xid'",
            )
            names = [str(column["column_name"]) for column in columns]
            values = [_ANEW.get(column, f"t.{column}") for column in names]
            await self._run(
                name,
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)}"
                f" FROM generate_series(1, {copies}) AS number, {table} AS t, messages AS m"
                f" WHERE t.message_id = '{last['message_id']}' AND m.message_id = t.message_id",
            )
        await self._run(name, "VACUUM ANALYZE")
        await self._run(name, "CHECKPOINT")

    async def _run(self, name: str, statement: str) -> list[Any]:
        connection = await asyncpg.connect(self._postgres.url(name))
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()


def process_fields(pid: int) -> list[int]:
    """What /proc says of a process, from its state on (which is 0 here): the second is its parent."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return [0, *(int(field) for field in text.rpartition(")")[2].split()[1:])]


@contextmanager
def database_server() -> Iterator[Database]:
    """A server of PostgreSQL, gone afterwards.

    Raises:
        NoDatabase: there is none here.
    """
    try:
        postgres = LocalPostgres.make(SETTINGS)
    except NoPostgres as missing:
        raise NoDatabase(str(missing)) from None
    try:
        yield Database(postgres)
    finally:
        postgres.remove()


@contextmanager
def node(name: str, bench: Bench, url: str, environ: dict[str, str] | None = None) -> Iterator[Server]:
    """A node of the database at `url`."""
    environ = {"POSTWIRE_STORE__URL": url, "POSTWIRE_NODES__NAME": name, **(environ or {})}
    with postwire_server(name, bench.folder, environ) as server:
        yield server


def fill(bench: Bench, database: Database, name: str, messages: int, environ: dict[str, str]) -> str:
    """Make a database in which so many messages wait for an hour; returns its URL."""
    say(f"putting {messages:,} messages into the database")
    url = database.create(name)
    with node(f"{name}-filled", bench, url, environ) as server:
        done = bench.load.run(Streams(server.address, FRAME, FRAME, 1, 3600))
        if done.answers != {QUEUED: FRAME}:
            raise BenchError(f"{FRAME} messages were to be {QUEUED}, and there were {done.answers}")
    database.copy_last(name, messages - FRAME)
    return url

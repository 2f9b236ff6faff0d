"""A store that holds much already when a run begins: some messages through the service, and then copies of the last.

A million copies take seconds; a million messages through the service take minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import apsw
from tests.bench.bench import FRAME, Bench
from tests.bench.jobs import QUEUED, SENT, Streams
from tests.bench.processes import BenchError, postwire_server, store_of
from tests.bench.progress import say

_CACHE_KIB: Final = 256 * 1024

_ANEW: Final = {
    "key": "key + number",
    # A UUID of version 7 whose time and sequence go on from the template's.
    "message_id": "unhex(printf('%012x7%03x%016x', create_time / 1000 + 1 + number / 4096, number % 4096, "
    "-9223372036854775808 + (random() & 0x3fffffffffffffff)))",
    "request_id": "lower(hex(randomblob(18)))",
}
"""What tells a copy of a message from its template, by column."""


def fill(bench: Bench, name: str, messages: int, environ: Mapping[str, str] | None = None, *, later: int = 0) -> None:
    """Fill the store of the service of that name: with messages that are sent, or that wait for `later` (s)."""
    say(f"putting {messages:,} messages into the store")
    answer = QUEUED if later else SENT
    with postwire_server(name, bench.folder, environ) as server:
        done = bench.load.run(Streams(server.address, FRAME, FRAME, 1, later))
        if done.answers != {answer: FRAME}:
            raise BenchError(f"{FRAME} messages were to be {answer}, and there were {done.answers}")
    connection = apsw.Connection(str(store_of(name, bench.folder)), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.pragma("synchronous", "off")
        connection.pragma("cache_size", -_CACHE_KIB)
        with connection:
            _copy_last(connection, messages - FRAME)
    finally:
        connection.close()


def _copy_last(connection: apsw.Connection, messages: int) -> None:
    ((message_id, key, change),) = connection.execute(
        "SELECT message_id, key, (SELECT max(change) FROM changes) FROM messages ORDER BY key DESC LIMIT 1"
    ).fetchall()
    names, values = _columns(connection, "messages", _ANEW)
    connection.execute(
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?)"
        f" INSERT INTO messages ({names}) SELECT {values}"
        " FROM numbers CROSS JOIN (SELECT * FROM messages WHERE key = ?)",
        (messages, key),
    )
    for table, template_is, own in (
        ("contents", "key = :key", {"key": "copies.key"}),
        ("attempts", "message_id = :message_id", {"message_id": "copies.message_id"}),
        ("changes", "change = :change", {"message_id": "copies.message_id", "change": ":change + copies.key - :key"}),
    ):
        names, values = _columns(connection, table, own)
        connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM messages AS copies"
            f" CROSS JOIN (SELECT * FROM {table} WHERE {template_is}) AS template WHERE copies.key > :key",
            {"key": key, "message_id": message_id, "change": change},
        )


def _columns(connection: apsw.Connection, table: str, own: Mapping[str, str]) -> tuple[str, str]:
    """The columns of a table, and what a copy has in them: its own, or what the template has."""
    names = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
    prefix = "" if table == "messages" else "template."
    return ", ".join(names), ", ".join(own.get(name, prefix + name) for name in names)

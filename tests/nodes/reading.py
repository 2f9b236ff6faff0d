"""What is on record in the database, for the verifier, and how some of it becomes old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from tests.nodes.verify import Kept, OnRecord, Tried

from postwire.core.message import MessageState
from postwire.outbox.postgres.rows import attempts_from

MESSAGES: Final = """
SELECT m.message_id::text, m.request_id, m.state, m.revision, m.create_time, m.delivery_guarantee, m.attempts,
    EXISTS (SELECT FROM waiting w WHERE w.message_id = m.message_id) AS waiting,
    EXISTS (SELECT FROM flying f WHERE f.message_id = m.message_id) AS is_open,
    EXISTS (SELECT FROM contents c WHERE c.message_id = m.message_id) AS has_content
FROM messages m
"""

RECEIPTS: Final = """
SELECT provider_name, message_id::text, attempt, state FROM receipts WHERE done_time IS NOT NULL
"""

LEFT: Final = """
SELECT (SELECT count(*) FROM messages WHERE state IN ('queued', 'sending')),
    (SELECT count(*) FROM receipts WHERE done_time IS NULL) + (SELECT count(*) FROM held_receipts)
"""
"""How many messages are not settled, and how many receipts are not applied."""

STRAY: Final = """
SELECT 'waiting' AS place, message_id::text FROM waiting WHERE message_id NOT IN (SELECT message_id FROM messages)
UNION ALL SELECT 'flying', message_id::text FROM flying WHERE message_id NOT IN (SELECT message_id FROM messages)
UNION ALL SELECT 'contents', message_id::text FROM contents WHERE message_id NOT IN (SELECT message_id FROM messages)
"""
"""Rows beside messages that are not there."""

AT_REST: Final = """
SELECT m.message_id::text FROM messages m
WHERE m.state NOT IN ('queued', 'sending') AND m.follow_up_time IS NULL AND m.unapplied = 0
    AND m.update_time < extract(epoch FROM clock_timestamp()) * 1e6 - 1e6 * $1::float8
    AND m.message_id <> ALL ($2::uuid[]) AND NOT EXISTS (SELECT FROM flying f WHERE f.message_id = m.message_id)
ORDER BY m.message_id LIMIT $3
"""
"""The oldest messages that are settled for so many seconds, and that nothing more is to come for. Retention walks in
the order of ids, and only as far as something is old."""

AGE: Final = """
UPDATE messages SET create_time = create_time - 1e6 * 86400 * 21, update_time = update_time - 1e6 * 86400 * 21
WHERE message_id IN (
    SELECT message_id FROM messages
    WHERE message_id = ANY ($1::uuid[]) AND state NOT IN ('queued', 'sending') AND follow_up_time IS NULL
    ORDER BY message_id FOR NO KEY UPDATE
)
"""
"""Older than retention keeps anything, unless `store.retention` is set."""

KEEP_MOVES: Final = """
CREATE TABLE moves (message_id uuid, source text, target text);
CREATE FUNCTION keep_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO moves VALUES (NEW.message_id, OLD.queue, NEW.queue);
    RETURN NULL;
END $$;
CREATE TRIGGER keep_moves AFTER UPDATE ON messages
    FOR EACH ROW WHEN (OLD.queue <> NEW.queue) EXECUTE FUNCTION keep_move();
"""
"""Writes down each move of a message from one queue into another."""


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        yield connection
    finally:
        connection.terminate()


async def keep_moves(url: str) -> None:
    """From now on, keep what `moves` returns."""
    async with _connected(url) as connection:
        await connection.execute(KEEP_MOVES)


async def moves(url: str) -> list[tuple[str, str, str]]:
    """Each move of a message: its id, from which queue, and into which one."""
    async with _connected(url) as connection:
        return [tuple(row) for row in await connection.fetch("SELECT message_id::text, source, target FROM moves")]


async def at_rest(url: str, seconds: float, but: Collection[str], limit: int) -> list[str]:
    """The ids of at most `limit` messages, none of them in `but`: see `AT_REST`. Raises what asyncpg raises."""
    async with _connected(url) as connection:
        return [row["message_id"] for row in await connection.fetch(AT_REST, seconds, list(but), limit)]


async def make_old(url: str, message_ids: Collection[str]) -> None:
    """Have some messages be settled weeks ago. Raises what asyncpg raises, and some may be old then."""
    async with _connected(url) as connection:
        await connection.execute(AGE, list(message_ids))


async def left(url: str) -> tuple[int, int]:
    """See `LEFT`. Raises what asyncpg raises."""
    async with _connected(url) as connection:
        ((unsettled, unapplied),) = await connection.fetch(LEFT)
    return unsettled, unapplied


async def on_record(url: str) -> OnRecord:
    """All of it. Fails where there are rows of messages that are not there."""
    async with _connected(url) as connection:
        assert await connection.fetch(STRAY) == []
        messages = {row["message_id"]: _kept(row) for row in await connection.fetch(MESSAGES)}
        receipts = frozenset(tuple(row) for row in await connection.fetch(RECEIPTS))
        ((_, unapplied),) = await connection.fetch(LEFT)
    return OnRecord(messages, receipts, unapplied)


def _kept(row: asyncpg.Record) -> Kept:
    return Kept(
        row["message_id"],
        row["request_id"],
        MessageState(row["state"]),
        row["revision"],
        row["create_time"],
        row["delivery_guarantee"] == "at_most_once",
        tuple(
            Tried(one.number, one.provider_name, one.outcome, one.error_code) for one in attempts_from(row["attempts"])
        ),
        row["waiting"],
        row["is_open"],
        row["has_content"],
    )

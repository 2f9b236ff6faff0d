"""What is on record in the database, for the verifier."""

from __future__ import annotations

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


async def left(url: str) -> tuple[int, int]:
    """See `LEFT`. Raises what asyncpg raises."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        ((unsettled, unapplied),) = await connection.fetch(LEFT)
    finally:
        connection.terminate()
    return unsettled, unapplied


async def on_record(url: str) -> OnRecord:
    """All of it. Fails where there are rows of messages that are not there."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        assert await connection.fetch(STRAY) == []
        messages = {row["message_id"]: _kept(row) for row in await connection.fetch(MESSAGES)}
        receipts = frozenset(tuple(row) for row in await connection.fetch(RECEIPTS))
        ((_, unapplied),) = await connection.fetch(LEFT)
    finally:
        connection.terminate()
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

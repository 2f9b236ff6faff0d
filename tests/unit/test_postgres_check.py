"""`postwire store check` of a database: what is in it, and what does not fit together."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest
from click.testing import CliRunner, Result
from tests.support import build
from tests.support.outboxes import KEYS, change, keep, queue_up
from tests.support.postgres import new_database

from postwire.cli.root import root
from postwire.outbox.base import OutboxError
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.postgres.checks import check


def run(*args: str) -> Result:
    return CliRunner().invoke(root, ["store", "check", *args])


@pytest.fixture
async def url() -> str:
    """A database with messages that wait, are being sent, and were sent."""
    url = await new_database()
    outbox = await PostgresOutbox.open(url, keys=KEYS)
    await queue_up(outbox)
    await keep(outbox)
    for _ in range(2):
        record = (await keep(outbox)).record
        await change(outbox, record, build.ended(record))
    await outbox.close()
    return url


@pytest.mark.usefixtures("unconfigured")
async def test_a_sound_database_is_told_of(url: str) -> None:
    report = await check(url, None, KEYS)
    assert report.faults == ()
    assert report.messages == {"queued": 1, "sending": 1, "sent": 2}
    done = await asyncio.to_thread(run, "--url", url)
    assert done.exit_code == 0, done.output
    assert "The store is sound." in done.stdout
    done = await asyncio.to_thread(run, "--url", url, "--json")
    found = json.loads(done.stdout)
    assert (found["sound"], found["attempts"], found["contents"]) == (True, 3, {"key-1": 2})
    assert (await asyncio.to_thread(run, "x.db", "--url", url)).exit_code == 2
    assert (await asyncio.to_thread(run, "--password-file", "x")).exit_code == 2


FAULTS = {
    "DELETE FROM waiting": "1 messages are queued and wait in no queue",
    "UPDATE waiting SET queue = 'other'": "1 messages are queued and wait in no queue",
    "UPDATE messages SET state = 'expired' WHERE state = 'queued'": "1 rows wait whose messages do not",
    "DELETE FROM flying": "1 messages have an attempt that is open",
    "INSERT INTO flying SELECT message_id, 1 FROM waiting": "1 attempts are somebody's",
    "UPDATE messages SET follow_up_time = 5 WHERE state = 'sent'": "2 messages wait for a receipt",
    "INSERT INTO follow_ups SELECT message_id, 5 FROM waiting": "1 messages are looked after that wait",
    "UPDATE messages SET unapplied = 1 WHERE state = 'queued'": "1 messages count other receipts",
    "INSERT INTO contents VALUES (gen_random_uuid(), '\\x02')": "1 contents belong to no message",
    "UPDATE contents SET content = '\\x09'": "2 contents are in no form",
    "UPDATE contents SET content = substring(content FOR 20)": "2 contents cannot be decrypted",
    "INSERT INTO facts VALUES ('encrypted', '1'); UPDATE contents SET content = '\\x01'": "2 contents lie in clear",
    "DELETE FROM contents": "2 messages that are to be sent have no content",
}


async def test_what_does_not_fit_together_is_named(url: str) -> None:
    connection = await asyncpg.connect(url)
    for statement, said in FAULTS.items():
        await connection.execute("DROP SCHEMA IF EXISTS saved CASCADE; CREATE SCHEMA saved")
        tables = ("messages", "waiting", "flying", "follow_ups", "contents", "facts")
        for table in tables:
            await connection.execute(f"CREATE TABLE saved.{table} AS TABLE {table}")
        await connection.execute(statement)
        report = await check(url, None, KEYS)
        assert any(one.startswith(said) for one in report.faults), (statement, report.faults)
        for table in tables:
            await connection.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved.{table}")
    assert (await check(url, None, KEYS)).faults == ()
    await connection.close()


async def test_what_cannot_be_looked_at_is_named(url: str) -> None:
    with pytest.raises(OutboxError, match=r"store\.url: the database cannot be reached"):
        await check("postgresql://127.0.0.1:1/x", None)
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE facts SET value = '0' WHERE name = 'schema_version'")
    await connection.close()
    with pytest.raises(OutboxError, match="has schema version 0, and this postwire reads 1"):
        await check(url, None)

"""`postwire store migrate`: indexes come to a database that is in use without a pause of what writes to it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from click.testing import CliRunner, Result
from tests.support.build import new_message
from tests.support.postgres import new_database, server

from postwire.cli.root import root
from postwire.outbox.base import OutboxError
from postwire.outbox.postgres import PostgresOutbox, indexes, schema
from postwire.outbox.postgres.indexes import Migrated, build, missing, wanted
from postwire.outbox.postgres.queries import Connection
from postwire.outbox.postgres.schema import migrate, migrations, without_slow_indexes

NEWER = """
CREATE TABLE additions (addition bigint PRIMARY KEY, time bigint NOT NULL);
CREATE INDEX additions_by_time ON additions (time);
ALTER TABLE messages ADD COLUMN addition bigint;
CREATE INDEX messages_by_addition
    ON messages (addition)
    WHERE addition IS NOT NULL;
"""


def test_an_index_is_wanted_until_a_later_script_drops_it() -> None:
    assert list(wanted([NEWER])) == ["additions_by_time", "messages_by_addition"]
    assert list(wanted([NEWER, "DROP INDEX additions_by_time;\nSELECT 1;"])) == ["messages_by_addition"]
    everything = "\n".join(migrations())
    assert len(wanted(migrations())) == len(re.findall(r"CREATE (?:UNIQUE )?INDEX", everything)) > 10


def test_only_what_a_script_makes_itself_is_indexed_at_once() -> None:
    rest = without_slow_indexes(NEWER)
    assert "additions_by_time" in rest
    assert "ADD COLUMN addition" in rest
    assert "messages_by_addition" not in rest


@pytest.fixture
async def url() -> str:
    return await new_database()


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    made = await asyncpg.connect(url)
    yield made
    await made.close()


async def test_a_database_in_use_is_upgraded_by_a_node_and_indexed_by_the_command(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await missing(connection) == []
    scripts = [*migrations(), NEWER]
    monkeypatch.setattr(schema, "migrations", lambda: scripts)
    monkeypatch.setattr(indexes, "_wanted_now", lambda: wanted(scripts))
    await migrate(connection)  # as a node does that starts
    assert await missing(connection) == ["messages_by_addition"]

    writing = await asyncpg.connect(url)
    transaction = writing.transaction()
    await transaction.start()
    await writing.execute("DELETE FROM messages")  # it waits for those who have begun, and nobody waits for it
    building = asyncio.create_task(build(url, None))
    try:
        while "messages_by_addition" not in await names(connection):
            assert not building.done(), building
        await connection.execute("DELETE FROM messages")
        with pytest.raises(OutboxError, match="somebody else makes its indexes just now"):
            await build(url, None)
    finally:
        await transaction.rollback()
    version = len(scripts)
    assert await building == Migrated(version, version, ("messages_by_addition",))
    assert await missing(connection) == []
    assert await build(url, None) == Migrated(version, version, ())
    await writing.close()


async def names(connection: Connection) -> list[str]:
    return [one["relname"] for one in await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'i'")]


async def test_one_that_was_begun_and_not_finished_is_made_anew(url: str, connection: Connection) -> None:
    await connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'waiting_due'::regclass")
    await connection.execute("DROP INDEX events_in_order")
    assert await missing(connection) == ["waiting_due", "events_in_order"]
    done = await build(url, None)
    assert done.indexes == ("waiting_due", "events_in_order")
    assert await missing(connection) == []


def run(*args: str) -> Result:
    return CliRunner().invoke(root, ["store", "migrate", *args])


@pytest.mark.usefixtures("unconfigured")
def test_an_empty_database_gets_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    where = server()
    asyncio.run(create(where.url(), "empty_one"))
    monkeypatch.setenv("POSTWIRE_STORE__URL", where.url("empty_one"))
    printed = json.loads(run("--json").stdout)
    place = f"127.0.0.1:{where.port}/empty_one"
    assert printed == {"database": place, "before": 0, "after": len(migrations()), "indexes": []}
    done = run("--url", where.url("empty_one"))
    assert done.exit_code == 0
    assert [line.split(maxsplit=1)[0] for line in done.stdout.splitlines()] == [
        "WHAT",
        "database",
        *["schema"] * 2,
        "indexes",
    ]


async def create(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 4, "store.url: is not set, so there is no database; give one with --url"),
        (("--url", "postgresql://me:hunter2@127.0.0.1/x"), 2, "has a password in it, leave it out and use --pass"),
        (("--password-file", "none"), 2, "--password-file goes with --url"),
        (("--url", "postgresql://127.0.0.1/x", "--password-file", "none"), 2, "there is no such file"),
        (("--url", "postgresql://127.0.0.1:1/x"), 1, "store.url: the database cannot be reached"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(args: tuple[str, ...], code: int, said: str) -> None:
    done = run(*args)
    assert (done.exit_code, said in done.stderr.replace("\n", " ")) == (code, True), done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.usefixtures("unconfigured")
def test_a_database_is_not_backed_up_as_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTWIRE_STORE__URL", "postgresql://127.0.0.1:1/x")
    for command in (("backup", "copy.db"), ("restore", "copy.db")):
        done = CliRunner().invoke(root, ["store", *command])
        assert (done.exit_code, "the store is a database" in done.stderr) == (1, True)


async def test_a_node_of_an_older_release_joins_as_long_as_the_newer_schema_lets_it(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts, known = [*migrations(), NEWER], len(migrations())
    with monkeypatch.context() as newer:
        newer.setattr(schema, "migrations", lambda: scripts)
        await migrate(connection)
    older = await PostgresOutbox.open(url)
    assert (await older.accept(new_message())).created
    await older.close()
    await connection.execute("UPDATE facts SET value = $1 WHERE name = $2", str(known + 1), schema.MIN_READER)
    with pytest.raises(OutboxError, match=f"needs a postwire that knows version {known + 1}, and this one knows up to"):
        await PostgresOutbox.open(url)

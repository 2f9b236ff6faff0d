"""How PostgreSQL goes about the statements that write messages: by keys, also where a plan was made on empty tables."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from tests.support import build
from tests.support.postgres import new_database

from postwire.outbox.postgres import PostgresOutbox, database
from postwire.outbox.postgres.connecting import BY_INDEX, Hosts
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.queries import QUERIES, Connection

WRITES = ("accept", "advance", "advance_reported", "find_repeated", "known_request_ids", "keep_guard_counts")


@pytest.fixture
async def writing() -> AsyncIterator[Connection]:
    """A session for writes, of a new database."""
    connection = await Hosts(await new_database(), None).connect(BY_INDEX)
    yield connection
    await connection.close()


@pytest.mark.parametrize("name", WRITES)
async def test_a_plan_that_is_made_on_empty_tables_is_one_for_large_ones(writing: Connection, name: str) -> None:
    statement = QUERIES[name]
    count = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    given = ["1" if "node = $1" in statement else "'{}'", *["'{}'"] * (count - 1)]
    await writing.execute(f"PREPARE one AS {statement}")
    found = await writing.fetch(f"EXPLAIN (COSTS off) EXECUTE one({', '.join(given)})")
    plan = "\n".join(line for (line,) in found)
    assert "Seq Scan" not in plan, plan
    # Two parts of a statement that are joined one by one take a second for some thousands of messages.
    assert not re.search(r"Join Filter: .*message_id = ", plan), plan
    if "UPDATE messages" in statement:
        locks = plan[plan.index("CTE locked") : plan.index("CTE upd")]
        assert re.search(r"Nested Loop\s+->  CTE Scan on src", locks), plan


async def test_what_a_session_does_is_planned_anew_as_tables_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FIRST_PLANS", 0.0)
    monkeypatch.setattr(database, "LAST_PLANS", 0.0)
    outbox = await PostgresOutbox.open(await new_database())
    try:
        seen: list[str] = []

        async def watch(connection: Connection) -> None:
            connection.add_query_logger(lambda record: seen.append(record.query))

        await outbox.database.use(Lane.WRITE, watch)
        for _ in range(2):
            assert (await outbox.accept(build.new_message(build.command(request_id=build.new_request_id())))).created
        assert [query for query in seen if "DISCARD" in query or "INTO messages" in query] == [
            "DISCARD PLANS",
            QUERIES["accept"],
        ] * 2
    finally:
        await outbox.close()

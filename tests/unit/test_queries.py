"""Every statement finds its rows by an index: one that scans a table slows down as the store fills."""

from __future__ import annotations

import re
from collections.abc import Iterator

import apsw
import pytest

from postwire.outbox.queries import QUERIES
from postwire.outbox.schema import IN_MEMORY, connect, migrate

TABLES = re.compile(r"SCAN (messages|attempts|contents)\b(?! USING INDEX unsettled)")
NO_PLAN = {"begin", "commit", "rollback", "savepoint", "release"}


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = connect(IN_MEMORY, sync="full")
    migrate(connection, IN_MEMORY)
    yield connection
    connection.close()


def width_of(statement: str) -> int:
    """How many columns `{rows}` stands for: the list in parentheses before it."""
    columns = re.findall(r"\(([a-z_,\s]+)\)", statement[: statement.index("{rows}")])[-1]
    return len(columns.split(","))


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - NO_PLAN))
@pytest.mark.parametrize("count", [1, 64])
def test_no_statement_scans_a_table(connection: apsw.Connection, name: str, count: int) -> None:
    statement = QUERIES[name]
    if "{rows}" in statement:
        row = "(" + ", ".join("?" * width_of(statement)) + ")"
        statement = statement.replace("{rows}", ", ".join([row] * count))
    named = dict.fromkeys(re.findall(r":(\w+)", statement))
    bindings = named or [None] * statement.count("?")
    plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]
    assert not any(TABLES.search(step) for step in plan), plan
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in plan), plan

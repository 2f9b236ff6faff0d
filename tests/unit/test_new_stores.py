"""A new store that tests copy is as one that the migrations have made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
from tests.support.new_stores import copy_or_migrate

from postwire.outbox.sqlite.schema import IN_MEMORY, connect, migrate

Row = tuple[Any, ...]


def made_by(make: Callable[[apsw.Connection, str], None]) -> dict[str, list[Row]]:
    """All that is in a new store, by table."""
    connection = connect(IN_MEMORY, sync="full")
    make(connection, IN_MEMORY)
    found = {"sqlite_schema": rows_of(connection, "sqlite_schema")}
    for name in [name for kind, name, *_ in found["sqlite_schema"] if kind == "table"]:
        found[name] = rows_of(connection, name)
    for name in ("application_id", "user_version", "page_size", "encoding", "auto_vacuum"):
        found[name] = [(connection.pragma(name),)]
    connection.close()
    return found


def rows_of(connection: apsw.Connection, table: str) -> list[Row]:
    return [tuple(row) for row in connection.execute(f'SELECT * FROM "{table}"')]


def differing(one: dict[str, list[Row]], other: dict[str, list[Row]]) -> list[tuple[str, object]]:
    """Where two stores have other values, as (table, the first value of the row)."""
    assert {name: len(rows) for name, rows in one.items()} == {name: len(rows) for name, rows in other.items()}
    pairs = [(name, pair) for name in one for pair in zip(one[name], other[name], strict=True)]
    return [(name, left[0]) for name, (left, right) in pairs if left != right]


def test_a_copy_is_as_what_the_migrations_make_and_differs_from_others_as_that_does() -> None:
    migrated, copied = [made_by(migrate) for _ in range(2)], [made_by(copy_or_migrate) for _ in range(2)]
    of_each = differing(*migrated)
    assert of_each == [("facts", "store")]
    for pair in ((migrated[0], copied[0]), (copied[0], copied[1])):
        assert differing(*pair) == of_each

"""Every statement finds its rows by an index: one that scans a table slows down as the store fills.

So do those of a store that an older version made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import apsw
import pytest
from tests.support import first_version

from postwire.outbox.sqlite.queries import MAX_PIECE, QUERIES
from postwire.outbox.sqlite.schema import IN_MEMORY, connect, migrate

TABLES = re.compile(
    r"SCAN (messages|attempts|contents|labels|changes|facts|events|receipts|provider_ids|recipients|whom"
    r"|suppressions|guard_counts|inbound_events)\b"
)
NO_PLAN = {"begin", "commit", "rollback", "savepoint", "release"}
CHECKS = {name for name in QUERIES if name.startswith(("count_", "fault_", "encrypted_"))} | {
    "facts",
    "unapplied_receipts",
}
"""Those of `postwire store check` and `postwire store copy`, which read everything there is."""
SORTED = {"changes_after", "scheduled_counts"}
"""Those that sort: no more than one stretch of bounded length, or once a boot."""

PLANS = {
    "due": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=? AND next_attempt_time<?)",
    "next_due": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=? AND next_attempt_time>?)",
    "due_count": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=? AND next_attempt_time<?)",
    "all_due": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=? AND next_attempt_time<?)",
    "queued_count": "COVERING INDEX due (queue=? AND tenant=?)",
    "sending_queues": "INDEX unsettled (state=?)",
    "scheduled_counts": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=? AND next_attempt_time>?)",
    "next_queue": "COVERING INDEX due (queue>?)",
    "next_queue_of_name": "COVERING INDEX due (queue=? AND tenant>?)",
    "expired": "INDEX expiring (expire_time<?)",
    "next_expiry": "INDEX expiring",
    "past_deadline": "INDEX deadlines (deadline<?)",
    "next_deadline": "COVERING INDEX deadlines (deadline>?)",
    "shift_due": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=?)",
    "shift_deadlines": "INDEX unsettled (state=?)",
    "bound_due": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=? AND next_attempt_time>?)",
    "bound_deferred": "INDEX due (queue=? AND tenant=? AND priority=? AND <expr>=? AND next_attempt_time>?)",
    "orphans": "INDEX unsettled (state=?)",
    "scan_queued": "INTEGER PRIMARY KEY (rowid>?)",
    "reassign_messages": "INDEX sqlite_autoindex_messages_1 (message_id=?)",
    "messages_by_request_ids": "INDEX sqlite_autoindex_messages_2 (tenant=? AND request_id=?)",
    "events_end": "COVERING INDEX events_by_time (time>? AND time<?)",
    "list_events": "INDEX events_by_time (time>? AND time<?)",
    "oldest_event": "COVERING INDEX events_by_time",
    "list_end": "COVERING INDEX lists (tenant=? AND message_id<?)",
    "list_messages": "INDEX lists (tenant=? AND message_id>? AND message_id<?)",
}
"""By what those find their rows that are asked of a million of them."""


@pytest.fixture(params=["new", "migrated"], scope="module")
def connection(request: pytest.FixtureRequest) -> Iterator[apsw.Connection]:
    """For all tests of a kind: they ask for plans, and change nothing."""
    connection = connect(IN_MEMORY, sync="full")
    if request.param == "migrated":
        first_version.fill(connection)
    migrate(connection, IN_MEMORY)
    yield connection
    connection.close()


def width_of(statement: str) -> int:
    """How many columns `{rows}` stands for: the list in parentheses before it."""
    columns = re.findall(r"\(([a-z_,\s]+)\)", statement[: statement.index("{rows}")])[-1]
    return len(columns.split(","))


def plan_of(connection: apsw.Connection, name: str, count: int = 1) -> list[str]:
    statement = QUERIES[name]
    if "{rows}" in statement:
        row = "(" + ", ".join("?" * width_of(statement)) + ")"
        statement = statement.replace("{rows}", ", ".join([row] * count))
    named = dict.fromkeys(re.findall(r":(\w+)", statement))
    bindings = named or [None] * statement.count("?")
    return [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - NO_PLAN - CHECKS))
@pytest.mark.parametrize("count", [1, 64, MAX_PIECE])
def test_no_statement_scans_a_table(connection: apsw.Connection, name: str, count: int) -> None:
    plan = plan_of(connection, name, count)
    assert not any(TABLES.search(step) for step in plan), plan
    if name not in SORTED:
        assert not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize("name", PLANS)
def test_what_waits_is_found_by_what_it_authenticates(connection: apsw.Connection, name: str) -> None:
    steps = plan_of(connection, name)
    assert [step for step in steps if "messages" in step or "events" in step] == [
        f"SEARCH {'events' if 'event' in name else 'messages'} USING {PLANS[name]}"
    ]


def test_whoever_is_suppressed_is_found_by_an_index(connection: apsw.Connection) -> None:
    found = {
        name: next(step for step in plan_of(connection, name, 64) if "suppressions" in step)
        for name in ("suppressions_of", "list_suppressions", "last_suppression")
    }
    assert found == {
        "suppressions_of": "SEARCH suppressions USING INDEX suppressions_by_address (tenant=? AND address_hash=?)",
        "list_suppressions": "SEARCH suppressions USING INDEX suppressions_by_time (tenant=? AND create_time<?)",
        "last_suppression": "SEARCH suppressions",
    }


def test_each_state_that_is_not_settled_is_counted_by_itself(connection: apsw.Connection) -> None:
    steps = [step for step in plan_of(connection, "stats") if "messages" in step]
    assert steps == ["SEARCH messages USING COVERING INDEX unsettled (state=?)"] * 3

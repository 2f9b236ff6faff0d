"""No statement of PostgreSQL's reads a table from end to end that may be large, whenever its plan was made.

A session plans a statement once, for whatever comes, when it first runs it. That may be while everything is empty, and
is not looked at again until somebody has counted the rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import pytest
from tests.support.postgres import new_database

from postwire.outbox.postgres.connecting import ONE_BY_ONE, SESSION
from postwire.outbox.postgres.queries import QUERIES, Connection

ROWS: Final = 20_000

SMALL: Final = {"dropped", "nodes", "facts", "provider_states", "lookup_key", "encryption_keys", "guard_clock"}
"""Tables of few rows, whatever is sent."""

WHOLE: Final = {
    # What these are for is to count all that is not settled, to bring all of it onto another clock, or to forget all.
    "forget_changes",
    "stats",
    "load",
    "unsettled_by_queue",
    "scheduled_by_second",
    "shift_waiting",
    "shift_open",
    "shift_follow_ups",
    "bound_waiting",
}

LOOKING: Final = ("fault_", "count_states", "count_attempts", "count_keys", "encrypted_contents")
"""How those begin that look whether a store is sound, which go through all of it."""

ORDERED: Final = {"due": 1, "scan_queued": 0, "list_end": 0, "list_messages": 0, "settled_step": 0, "contents_step": 0}
"""How often each of these may sort: the rows come in order out of an index, and no more are read than are asked for."""

FILL: Final = f"""
INSERT INTO nodes (name, version, lease_until, lease_since, lease) VALUES ('a', '1', now(), now(), interval '15s');
INSERT INTO messages (
    message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee, ignore_suppression,
    accept_trace, create_time, update_time, expire_time, next_attempt_time, revision, queue, attempt_number,
    provider_name, error_code
)
SELECT
    lpad(to_hex(i), 32, '0')::uuid, 't' || i % 10, 'r' || i, '', 'sms', 'queued', i % 3, 'at_least_once', false, '', i,
    i, i + 1000000, i, 1, 'q' || i % 7, 0, '', ''
FROM generate_series(1, {ROWS}) AS i;
INSERT INTO waiting
SELECT message_id, tenant, queue, priority, false, next_attempt_time, expire_time, NULL FROM messages;
INSERT INTO contents SELECT message_id, '\\x01' FROM messages;
INSERT INTO changes (tenant, message_id, revision) SELECT tenant, message_id, 1 FROM messages;
INSERT INTO recipients SELECT message_id, '\\x01', '' FROM messages;
INSERT INTO provider_ids SELECT 'p', message_id::text, message_id, 1, -1 FROM messages;
INSERT INTO receipts (
    provider_name, event, message_id, attempt, recipient, state, code, part, permanent, receive_time, to_report,
    done_time
)
SELECT 'p', decode(md5(request_id), 'hex'), message_id, 1, -1, 'delivered', '', '', false, 1, false, create_time
FROM messages;
INSERT INTO suppressions (tenant, address_hash, sender, reason, source, create_time, expire_time, key_id)
SELECT tenant, decode(md5(request_id), 'hex'), '', 'operator', '', create_time, create_time, '' FROM messages;
INSERT INTO guard_counts SELECT decode(md5(request_id), 'hex'), '', create_time FROM messages;
INSERT INTO events (time, tenant, principal, method, target, result, reason)
SELECT create_time, tenant, '', '', '', '', '' FROM messages;
"""


@pytest.fixture(scope="module")
def names() -> list[str]:
    """The statements that read or write a table."""
    return [
        name
        for name, text in QUERIES.items()
        if name not in WHOLE and not name.startswith(LOOKING) and re.search(r"\b(FROM|INTO|UPDATE)\b", text)
    ]


async def test_each_goes_by_an_index_though_it_was_planned_when_all_was_empty(names: list[str]) -> None:
    connection = await asyncpg.connect(await new_database(), server_settings={**SESSION, **ONE_BY_ONE})
    await connection.execute("SET lock_timeout = 0")
    for table in await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ):
        await connection.execute(f"ALTER TABLE {table['relname']} SET (autovacuum_enabled = false)")
    planned = [name for name in names if await _is_planned(connection, name)]
    assert len(planned) > 40
    assert {"due", "heads", "all_heads", "queues", "advance", "accept", *ORDERED} <= {*planned}
    before = await _faults(connection, planned)
    await connection.execute(FILL)
    assert await _faults(connection, planned) == before == {}
    await connection.execute("ANALYZE")
    assert await _faults(connection, planned) == {}
    await connection.close()


async def _is_planned(connection: Connection, name: str) -> bool:
    """Prepare a statement, as one that is planned once; not if it is none that is."""
    try:
        await connection.execute(f"PREPARE {name} AS {QUERIES[name]}")
    except asyncpg.PostgresSyntaxError:
        return False
    return True


async def _faults(connection: Connection, names: list[str]) -> dict[str, list[str]]:
    """What is wrong with the plans that the session has of statements."""
    found = {}
    for name in names:
        count = max([0, *map(int, re.findall(r"\$(\d+)", QUERIES[name]))])
        given = f"({', '.join(['NULL'] * count)})" if count else ""
        text = await connection.fetchval(f"EXPLAIN (FORMAT json) EXECUTE {name}{given}")
        nodes = [*_nodes(json.loads(text)[0]["Plan"])]
        faults = [
            f"{node['Node Type']} of {node['Relation Name']}"
            for node in nodes
            if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan") and node["Relation Name"] not in SMALL
        ]
        sorts = sum(node["Node Type"] in ("Sort", "Incremental Sort") for node in nodes)
        if name in ORDERED and sorts > ORDERED[name]:
            faults.append(f"sorts {sorts} times")
        if faults:
            found[name] = faults
    return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for one in plan.get("Plans", ()):
        yield from _nodes(one)


async def test_a_look_at_all_queues_looks_for_nothing_that_is_not_there() -> None:
    connection = await asyncpg.connect(await new_database(), server_settings={**SESSION, **ONE_BY_ONE})
    await connection.execute(
        "INSERT INTO waiting SELECT gen_random_uuid(), 'default', 'q' || n, 1, false, n, n, n "
        "FROM generate_series(1, 50) AS n"
    )
    await connection.execute(f"PREPARE all_heads AS {QUERIES['all_heads']}")
    text = await connection.fetchval("EXPLAIN (ANALYZE, FORMAT json) EXECUTE all_heads(25, 25, 9)")
    looks = sum(
        node["Actual Loops"] for node in _nodes(json.loads(text)[0]["Plan"]) if node.get("Relation Name") == "waiting"
    )
    assert 100 <= looks <= 3 * 50 + 1, "for the next queue, for what is due in each, and for what is next"
    await connection.close()

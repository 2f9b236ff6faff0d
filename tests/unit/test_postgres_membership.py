"""Nodes that share a database: what the statements make of their leases is what `core.leases` says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tests.support import build
from tests.support.idle import CALM
from tests.support.outboxes import keep
from tests.support.postgres import new_database

from postwire.core import leases
from postwire.core.leases import Lease, Terms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Announcement, NodeDead
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.queries import QUERIES
from postwire.outbox.postgres.store import PostgresOutbox

SECOND = 1_000_000
TERMS = Terms(15 * SECOND, 3 * SECOND)
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8"
HELD = Lease(13 * SECOND, -20 * SECOND)
"""A lease that was renewed two seconds ago, and held for twenty."""


class Shared:
    """Nodes of one database, whose leases a test can set. Times are from now on."""

    def __init__(self, url: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.url = url
        self.connection = connection
        self.nodes: list[PostgresOutbox] = []

    async def join(self) -> Any:
        node = await PostgresOutbox.open(self.url, name=f"node-{len(self.nodes)}", lease=TERMS.lease / 1e6)
        self.nodes.append(node)
        return node

    async def give(self, node: PostgresOutbox, lease: Lease) -> None:
        await self.connection.execute(
            "UPDATE nodes SET lease_until = clock_timestamp() + $2 * interval '1 microsecond', "
            "lease_since = clock_timestamp() + $3 * interval '1 microsecond' WHERE node = $1",
            node.number,
            float(lease.until),
            float(lease.since),
        )

    async def lease(self, node: PostgresOutbox) -> Lease:
        row = await self.connection.fetchrow(
            "SELECT extract(epoch FROM lease_until - clock_timestamp()) * 1e6, "
            "extract(epoch FROM lease_since - clock_timestamp()) * 1e6 FROM nodes WHERE node = $1",
            node.number,
        )
        assert row
        return Lease(int(row[0]), int(row[1]))


@pytest.fixture
async def shared() -> AsyncIterator[Shared]:
    url = await new_database()
    connection = await asyncpg.connect(url)
    found = Shared(url, connection)
    yield found
    for node in found.nodes:
        await node.close()
    await connection.close()


async def heartbeat(node: PostgresOutbox) -> bool:
    return (await node.heartbeat(Announcement(), TERMS.gap)).may_reap


async def reap(node: PostgresOutbox, expected: int = 0) -> list[int]:
    """What it takes for dead where it expects the store's clock to be so far ahead (µs)."""
    time = await node.database.transact(Lane.READ, lambda connection: connection.fetchval(NOW))
    return list(await node.reap(time + expected, TERMS.tolerance))


LEASES = {
    "just begun": Lease(15 * SECOND, 0),
    "held": HELD,
    "held for not quite a term": Lease(13 * SECOND, -10 * SECOND),
    "renewed rather long ago": Lease(10 * SECOND, -20 * SECOND),
    "renewed too long ago": Lease(8 * SECOND, -20 * SECOND),
    "run out": Lease(-1 * SECOND, -60 * SECOND),
    "renewed by a clock that was set back since": Lease(20 * SECOND, -60 * SECOND),
    "renewed by one that was set back a little": Lease(17 * SECOND, -60 * SECOND),
    "begun by a clock that was set back since": Lease(14 * SECOND, 30 * SECOND),
}


async def test_a_heartbeat_renews_a_lease_as_it_is_said_to(shared: Shared) -> None:
    node = await shared.join()
    for name, lease in LEASES.items():
        await shared.give(node, lease)
        may_reap = await heartbeat(node)
        expected, found = leases.renewed(lease, 0, TERMS), await shared.lease(node)
        assert abs(found.until - expected.until) < SECOND, name
        assert abs(found.since - expected.since) < SECOND, name
        assert may_reap is leases.may_reap(expected, 0, TERMS), name


async def test_whoever_has_lapsed_is_reaped_by_one_who_may(shared: Shared) -> None:
    node, neighbour = await shared.join(), await shared.join()
    for (own, lease), (other, another) in itertools.product(LEASES.items(), LEASES.items()):
        await shared.give(node, lease)
        await shared.give(neighbour, another)
        expected = leases.may_reap(lease, 0, TERMS) and leases.has_lapsed(another, 0, TERMS)
        assert (await reap(node)) == [neighbour.number] * expected, (own, other)
        assert (await reap(node)) == []
        if expected:
            with pytest.raises(NodeDead):
                await heartbeat(neighbour)
            await neighbour.close()
            neighbour = await shared.join()


@pytest.mark.parametrize("expected", [-2 * SECOND, 2 * SECOND])
async def test_nobody_is_reaped_by_a_clock_that_was_set(shared: Shared, expected: int) -> None:
    node, neighbour = await shared.join(), await shared.join()
    await shared.give(node, HELD)
    await shared.give(neighbour, Lease(-SECOND, -60 * SECOND))
    assert await reap(node, expected) == []
    assert await reap(node) == [neighbour.number]


async def test_a_node_is_reaped_by_its_own_terms(shared: Shared) -> None:
    node = await shared.join()
    patient = await PostgresOutbox.open(shared.url, name="patient", lease=60.0)
    shared.nodes.append(patient)
    await patient.heartbeat(Announcement(), TERMS.gap)
    await shared.give(node, HELD)
    assert (await reap(node)) == [], "its lease is longer than ours can be, and it has one"


async def test_the_first_of_those_that_live_leads(shared: Shared) -> None:
    first, second, third = [await shared.join() for _ in range(3)]
    found = await second.heartbeat(Announcement(seen=third.number), TERMS.gap)
    assert [(one.number, one.rank) for one in found.members] == [
        (first.number, 0),
        (second.number, 1),
        (third.number, 2),
    ]
    assert not found.is_leader
    await first.leave()
    found = await second.heartbeat(Announcement(), TERMS.gap)
    assert [one.number for one in found.members] == [second.number, third.number]
    assert found.is_leader
    assert found.me
    assert found.me.name == "node-1"
    with pytest.raises(NodeDead):
        await heartbeat(first)


async def test_what_a_node_has_been_asked_for_is_kept_before_it_is_gone(shared: Shared) -> None:
    """What a drain cuts short may have its result on the way to the store."""
    node = await shared.join()
    new = await keep(node)
    async with shared.connection.transaction():
        await shared.connection.execute("SELECT 1 FROM messages FOR UPDATE")
        last = asyncio.ensure_future(node.advance(new.record, build.ended(new.record)))
        leaving = asyncio.ensure_future(node.leave())
        for _ in range(CALM):
            await shared.connection.execute("SELECT 1")
        assert not leaving.done()
    assert await last
    await leaving
    assert await shared.connection.fetchval("SELECT dead FROM nodes WHERE node = $1", node.number)


async def test_one_whose_clock_is_wrong_has_no_rank(shared: Shared) -> None:
    first, second = await shared.join(), await shared.join()
    found = await first.heartbeat(Announcement(clock_offset=-31 * SECOND), TERMS.gap)
    assert [one.rank for one in found.members] == [None, 0]
    assert not found.is_leader
    assert (await second.heartbeat(Announcement(), TERMS.gap)).is_leader


async def test_one_whose_lease_has_run_out_is_no_member_and_neither_dead(shared: Shared) -> None:
    first, second = await shared.join(), await shared.join()
    await shared.give(first, Lease(-SECOND, -60 * SECOND))
    assert [one.number for one in await second.members()] == [second.number]
    assert (await second.heartbeat(Announcement(), TERMS.gap)).is_leader
    assert not await heartbeat(first), "it may not reap, having been away"
    assert [one.number for one in await second.members()] == [first.number, second.number]


async def test_a_number_is_never_used_again_and_what_is_dead_is_forgotten_in_the_end(shared: Shared) -> None:
    first, second = await shared.join(), await shared.join()
    await first.leave()
    await shared.give(second, HELD)
    await reap(second)
    assert await shared.connection.fetchval("SELECT count(*) FROM nodes") == 2
    await shared.give(first, Lease(-8 * 86_400 * SECOND, -9 * 86_400 * SECOND))
    await reap(second)
    assert await shared.connection.fetchval("SELECT count(*) FROM nodes") == 1
    assert (await shared.join()).number > second.number


async def test_one_who_is_dead_changes_nothing(shared: Shared) -> None:
    node, other = await shared.join(), await shared.join()
    new = await keep(node)
    await shared.give(node, Lease(-SECOND, -60 * SECOND))
    await shared.give(other, HELD)
    assert (await reap(other)) == [node.number]
    assert not await node.advance(new.record, build.ended(new.record))
    after = build.ended(new.record, DispatchResult(Outcome.UNCERTAIN))
    assert await other.advance(new.record, after)


async def test_strays_are_what_is_open_in_the_name_of_a_node_and_not_carried(shared: Shared) -> None:
    node, other = await shared.join(), await shared.join()
    carried, stray = await keep(node), await keep(node)
    await keep(other)
    (found,) = await node.strays([carried.record.message_id], 9)
    assert (found.record, found.content) == (stray.record, stray.content)
    assert {one.record.message_id for one in await node.strays([], 9)} == {
        carried.record.message_id,
        stray.record.message_id,
    }
    assert len(await node.strays([], 1)) == 1


async def test_whoever_has_lapsed_counts_as_not_dead_until_he_is_reaped(shared: Shared) -> None:
    node, neighbour = await shared.join(), await shared.join()
    await shared.give(neighbour, Lease(-SECOND, -20 * SECOND))
    await shared.give(node, HELD)
    found = await node.heartbeat(Announcement(), TERMS.gap)
    assert [one.number for one in found.members] == [node.number]
    assert found.not_dead == (node.number, neighbour.number)
    assert (await reap(node)) == [neighbour.number]
    assert (await node.heartbeat(Announcement(), TERMS.gap)).not_dead == (node.number,)


async def test_numbers_of_nodes_come_to_be_seen_in_their_order(shared: Shared) -> None:
    """Whoever says that he has seen one has seen all that are lower."""
    slow = await asyncpg.connect(shared.url)
    held = slow.transaction()
    await held.start()
    (first,) = await slow.fetch(QUERIES["join"], "slow", "1.0", timedelta(seconds=15))
    second = asyncio.create_task(shared.join())
    while not await shared.connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    ):
        await shared.connection.execute("SELECT pg_sleep(0.01)")
    assert not second.done()
    await held.commit()
    assert (await second).number > first["node"]
    await slow.close()


async def test_no_heartbeat_waits_for_those_who_read(shared: Shared) -> None:
    node, operator = await shared.join(), await shared.join()
    await operator.set_drained("a", True)
    await shared.connection.execute("INSERT INTO encryption_keys (key_id, proof) VALUES ('k', '')")
    await shared.connection.execute("SELECT pg_advisory_lock(1)")
    is_reading = asyncio.Event()

    async def read(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        is_reading.set()
        await connection.execute("SELECT pg_advisory_lock(1)")

    reading = asyncio.ensure_future(node.database.use(Lane.READ, read))
    await is_reading.wait()
    states = (await node.heartbeat(Announcement(), TERMS.gap)).provider_states
    assert states["a"].is_drained
    assert not reading.done()
    await shared.connection.execute("SELECT pg_advisory_unlock(1)")
    await reading

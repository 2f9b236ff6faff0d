"""What must happen, fault by fault: one test for each line of the design's table, but for those of `ha`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.nodes.chaos import LEASE, LocalChaos, rules
from tests.nodes.cluster import DEAD, Node
from tests.nodes.conftest import with_postgres
from tests.nodes.served import REQUEST_ID
from tests.nodes.ways import Way
from tests.support.driver import AT_MOST_ONCE, connect, in_seconds, why_of
from tests.support.waiting import PATIENCE

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import DispatchOptions, Message, OutboundMessage, Sms

ACCEPTANCE = message_pb2.WAIT_FOR_ACCEPTANCE
QUEUED, SENDING, SENT = (getattr(message_pb2, f"MESSAGE_STATE_{state}") for state in ("QUEUED", "SENDING", "SENT"))
STATE_UNCERTAIN = message_pb2.MESSAGE_STATE_UNCERTAIN
UNCERTAIN, SUCCESS = message_pb2.OUTCOME_UNCERTAIN, message_pb2.OUTCOME_SUCCESS
ENOUGH = 5 * LEASE
"""Seconds of which a node is certainly taken for dead."""

_numbers = itertools.count(1)


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is true: of processes that tell nobody."""
    async with asyncio.timeout(PATIENCE):
        while not await question():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


class Quiet(LocalChaos):
    """Nodes to which nothing happens but what the test does, with a vendor that takes everything. `ways` are those
    from each node to the database."""

    async def begin(self) -> None:
        """Start it all."""
        self.ways = {f"node-{number}": Way(self.database.port) for number in (1, 2)}
        for way in self.ways.values():
            await way.start()
        await self.start(callers=0)
        self.vendor.is_well, self.vendor.reports = True, False
        self.first, self.second = self.cluster.nodes

    def url_for(self, name: str) -> str:
        """See `Chaos.url_for`."""
        return self.database.url().replace(str(self.database.port), str(self.ways[name].port))

    async def stop(self) -> None:
        """See `Chaos.stop`."""
        await super().stop()
        for way in self.ways.values():
            await way.stop()

    async def send(self, node: Node, options: DispatchOptions | None = None, wait: float = PATIENCE) -> Message:
        """Send one message; answered once it is accepted."""
        chosen = options or DispatchOptions()
        chosen.wait_for = ACCEPTANCE
        request_id = f"q-{next(_numbers)}"
        message = OutboundMessage(sms=Sms(to="+14155550132", body="Hello"), labels={REQUEST_ID: request_id})
        async with connect(node.address) as channel:
            stub: Any = DispatchServiceStub(channel)
            asked = pb.DispatchRequest(request_id=request_id, message=message, options=chosen)
            answered: Message = (await stub.Dispatch(asked, timeout=wait)).message
        return answered

    async def get(self, node: Node, message_id: str) -> Message:
        """What a node says of a message."""
        async with connect(node.address) as channel:
            stub: Any = DispatchServiceStub(channel)
            found: Message = (await stub.GetMessage(pb.GetMessageRequest(message_id=message_id))).message
        return found

    async def becomes(self, node: Node, message_id: str, *states: message_pb2.MessageState.ValueType) -> Message:
        """Return a message once it is in one of the states, as a node says."""

        async def is_there() -> bool:
            return (await self.get(node, message_id)).state in states

        await until(is_there)
        return await self.get(node, message_id)

    async def health(self, node: Node) -> int:
        """What the health service of a node says."""
        async with connect(node.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            status: int = (await stub.Check(health_pb2.HealthCheckRequest())).status
        return status

    async def healthy(self, node: Node, status: int) -> None:
        """Return once it says so."""

        async def is_there() -> bool:
            return await self.health(node) == status

        await until(is_there)

    async def rows(self, query: str) -> list[asyncpg.Record]:
        """What the database has."""
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            return list(await connection.fetch(query))
        finally:
            connection.terminate()


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Quiet]:
    made = with_postgres(lambda: Quiet(tmp_path, nodes=2))
    try:
        await made.begin()
        yield made
        record = await made.settle()
        assert made.verify(record) == {}
        assert made.strange() == []
    finally:
        await made.stop()


def once() -> DispatchOptions:
    return DispatchOptions(delivery_guarantee=AT_MOST_ONCE)


async def test_what_a_killed_node_had_is_uncertain_and_what_waits_goes_on(nodes: Quiet) -> None:
    nodes.vendor.is_free.clear()
    waits = await nodes.send(nodes.first, DispatchOptions(send_time=in_seconds(LEASE / 2)))
    again, only_once = await nodes.send(nodes.first), await nodes.send(nodes.first, once())
    await nodes.vendor.has(again.message_id)
    await nodes.vendor.has(only_once.message_id)
    await nodes.first.kill()
    nodes.vendor.is_free.set()
    sent = await nodes.becomes(nodes.second, again.message_id, SENT)
    assert [one.outcome for one in sent.attempts] == [UNCERTAIN, SUCCESS]
    left = await nodes.becomes(nodes.second, only_once.message_id, STATE_UNCERTAIN)
    assert [one.outcome for one in left.attempts] == [UNCERTAIN]
    untouched = await nodes.becomes(nodes.second, waits.message_id, SENT)
    assert [one.outcome for one in untouched.attempts] == [SUCCESS]


@pytest.mark.long
async def test_a_node_that_is_stopped_too_soon_leaves_what_it_handed_over_uncertain(nodes: Quiet) -> None:
    nodes.vendor.is_free.clear()
    handed = await nodes.send(nodes.first, once())
    await nodes.vendor.has(handed.message_id)
    waits = await nodes.send(nodes.first, DispatchOptions(send_time=in_seconds(1)))
    assert await nodes.first.terminate() == 0
    left = await nodes.becomes(nodes.second, handed.message_id, STATE_UNCERTAIN)
    assert [one.outcome for one in left.attempts] == [UNCERTAIN]
    nodes.vendor.is_free.set()
    sent = await nodes.becomes(nodes.second, waits.message_id, SENT)
    assert [one.outcome for one in sent.attempts] == [SUCCESS]
    dead = {row["name"]: row["dead"] for row in await nodes.rows("SELECT name, dead FROM nodes")}
    assert dead == {nodes.first.name: True, nodes.second.name: False}


async def test_a_node_that_was_paused_past_its_lease_ends_and_changes_nothing(nodes: Quiet) -> None:
    nodes.vendor.is_free.clear()
    handed = await nodes.send(nodes.first, once())
    await nodes.vendor.has(handed.message_id)
    nodes.first.pause()
    left = await nodes.becomes(nodes.second, handed.message_id, STATE_UNCERTAIN)
    nodes.vendor.is_free.set()
    nodes.first.go_on()
    assert await nodes.first.wait() == DEAD
    assert await nodes.get(nodes.second, handed.message_id) == left, "it has written down a result that came too late"


@pytest.mark.long
async def test_a_database_that_is_away_for_13_seconds_has_nobody_reaped(nodes: Quiet) -> None:
    nodes.vendor.is_free.clear()
    handed = await nodes.send(nodes.first)
    await nodes.vendor.has(handed.message_id)
    numbers = await nodes.rows("SELECT node, dead FROM nodes ORDER BY node")
    away = asyncio.create_task(nodes.away(13.0))
    await nodes.healthy(nodes.first, health_pb2.HealthCheckResponse.NOT_SERVING)
    await nodes.healthy(nodes.second, health_pb2.HealthCheckResponse.NOT_SERVING)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await nodes.send(nodes.second)
    assert why_of(raised.value) == "UNAVAILABLE STORE_UNAVAILABLE"
    nodes.vendor.is_free.set()
    await away
    await nodes.healthy(nodes.first, health_pb2.HealthCheckResponse.SERVING)
    await nodes.healthy(nodes.second, health_pb2.HealthCheckResponse.SERVING)
    sent = await nodes.becomes(nodes.second, handed.message_id, SENT)
    assert [one.outcome for one in sent.attempts] == [SUCCESS], "what it had to write down was tried again"
    assert await nodes.rows("SELECT node, dead FROM nodes ORDER BY node") == numbers


@pytest.mark.long
async def test_a_node_that_is_cut_off_from_the_database_opens_nothing_and_others_take_over(nodes: Quiet) -> None:
    nodes.vendor.is_free.clear()
    handed = await nodes.send(nodes.first, once())
    await nodes.vendor.has(handed.message_id)
    waits = await nodes.send(nodes.first, DispatchOptions(send_time=in_seconds(2)))
    nodes.ways["node-1"].is_whole = False
    await nodes.healthy(nodes.first, health_pb2.HealthCheckResponse.NOT_SERVING)
    left = await nodes.becomes(nodes.second, handed.message_id, STATE_UNCERTAIN)
    nodes.vendor.is_free.set()
    await nodes.becomes(nodes.second, waits.message_id, SENT)
    assert [one.node for one in nodes.vendor.calls(waits.message_id)] == ["node-2"]
    nodes.ways["node-1"].mend()
    assert await nodes.first.wait() == DEAD
    assert await nodes.get(nodes.second, handed.message_id) == left


@pytest.mark.long
async def test_writes_pause_while_the_standby_is_lost_and_are_not_cancelled(nodes: Quiet) -> None:
    await nodes.rows("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await nodes.rows("SELECT pg_reload_conf()")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await nodes.send(nodes.first, wait=LEASE * 4)
    assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    cancelled = "canceling wait for synchronous replication due to user request"
    assert cancelled not in nodes.database.log()
    # Each connection that was given up leaves one behind, and no more than that.
    waiting = await nodes.rows("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    assert 0 < len(waiting) < 15
    await nodes.rows("ALTER SYSTEM RESET synchronous_standby_names")
    await nodes.rows("SELECT pg_reload_conf()")
    await nodes.healthy(nodes.second, health_pb2.HealthCheckResponse.SERVING)
    await nodes.send(nodes.second)


@pytest.mark.long
async def test_two_versions_of_the_configuration_are_warned_of_and_agree_on_their_queues(nodes: Quiet) -> None:
    assert await nodes.first.terminate() == 0
    assert await nodes.second.terminate() == 0
    nodes.start_node(nodes.first, "left")
    await nodes.first.ready()
    nodes.start_node(nodes.second, "right")
    await nodes.second.ready()
    assert rules("left") != rules("right")

    async def is_noticed() -> bool:
        warnings = "".join(nodes.first.lines)
        return "another configuration than this one: " in warnings and "routes" in warnings

    await until(is_noticed)
    found = await nodes.rows("SELECT queues FROM nodes WHERE NOT dead")
    one, other = (set(row["queues"]) for row in found)
    assert len(one & other) >= 2, "rules that agree have the same keys, whatever stands before them"
    assert one != other

"""Ways are cut between nodes and the database, and between its members: one way first, then both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from tests.nodes.chaos import ATTEMPT, LEASE
from tests.nodes.ha.conftest import FailingOver
from tests.nodes.ha.patroni import MEMBERS

BEFORE = AFTER = 5.0
CUT = 3 * LEASE
"""Seconds, and longer than the watchdogs of nodes."""

OVER = int((LEASE + ATTEMPT) * 1e9) + 1_000_000_000
"""ns after which nothing of a node that was cut off may come to a provider, with a second for the machine."""


@pytest.mark.parametrize("first", ["downstream", "upstream"])
async def test_a_node_that_is_cut_off_opens_nothing_and_others_go_on(
    chaos: FailingOver, note: Callable[[str], None], first: str
) -> None:
    await asyncio.sleep(BEFORE)
    node, other = chaos.cluster.nodes
    at = time.time_ns()
    for directions in ((first,), ("upstream", "downstream")):
        for way in chaos.ways_of(node.name, MEMBERS):
            await asyncio.to_thread(chaos.patroni.proxies.mend, way)
            await asyncio.to_thread(chaos.patroni.proxies.cut, way, *directions)
        await asyncio.sleep(CUT)
    late = [one for one in chaos.ledger.handed if one.node == node.name and one.time > at + OVER]
    assert late == []
    served = [one for one in chaos.ledger.handed if one.node == other.name and one.time > at + OVER]
    assert served
    for way in chaos.ways_of(node.name, MEMBERS):
        await asyncio.to_thread(chaos.patroni.proxies.mend, way)
    await asyncio.sleep(AFTER)
    record = await chaos.settle()
    note(f"node cut off, {first} first: {chaos.summary(record)}")
    assert chaos.verify(record) == {}
    assert chaos.strange() == []


@pytest.mark.parametrize("first", ["downstream", "upstream"])
async def test_a_leader_that_is_cut_off_from_its_cluster_acknowledges_nothing_that_is_lost(
    chaos: FailingOver, note: Callable[[str], None], first: str
) -> None:
    patroni = chaos.patroni
    await asyncio.sleep(BEFORE)
    at, leader = time.time_ns(), patroni.leader()
    ways = (f"etcd-{leader}", f"replication-{leader}")
    for directions in ((first,), ("upstream", "downstream")):
        for way in ways:
            await asyncio.to_thread(patroni.proxies.mend, way)
            await asyncio.to_thread(patroni.proxies.cut, way, *directions)
        await asyncio.sleep(CUT)
    await chaos.acknowledged_again(since=time.time_ns())
    for way in ways:
        await asyncio.to_thread(patroni.proxies.mend, way)
    await asyncio.to_thread(patroni.healthy)
    await asyncio.sleep(AFTER)
    record = await chaos.settle()
    pause, begun = chaos.longest_pause(at)
    note(
        f"leader cut off, {first} first: pg{leader}, then pg{patroni.leader()}; nothing acknowledged for "
        f"{pause:.1f} s, beginning {begun:.1f} s after; {chaos.summary(record)}"
    )
    assert chaos.verify(record) == {}
    assert chaos.strange() == []

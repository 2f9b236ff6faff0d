"""A node: when it may act, by whose clock it lives, and what it does as the leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.postgres import new_database
from tests.support.waiting import within

from postwire.core.errors import StoreUnavailable
from postwire.core.leases import Terms
from postwire.nodes.clock import NodeClock
from postwire.nodes.leadership import Leadership
from postwire.nodes.node import Node
from postwire.outbox.base import Announcement, Heartbeat, NodeShare
from postwire.outbox.postgres.store import PostgresOutbox
from postwire.outbox.sqlite import SqliteOutbox

SECOND = 1_000_000
TERMS = Terms(15 * SECOND, 3 * SECOND)
SOON = Terms(600_000, 100_000)
"""Terms under which things happen while a test waits for them."""


class Unsteady(PostgresOutbox):
    """One that answers no heartbeat while it is `cut_off`."""

    cut_off = False

    async def heartbeat(self, announcement: Announcement, gap: int) -> Heartbeat:
        if self.cut_off:
            raise StoreUnavailable
        return await super().heartbeat(announcement, gap)


class BootTime:
    """The machine's clocks, as a test has them."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND
        self.wall_ahead: int | None = None

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def url() -> str:
    return await new_database()


@pytest.fixture
async def outbox(url: str) -> AsyncIterator[Any]:
    opened = await Unsteady.open(url, name="first")
    yield opened
    await opened.close()


@pytest.fixture
async def second(url: str) -> AsyncIterator[Any]:
    opened = await Unsteady.open(url, name="second")
    yield opened
    await opened.close()


async def joined(outbox: Any, terms: Terms = TERMS) -> tuple[Node, BootTime]:
    boot_time = BootTime()
    node = Node(outbox, terms, NodeClock(boot_time=boot_time))
    await node.start()
    return node, boot_time


# Its lease.


async def test_a_node_may_act_as_long_as_its_lease_surely_holds(outbox: Any) -> None:
    node, boot_time = await joined(outbox)
    assert node.may_act()
    assert node.is_leader
    boot_time.now += TERMS.acting - 1
    assert node.may_act()
    boot_time.now += 1
    assert not node.may_act()
    assert not node.is_leader
    await node.announce()
    assert node.may_act()
    await node.stop()


async def test_the_lease_counts_from_before_a_heartbeat_was_sent(outbox: Any) -> None:
    node, boot_time = await joined(outbox)
    answered = outbox.heartbeat

    async def slow(*args: Any) -> Heartbeat:
        found: Heartbeat = await answered(*args)
        boot_time.now += 20 * SECOND
        return found

    outbox.heartbeat = slow
    await node.announce()
    assert not node.may_act()
    await node.stop()


async def test_whoever_listens_hears_of_it_before_the_node_goes_on(outbox: Any) -> None:
    node, boot_time = await joined(outbox)
    heard: list[bool] = []
    node.on_heartbeat(lambda heartbeat: heard.append(node.may_act()))
    boot_time.now += 20 * SECOND
    await node.announce()
    assert heard == [False]
    assert node.may_act()
    await node.stop()


def fail(_: Heartbeat) -> None:
    raise ValueError


async def test_a_listener_that_fails_costs_no_lease(outbox: Any) -> None:
    node, boot_time = await joined(outbox)
    node.on_heartbeat(fail)
    boot_time.now += 20 * SECOND
    await node.announce()
    assert node.may_act()
    await node.stop()


async def test_the_store_counts_as_unavailable_while_the_lease_may_be_lost(outbox: Any) -> None:
    heard: asyncio.Queue[bool] = asyncio.Queue()
    outbox.on_availability(heard.put_nowait)
    node = Node(outbox, SOON, NodeClock())
    await node.start()
    outbox.cut_off = True
    assert await within(heard.get()) is False
    assert not node.may_act()
    outbox.cut_off = False
    assert await within(heard.get()) is True
    assert node.may_act()
    await node.stop()


async def test_one_that_is_taken_for_dead_never_acts_again(outbox: Any, second: Any) -> None:
    died = asyncio.Event()
    node = Node(outbox, SOON, NodeClock())
    node.on_dead = died.set
    await node.start()
    await outbox.leave()
    await within(died.wait())
    assert node.is_dead
    assert not node.may_act()
    assert not outbox.available
    await node.stop()


async def test_one_that_lives_alone_may_always_act() -> None:
    outbox = await SqliteOutbox.open(":memory:")
    node = Node(outbox, TERMS)
    assert node.may_act()
    assert node.is_leader
    node.queue_keys = ["sms:1"]
    await node.start()
    (me,) = await outbox.members()
    assert me.queue_keys == ("sms:1",)
    await node.stop()
    await outbox.close()


async def test_what_a_node_says_of_itself_is_there_once_it_is_announced(outbox: Any, second: Any) -> None:
    node, _ = await joined(outbox)
    node.queue_keys, node.shares, node.seen, node.acknowledged = ["b", "a"], [NodeShare("p", 1)], 2, 3
    await node.announce()
    (me, _) = await second.members()
    assert (me.queue_keys, me.shares, me.seen, me.acknowledged) == (("a", "b"), (NodeShare("p", 1),), 2, 3)
    assert node.served_keys == {"a", "b"}
    await node.stop()


# Its clock.


async def test_it_lives_by_the_clock_of_the_store(outbox: Any) -> None:
    boot_time = BootTime()
    clock = NodeClock(boot_time=boot_time)
    node = Node(outbox, TERMS, clock)
    await node.start()
    assert node.last
    assert clock.wall() == clock.due() == node.last.time
    boot_time.now += 5 * SECOND
    assert clock.wall() == clock.due() == node.last.time + 5 * SECOND
    assert clock.machine() is None, "what is counted by it goes on at other machines"
    await node.stop()


def test_a_clock_stays_as_it_is_where_it_may_be_right() -> None:
    boot_time = BootTime()
    clock = NodeClock(boot_time=boot_time)
    clock.measured(100, 10_000, 100)
    assert clock.ahead == 9_900
    clock.measured(200, 10_150, 300)  # it is 9,850 to 9,950 ahead
    assert clock.ahead == 9_900
    clock.measured(400, 10_420, 500)  # 9,920 to 10,020
    assert clock.ahead == 9_920
    clock.measured(600, 10_400, 700)  # 9,700 to 9,800
    assert clock.ahead == 9_800


@pytest.mark.parametrize("wrong", [-31 * SECOND, 31 * SECOND])
async def test_one_whose_machine_has_another_time_takes_no_part(outbox: Any, second: Any, wrong: int) -> None:
    boot_time = BootTime()
    clock = NodeClock(boot_time=boot_time)
    ahead = [0]
    node = Node(outbox, TERMS, clock, wall_time=lambda: clock.wall() + ahead[0])
    await node.start()
    await node.announce()
    assert abs(node.clock_offset) < SECOND
    assert node.is_leader
    ahead[0] = wrong
    await node.announce()
    assert abs(node.clock_offset - wrong) < SECOND
    assert not node.may_act()
    assert not outbox.available
    await node.announce()
    assert node.last
    assert [one.rank for one in node.last.members] == [None, 0]
    ahead[0] = 0
    await node.announce()
    assert node.may_act()
    assert outbox.available
    await node.stop()


# As the leader.


class Duty:
    """Notes when it is begun and ended."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[str] = asyncio.Queue()

    def start(self) -> None:
        self.changes.put_nowait("started")

    async def stop(self) -> None:
        self.changes.put_nowait("stopped")


async def test_duties_come_and_go_with_leadership(outbox: Any, second: Any) -> None:
    first_node, _ = await joined(outbox, SOON)
    node = Node(second, SOON, NodeClock())
    await node.start()
    duty = Duty()
    leadership = Leadership(node, [duty])
    leadership.start()
    await node.announce()
    assert duty.changes.empty(), "another one leads"
    await first_node.stop()
    await outbox.leave()
    assert await within(duty.changes.get()) == "started"
    await leadership.stop()
    assert await within(duty.changes.get()) == "stopped"
    await node.stop()


async def test_one_that_lives_alone_has_them_at_once() -> None:
    outbox = await SqliteOutbox.open(":memory:")
    duty = Duty()
    leadership = Leadership(Node(outbox, TERMS), [duty])
    leadership.start()
    assert duty.changes.get_nowait() == "started"
    await leadership.stop()
    assert duty.changes.get_nowait() == "stopped"
    await outbox.close()


async def test_a_duty_that_fails_keeps_nobody_from_the_others() -> None:
    class Failing(Duty):
        def start(self) -> None:
            raise ValueError

        async def stop(self) -> None:
            raise ValueError

    outbox = await SqliteOutbox.open(":memory:")
    duty = Duty()
    leadership = Leadership(Node(outbox, TERMS), [Failing(), duty])
    leadership.start()
    assert duty.changes.get_nowait() == "started"
    await leadership.stop()
    assert duty.changes.get_nowait() == "stopped"
    await outbox.close()

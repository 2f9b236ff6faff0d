"""What a node does at every heartbeat: its share of limits, what operators have done at others, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.clock import ManualClock
from tests.support.configs import ONE, TWO
from tests.support.gates import fail
from tests.support.idle import until_idle
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.config.digest import SECTIONS, differing, digest
from postwire.core.backlog import Backlog
from postwire.core.breaker import BreakerState
from postwire.core.message import Note, NoteAction
from postwire.core.obstacles import Obstacle
from postwire.core.principal import LOCAL
from postwire.delivery import Control, shared_work
from postwire.delivery.peers import Peers
from postwire.delivery.shared_work import SharedWork
from postwire.outbox.base import Heartbeat, Member, NodeShare, Outbox, ProviderState
from postwire.outbox.sqlite import SqliteOutbox

LEASE = 15.0
CLOSED, DRAINED = BreakerState.CLOSED, BreakerState.FORCED_OPEN


class SilentNode:
    """Who would send heartbeats."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = self.acknowledged = 0
        self.shares: Sequence[NodeShare] = ()
        self.queue_keys: Collection[str] = ()
        self.config_digest = ""
        self.asked = 0
        self.listener: Callable[[Heartbeat], None] = lambda heartbeat: None

    def on_heartbeat(self, callback: Callable[[Heartbeat], None]) -> None:
        self.listener = callback

    def heartbeat_now(self) -> None:
        self.asked += 1


def member(number: int, **fields: object) -> Member:
    made = Member(number, f"host-{number}", "1.0", 0, 0, None, False, seen=number)
    return replace(made, **fields)  # type: ignore[arg-type]  # the caller's to get right


class Working:
    """Node 5 with one provider, which takes 6 attempts at once."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.clock = ManualClock()
        self.node = SilentNode(5)
        self.gate = gate_of("a", max_concurrent=6, rate=6.0)
        registry = registry_of(FakeProvider("a"), gates={"a": self.gate})
        self.backlog = Backlog(max_unsettled=1_000)
        self.peers = Peers(lease=LEASE, clock=self.clock)
        self.control = Control(registry=registry, outbox=outbox, clock=self.clock, peers=self.peers)
        self.work = SharedWork(self.node, self.peers, self.control, registry, self.backlog, self.clock, "mine")

    def hear(
        self,
        *others: Member,
        change: int = 0,
        states: Mapping[str, ProviderState] | None = None,
        unsettled: tuple[int, int] | None = None,
    ) -> None:
        """A heartbeat is answered."""
        node = self.node
        me = member(node.number, seen=node.seen, acknowledged=node.acknowledged, config_digest=node.config_digest)
        members = tuple(sorted((me, *others), key=lambda one: one.number))
        count, time = unsettled or (None, 0)
        numbers = tuple(one.number for one in members)
        node.listener(
            Heartbeat(node.number, members, self.clock.wall(), True, change, states or {}, count, time, numbers)
        )

    async def calm(self) -> None:
        """Return once what was begun waits for a heartbeat or a clock."""
        await until_idle(self.outbox)

    @property
    def state(self) -> BreakerState:
        return self.gate.breaker.state


@pytest.fixture
async def working() -> AsyncIterator[Working]:
    outbox = await SqliteOutbox.open(":memory:")
    yield Working(outbox)
    await outbox.close()


# Shares.


async def test_nothing_is_sent_before_a_heartbeat_is_answered(working: Working) -> None:
    now = working.clock.monotonic()
    assert working.gate.obstacle(now) is Obstacle.CONCURRENCY
    assert working.node.shares == [NodeShare("a", 0, 0.0)]
    working.hear()
    working.clock.advance(1.0)
    assert working.gate.free(working.clock.monotonic()) == 6
    assert working.node.shares == [NodeShare("a", 6, 6.0)]
    assert {"sms", "@a"} <= set(working.node.queue_keys)
    assert working.node.config_digest == "mine"


async def test_one_who_comes_anew_is_seen_once_what_is_in_flight_fits_beside_him(working: Working) -> None:
    working.hear()
    working.clock.advance(1.0)
    permits = [working.gate.enter(working.clock.monotonic()) for _ in range(4)]
    asked = working.node.asked
    working.hear(member(7))
    assert (working.node.seen, working.node.asked) == (5, asked)
    assert working.node.shares == [NodeShare("a", 3, 3.0)]
    permits.pop().cancel(working.clock.monotonic())
    working.clock.advance(0.25)
    assert working.node.seen == 7
    assert working.node.asked > asked, "he waits for it"


async def test_whoever_waits_for_others_asks_as_often_however_many_heartbeats_are_answered(working: Working) -> None:
    behind = member(7, seen=0)  # has not seen this node
    for _ in range(5):
        working.hear(behind)
    steering = asyncio.ensure_future(working.control.drain("a", by=LOCAL))
    await working.calm()
    for _ in range(5):
        working.hear(behind, change=1)
    asked = working.node.asked
    working.clock.advance(0.25)
    working.clock.advance(0.25)
    assert working.node.asked == asked + 2, "of the two who wait, each once"
    working.clock.advance(LEASE)
    await within(steering)


# What operators have done.


async def test_what_was_done_at_another_node_is_done_here_and_acknowledged(working: Working) -> None:
    working.hear()
    note = Note(NoteAction.DRAIN, "they are down", 1)
    working.hear(change=3, states={"a": ProviderState(True, 0, note)})
    assert (working.state, working.node.acknowledged) == (DRAINED, 3)
    assert working.control.get("a").note == note
    asked = working.node.asked
    working.hear(change=3, states={"a": ProviderState(True, 0, note)})
    assert working.node.asked == asked
    working.hear(change=4, states={"a": ProviderState(False, 0, None)})
    assert (working.state, working.node.acknowledged) == (CLOSED, 4)


async def test_a_reset_at_another_node_closes_the_breaker_once(working: Working) -> None:
    working.hear()
    fail(working.gate, 20, working.clock.monotonic())
    assert working.state is BreakerState.OPEN
    working.hear(change=1, states={"a": ProviderState(False, 1)})
    assert working.state is CLOSED
    fail(working.gate, 20, working.clock.monotonic())
    working.hear(change=2, states={"a": ProviderState(False, 1), "b": ProviderState(False, 1)})
    assert working.state is BreakerState.OPEN


async def test_an_own_reset_is_not_done_once_more(working: Working) -> None:
    working.hear()
    await working.control.reset("a", by=LOCAL)
    fail(working.gate, 20, working.clock.monotonic())
    for _ in range(2):
        working.hear(change=1, states={"a": ProviderState(False, 1)})
    assert working.state is BreakerState.OPEN
    assert working.node.acknowledged == 1


async def test_what_was_read_before_an_own_change_does_not_undo_it(working: Working) -> None:
    working.hear()
    await working.control.resume("a", by=LOCAL)
    drain = asyncio.create_task(working.control.drain("a", by=LOCAL))
    await working.calm()
    assert working.state is DRAINED
    working.hear(change=1, states={"a": ProviderState(False)})
    assert working.state is DRAINED
    assert working.node.acknowledged == 0
    for _ in range(2):
        working.hear(change=2, states={"a": ProviderState(True)})
    await within(drain)
    assert working.node.acknowledged == 2


async def test_a_drain_is_done_once_all_who_live_have_taken_it_over(working: Working) -> None:
    working.hear(member(7))
    drain = asyncio.create_task(working.control.drain("a", by=LOCAL))
    await working.calm()
    assert working.state is DRAINED
    assert working.node.asked
    drained = {"a": ProviderState(True)}
    for acknowledged in (0, 1, 1):
        working.hear(member(7, acknowledged=acknowledged), change=2, states=drained)
        await asyncio.sleep(0)
        assert not drain.done()
    working.hear(member(7, acknowledged=2), change=2, states=drained)
    assert (await within(drain)).breaker.state is DRAINED


async def test_a_drain_does_not_wait_for_who_lives_no_more(working: Working) -> None:
    working.hear(member(7))
    drain = asyncio.create_task(working.control.drain("a", by=LOCAL))
    await working.calm()
    assert working.state is DRAINED
    for _ in range(2):
        working.hear(change=2, states={"a": ProviderState(True)})
    await within(drain)


async def test_a_drain_waits_no_longer_than_a_lease(working: Working) -> None:
    """By then, whoever does not know of it has lost his."""
    working.hear(member(7))
    drain = asyncio.create_task(working.control.drain("a", by=LOCAL))
    await working.calm()
    working.clock.advance(LEASE - 1)
    await asyncio.sleep(0)
    assert not drain.done()
    working.clock.advance(1.0)
    await within(drain)


# What is counted.


async def test_what_others_have_counted_is_gone_by_where_there_are_others(working: Working) -> None:
    working.backlog.note(0)
    working.hear(unsettled=(7, 1))
    assert working.backlog.total == 0
    working.hear(member(7), unsettled=(9, 2))
    assert working.backlog.total == 9
    working.hear(member(7), unsettled=(9, 2))
    assert working.backlog.total == 9


# Configurations.


async def test_each_other_configuration_is_warned_of_once(working: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []

    class Lines:
        """Stands for the log."""

        def warning(self, event: str, *, detail: str) -> None:
            warnings.append(detail)

    monkeypatch.setattr(shared_work, "_log", Lines())
    for _ in range(2):
        working.hear(member(7, config_digest="another"), member(8, config_digest="another"))
    working.hear(member(7, config_digest="mine"), member(8, config_digest=""))
    assert warnings == ["node 7 (host-7) has another configuration than this one: something differs"]
    working.hear(member(8, config_digest="another"))
    assert len(warnings) == 2, "it is back"


def test_a_digest_tells_in_which_sections_two_configurations_differ(read: Any) -> None:
    mine = digest(read(ONE))
    assert mine == digest(read(ONE + '\n[server]\nlisten = "127.0.0.1:1"\n')), "that is each node's own"
    other = digest(read(ONE, DELIVERY__MAX_ATTEMPTS="9", AUDIT__RETENTION="10d"))
    assert differing(mine, other) == ["audit", "delivery"]
    assert differing(mine, digest(read(TWO))) == ["providers", "routes"]
    assert differing(mine, mine) == []
    assert differing(mine, "0123") == [], "of another version: they cannot be told"
    assert len(mine.split(".")) == len(SECTIONS) + 1


def test_after_a_reload_a_digest_is_that_of_what_a_node_runs_with(read: Any) -> None:
    booted, changed = read(ONE), read(TWO + '[guards]\nmax_per_recipient = "5/1h"\n', DELIVERY__MAX_ATTEMPTS="9")
    left = [
        "providers.a.channels",
        "providers.b-2",
        "routes.sms",
        "routes.email",
        "routes.mms",
        "delivery.max_attempts",
    ]
    assert differing(digest(booted), digest(changed, booted, left)) == ["guards"]
    assert digest(changed, booted) == digest(changed), "all of it was taken over"
    assert digest(booted, booted, ["guards.max_per_recipient"]) == digest(booted)


async def test_what_a_reload_has_changed_is_what_others_are_told_and_held_against(working: Working) -> None:
    working.work.reconfigured("another")
    assert working.node.config_digest == "another"

"""Leases against what they are for, whatever becomes of nodes, of the way to the store, and of its clock.

Nobody acts for whom another may already act: when a node is taken for dead, it does not hand anything over any more.
And nobody is taken for dead who sends his heartbeats, whatever outage there was for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.support.examples import examples

from postwire.core import leases
from postwire.core.leases import Lease, OwnLease, Terms
from postwire.nodes.clock import NodeClock

SECOND = 1_000_000
TERMS = Terms(15 * SECOND, 3 * SECOND)
NODES = st.integers(0, 2)
MOMENTS = st.integers(0, 4 * SECOND)
TENTHS = st.sampled_from([-400, -70, -50, -40, -20, -14, -10, 10, 14, 20, 40, 50, 70, 120]) | st.integers(-200, 200)
STEPS = TENTHS.map(lambda tenths: tenths * SECOND // 10)


@dataclass
class Process:
    """A node: `row` is what the store has of it."""

    row: Lease
    clock: NodeClock
    own: OwnLease = field(default_factory=lambda: OwnLease(TERMS))
    is_marked_dead: bool = False
    may_reap: bool = False
    heard: int = 0
    """For how long the store could be reached when its last heartbeat was kept."""


class Machine(RuleBasedStateMachine):
    """`now` is true time, which the clocks of nodes follow; the store's shows `now + ahead`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000 * SECOND
        self.ahead = 0
        self.reachable = 0  # for how long the store could be
        self.nodes: list[Process] = []

    @property
    def store_time(self) -> int:
        return self.now + self.ahead

    @initialize()
    def begin(self) -> None:
        for _ in range(3):
            self.nodes.append(self.joined())
            self.send(len(self.nodes) - 1)

    def pass_time(self, passed: int) -> None:
        self.now += passed
        self.reachable += passed

    def joined(self) -> Process:
        return Process(Lease.begin(self.store_time, TERMS), NodeClock(boot_time=lambda: self.now))

    def send(self, number: int, *, way: int = 0, is_answered: bool = True) -> None:
        """A heartbeat that takes its time on its way to the store."""
        node, sent = self.nodes[number], self.now
        self.pass_time(way)
        if node.is_marked_dead:
            if is_answered:
                node.own.is_dead = True
            return
        node.row = leases.renewed(node.row, self.store_time, TERMS)
        node.heard = self.reachable
        if is_answered:
            node.may_reap = leases.may_reap(node.row, self.store_time, TERMS)
            node.clock.measured(sent, self.store_time, self.now)
            node.own.answered(sent, node.clock.ahead)

    @rule(number=NODES, way=st.integers(0, SECOND // 2), is_answered=st.booleans())
    def heartbeat(self, number: int, way: int, is_answered: bool) -> None:
        self.send(number, way=way, is_answered=is_answered)

    @rule(
        count=st.integers(3, 12),
        pause=st.sampled_from([1 * SECOND, 2 * SECOND, TERMS.heartbeat]),
        silent=st.sets(NODES, max_size=2),
        step=st.just(0) | STEPS,
    )
    def all_is_well(self, count: int, pause: int, silent: set[int], step: int) -> None:
        """Everybody sends heartbeats as he is to, but for those who are silent; and they look for whom to reap. The
        clock may have been set right before."""
        self.ahead += step
        for _ in range(count):
            self.pass_time(pause)
            for number in {0, 1, 2} - silent:
                self.send(number)
            for number in {0, 1, 2} - silent:
                self.reap(number)

    @rule(passed=MOMENTS)
    def time_passes(self, passed: int) -> None:
        self.pass_time(passed)

    @rule(passed=st.integers(5 * SECOND, 60 * SECOND))
    def nobody_reaches_the_store(self, passed: int) -> None:
        self.now += passed

    @rule(step=STEPS)
    def the_clock_of_the_store_is_set(self, step: int) -> None:
        self.ahead += step

    @rule(number=NODES)
    def reap(self, number: int) -> None:
        node = self.nodes[number]
        if not (node.may_reap and node.own.trusts_clock(self.now)) or node.is_marked_dead:
            return
        if not leases.may_reap(node.row, self.store_time, TERMS):
            return
        if abs(node.own.expected(self.now) - self.store_time) > TERMS.tolerance:
            return
        for other in self.nodes:
            if other is node or other.is_marked_dead or not leases.has_lapsed(other.row, self.store_time, TERMS):
                continue
            assert not other.own.may_act(self.now), "what it does now, somebody else may do as well"
            silent = self.reachable - other.heard
            assert silent > TERMS.lease - 2 * TERMS.tolerance - TERMS.gap, "it had no time to be heard of"
            other.is_marked_dead = True

    @precondition(lambda self: any(node.is_marked_dead for node in self.nodes))
    @rule()
    def another_comes_in_place_of_the_dead(self) -> None:
        for number, node in enumerate(self.nodes):
            if node.is_marked_dead:
                self.nodes[number] = self.joined()
                self.send(number)


Machine.TestCase.settings = examples(120, stateful_step_count=50)
TestLeases = Machine.TestCase

"""Nodes that come, go and fall silent, each with its share of a provider's limits: together they keep within these."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.examples import examples
from tests.support.gates import NOW, make

from postwire.core.breaker import Verdict
from postwire.core.gate import Gate, GatePermit, GateSettings
from postwire.core.shares import NOTHING, Limits, Standing

WHOLE = GateSettings(max_concurrent=5, rate=4.0, burst=8)
MOST_NODES = 8
"""As many as the burst: with more, each still has one at once."""


@dataclass
class Node:
    number: int
    standing: Standing
    gate: Gate
    given: Limits = NOTHING
    under_way: list[GatePermit] = field(default_factory=list)

    def heard(self, holders: list[int], seen: dict[int, int], now: float) -> None:
        """As `SharedLimits` does it."""
        if self.standing.heard(holders, seen):
            before, self.given = self.given, self.standing.share(self.gate.whole_limits)
            self.gate.limit(self.given, now, is_anew=before == NOTHING)
        self.look()

    def look(self) -> None:
        if self.gate.in_flight <= self.given.max_concurrent:
            self.standing.keeps_to_it()


class SharesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.nodes: dict[int, Node] = {}
        """Whom nobody has marked dead."""
        self.silent: set[int] = set()
        """Those of them whose lease has run out: they send nothing."""
        self.seen: dict[int, int] = {}
        self.last_number = 0
        self.times: list[float] = []

    def living(self) -> list[int]:
        return [number for number in self.nodes if number not in self.silent]

    @precondition(lambda self: len(self.nodes) < MOST_NODES)
    @rule()
    def join(self) -> None:
        self.last_number += 1
        gate = make(WHOLE)
        gate.limit(NOTHING, self.now)
        self.nodes[self.last_number] = Node(self.last_number, Standing(self.last_number), gate)
        self.seen[self.last_number] = 0

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def send_heartbeat(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.nodes)))
        node = self.nodes[number]
        self.silent.discard(number)  # it was slow, and nobody has noticed
        self.seen[number] = node.standing.seen
        node.heard(list(self.nodes), {one: self.seen[one] for one in self.living()}, self.now)

    @rule()
    def send_heartbeats(self) -> None:
        for number in self.living():
            node = self.nodes[number]
            self.seen[number] = node.standing.seen
            node.heard(list(self.nodes), {one: self.seen[one] for one in self.living()}, self.now)

    @precondition(lambda self: self.living())
    @rule(data=st.data(), most=st.integers(1, 12))
    def send(self, data: st.DataObject, most: int) -> None:
        node = self.nodes[data.draw(st.sampled_from(self.living()))]
        for _ in range(most):
            if node.gate.obstacle(self.now) is None:
                node.under_way.append(node.gate.enter(self.now))
                self.times.append(self.now)

    @precondition(lambda self: any(node.under_way for node in self.nodes.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        node = self.nodes[data.draw(st.sampled_from([one for one, node in self.nodes.items() if node.under_way]))]
        node.under_way.pop().close(Verdict.SUCCESS, self.now)
        node.look()

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def fall_silent(self, data: st.DataObject) -> None:
        self.silent.add(data.draw(st.sampled_from(self.living())))

    @precondition(lambda self: self.silent)
    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        self.forget(data.draw(st.sampled_from(sorted(self.silent))))

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        node = self.nodes[data.draw(st.sampled_from(self.living()))]
        while node.under_way:
            node.under_way.pop().close(Verdict.SUCCESS, self.now)
        self.forget(node.number)

    def forget(self, number: int) -> None:
        del self.nodes[number], self.seen[number]
        self.silent.discard(number)

    @rule(seconds=st.floats(0.0, 3.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_more_is_under_way_than_the_provider_takes(self) -> None:
        assert sum(node.gate.in_flight for node in self.nodes.values()) <= WHOLE.max_concurrent

    @invariant()
    def no_more_begins_than_the_rate_allows(self) -> None:
        assert WHOLE.rate is not None
        assert WHOLE.burst is not None
        for first, since in enumerate(self.times):
            assert len(self.times) - first <= WHOLE.burst + (self.now - since) * WHOLE.rate + 1e-6

    def teardown(self) -> None:
        """Where nobody comes or goes any more, all of the limits are used."""
        for number in list(self.silent):
            self.forget(number)
        for node in self.nodes.values():
            while node.under_way:
                node.under_way.pop().close(Verdict.SUCCESS, self.now)
            node.look()
        for _ in range(3):
            self.send_heartbeats()
        if self.nodes:
            assert sum(node.given.max_concurrent for node in self.nodes.values()) == WHOLE.max_concurrent


TestShares = SharesMachine.TestCase
TestShares.settings = examples(60, stateful_step_count=60, deadline=None)

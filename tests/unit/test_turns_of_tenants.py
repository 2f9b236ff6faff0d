"""Whose turn it is among tenants, against a model that looks at all of them each time."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.support.examples import examples

from postwire.core.message import Priority
from postwire.core.turns import Flow, Turns

TENANTS = {"one": 1, "same": 1, "two": 2, "four": 4}


def flow(turns: Turns, tenant: str, waiting: int, weight: int = 1) -> Flow:
    made = Flow(Priority.NORMAL, tenant, weight)
    made.waiting = waiting
    turns.join(made)
    return made


def taken(turns: Turns, count: int) -> list[str]:
    """Whose the next turns are."""
    found = []
    for _ in range(count):
        if one := turns.first():
            turns.take(one)
            found.append(one.tenant)
    return found


def test_who_has_ten_does_not_wait_for_who_has_a_hundred_thousand() -> None:
    turns = Turns()
    flow(turns, "bulk", 100_000)
    taken(turns, 500)
    flow(turns, "small", 10)
    assert taken(turns, 24) == ["small", "bulk"] * 10 + ["bulk"] * 4


def test_a_tenant_with_many_queues_has_no_more_turns() -> None:
    turns = Turns()
    queues = [flow(turns, "many", 5) for _ in range(4)]
    flow(turns, "single", 5)
    order = []
    while (one := turns.first()) is not None:
        turns.take(one)
        order.append("single" if one.tenant == "single" else str(queues.index(one)))
    assert order[:10] == ["0", "single", "1", "single", "2", "single", "3", "single", "0", "single"]
    assert order[10:] == [str(number % 4) for number in range(1, 16)]


def test_weights_are_shares_and_nobody_has_his_whole_weight_in_a_row() -> None:
    turns = Turns()
    for name, weight in (("a", 1000), ("b", 1000), ("c", 500), ("d", 1)):
        flow(turns, name, 100_000, weight)
    found = taken(turns, 2 * 2501)
    assert Counter(found) == {"a": 2000, "b": 2000, "c": 1000, "d": 2}
    pairs = [one + other for one, other in pairwise(found)]
    assert pairs.count("aa") + pairs.count("bb") + pairs.count("cc") <= 4


def test_who_was_away_makes_up_for_nothing() -> None:
    turns = Turns()
    flow(turns, "stays", 1_000)
    goes = flow(turns, "goes", 1_000)
    taken(turns, 100)
    turns.leave(goes)
    assert taken(turns, 300) == ["stays"] * 300
    turns.join(goes)
    assert Counter(taken(turns, 100)) == {"stays": 50, "goes": 50}


def test_who_comes_one_at_a_time_gets_no_more_than_who_waits() -> None:
    turns = Turns()
    flow(turns, "bulk", 1_000)
    comes = Flow(Priority.NORMAL, "comes")
    found = []
    for _ in range(200):
        if not comes.waiting:
            comes.waiting = 1
            turns.join(comes)
        found += taken(turns, 1)
    assert Counter(found) == {"bulk": 100, "comes": 100}


def test_what_was_granted_elsewhere_is_passed_over() -> None:
    turns = Turns()
    first, second = flow(turns, "a", 1), flow(turns, "b", 1)
    first.waiting = 0
    assert turns.first() is second
    first.waiting = 1
    turns.join(first)
    assert taken(turns, 5) == ["b", "a"]


@given(
    weights=st.lists(st.integers(1, 1000), min_size=2, max_size=6),
    steps=st.integers(1, 400),
)
@examples(80)
def test_of_two_that_wait_none_is_ahead_by_more_than_a_turn_of_each(weights: list[int], steps: int) -> None:
    turns = Turns()
    for number, weight in enumerate(weights):
        flow(turns, str(number), 1 << 30, weight)
    had = Counter[str]()
    for _ in range(steps):
        had.update(taken(turns, 1))
        shares = [Fraction(had[str(number)], weight) for number, weight in enumerate(weights)]
        for one, weight in zip(shares, weights, strict=True):
            for other, others in zip(shares, weights, strict=True):
                # What is lost to whole numbers is less than a millionth of a turn here.
                assert one - other <= Fraction(1, weight) + Fraction(1, others) + Fraction(1, 1_000_000)


class TurnsMachine(RuleBasedStateMachine):
    """`lines` has for each tenant its flows in order; `tags` how much it has had, and `since` when it last moved."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()
        self.flows = [Flow(Priority.LOW, name, weight) for name, weight in TENANTS.items() for _ in range(2)]
        self.lines: dict[str, list[Flow]] = {name: [] for name in TENANTS}
        self.tags = dict.fromkeys(TENANTS, Fraction(0))
        self.since = dict.fromkeys(TENANTS, 0)
        self.last = Fraction(0)
        self.moves = 0

    def moved(self, tenant: str, tag: Fraction) -> None:
        self.moves += 1
        self.tags[tenant], self.since[tenant] = tag, self.moves

    def tidy(self) -> None:
        for name, line in self.lines.items():
            self.lines[name] = [one for one in line if one.waiting]

    def next(self) -> Flow | None:
        self.tidy()
        waiting = [name for name in TENANTS if self.lines[name]]
        return self.lines[min(waiting, key=lambda name: (self.tags[name], self.since[name]))][0] if waiting else None

    @rule(position=st.integers(0, 7), count=st.integers(1, 4))
    def come(self, position: int, count: int) -> None:
        self.tidy()
        one = self.flows[position]
        if not self.lines[one.tenant]:
            self.moved(one.tenant, max(self.tags[one.tenant], self.last))
        if one not in self.lines[one.tenant]:
            self.lines[one.tenant].append(one)
            self.turns.leave(one)  # it may have been left there when it was granted elsewhere
        one.waiting += count
        self.turns.join(one)

    @rule(position=st.integers(0, 7))
    def go(self, position: int) -> None:
        one = self.flows[position]
        self.turns.leave(one)
        one.waiting = 0

    @rule(position=st.integers(0, 7))
    def granted_elsewhere(self, position: int) -> None:
        self.flows[position].waiting = 0

    @rule(count=st.sampled_from([1, 2, 10]))
    def take(self, count: int) -> None:
        for _ in range(count):
            expected, found = self.next(), self.turns.first()
            assert found is expected
            if found is None:
                return
            self.turns.take(found)
            line = self.lines[found.tenant]
            line.remove(found)
            if found.waiting:
                line.append(found)
            self.last = self.tags[found.tenant]
            self.moved(found.tenant, self.last + Fraction(1, found.weight))

    @invariant()
    def nobody_is_listed_twice(self) -> None:
        assert len(self.turns._order) <= len(TENANTS)


def test_turns_are_as_the_rule_says() -> None:
    run_state_machine_as_test(TurnsMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


@pytest.mark.long
def test_turns_are_as_the_rule_says_at_length() -> None:
    run_state_machine_as_test(
        TurnsMachine, settings=settings(max_examples=2_000, stateful_step_count=80, deadline=None)
    )

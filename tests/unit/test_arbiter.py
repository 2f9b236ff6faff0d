"""Whose turn it is at a provider, against a model that is nothing but lists."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from postwire.core.arbiter import PASSED_OVER_AT_MOST, Arbiter
from postwire.core.message import Priority
from postwire.core.turns import Flow

HIGH, NORMAL, LOW = Priority


def flow(arbiter: Arbiter, priority: Priority, waiting: int) -> Flow:
    made = Flow(priority)
    made.waiting = waiting
    arbiter.join(made)
    return made


def test_flows_of_the_same_priority_go_in_turn() -> None:
    arbiter = Arbiter()
    flows = [flow(arbiter, LOW, count) for count in (1, 3, 2)]
    found = [arbiter.grant() for _ in range(7)]
    assert [one and flows.index(one) for one in found] == [0, 1, 2, 1, 2, 1, None]
    assert arbiter.granted == 6
    arbiter.end_grants(6)
    assert arbiter.granted == 0


def test_the_highest_goes_first_unless_a_lower_one_was_passed_over_for_too_long() -> None:
    arbiter = Arbiter()
    for priority in Priority:
        flow(arbiter, priority, 1_000)
    found = [one.priority for _ in range(340) if (one := arbiter.grant())]
    assert found[:6] == [HIGH] * 4 + [NORMAL, HIGH]
    assert found.index(LOW) == 16
    gaps = {
        priority: [later - before - 1 for before, later in itertools.pairwise(places)]
        for priority in (NORMAL, LOW)
        if (places := [index for index, one in enumerate(found) if one is priority])
    }
    assert max(gaps[NORMAL]) <= 5, "a slot of the lowest may come in between"
    assert set(gaps[LOW]) == {16}


def test_who_did_not_wait_was_not_passed_over() -> None:
    arbiter = Arbiter()
    flow(arbiter, HIGH, 1_000)
    for _ in range(50):
        arbiter.grant()
    low = flow(arbiter, LOW, 1)
    found = [arbiter.grant() for _ in range(17)]
    assert found.index(low) == 16


@pytest.mark.parametrize("waiting", Priority)
@pytest.mark.parametrize("comes", Priority)
def test_who_comes_passes_only_those_of_lower_priority(waiting: Priority, comes: Priority) -> None:
    order = list(Priority)
    arbiter = Arbiter()
    assert arbiter.may_pass(comes)
    one = flow(arbiter, waiting, 1)
    assert arbiter.may_pass(comes) is (order.index(comes) < order.index(waiting))
    arbiter.leave(one)
    assert arbiter.may_pass(comes)


def test_who_passes_again_and_again_has_to_wait_at_last() -> None:
    arbiter = Arbiter()
    low = flow(arbiter, LOW, 5)
    passed = 0
    while arbiter.may_pass(HIGH):
        arbiter.note_passed(HIGH)
        passed += 1
    assert passed == PASSED_OVER_AT_MOST[LOW]
    assert arbiter.grant() is low
    assert arbiter.may_pass(HIGH)


def test_what_waits_for_two_providers_takes_the_first_that_is_free() -> None:
    one, other = Arbiter(), Arbiter()
    waits = flow(one, NORMAL, 1)
    other.join(waits)
    assert other.grant() is waits
    assert one.may_pass(NORMAL)
    assert one.grant() is None


class ArbiterMachine(RuleBasedStateMachine):
    """`lines` has the flows that wait, by priority, as one would line them up by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.arbiter = Arbiter()
        self.flows = [Flow(priority) for priority in (*Priority, *Priority, *Priority)]
        self.lines: dict[Priority, list[Flow]] = {priority: [] for priority in Priority}
        self.passed = {NORMAL: 0, LOW: 0}
        self.granted = 0

    def note(self, served: Priority) -> None:
        order = list(Priority)
        for priority in (NORMAL, LOW):
            if priority is served:
                self.passed[priority] = 0
            elif order.index(priority) > order.index(served):
                self.passed[priority] = self.passed[priority] + 1 if self.lines[priority] else 0

    def overdue(self) -> list[Priority]:
        limits = {LOW: 16, NORMAL: 4}
        return [one for one, limit in limits.items() if self.lines[one] and self.passed[one] >= limit]

    @rule(position=st.integers(0, 8), count=st.integers(1, 3))
    def come(self, position: int, count: int) -> None:
        one = self.flows[position]
        if not one.waiting:
            self.lines[one.priority].append(one)
        one.waiting += count
        self.arbiter.join(one)

    @rule(position=st.integers(0, 8))
    def go(self, position: int) -> None:
        one = self.flows[position]
        one.waiting = 0
        self.arbiter.leave(one)
        if one in self.lines[one.priority]:
            self.lines[one.priority].remove(one)

    @rule(count=st.sampled_from([1, 1, 2, 20]))
    def grant(self, count: int) -> None:
        for _ in range(count):
            choice = [*self.overdue(), *(priority for priority in Priority if self.lines[priority])]
            found = self.arbiter.grant()
            if not choice:
                assert found is None
                return
            line = self.lines[choice[0]]
            expected = line.pop(0)
            assert found is expected
            if expected.waiting:
                line.append(expected)
            self.granted += 1
            self.note(expected.priority)

    @rule(priority=st.sampled_from(Priority), count=st.sampled_from([1, 5, 20]))
    def pass_by(self, priority: Priority, count: int) -> None:
        order = list(Priority)
        for _ in range(count):
            at_least = order[: order.index(priority) + 1]
            expected = not any(self.lines[one] for one in at_least) and not [
                one for one in self.overdue() if one not in at_least
            ]
            assert self.arbiter.may_pass(priority) is expected
            if expected:
                self.arbiter.note_passed(priority)
                self.note(priority)

    @rule()
    def end(self) -> None:
        if self.granted:
            self.arbiter.end_grants()
            self.granted -= 1

    @invariant()
    def grants_are_counted(self) -> None:
        assert self.arbiter.granted == self.granted
        for one in self.flows:
            assert (one in self.lines[one.priority]) is (one.waiting > 0)


def test_an_arbiter_is_a_list_for_each_priority() -> None:
    run_state_machine_as_test(ArbiterMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


@pytest.mark.long
def test_an_arbiter_is_a_list_for_each_priority_at_length() -> None:
    run_state_machine_as_test(
        ArbiterMachine, settings=settings(max_examples=2_000, stateful_step_count=80, deadline=None)
    )

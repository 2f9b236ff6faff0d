"""Gates and the choice between them against a plain model: any order of attempts, results, time and operators."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.support.gate_model import COOL_DOWN_DRAW, Entry, GateModel

from postwire.core.breaker import Breaker, BreakerSettings, BreakerState, Transition, Verdict
from postwire.core.gate import Gate, GateSettings
from postwire.core.obstacles import Obstacle
from postwire.core.routing import Choice, Order, PassedOver, Route, Tier, choose

NAMES = ("a", "b", "c", "d")
LIMITS = (Obstacle.CONCURRENCY, Obstacle.RATE)

# Settings: small, so that every limit is met, and exact in binary, so that the model reckons as the gate does.

EIGHTHS = st.integers(0, 96).map(lambda n: n / 8)
BREAKERS = st.builds(
    lambda slow, **rest: BreakerSettings(
        **rest, slow_call_ratio=0.5 if slow else None, slow_call_duration=1.0 if slow else None
    ),
    slow=st.booleans(),
    window_calls=st.integers(6, 8),
    window_time=st.sampled_from([2.0, 16.0]),
    failure_ratio=st.sampled_from([0.25, 0.5, 1.0]),
    minimum_calls=st.sampled_from([1, 3, 6]),
    open_for=st.just(1.0),
    open_for_max=st.sampled_from([1.0, 6.0]),
    probe_calls=st.integers(1, 2),
    close_after=st.integers(1, 3),
    lease=st.just(4.0),
)
LIMITED = st.builds(
    GateSettings,
    max_concurrent=st.sampled_from([1, 3, 8]),
    rate=st.sampled_from([None, None, 0.5, 4.0]),
    burst=st.sampled_from([None, 1, 3]),
    backoff_base=st.just(1.0),
    backoff_max=st.sampled_from([1.0, 6.0]),
)
ROUTES = st.builds(
    lambda names, cuts, weights: Route(
        "sms#1",
        tuple(
            Tier(tuple(zip(names[start:end], weights[start:end], strict=True)))
            for start, end in zip((0, *sorted(cuts)), (*sorted(cuts), len(names)), strict=True)
        ),
    ),
    st.permutations(NAMES),
    st.sets(st.integers(1, len(NAMES) - 1)),
    st.lists(st.integers(1, 5), min_size=len(NAMES), max_size=len(NAMES)),
)
ANY = st.sampled_from(NAMES)
SOME = st.sets(ANY, max_size=2)
VERDICTS = st.sampled_from(Verdict)
DRAWS = st.integers(0, 63).map(lambda n: n / 64)
DURATIONS = st.sampled_from([0.0, 1.0, 1.25])
RETRY_AFTER = st.sampled_from([None, None, 0.0, 0.5, 3.0, math.nan, math.inf])
POSITIONS = st.integers(0, 15)


class RoutingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.route = Route("sms#1", ())
        self.gates: dict[str, Gate] = {}
        self.gate_models: dict[str, GateModel] = {}
        self.back: list[Entry] = []  # whose permits were closed
        self.freed: set[str] = set()
        self.drained: set[str] = set()
        self.faults: list[Exception] = []

    @initialize(route=ROUTES, limits=st.tuples(*[LIMITED] * len(NAMES)), rules=st.tuples(*[BREAKERS] * len(NAMES)))
    def begin(self, route: Route, limits: tuple[GateSettings, ...], rules: tuple[BreakerSettings, ...]) -> None:
        self.route = route
        for name, limit, of in zip(NAMES, limits, rules, strict=True):
            self.gate_models[name] = GateModel(limit, of)
            self.gates[name] = self.gate(name, limit, of)

    def gate(self, name: str, limits: GateSettings, rules: BreakerSettings) -> Gate:
        def listen(transition: Transition) -> None:
            assert transition.source is not transition.target
            assert gate.breaker.state is transition.target
            gate.changed()

        def free() -> None:
            gate.obstacle(self.now)  # all is settled, so that whoever is told may ask
            self.freed.add(name)

        gate = Gate(
            name,
            limits,
            Breaker(rules, listener=listen, on_fault=self.faults.append),
            jitter=lambda: COOL_DOWN_DRAW,
        )
        gate.on_free = free
        return gate

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Whom this step sets free, without time passing, has said so."""
        blocked = [name for name in NAMES if self.gate_models[name].obstacle(self.now)]
        self.freed.clear()
        yield
        assert {name for name in blocked if self.gate_models[name].obstacle(self.now) is None} <= self.freed

    @property
    def out(self) -> list[Entry]:
        return [entry for gate_model in self.gate_models.values() for entry in gate_model.out]

    # Messages.

    def expected(self, order: Order, overflow: bool, repeats: set[str], tried: set[str]) -> Choice:
        """The choice as one would make it with all doors in sight."""
        found = {name: self.gate_models[name].obstacle(self.now, repeat=name in repeats) for name in NAMES}
        reach: list[str] = []
        for tier in order:
            members = [name for name in tier if name not in tried]
            reach += members
            if not overflow and any(found[name] in LIMITS for name in members):
                break
        free = [name for name in reach if found[name] is None]
        before = reach[: reach.index(free[0])] if free else reach
        return Choice(
            free[0] if free else None,
            () if free else tuple(name for name in reach if found[name] in LIMITS),
            tuple(PassedOver(name, why) for name in before if (why := found[name]) and why not in LIMITS),
        )

    def enter(self, name: str, repeat: bool) -> Entry:
        gate, gate_model = self.gates[name], self.gate_models[name]
        entry = gate_model.enter(name, self.now, repeat, gate.enter(self.now, repeat=repeat))
        assert name not in self.drained
        assert self.now >= gate_model.cool_until
        assert gate.in_flight <= gate_model.limits.max_concurrent
        free = gate.free(self.now)
        assert (free > 0) == (gate_model.obstacle(self.now) is None)
        assert free <= gate_model.limits.max_concurrent - len(gate_model.out)
        if rate := gate_model.limits.rate:
            burst = max(1, math.ceil(rate)) if gate_model.limits.burst is None else gate_model.limits.burst
            for index, start in enumerate(gate_model.entered):
                assert len(gate_model.entered) - index <= burst + rate * (self.now - start)
        if entry.lease is not None:
            assert len(gate_model.probes()) <= gate_model.rules.probe_calls
        return entry

    @rule(repeats=SOME, tried=SOME, overflow=st.booleans(), draws=st.lists(DRAWS, min_size=1, max_size=4))
    def offer(self, repeats: set[str], tried: set[str], overflow: bool, draws: list[float]) -> None:
        for draw in draws:
            order = tuple(map(tuple, self.route.order(draw)))
            choice = choose(
                order,
                overflow=overflow,
                obstacle=lambda name: self.gates[name].obstacle(self.now, repeat=name in repeats),
                tried=tried,
            )
            assert choice == self.expected(order, overflow, repeats, tried)
            if choice.chosen is not None:
                self.enter(choice.chosen, choice.chosen in repeats)

    @rule(name=ANY, repeat=st.booleans())
    def knock(self, name: str, repeat: bool) -> None:
        if self.gate_models[name].obstacle(self.now, repeat=repeat) is None:
            self.enter(name, repeat)
        else:
            with pytest.raises(RuntimeError, match=f"^the gate of {name} is shut"):
                self.gates[name].enter(self.now, repeat=repeat)

    @rule(some=st.lists(POSITIONS, min_size=1, max_size=8), verdict=VERDICTS, duration=DURATIONS)
    def close_some(self, some: list[int], verdict: Verdict, duration: float) -> None:
        for position in some:
            if out := self.out:
                self.close(out[position % len(out)], verdict, duration)

    def close(self, entry: Entry, verdict: Verdict, duration: float) -> None:
        gate, gate_model = self.gates[entry.name], self.gate_models[entry.name]
        with self.reporting():
            entry.permit.close(verdict, self.now, duration)
            gate_model.close(entry, verdict, self.now, duration)
        assert entry.name in self.freed
        if verdict is Verdict.SUCCESS:
            gate.note_success()
            gate_model.throttlings = 0
        self.back.append(entry)

    @rule(name=ANY, retry_after=RETRY_AFTER, waits=st.lists(EIGHTHS | st.none(), max_size=3))
    def throttle(self, name: str, retry_after: float | None, waits: list[float | None]) -> None:
        """Once, and again after each wait; None is for until it is over."""
        gate, gate_model = self.gates[name], self.gate_models[name]
        for wait in (0.0, *waits):
            self.now = max(self.now, gate_model.cool_until) if wait is None else self.now + wait
            gate.cool_down(self.now, retry_after)
            gate_model.cool_down(self.now, retry_after)

    @rule(position=POSITIONS, verdict=VERDICTS)
    def close_again(self, position: int, verdict: Verdict) -> None:
        if self.back:
            permit = self.back[position % len(self.back)].permit
            permit.close(verdict, self.now)
            permit.cancel(self.now)

    @rule(name=ANY, repeat=st.booleans())
    def enter_and_cancel(self, name: str, repeat: bool) -> None:
        if self.gate_models[name].obstacle(self.now, repeat=repeat) is None:
            with self.reporting():
                entry = self.enter(name, repeat)
                entry.permit.cancel(self.now)
                self.gate_models[name].cancel(entry)
            self.back.append(entry)

    @rule(name=ANY, verdict=VERDICTS, repeat=st.booleans())
    def pass_many(self, name: str, verdict: Verdict, repeat: bool) -> None:
        for _ in range(12):
            if self.gate_models[name].obstacle(self.now, repeat=repeat) is None:
                self.close(self.enter(name, repeat), verdict, 0.0)

    @rule(name=ANY, ends=st.lists(VERDICTS, max_size=3), held=st.booleans(), duration=DURATIONS)
    def fail_and_probe(self, name: str, ends: list[Verdict], held: bool, duration: float) -> None:
        """Fail until the door is shut, come back when it is time, and end some probes, or keep one."""
        for _ in range(8):
            if self.gate_models[name].obstacle(self.now) is None:
                self.close(self.enter(name, False), Verdict.FAILURE, 0.0)
        for end in ends:
            for _ in range(3):
                self.now = self.gates[name].until(self.now) or self.now
            if self.gate_models[name].obstacle(self.now) is None:
                entry = self.enter(name, False)
                if not held:
                    self.close(entry, end, duration)

    @rule(name=ANY, firsts=st.integers(8, 22), cancelled=st.booleans(), waits=st.lists(EIGHTHS, min_size=1, max_size=4))
    def repeat_in_trouble(self, name: str, firsts: int, cancelled: bool, waits: list[float]) -> None:
        """Some first attempts, of which one fails, and then repeats only: they have to come out of the budget."""
        self.operate(name, "resume")
        for number in range(firsts):
            if self.gate_models[name].obstacle(self.now) is None:
                self.close(self.enter(name, False), Verdict.NONE if number else Verdict.FAILURE, 0.0)
        if cancelled:
            self.enter_and_cancel(name, False)
        for wait in waits:
            self.now += wait
            self.knock(name, True)
            self.knock(name, True)

    # Time, and operators.

    @rule(passing=EIGHTHS | ANY)
    def wait(self, passing: float | str) -> None:
        """For some seconds, or until a gate says that one should look again."""
        if isinstance(passing, str):
            self.now = self.gates[passing].until(self.now) or self.now
        else:
            self.now += passing

    @rule(name=ANY, order=st.sampled_from(["drain", "resume", "reset", "resume"]))
    def operate(self, name: str, order: str) -> None:
        breaker, gate_model = self.gates[name].breaker, self.gate_models[name]
        if order == "drain":
            breaker.force_open(self.now)
            if name not in self.drained:
                gate_model.become(BreakerState.FORCED_OPEN)
            self.drained.add(name)
        elif order == "reset" and name in self.drained:
            with pytest.raises(ValueError, match="forced open"):
                breaker.reset(self.now)
        else:
            with self.reporting():
                (breaker.reset if order == "reset" else breaker.resume)(self.now)
                gate_model.become(BreakerState.CLOSED)
            self.drained.discard(name)

    # What holds at any time.

    @invariant()
    def gates_are_as_the_model_has_them(self) -> None:
        assert self.faults == []
        for name, gate in self.gates.items():
            gate_model = self.gate_models[name]
            assert gate.in_flight == len(gate_model.out)
            assert gate.breaker.state is gate_model.state
            for repeat in (False, True):
                assert gate.obstacle(self.now, repeat=repeat) is gate_model.obstacle(self.now, repeat=repeat)

    @invariant()
    def who_waits_until_then_is_neither_early_nor_late(self) -> None:
        for name, gate in self.gates.items():
            gate_model = self.gate_models[name]
            for repeat in (False, True):
                why = gate_model.obstacle(self.now, repeat=repeat)
                until = gate.until(self.now, repeat=repeat)
                if why in (None, Obstacle.DRAINED, Obstacle.CONCURRENCY):
                    assert until is None
                    continue
                assert until is not None
                assert until > self.now
                assert self.change(gate_model, until, repeat) != self.change(gate_model, self.now, repeat)
                if why is not Obstacle.RETRY_BUDGET:  # which the failures may leave sooner, by growing old
                    assert gate_model.obstacle(max(self.now, until - 1 / 16), repeat=repeat)

    def change(self, gate_model: GateModel, now: float, repeat: bool) -> tuple[Obstacle | None, bool]:
        """What a waiter sees: the obstacle, and whether a probe's lease is over, which only moves its end."""
        return gate_model.obstacle(now, repeat=repeat), now >= gate_model.lapse()

    def teardown(self) -> None:
        if self.faults or not self.gates:
            return
        # Whatever never reported: nothing is wedged for ever but what an operator or the caller holds.
        self.now += 1e6
        for gate in self.gates.values():
            assert gate.obstacle(self.now, repeat=True) in (None, Obstacle.DRAINED, Obstacle.CONCURRENCY)
        for name, gate in self.gates.items():
            for entry in list(self.gate_models[name].out):
                self.close(entry, Verdict.NONE, 0.0)
            self.operate(name, "resume")
            assert gate.in_flight == 0
            assert gate.obstacle(self.now) is None


def test_gates_and_choices_are_as_the_rules_say() -> None:
    run_state_machine_as_test(RoutingMachine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))


@pytest.mark.long
def test_gates_and_choices_are_as_the_rules_say_at_length() -> None:
    run_state_machine_as_test(
        RoutingMachine, settings=settings(max_examples=1_000, stateful_step_count=80, deadline=None)
    )

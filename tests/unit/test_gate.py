"""A provider's door: what keeps an attempt out and until when, and that all that was taken is given back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.gates import LATER, LEASE, NOW, OPEN_FOR, FreeListener, attempt, fail, make

from postwire.core.breaker import Breaker, BreakerSettings, BreakerState, Permit, Verdict
from postwire.core.gate import Gate, GatePermit, GateSettings
from postwire.core.obstacles import WAITED_FOR, Obstacle

# Obstacles.


BLOCKED = {Obstacle.DRAINED, Obstacle.OPEN, Obstacle.HALF_OPEN}
PRECEDENCE = [
    Obstacle.DRAINED,
    Obstacle.UNAVAILABLE,
    Obstacle.MISCONFIGURED,
    Obstacle.OPEN,
    Obstacle.HALF_OPEN,
    Obstacle.COOLING_DOWN,
    Obstacle.RETRY_BUDGET,
    Obstacle.CONCURRENCY,
    Obstacle.RATE,
]
UNTIL = {
    Obstacle.DRAINED: None,
    Obstacle.UNAVAILABLE: None,
    Obstacle.MISCONFIGURED: LATER + 30,
    Obstacle.OPEN: LATER + OPEN_FOR,
    Obstacle.HALF_OPEN: LATER + LEASE,
    Obstacle.COOLING_DOWN: LATER + 30,
    Obstacle.RETRY_BUDGET: NOW + 1,
    Obstacle.CONCURRENCY: None,
    Obstacle.RATE: NOW + 100,
}


def piled(*obstacles: Obstacle) -> Gate:
    """A gate that has these obstacles at once, and no other, at the time `LATER`."""
    attempts = (Obstacle.RETRY_BUDGET in obstacles) + (Obstacle.CONCURRENCY in obstacles)
    limited = Obstacle.RATE in obstacles
    gate = make(
        GateSettings(
            max_concurrent=1 if Obstacle.CONCURRENCY in obstacles else 64,
            rate=0.01 if limited else None,
            burst=max(1, attempts) if limited else None,
        )
    )
    if Obstacle.RETRY_BUDGET in obstacles:
        fail(gate, 1)
        attempt(gate, NOW, repeat=True)
    if Obstacle.CONCURRENCY in obstacles:
        gate.enter(NOW)
    if limited and not attempts:
        attempt(gate, NOW)
    if Obstacle.HALF_OPEN in obstacles:
        fail(gate, 3 - gate.breaker.snapshot(NOW).calls)
        assert gate.breaker.acquire(LATER) is not None
    if Obstacle.OPEN in obstacles:
        fail(gate, 3 - gate.breaker.snapshot(NOW).calls, LATER)
    if Obstacle.COOLING_DOWN in obstacles:
        gate.cool_down(LATER, 30.0)
    if Obstacle.UNAVAILABLE in obstacles:
        gate.note_opening(Obstacle.UNAVAILABLE)
    if Obstacle.MISCONFIGURED in obstacles:
        gate.note_misconfigured(LATER)
    if Obstacle.DRAINED in obstacles:
        gate.breaker.force_open(LATER)
    return gate


PILES = [
    pile
    for size in range(len(PRECEDENCE) + 1)
    for pile in itertools.combinations(PRECEDENCE, size)
    if len(BLOCKED & set(pile)) <= 1
]


@pytest.mark.parametrize("pile", PILES, ids=lambda pile: "+".join(one.value for one in pile) or "none")
@pytest.mark.parametrize("repeat", [False, True], ids=["first", "repeat"])
def test_of_several_obstacles_the_first_is_named_with_its_end(pile: tuple[Obstacle, ...], repeat: bool) -> None:
    gate = piled(*pile)
    expected = next((one for one in pile if repeat or one is not Obstacle.RETRY_BUDGET), None)
    assert gate.obstacle(LATER, repeat=repeat) is expected
    assert gate.until(LATER, repeat=repeat) == (None if expected is None else UNTIL[expected])

    in_flight = gate.in_flight
    if expected is None:
        gate.enter(LATER, repeat=repeat).close(Verdict.NONE, LATER)
    else:
        for _ in range(2):
            with pytest.raises(RuntimeError, match=f"sms-mms is shut: {expected.value}"):
                gate.enter(LATER, repeat=repeat)
            assert gate.obstacle(LATER, repeat=repeat) is expected, "it took nothing"
    assert gate.in_flight == in_flight


def test_every_obstacle_has_its_place_and_only_limits_are_waited_for() -> None:
    assert set(PRECEDENCE) == set(Obstacle) - {Obstacle.UNSUITABLE}, "which is the message's"
    assert {Obstacle.CONCURRENCY, Obstacle.RATE} == WAITED_FOR


@pytest.mark.parametrize(
    "obstacle", [Obstacle.OPEN, Obstacle.COOLING_DOWN, Obstacle.RETRY_BUDGET, Obstacle.RATE], ids=lambda one: one.value
)
def test_an_obstacle_is_gone_at_its_end_and_not_before(obstacle: Obstacle) -> None:
    gate = piled(obstacle)
    end = gate.until(LATER, repeat=True)
    assert end is not None
    assert gate.obstacle(math.nextafter(end, 0), repeat=True) is obstacle
    assert gate.obstacle(end, repeat=True) is None
    assert gate.until(end, repeat=True) is None
    attempt(gate, end, Verdict.SUCCESS, repeat=True)


def test_draining_a_provider_shuts_the_gate_until_it_is_resumed() -> None:
    gate = make()
    gate.breaker.force_open(NOW)
    assert gate.obstacle(NOW + 1e6) is Obstacle.DRAINED
    gate.breaker.resume(NOW)
    assert gate.obstacle(NOW) is None


def test_half_open_lets_one_probe_in_and_the_next_when_that_is_back() -> None:
    gate = make()
    fail(gate, 3)
    probe = gate.enter(LATER)
    assert gate.obstacle(LATER) is Obstacle.HALF_OPEN
    probe.close(Verdict.NONE, LATER)
    assert gate.obstacle(LATER) is None
    attempt(gate, LATER, Verdict.SUCCESS)
    assert gate.breaker.state is BreakerState.CLOSED


# Permits.


def test_so_many_at_once_and_no_more() -> None:
    gate = make(GateSettings(max_concurrent=3))
    permits = [gate.enter(NOW) for _ in range(3)]
    assert gate.in_flight == 3
    assert gate.obstacle(NOW) is Obstacle.CONCURRENCY
    permits[1].close(Verdict.SUCCESS, NOW)
    assert gate.in_flight == 2
    assert gate.obstacle(NOW) is None


def test_the_breaker_hears_the_verdict_and_the_duration() -> None:
    gate = make(breaker=BreakerSettings(slow_call_ratio=1.0, slow_call_duration=2.0))
    for verdict, duration in ((Verdict.SUCCESS, 1.0), (Verdict.FAILURE, 2.5), (Verdict.NONE, 9.0)):
        gate.enter(NOW).close(verdict, NOW + duration, duration)
    seen = gate.breaker.snapshot(NOW + 9)
    assert (seen.calls, seen.failures, seen.slow_calls) == (2, 1, 1)


@pytest.mark.parametrize("end", ["close", "cancel"])
@pytest.mark.parametrize("again", ["close", "cancel"])
@pytest.mark.parametrize("repeat", [False, True])
def test_a_permit_is_given_back_once(end: str, again: str, repeat: bool) -> None:
    listener = FreeListener()
    gate = make(GateSettings(max_concurrent=2, rate=0.01, burst=2), listener=listener)
    fail(gate, 1)
    other, permit = gate.enter(NOW), gate.enter(NOW, repeat=repeat)
    ways: dict[str, Callable[[], None]] = {
        "close": lambda: permit.close(Verdict.FAILURE, NOW),
        "cancel": lambda: permit.cancel(NOW),
    }
    ways[end]()
    before = (gate.breaker.snapshot(NOW), gate.obstacle(NOW), gate.obstacle(NOW, repeat=True), gate.until(NOW))
    for _ in range(3):
        ways[again]()
    assert before == (gate.breaker.snapshot(NOW), gate.obstacle(NOW), gate.obstacle(NOW, repeat=True), gate.until(NOW))
    assert gate.in_flight == 1
    assert len(listener.seen) == 1
    other.close(Verdict.SUCCESS, NOW)
    assert gate.in_flight == 0


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_slot_comes_back_though_the_breaker_has_moved_on(verdict: Verdict) -> None:
    listener = FreeListener()
    gate = make(GateSettings(max_concurrent=1), listener=listener)
    stale = gate.enter(NOW)
    gate.breaker.force_open(NOW)
    gate.breaker.resume(NOW)
    assert gate.obstacle(NOW) is Obstacle.CONCURRENCY
    listener.seen.clear()
    stale.close(verdict, NOW)
    assert gate.breaker.snapshot(NOW).calls == 0
    assert gate.obstacle(NOW) is None
    assert listener.seen == [(0, BreakerState.CLOSED)]


def test_a_call_that_hangs_holds_one_slot_and_nothing_else() -> None:
    gate = make(GateSettings(max_concurrent=2, rate=10.0, burst=1))
    hanging = gate.enter(NOW)
    now = NOW
    for _ in range(1000):
        now += 60
        assert gate.obstacle(now) is None
        attempt(gate, now, Verdict.SUCCESS)
        assert gate.in_flight == 1
    assert gate.breaker.state is BreakerState.CLOSED
    hanging.close(Verdict.FAILURE, now, now - NOW)
    assert gate.in_flight == 0


def test_a_probe_that_hangs_keeps_its_slot_and_holds_up_nobody_for_good() -> None:
    gate = make(GateSettings(max_concurrent=2))
    fail(gate, 3)
    hanging = gate.enter(LATER)
    now = gate.until(LATER)
    assert now == LATER + LEASE
    assert gate.obstacle(now) is Obstacle.HALF_OPEN, "its lease is over: as good as open again"
    now = gate.until(now)
    assert now == LATER + LEASE + 2 * OPEN_FOR
    attempt(gate, now, Verdict.SUCCESS)
    assert gate.breaker.state is BreakerState.CLOSED
    assert gate.in_flight == 1
    hanging.close(Verdict.FAILURE, now + 1)
    assert (gate.in_flight, gate.breaker.snapshot(now + 1).calls) == (0, 0)


def test_what_is_cancelled_was_never_taken() -> None:
    gate = make(GateSettings(max_concurrent=1, rate=0.01, burst=1))
    for _ in range(50):
        gate.enter(NOW).cancel(NOW)
        assert gate.obstacle(NOW) is None
    fail(gate, 1)
    for _ in range(50):
        gate.enter(NOW, repeat=True).cancel(NOW)
        assert gate.obstacle(NOW, repeat=True) is None
    attempt(gate, NOW, repeat=True)
    assert gate.obstacle(NOW, repeat=True) is Obstacle.RETRY_BUDGET, "the 50 first attempts made no repeats"
    assert gate.until(NOW, repeat=True) == NOW + 1
    assert gate.obstacle(NOW) is Obstacle.RATE
    assert gate.until(NOW) == NOW + 100


def test_a_cancelled_probe_frees_its_place_and_says_nothing() -> None:
    gate = make()
    fail(gate, 3)
    gate.enter(LATER).cancel(LATER)
    assert gate.breaker.state is BreakerState.HALF_OPEN
    assert gate.obstacle(LATER) is None


def test_what_is_cancelled_later_gives_no_more_than_the_rate_allows() -> None:
    gate = make(GateSettings(rate=1.0, burst=2))
    permit = gate.enter(NOW)
    attempt(gate, NOW + 0.5, Verdict.SUCCESS)
    permit.cancel(NOW + 0.5)
    attempt(gate, NOW + 0.5, Verdict.SUCCESS)
    assert gate.until(NOW + 0.5) == NOW + 1.5


class Broken(Breaker):
    """Fails when it should not."""

    __slots__ = ()

    def acquire(self, now: float) -> Permit | None:
        return super().acquire(now) if now < LATER else None

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        raise ArithmeticError


def test_a_slot_comes_back_whatever_the_breaker_does() -> None:
    gate = Gate("sms-mms", GateSettings(max_concurrent=1), Broken(BreakerSettings()), jitter=lambda: 0.5)
    listener = FreeListener(gate)
    gate.on_free = listener
    permit = gate.enter(NOW)
    with pytest.raises(ArithmeticError):
        permit.close(Verdict.SUCCESS, NOW)
    assert (gate.in_flight, len(listener.seen)) == (0, 1)
    gate.changed()
    assert len(listener.seen) == 2, "what comes afterwards is told"
    with pytest.raises(RuntimeError, match="gives no permit"):
        gate.enter(LATER)
    assert gate.in_flight == 0


# Any order.


STEPS = st.one_of(
    st.tuples(st.sampled_from(["enter", "repeat"]), st.just(0.0)),
    st.tuples(st.sampled_from(list(Verdict)), st.integers(0, 3).map(float)),
    st.tuples(st.just("cancel"), st.integers(0, 3).map(float)),
    st.tuples(st.just("wait"), st.integers(0, 40).map(lambda quarters: quarters / 4)),
    st.tuples(st.just("throttled"), st.one_of(st.none(), st.integers(0, 3).map(float))),
    st.tuples(st.sampled_from(["success", "drain", "resume"]), st.just(0.0)),
)


@examples(300)
@given(steps=st.lists(STEPS, max_size=60), limit=st.integers(1, 3), rate=st.sampled_from([None, 0.5, 4.0]))
def test_in_any_order_it_keeps_its_word_and_nothing_is_lost(
    steps: list[tuple[str | Verdict, float | None]], limit: int, rate: float | None
) -> None:
    gate = make(GateSettings(max_concurrent=limit, rate=rate))
    inside: list[GatePermit] = []
    now = NOW
    for step, number in steps:
        if step in ("enter", "repeat"):
            repeat = step == "repeat"
            if gate.obstacle(now, repeat=repeat) is None:
                inside.append(gate.enter(now, repeat=repeat))
            else:
                with pytest.raises(RuntimeError):
                    gate.enter(now, repeat=repeat)
        elif step == "wait":
            now += number or 0.0
        elif step == "throttled":
            gate.cool_down(now, number)
        elif step == "success":
            gate.note_success()
        elif step == "drain":
            gate.breaker.force_open(now)
        elif step == "resume":
            gate.breaker.resume(now)
        elif inside:
            permit = inside.pop(int(number or 0) % len(inside))
            if isinstance(step, Verdict):
                permit.close(step, now, 0.1)
            else:
                permit.cancel(now)
        assert gate.in_flight == len(inside) <= limit
        for repeat in (False, True):
            obstacle, end = gate.obstacle(now, repeat=repeat), gate.until(now, repeat=repeat)
            if end is not None:
                assert end > now
                # Once a probe's lease is over, half-open is as good as open, and has another end.
                assert obstacle is Obstacle.HALF_OPEN or gate.obstacle(end, repeat=repeat) is not obstacle
    for permit in inside:
        permit.close(Verdict.SUCCESS, now)
    gate.breaker.resume(now)
    assert gate.in_flight == 0
    assert gate.obstacle(now + 1000) is None


def test_an_attempt_whose_time_is_not_told_is_not_slow() -> None:
    breaker = Breaker(BreakerSettings(slow_call_ratio=0.5, slow_call_duration=0.5))
    gate = Gate("a", GateSettings(), breaker, jitter=lambda: 0.0)
    gate.enter(NOW).close(Verdict.SUCCESS, NOW)
    assert breaker.snapshot(NOW).slow_calls == 0


def test_a_cool_down_ends_when_somebody_knows_better_and_the_row_of_throttlings_with_it() -> None:
    breaker = Breaker(BreakerSettings())
    gate = Gate("a", GateSettings(backoff_base=1.0, backoff_max=64.0), breaker, jitter=lambda: 0.5)
    obstacles: list[Obstacle | None] = []
    gate.cool_down(NOW, 0.5)
    gate.cool_down(NOW + 1, None)
    gate.on_free = lambda: obstacles.append(gate.obstacle(NOW + 1))
    assert gate.obstacle(NOW + 1) is Obstacle.COOLING_DOWN
    gate.end_cool_down()
    assert gate.obstacle(NOW + 1) is None
    assert obstacles == [None], "whoever waits is told, once it is over"
    gate.cool_down(NOW + 2, None)
    assert gate.until(NOW + 2) == NOW + 2.5, "the first of a new row"


@pytest.mark.parametrize("retry_after", [3600.5, 1e12])
def test_a_provider_that_asks_for_far_too_long_is_asked_again_within_the_hour(retry_after: float) -> None:
    gate = Gate("a", GateSettings(), Breaker(BreakerSettings()), jitter=lambda: 0.0)
    gate.cool_down(NOW, retry_after)
    assert gate.until(NOW) == NOW + 3600


def test_the_room_is_what_is_left_of_the_slots() -> None:
    gate = Gate("a", GateSettings(max_concurrent=3), Breaker(BreakerSettings()), jitter=lambda: 0.0)
    permits = [gate.enter(NOW) for _ in range(2)]
    assert gate.free(NOW) == 1
    permits[0].close(Verdict.SUCCESS, NOW)
    assert gate.free(NOW) == 2


def test_only_those_that_have_begun_are_at_the_provider() -> None:
    gate = make()
    first, second = gate.enter(0.0), gate.enter(0.0)
    assert (gate.in_flight, gate.sending) == (2, 0)
    first.begin()
    assert (gate.in_flight, gate.sending) == (2, 1)
    second.cancel(1.0)
    assert (gate.in_flight, gate.sending) == (1, 1)
    first.close(Verdict.SUCCESS, 1.0)
    first.close(Verdict.SUCCESS, 1.0)
    assert (gate.in_flight, gate.sending) == (0, 0)

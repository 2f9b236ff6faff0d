"""A provider's limits: its rate, its retry budget, its cool-downs, and that whoever waits for it hears of it."""

from __future__ import annotations

import math

import pytest
from tests.support.gates import LATER, NOW, OPEN_FOR, FreeListener, attempt, fail, make

from postwire.core.breaker import BreakerSettings, BreakerState, Verdict
from postwire.core.gate import MAX_COOL_DOWN, GatePermit, GateSettings
from postwire.core.obstacles import Obstacle

# Limits.


@pytest.mark.parametrize(
    ("rate", "burst", "at_once"), [(2.0, None, 2), (2.1, None, 3), (0.1, None, 1), (2.0, 5, 5), (50.0, 1, 1)]
)
def test_the_burst_is_what_a_second_lets_through_unless_it_is_set(rate: float, burst: int | None, at_once: int) -> None:
    gate = make(GateSettings(rate=rate, burst=burst))
    for _ in range(at_once):
        attempt(gate, NOW, Verdict.SUCCESS)
    assert gate.obstacle(NOW) is Obstacle.RATE
    assert gate.until(NOW) == pytest.approx(NOW + 1 / rate)


def test_a_token_is_gone_with_the_attempt_however_it_ends() -> None:
    for verdict in Verdict:
        gate = make(GateSettings(rate=1.0, burst=1))
        attempt(gate, NOW, verdict)
        assert gate.obstacle(NOW) is Obstacle.RATE


@pytest.mark.parametrize("limits", [GateSettings(rate=0.0), GateSettings(rate=1.0, burst=0)])
def test_limits_that_could_not_work_are_refused(limits: GateSettings) -> None:
    with pytest.raises(ValueError, match="rate above 0"):
        make(limits)


def test_while_the_failure_ratio_is_kept_repeats_cost_nothing() -> None:
    gate = make(breaker=BreakerSettings(minimum_calls=10))
    for _ in range(3):
        attempt(gate, NOW, Verdict.SUCCESS)
    fail(gate, 2)
    for _ in range(50):
        attempt(gate, NOW, repeat=True)
    fail(gate, 1)
    assert gate.breaker.exceeds_failure_ratio(NOW)
    attempt(gate, NOW, repeat=True)
    assert gate.obstacle(NOW, repeat=True) is Obstacle.RETRY_BUDGET, "and that was the one a second"
    assert gate.obstacle(NOW) is None
    for _ in range(2):
        attempt(gate, NOW, Verdict.SUCCESS)
    for _ in range(50):
        attempt(gate, NOW, repeat=True)


@pytest.mark.parametrize(("firsts", "allowed"), [(9, 1), (10, 2), (100, 11)])
def test_beyond_it_a_tenth_of_the_first_attempts_and_one_a_second_are_repeated(firsts: int, allowed: int) -> None:
    gate = make()
    for _ in range(firsts):
        attempt(gate, NOW)
    fail(gate, 1)
    for _ in range(allowed):
        attempt(gate, NOW, repeat=True)
    assert gate.obstacle(NOW, repeat=True) is Obstacle.RETRY_BUDGET
    attempt(gate, NOW + 1, repeat=True)
    assert gate.obstacle(NOW + 1, repeat=True) is Obstacle.RETRY_BUDGET, "repeats are no first attempts"


def test_a_cancelled_repeat_of_the_tenth_is_there_again() -> None:
    gate = make()
    for _ in range(10):
        attempt(gate, NOW)
    fail(gate, 1)
    gate.enter(NOW, repeat=True).cancel(NOW)
    for _ in range(2):
        attempt(gate, NOW, repeat=True)
    assert gate.obstacle(NOW, repeat=True) is Obstacle.RETRY_BUDGET


# Cool-downs.


def test_it_cools_down_for_as_long_as_the_provider_asks() -> None:
    gate = make(draws=[])
    gate.cool_down(NOW, 7.5)
    assert gate.until(NOW) == NOW + 7.5


@pytest.mark.parametrize("retry_after", [1e300, 10**400])  # the second is too large for a float
def test_however_long_it_asks_for_it_is_asked_again_one_day(retry_after: float) -> None:
    gate = make(draws=[])
    gate.cool_down(NOW, retry_after)
    assert gate.until(NOW) == NOW + MAX_COOL_DOWN


@pytest.mark.parametrize("retry_after", [None, math.inf, math.nan, -math.inf])
def test_if_it_does_not_say_how_long_the_backoff_grows_with_the_row(retry_after: float | None) -> None:
    gate = make(GateSettings(backoff_base=2.0, backoff_max=10.0), draws=[0.5, 0.25, 0.5, 0.5, 0.75, 0.5])
    now, waited = NOW, []
    for _ in range(5):
        gate.cool_down(now, retry_after)
        end = gate.until(now)
        assert end is not None
        waited.append(end - now)
        now = end
    assert waited == [1.0, 1.0, 4.0, 5.0, 7.5]
    gate.note_success()
    gate.cool_down(now, retry_after)
    assert gate.until(now) == now + 1.0


def test_one_that_said_how_long_is_of_the_row_too() -> None:
    gate = make(GateSettings(backoff_base=2.0))
    gate.cool_down(NOW, 3.0)
    gate.cool_down(NOW + 3, None)
    assert gate.until(NOW + 3) == NOW + 5


def test_a_cool_down_is_made_longer_and_never_shorter() -> None:
    gate = make()
    gate.cool_down(NOW, 30.0)
    for now, retry_after, end in (
        (NOW + 1, 5.0, NOW + 30),
        (NOW + 1, None, NOW + 30),
        (NOW + 1, 0.0, NOW + 30),
        (NOW + 2, 40.0, NOW + 42),
    ):
        gate.cool_down(now, retry_after)
        assert gate.until(now) == end


def test_a_success_ends_the_row_and_not_the_cool_down() -> None:
    gate = make()
    gate.cool_down(NOW, 30.0)
    gate.note_success()
    assert gate.until(NOW) == NOW + 30


@pytest.mark.parametrize("retry_after", [None, 0.25])
def test_a_burst_that_is_throttled_call_by_call_is_one_step_of_the_row(retry_after: float | None) -> None:
    gate = make(GateSettings(backoff_base=2.0), draws=[0.5] * 2)
    gate.cool_down(NOW, None)
    for _ in range(60):
        gate.cool_down(NOW + 0.5, retry_after)
    assert gate.until(NOW + 0.5) == NOW + 1, "nor does it put off the end"
    gate.cool_down(NOW + 1, None)
    assert gate.until(NOW + 1) == NOW + 3, "half of twice the base"


def test_a_throttled_attempt_says_nothing_of_health() -> None:
    gate = make()
    for _ in range(20):
        attempt(gate, NOW)
    gate.cool_down(NOW, 1.0)
    assert gate.breaker.snapshot(NOW).calls == 0
    assert gate.obstacle(NOW + 1) is None


# Who waits hears of it.


def test_who_waits_hears_of_an_attempt_that_has_ended_once_all_is_settled() -> None:
    listener = FreeListener()
    gate = make(listener=listener)
    fail(gate, 2)
    permits = [gate.enter(NOW) for _ in range(2)]
    assert listener.seen == [], "entering makes nothing free"
    permits[0].close(Verdict.FAILURE, NOW)
    assert listener.seen == [(1, BreakerState.OPEN)], "once, though the breaker changed with it"
    permits[1].cancel(NOW)
    assert listener.seen[1:] == [(0, BreakerState.OPEN)]


def test_who_waits_hears_of_every_change_of_the_breaker() -> None:
    listener = FreeListener()
    gate = make(listener=listener)
    fail(gate, 3)
    assert listener.seen == [(0, BreakerState.OPEN)]
    probe = gate.enter(LATER)
    assert listener.seen[1:] == [(1, BreakerState.HALF_OPEN)], "with the probe's slot taken"
    probe.close(Verdict.SUCCESS, LATER)
    assert listener.seen[2:] == [(0, BreakerState.CLOSED)]
    gate.breaker.force_open(LATER)
    gate.breaker.resume(LATER)
    assert listener.seen[3:] == [(0, BreakerState.FORCED_OPEN), (0, BreakerState.CLOSED)]
    gate.enter(LATER)
    assert len(listener.seen) == 5


def test_of_three_probes_the_first_and_the_last_change_something() -> None:
    listener = FreeListener()
    gate = make(breaker=BreakerSettings(minimum_calls=3, open_for=OPEN_FOR, probe_calls=3), listener=listener)
    fail(gate, 3)
    for _ in range(3):
        permit = gate.enter(LATER)
    assert listener.seen[1:] == [(1, BreakerState.HALF_OPEN), (3, BreakerState.HALF_OPEN)], "the last one shuts it"
    permit.cancel(LATER)
    gate.enter(LATER)
    assert listener.seen[3:] == [(2, BreakerState.HALF_OPEN), (3, BreakerState.HALF_OPEN)]


def test_who_waits_hears_of_a_cool_down_that_begins_or_grows() -> None:
    listener = FreeListener()
    gate = make(listener=listener)
    for now, retry_after, heard in (
        (NOW, 10.0, 1),
        (NOW + 1, 5.0, 1),
        (NOW + 1, 9.0, 1),
        (NOW + 1, None, 1),
        (NOW + 1, 20.0, 2),
        (NOW + 21, None, 3),
    ):
        gate.cool_down(now, retry_after)
        assert len(listener.seen) == heard


@pytest.mark.parametrize("verdict", [Verdict.SUCCESS, Verdict.FAILURE])
def test_who_waits_may_come_back_at_once(verdict: Verdict) -> None:
    gate = make(GateSettings(max_concurrent=1))
    taken: list[GatePermit] = []

    def take() -> None:
        if gate.obstacle(LATER) is None:
            taken.append(gate.enter(LATER))

    fail(gate, 3)
    gate.on_free = take
    probe = gate.enter(LATER)
    assert taken == [], "the probe is out when it is told"
    probe.close(verdict, LATER)
    assert len(taken) == (1 if verdict is Verdict.SUCCESS else 0)
    assert gate.in_flight == len(taken)

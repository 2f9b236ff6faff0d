"""The breaker's rules: what opens it, for how long, and what its probes decide."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from tests.support.breakers import (
    CLOSED,
    FAILURE,
    HALF_OPEN,
    NONE,
    NOW,
    OPEN,
    SUCCESS,
    breaker,
    calls,
    half_opened,
    in_state,
    opened,
    permit_of,
)

from postwire.core.breaker import Breaker, BreakerSettings, BreakerSnapshot, BreakerState, Transition, Verdict

# The window.


def test_a_new_breaker_is_closed_and_knows_nothing() -> None:
    it = breaker()
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 0, 0, 0, 0.0, None)
    assert it.admits(NOW)
    assert not it.exceeds_failure_ratio(NOW)


def test_the_words_are_the_design_s() -> None:
    assert [state.value for state in BreakerState] == ["closed", "open", "half_open", "forced_open"]


@pytest.mark.parametrize(
    ("settings", "verdicts", "opens"),
    [
        ({}, "f" * 9, False),
        ({}, "f" * 10, True),
        ({}, "s" * 5 + "f" * 5, True),
        ({}, "s" * 6 + "f" * 5, False),
        ({}, "f" * 9 + "s", True),
        ({}, "s" * 10 + "f" * 9, False),
        ({}, "s" * 100 + "f" * 9, False),
        ({}, "s" * 100 + "f" * 10, True),
        ({}, "-" * 50 + "f" * 9 + "-" * 50, False),
        ({"window_calls": 4, "minimum_calls": 4, "failure_ratio": 0.75}, "ffssff", False),
        ({"window_calls": 4, "minimum_calls": 4, "failure_ratio": 0.75}, "ffssfff", True),
        ({"window_calls": 1, "minimum_calls": 1, "failure_ratio": 1.0}, "sss", False),
        ({"window_calls": 1, "minimum_calls": 1, "failure_ratio": 1.0}, "sssf", True),
        # 0.07 * 100 is more than 7 in floats: a ratio is compared as a ratio.
        ({"window_calls": 100, "minimum_calls": 100, "failure_ratio": 0.07}, "f" * 7 + "s" * 93, True),
        ({"window_calls": 100, "minimum_calls": 100, "failure_ratio": 0.07}, "f" * 6 + "s" * 94, False),
    ],
)
def test_it_opens_when_the_ratio_of_the_window_failed_and_enough_were_seen(
    settings: dict[str, Any], verdicts: str, opens: bool
) -> None:
    it = breaker(**settings)
    calls(it, verdicts[:-1])
    assert it.state is CLOSED
    calls(it, verdicts[-1])
    assert it.state is (OPEN if opens else CLOSED)


def test_a_result_counts_as_long_as_the_window_reaches_back_and_no_longer() -> None:
    it = breaker(minimum_calls=3, window_time=60.0)
    calls(it, "ff", NOW)
    assert it.snapshot(NOW + 60).failures == 2
    assert it.snapshot(NOW + 60.001).calls == 0
    calls(it, "f", NOW + 60.001)
    assert it.state is CLOSED
    calls(it, "ff", NOW + 120.001)
    assert it.state is OPEN, "the third is exactly as old as it may be"


def test_a_result_is_as_old_as_its_call_s_end() -> None:
    it = breaker(window_time=60.0)
    it.release(permit_of(it, NOW), FAILURE, NOW + 50, duration=50.0)
    assert it.snapshot(NOW + 110).calls == 1
    assert it.snapshot(NOW + 111).calls == 0


def test_a_success_opens_it_where_the_older_ones_no_longer_count() -> None:
    it = breaker(minimum_calls=3, window_time=60.0)
    calls(it, "sss", NOW)
    calls(it, "ff", NOW + 30)
    assert it.state is CLOSED
    calls(it, "s", NOW + 61)
    assert it.state is OPEN


def test_the_ratio_is_exceeded_from_the_first_call_on() -> None:
    it = breaker()
    calls(it, "f")
    assert it.exceeds_failure_ratio(NOW)
    calls(it, "s")
    assert it.exceeds_failure_ratio(NOW), "half of them, which is the ratio"
    calls(it, "s")
    assert not it.exceeds_failure_ratio(NOW)
    calls(it, "f", NOW + 59)
    assert it.exceeds_failure_ratio(NOW + 59)
    assert it.exceeds_failure_ratio(NOW + 61), "what is left of the window is one failure"
    assert not it.exceeds_failure_ratio(NOW + 120)


def test_what_opened_it_stays_in_sight_grows_old_and_is_gone_when_it_closes() -> None:
    it = breaker()
    calls(it, "s" * 5 + "f" * 5)
    assert it.snapshot(NOW) == BreakerSnapshot(OPEN, 10, 5, 0, 0.5, NOW + 5)
    assert it.exceeds_failure_ratio(NOW)
    probe = permit_of(it, NOW + 5)
    assert it.snapshot(NOW + 5) == BreakerSnapshot(HALF_OPEN, 10, 5, 0, 0.5, NOW + 25)
    it.release(probe, SUCCESS, NOW + 6)
    assert it.snapshot(NOW + 6) == BreakerSnapshot(CLOSED, 0, 0, 0, 0.0, None)
    assert opened().snapshot(NOW + 61) == BreakerSnapshot(OPEN, 0, 0, 0, 0.0, NOW + 5)


# Slow calls.


def test_nothing_is_slow_unless_it_authenticates() -> None:
    it = breaker()
    calls(it, "s" * 30, duration=1e9)
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 20, 0, 0, 0.0, None)


SLOW = {"slow_call_ratio": 0.8, "slow_call_duration": 2.0}


def test_it_opens_when_enough_of_the_window_was_slow() -> None:
    it = breaker(**SLOW)
    calls(it, "ss", duration=2.0)
    calls(it, "s" * 7, duration=2.001)
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 9, 0, 7, 0.0, None)
    calls(it, "s", duration=2.001)
    assert it.snapshot(NOW) == BreakerSnapshot(OPEN, 10, 0, 8, 0.0, NOW + 5)


def test_slow_calls_leave_the_window_as_all_do() -> None:
    it = breaker(**SLOW)
    calls(it, "s" * 7, duration=3.0)
    calls(it, "s" * 20)
    assert it.snapshot(NOW).slow_calls == 0
    calls(it, "ssf", NOW + 30, duration=3.0)
    assert it.snapshot(NOW + 90) == BreakerSnapshot(CLOSED, 3, 1, 3, 1 / 3, None), "a slow failure is both"


@pytest.mark.parametrize(("duration", "state"), [(2.0, CLOSED), (2.001, OPEN)])
def test_a_slow_probe_has_failed(duration: float, state: BreakerState) -> None:
    it, probe = half_opened(**SLOW)
    it.release(probe, SUCCESS, NOW + 3, duration)
    assert it.state is state


def test_a_call_whose_time_is_not_told_is_not_slow() -> None:
    it = Breaker(BreakerSettings(slow_call_ratio=0.5, slow_call_duration=0.5))
    permit = it.acquire(NOW)
    assert permit is not None
    it.release(permit, Verdict.SUCCESS, NOW)
    assert it.snapshot(NOW).slow_calls == 0


def test_a_slow_call_without_a_verdict_says_nothing() -> None:
    it, probe = half_opened(**SLOW)
    it.release(probe, NONE, NOW + 3, 3.0)
    assert it.state is HALF_OPEN


# How long it is open.


def openings(it: Breaker, number: int) -> list[float]:
    """How long each of the next openings lasts, as the first call after it finds."""
    found = []
    for _ in range(number):
        until = it.next_probe_time(0)
        assert until is not None
        assert not it.admits(until - 0.001)
        assert it.acquire(until - 0.001) is None
        assert it.state is OPEN, "time by itself changes nothing"
        assert it.admits(until)
        it.release(permit_of(it, until), FAILURE, until)
        later = it.next_probe_time(until)
        assert later is not None
        found.append(later - until)
    return found


def test_each_re_opening_is_twice_as_long_up_to_the_longest() -> None:
    it = opened(open_for=5.0, open_for_max=300.0)
    assert it.next_probe_time(NOW) == NOW + 5
    assert openings(it, 8) == [10, 20, 40, 80, 160, 300, 300, 300]


@pytest.mark.parametrize("start", [-1e6, 0.0, 1e9])
def test_its_clock_may_start_anywhere(start: float) -> None:
    assert opened(start).next_probe_time(start) == start + 5


def test_it_may_open_again_and_again_for_ever() -> None:
    assert openings(opened(), 3000)[-1] == 300


@pytest.mark.parametrize("close", ["probe", "resume", "reset"])
def test_once_closed_it_starts_from_the_shortest_again(close: str) -> None:
    it = opened()
    openings(it, 4)
    until = it.next_probe_time(0)
    assert until is not None
    if close == "probe":
        calls(it, "s", until)
    else:
        getattr(it, close)(until)
    assert it.state is CLOSED
    calls(it, "f", until)
    assert it.next_probe_time(until) == until + 5


def test_each_opening_has_a_jitter_of_its_own_on_top_even_of_the_longest() -> None:
    draws = iter([0.5, 0.0, 0.25, 0.999, 0.125])
    it = Breaker(BreakerSettings(minimum_calls=1, open_for=100.0), jitter=lambda: next(draws))
    calls(it, "f")
    assert it.next_probe_time(NOW) == pytest.approx(NOW + 105)
    assert openings(it, 3) == pytest.approx([200, 307.5, 329.97])
    assert list(draws) == [], "one for each, and one ahead"


# Probes.


@pytest.mark.parametrize("close_after", [1, 2, 3, 7])
@pytest.mark.parametrize("probe_calls", [1, 2, 3, 7])
def test_so_many_probes_at_once_and_so_many_successes_close_it(probe_calls: int, close_after: int) -> None:
    it, first = half_opened(probe_calls=probe_calls, close_after=close_after)
    out = [first, *(permit_of(it) for _ in range(probe_calls - 1))]
    assert it.acquire(NOW) is None
    for _ in range(close_after - 1):
        it.release(out.pop(0), SUCCESS, NOW)
        assert it.state is HALF_OPEN
        out.append(permit_of(it))
        assert it.acquire(NOW) is None, "one came back, one went out"
    it.release(out.pop(0), SUCCESS, NOW)
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 0, 0, 0, 0.0, None)

    for late, verdict in zip(out, itertools.cycle([FAILURE, SUCCESS, NONE]), strict=False):
        it.release(late, verdict, NOW)
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 0, 0, 0, 0.0, None), "those still out come too late"


def test_one_failed_probe_opens_it_again_whatever_went_before() -> None:
    it, first = half_opened(probe_calls=2, close_after=3)
    second = permit_of(it)
    it.release(first, SUCCESS, NOW)
    calls(it, "s")
    it.release(second, FAILURE, NOW)
    assert it.snapshot(NOW) == BreakerSnapshot(OPEN, 1, 1, 0, 1.0, NOW + 10)
    calls(it, "ss", NOW + 10)
    assert it.state is HALF_OPEN, "earlier successes are forgotten"
    calls(it, "s", NOW + 10)
    assert it.state is CLOSED


def test_a_probe_without_a_verdict_makes_room_for_another() -> None:
    it, probe = half_opened()
    for _ in range(100):
        assert not it.admits(NOW)
        it.release(probe, NONE, NOW)
        assert it.state is HALF_OPEN
        assert it.next_probe_time(NOW) is None
        probe = permit_of(it)


# Leases.


def test_a_probe_that_never_reports_has_failed_once_its_lease_is_over() -> None:
    it, _ = half_opened(lease=20.0)
    assert it.next_probe_time(NOW) == NOW + 20
    assert it.acquire(NOW + 19.999) is None
    assert it.state is HALF_OPEN
    assert not it.admits(NOW + 20)
    assert it.next_probe_time(NOW + 20) == NOW + 30, "foretold before it is so"
    assert it.acquire(NOW + 20) is None
    assert it.snapshot(NOW + 20) == BreakerSnapshot(OPEN, 1, 1, 0, 1.0, NOW + 30)


def test_it_counts_as_opened_when_the_lease_was_over_however_late_that_is_seen() -> None:
    heard: list[BreakerState] = []
    it = Breaker(BreakerSettings(minimum_calls=1), listener=lambda change: heard.append(change.target))
    calls(it, "f", NOW - 5)
    permit_of(it)
    assert not it.admits(NOW + 29.999)
    assert it.admits(NOW + 30)
    assert it.state is HALF_OPEN
    probe = permit_of(it, NOW + 30)
    assert heard == [OPEN, HALF_OPEN, OPEN, HALF_OPEN]
    it.release(probe, FAILURE, NOW + 30)
    assert it.next_probe_time(NOW + 30) == NOW + 50, "that was one re-opening more"


def test_the_first_lease_decides_even_while_there_is_room_for_a_probe() -> None:
    it, first = half_opened(probe_calls=3, lease=20.0)
    second = permit_of(it, NOW + 5)
    assert it.next_probe_time(NOW + 5) is None
    permit_of(it, NOW + 6)
    assert it.next_probe_time(NOW + 6) == NOW + 20
    it.release(first, NONE, NOW + 7)
    assert it.next_probe_time(NOW + 7) is None
    assert it.admits(NOW + 24.999)
    assert not it.admits(NOW + 25)
    assert it.next_probe_time(NOW + 25) == NOW + 35
    assert it.acquire(NOW + 25) is None
    it.release(second, SUCCESS, NOW + 25)
    assert it.state is OPEN


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("which", ["the hanging one", "another"])
@pytest.mark.parametrize("late", [0, 1])
def test_no_result_comes_in_time_once_a_lease_is_over(verdict: Verdict, which: str, late: int) -> None:
    it, hanging = half_opened(probe_calls=2, lease=20.0)
    other = permit_of(it, NOW + 10)
    it.release(hanging if which == "the hanging one" else other, verdict, NOW + 20 + late)
    assert it.state is OPEN
    assert it.next_probe_time(NOW + 20 + late) == NOW + 30


def test_a_probe_that_came_back_has_no_lease() -> None:
    it, probe = half_opened(close_after=2, lease=20.0)
    it.release(probe, SUCCESS, NOW + 1)
    assert it.admits(NOW + 1000)
    calls(it, "s", NOW + 1000)
    assert it.state is CLOSED


# Time.


def test_a_time_before_the_last_is_the_last() -> None:
    it, first = half_opened(probe_calls=2, lease=20.0)
    permit_of(it, NOW - 500)
    it.release(first, NONE, NOW - 500)
    permit_of(it, NOW + 10)
    assert it.next_probe_time(NOW - 500) == NOW + 20, "the second went out at NOW"
    it.snapshot(NOW + 20)
    assert not it.admits(NOW)
    assert it.next_probe_time(NOW) == NOW + 30
    assert it.acquire(NOW) is None
    assert it.state is OPEN
    assert it.acquire(NOW + 30) is not None

    it.resume(NOW + 40)
    it.release(permit_of(it, NOW), SUCCESS, NOW)
    assert it.snapshot(NOW + 100).calls == 1
    it.release(permit_of(it, NOW + 101), SUCCESS, NOW)
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 1, 0, 0, 0.0, None), "the first is over 60 s old"


@pytest.mark.parametrize("seen_by", ["acquire", "release", "snapshot", "exceeds_failure_ratio", "force_open", "resume"])
def test_whatever_sees_a_time_keeps_it(seen_by: str) -> None:
    it = breaker(minimum_calls=1)
    permit = permit_of(it, NOW)
    if seen_by == "release":
        it.release(permit, NONE, NOW + 50)
    else:
        getattr(it, seen_by)(NOW + 50)
    it.resume(NOW)
    calls(it, "f", NOW)
    assert it.next_probe_time(NOW) == NOW + 55


@pytest.mark.parametrize("state", list(BreakerState))
def test_to_ask_changes_nothing(state: BreakerState) -> None:
    asked, left_alone = in_state(state), in_state(state)
    for ahead in (0, 10, 1e9):
        asked.admits(NOW + ahead)
        asked.next_probe_time(NOW + ahead)
    assert asked.admits(NOW) == left_alone.admits(NOW)
    assert asked.snapshot(NOW) == left_alone.snapshot(NOW)


# What it costs.


def test_a_breaker_takes_no_more_room_the_longer_it_runs() -> None:
    it = breaker(window_calls=5, minimum_calls=5)
    for i in range(1000):
        calls(it, "s", NOW + i / 1000)
    assert it.snapshot(NOW).calls == 5


def test_settings_and_snapshots_do_not_change() -> None:
    for frozen in (BreakerSettings(), breaker().snapshot(NOW), Transition(CLOSED, OPEN)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, dataclasses.fields(frozen)[0].name, None)

"""Telling that the wall clock was set from all that looks like it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import START, ManualClock

from postwire.clock import SystemClock
from postwire.core.clock_steps import BLUR, STEP, StepDetector

HOUR = 3_600_000_000


def look(detector: StepDetector, clock: ManualClock) -> int:
    return detector.observe(clock.due(), clock.wall(), clock.due())


def test_time_that_passes_is_no_step() -> None:
    detector, clock = StepDetector(), ManualClock()
    for seconds in (0.0, 1.0, 86_400.0):
        clock.advance(seconds)
        assert look(detector, clock) == 0


def test_a_suspended_machine_has_not_had_its_clock_set() -> None:
    detector, clock = StepDetector(), ManualClock()
    clock.suspend(7200.0)
    assert look(detector, clock) == 0


def test_a_step_is_told_once_either_way() -> None:
    detector, clock = StepDetector(), ManualClock()
    clock.step_wall(-3600.0)
    assert look(detector, clock) == -HOUR
    assert look(detector, clock) == 0
    clock.step_wall(7200.0)
    assert look(detector, clock) == 2 * HOUR
    assert (detector.ahead, detector.lowest) == (HOUR, -HOUR)


def test_small_steps_count_once_they_come_to_a_second() -> None:
    detector, clock = StepDetector(), ManualClock()
    clock.step_wall(STEP / 1e6)
    assert look(detector, clock) == 0
    assert detector.ahead == 0
    clock.step_wall(0.4)
    assert look(detector, clock) == STEP + 400_000


def test_a_pause_between_the_two_readings_is_no_step() -> None:
    detector = StepDetector()
    assert detector.observe(START, START, START + BLUR + 2 * STEP) == 0
    assert detector.observe(START, START + 5 * STEP, START + 5 * STEP) == 0
    assert detector.ahead == 0
    assert detector.observe(START, START + 5 * STEP, START + BLUR) == 5 * STEP - BLUR


@given(st.lists(st.integers(-10 * HOUR, 10 * HOUR), max_size=20))
def test_what_is_known_is_never_off_by_more_than_a_step(steps: list[int]) -> None:
    detector, true, lowest = StepDetector(), 0, 0
    for step in steps:
        true += step
        reported = detector.observe(START, START + true, START)
        assert reported == 0 or abs(reported) > STEP
        assert abs(detector.ahead - true) <= STEP
        lowest = min(lowest, detector.ahead)
    assert detector.lowest == lowest


def test_the_machines_own_clocks_begin_as_one() -> None:
    clock = SystemClock()
    before = clock.wall()
    due = clock.due()
    after = clock.wall()
    assert before - STEP < due < after + STEP, "whatever is set meanwhile"
    assert clock.due() >= due


def test_what_is_due_is_exact_though_two_clocks_are_not_read_at_once() -> None:
    detector = StepDetector()
    for late in (0, 1, 187, STEP):  # µs between the two readings
        assert detector.due_at(5_000_000, 5_000_000 + late) == 5_000_000
    detector.observe(0, 3 * STEP, 0)
    assert detector.due_at(8_000_000, 5_000_187) == 5_000_000


def test_a_clock_that_was_set_a_moment_ago_is_not_believed() -> None:
    hour = 3600 * STEP
    assert StepDetector().due_at(5_000_000 - hour, 5_000_187) == 5_000_187


@given(
    before=st.lists(st.integers(-10 * HOUR, 10 * HOUR), max_size=3),
    after=st.lists(st.tuples(st.integers(-10 * HOUR, 10 * HOUR), st.integers(0, HOUR)), max_size=9),
    observed=st.booleans(),
)
def test_what_was_noted_is_never_taken_for_younger_than_it_is(
    before: list[int], after: list[tuple[int, int]], observed: bool
) -> None:
    detector, clock = StepDetector(), ManualClock()
    for step in before:
        clock.step_wall(step / 1e6)
    noted, began = clock.wall(), clock.due()
    detector.due_at(noted, began)
    for step, passed in after:
        clock.step_wall(step / 1e6)
        clock.advance(passed / 1e6)
        if observed:
            look(detector, clock)
        longest = detector.longest_since(noted, clock.wall(), clock.due())
        assert longest is None or longest >= clock.due() - began
    if not before and not after:
        assert detector.longest_since(noted, clock.wall(), clock.due()) == 0

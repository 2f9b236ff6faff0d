"""The token bucket and the retry budget: what they promise, and no less than that."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples

from postwire.core.limits import RetryBudget, Spread, TokenBucket

NOW = 1234.567
"""Any time will do; this one is no round number in binary."""


# The token bucket.


def taken(bucket: TokenBucket, now: float, most: int = 100) -> int:
    """Take what there is, and tell how many that were."""
    for count in range(most):
        if not bucket.available(now):
            return count
        bucket.take(now)
    return most


def test_delays_are_spread_evenly_around_their_middle_however_many_there_are() -> None:
    for count in (1, 2, 3, 5, 8, 40, 1000):
        spread = Spread(2.0)
        delays = sorted(spread.next() for _ in range(count))
        assert 1.0 <= delays[0] <= delays[-1] < 3.0
        gaps = [later - earlier for earlier, later in pairwise([1.0, *delays, 3.0])]
        assert max(gaps) < 2 * 2.7 / (count + 1)
    assert [Spread(2.0).next() for _ in range(3)] == [Spread(2.0).next()] * 3, "the same in every run"


def test_a_burst_goes_through_at_once_and_then_one_an_interval() -> None:
    bucket = TokenBucket(2.0, 3)
    assert taken(bucket, 100.0) == 3
    assert [bucket.next_time(now) for now in (100.0, 100.25)] == [100.5, 100.5]
    assert taken(bucket, 100.25) == 0
    assert taken(bucket, 100.5) == 1
    assert taken(bucket, 101.75) == 2, "the half that is left over counts for the next"
    assert bucket.next_time(101.75) == 102.0


def test_where_there_is_a_token_the_next_time_is_now() -> None:
    bucket = TokenBucket(0.5, 2)
    assert bucket.next_time(NOW) == NOW
    bucket.take(NOW)
    assert bucket.next_time(NOW) == NOW
    bucket.take(NOW)
    assert bucket.next_time(NOW) == NOW + 2
    assert bucket.next_time(NOW + 5) == NOW + 5


def test_after_a_pause_the_burst_is_there_again_and_no_more_than_that() -> None:
    bucket = TokenBucket(5.0, 4)
    assert [taken(bucket, now) for now in (NOW, NOW + 3600, NOW + 3600)] == [4, 4, 0]


@pytest.mark.parametrize("rate", [0.1, 1 / 3, 3.0, 7.0, 333.0, 99_999.9])
@pytest.mark.parametrize("start", [0.0, NOW, 5e6])
def test_whoever_comes_at_the_next_time_is_let_in_and_an_instant_before_is_not(rate: float, start: float) -> None:
    bucket = TokenBucket(rate, 2)
    assert taken(bucket, start) == 2
    now = start
    for count in range(1, 1001):
        due = bucket.next_time(now)
        assert not bucket.available(math.nextafter(due, -math.inf))
        assert bucket.available(due)
        bucket.take(due)
        assert due == pytest.approx(start + count / rate, rel=1e-12, abs=1e-9), "a thousand intervals drift nowhere"
        now = due


def test_a_clock_that_steps_back_mints_nothing_and_takes_nothing_away() -> None:
    bucket = TokenBucket(1.0, 3)
    bucket.take(100.0)
    assert taken(bucket, 40.0) == 2, "what was there is there still"
    assert bucket.next_time(40.0) == 101.0
    assert taken(bucket, 100.5) == 0, "not a second time for the seconds from 40 on"
    assert taken(bucket, 101.0) == 1


@pytest.mark.parametrize("burst", [1, 2, 5])
@pytest.mark.parametrize("rate", [0.1, 1 / 3, 7.0])
def test_a_token_given_back_at_once_was_never_taken(rate: float, burst: int) -> None:
    bucket, twin = TokenBucket(rate, burst), TokenBucket(rate, burst)
    now = NOW
    for step in range(200):
        now += 0.37 * (step % 5)
        if bucket.available(now):
            bucket.take(now)
            bucket.give_back(now)
        assert bucket.next_time(now) == pytest.approx(twin.next_time(now), abs=1e-9)
        assert bucket.available(now) is twin.available(now)
        if step % 3 == 0 and twin.available(now):
            bucket.take(now)
            twin.take(now)


@pytest.mark.parametrize("pause", [0.0, 0.5, 1.5, 3600.0])
def test_a_token_given_back_before_another_is_taken_is_whole(pause: float) -> None:
    bucket = TokenBucket(1.0, 2)
    assert taken(bucket, 100.0) == 2
    bucket.give_back(100.0)
    bucket.give_back(100.0)
    assert taken(bucket, 100.0 + pause) == 2
    assert bucket.next_time(100.0 + pause) == 101.0 + pause


@pytest.mark.parametrize("interval", [0.25, 1.0, 4.0])
def test_a_token_given_back_later_is_less_what_flowed_in_until_another_was_taken(interval: float) -> None:
    bucket = TokenBucket(1 / interval, 2)
    bucket.take(100.0)  # for nothing
    now = 100.0 + interval / 2
    assert taken(bucket, now) == 1
    bucket.give_back(100.0)
    assert taken(bucket, now) == 1
    assert bucket.next_time(now) == now + interval, (
        "two were used, and the bucket holds two: no part of a third is there"
    )


def test_a_token_given_back_when_the_bucket_is_full_again_is_worth_nothing() -> None:
    bucket = TokenBucket(1.0, 2)
    bucket.take(100.0)
    assert taken(bucket, 107.0) == 2
    bucket.give_back(100.0)
    assert bucket.next_time(107.0) == 108.0


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (math.inf, 1), (math.nan, 1), (1.0, 0), (1.0, -1)])
def test_a_bucket_that_could_not_work_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate above 0 and a burst of at least 1"):
        TokenBucket(rate, burst)


RATES = st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0])
BURSTS = st.integers(1, 4)
PAUSES = st.integers(-8, 40)
"""In quarters of a second: exact in binary, as are the rates. Below zero, the clock steps back."""


@examples(300)
@given(pauses=st.lists(PAUSES, max_size=80), rate=RATES, burst=BURSTS)
def test_it_is_the_bucket_of_the_textbook(pauses: list[int], rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    now, filled_at = 1000.0, -math.inf
    tokens = float(burst)
    for pause in pauses:
        now += pause / 4
        if now > filled_at:
            tokens = min(burst, tokens + (now - filled_at) * rate)
            filled_at = now
        assert bucket.available(now) is (tokens >= 1)
        if tokens >= 1:
            assert bucket.next_time(now) == now
            bucket.take(now)
            tokens -= 1
        else:
            assert bucket.next_time(now) == filled_at + (1 - tokens) / rate


@examples(500)
@given(
    steps=st.lists(st.tuples(PAUSES, st.sampled_from(["use", "use", "hold", "give back"])), max_size=80),
    rate=RATES,
    burst=BURSTS,
)
def test_in_no_window_more_than_promised_is_used(steps: list[tuple[int, str]], rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    now, latest = 1000.0, -math.inf
    used: list[float] = []
    held: list[float] = []
    for pause, step in steps:
        now += pause / 4
        if step == "give back":
            if held:
                bucket.give_back(held.pop(0))
        elif bucket.available(now):
            latest = max(latest, now)
            bucket.take(now)
            if step == "use":
                used.append(latest)
            else:
                held.append(now)
    for first, start in enumerate(used):
        for last in range(first, len(used)):
            assert last - first + 1 <= burst + rate * (used[last] - start)


# The retry budget.


def note(budget: RetryBudget, count: int, now: float) -> None:
    for _ in range(count):
        budget.first_attempt(now)


def repeats(budget: RetryBudget, now: float) -> list[bool]:
    """Take what there is, and tell of each whether it was of the tenth."""
    reported = []
    while budget.allows(now):
        reported.append(budget.take(now))
    return reported


def test_without_first_attempts_there_is_one_repeat_a_second() -> None:
    budget = RetryBudget()
    assert [len(repeats(budget, 100.0 + quarter / 4)) for quarter in range(9)] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert repeats(budget, 200.0) == [False], "they do not pile up"


@pytest.mark.parametrize(("firsts", "tenth"), [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (100, 10)])
def test_a_tenth_of_the_first_attempts_come_on_top(firsts: int, tenth: int) -> None:
    budget = RetryBudget()
    note(budget, firsts, 100.0)
    assert repeats(budget, 100.0) == [True] * tenth + [False]
    assert repeats(budget, 100.875) == []
    assert repeats(budget, 101.0) == [False]


def test_first_attempts_count_for_as_long_as_they_are_surely_within_ten_seconds() -> None:
    for at, last in ((100.0, 109.875), (100.75, 109.875), (100.999, 109.875)):
        budget = RetryBudget()
        note(budget, 9, 99.0)
        note(budget, 10, at)
        assert repeats(copy.deepcopy(budget), last) == [True, False]
        assert repeats(budget, 110.0) == [False]


def test_repeats_are_remembered_until_they_are_surely_older_than_ten_seconds() -> None:
    for at in (100.0, 100.875):
        budget = RetryBudget()
        note(budget, 10, at)
        assert repeats(budget, at) == [True, False]
        note(budget, 10, 105.0)
        note(budget, 9, 106.0)
        assert repeats(copy.deepcopy(budget), 110.875) == [False], "20 in all, of which 10 are forgotten"
        assert repeats(budget, 111.0) == [True, False]


def test_under_steady_load_it_is_about_a_tenth_and_one_a_second() -> None:
    budget = RetryBudget()
    made = 0
    for tick in range(60 * 100):  # a minute of 100 first attempts a second
        budget.first_attempt(tick / 100)
        made += len(repeats(budget, tick / 100))
    assert 600 <= made <= 660


def test_a_long_pause_forgets_everything_and_takes_no_time() -> None:
    budget = RetryBudget()
    note(budget, 1000, 100.0)
    assert len(repeats(budget, 100.0)) == 101
    assert repeats(budget, 1e15) == [False]
    note(budget, 10, 1e15)
    assert repeats(budget, 1e15) == [True]


@pytest.mark.parametrize(("noted_at", "left"), [(-0.5, [False]), (0.5, [True, False])])
def test_seconds_below_zero_are_seconds_too(noted_at: float, left: list[bool]) -> None:
    budget = RetryBudget()
    note(budget, 10, noted_at)
    assert repeats(copy.deepcopy(budget), 8.75) == [True, False]
    assert repeats(budget, 9.0) == left


def test_a_clock_that_steps_back_mints_no_repeats() -> None:
    budget = RetryBudget()
    note(budget, 20, 100.0)
    assert repeats(budget, 100.0) == [True, True, False]
    assert repeats(budget, 40.0) == []
    note(budget, 10, 40.0)
    assert repeats(budget, 40.0) == [True]
    assert [repeats(budget, now) for now in (50.0, 100.5, 101.0)] == [[], [], [False]]


def test_a_clock_that_steps_back_forgets_no_repeats() -> None:
    budget = RetryBudget()
    note(budget, 20, 93.0)
    assert repeats(budget, 100.0) == [True, True, False]
    assert [repeats(budget, now) for now in (95.0, 100.5)] == [[], []]


def test_the_next_repeat_is_the_one_a_second_s_or_comes_when_old_ones_are_forgotten() -> None:
    budget = RetryBudget()
    assert budget.next_time(100.25) == 100.25
    assert repeats(budget, 100.25) == [False]
    assert budget.next_time(100.5) == 101.25
    note(budget, 10, 100.5)
    assert budget.next_time(100.5) == 100.5, "the tenth is there"
    assert repeats(budget, 100.5) == [True]
    note(budget, 10, 105.0)
    assert repeats(budget, 105.0) == [True, False]
    note(budget, 5, 106.0)
    assert repeats(budget, 110.75) == [False]
    assert budget.next_time(110.75) == 111.75, "15 first attempts are too few for a second of the tenth"
    note(budget, 5, 110.75)
    assert budget.next_time(110.75) == 111.0, "then the repeat of 100.5 is forgotten"
    assert repeats(budget, 111.0) == [True]


def test_a_first_attempt_that_was_not_made_is_forgotten() -> None:
    budget = RetryBudget()
    note(budget, 9, 100.0)
    note(budget, 1, 103.0)
    budget.forget(103.0)
    assert repeats(copy.deepcopy(budget), 104.0) == [False]
    note(budget, 1, 104.0)
    assert repeats(budget, 104.0) == [True, False]


def test_what_was_forgotten_leaves_the_count_right_when_its_second_grows_old() -> None:
    budget = RetryBudget()
    note(budget, 3, 100.0)
    budget.forget(100.0)
    note(budget, 9, 110.0)
    assert repeats(copy.deepcopy(budget), 110.0) == [False]
    note(budget, 1, 110.0)
    assert repeats(budget, 110.0) == [True, False]


@pytest.mark.parametrize(("now", "firsts", "left"), [(109.875, 9, [False]), (110.0, 10, [True, False])])
def test_what_has_grown_old_is_not_taken_off_again(now: float, firsts: int, left: list[bool]) -> None:
    budget = RetryBudget()
    note(budget, 1, 100.0)
    note(budget, firsts, now)
    budget.forget(100.0)
    assert repeats(budget, now) == left


def test_a_repeat_that_was_not_made_is_there_again() -> None:
    budget = RetryBudget()
    note(budget, 10, 100.0)
    assert repeats(budget, 100.0) == [True, False]
    budget.give_back(100.0, shared=True)
    assert repeats(copy.deepcopy(budget), 103.0) == [True, False]
    assert repeats(budget, 100.0) == [True]
    budget.give_back(100.0, shared=False)
    assert repeats(budget, 100.0) == [False]


@pytest.mark.parametrize(("now", "before", "after"), [(110.875, [False], [True]), (111.0, [True, False], [])])
def test_a_repeat_that_was_not_made_is_there_again_once(now: float, before: list[bool], after: list[bool]) -> None:
    budget = RetryBudget()
    note(budget, 10, 100.0)
    assert repeats(budget, 100.0) == [True, False]
    note(budget, 10, now)
    assert repeats(budget, now) == before
    budget.give_back(100.0, shared=True)
    assert repeats(budget, now) == after, "it was given back by being forgotten, or is now"


@examples(300)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(0, 8), st.integers(0, 96)), st.integers(0, 40), st.integers(0, 4)), max_size=60
    )
)
def test_never_more_repeats_than_promised_and_none_refused_without_reason(steps: list[tuple[int, int, int]]) -> None:
    budget = RetryBudget()
    now = 1000.0
    firsts: list[tuple[float, int]] = []
    tenth: list[float] = []
    steady: list[float] = []
    for eighths, count, tries in steps:
        now += eighths / 8
        note(budget, count, now)
        firsts.append((now, count))
        for _ in range(tries):
            if not budget.allows(now):
                # Of what is surely within the window, and of what may be, there is no tenth to be had.
                counted = sum(count for at, count in firsts if at > now - 9)
                assert (sum(at > now - 11 for at in tenth) + 1) * 10 > counted
                assert now - steady[-1] < 1
                due = budget.next_time(now)
                assert now < due <= steady[-1] + 1
                assert copy.deepcopy(budget).allows(due)
                assert not copy.deepcopy(budget).allows(math.nextafter(due, 0))
            elif budget.take(now):
                tenth.append(now)
                noted = sum(count for at, count in firsts if at > now - 10)
                assert sum(at > now - 10 for at in tenth) * 10 <= noted
            else:
                steady.append(now)
                assert sum(at > now - 10 for at in steady) <= 10

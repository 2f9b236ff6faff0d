"""Backoff: full jitter under a doubling limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postwire.core.backoff import delay

HIGHEST_DRAW = 1 - 2**-53


@pytest.mark.parametrize(
    ("attempt", "limit"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (9, 256.0), (10, 300.0), (11, 300.0), (1000, 300.0)],
)
def test_the_limit_doubles_with_each_attempt_up_to_the_most(attempt: int, limit: float) -> None:
    assert delay(attempt, base=1.0, most=300.0, draw=0.5) == limit / 2
    assert delay(attempt, base=1.0, most=300.0, draw=0.25) == limit / 4
    assert delay(attempt, base=1.0, most=300.0, draw=0.0) == 0.0
    assert limit * 0.999 < delay(attempt, base=1.0, most=300.0, draw=HIGHEST_DRAW) < limit


def test_the_base_counts_in_full_for_the_first_attempt() -> None:
    assert delay(1, base=0.125, most=300.0, draw=0.5) == 0.0625
    assert delay(4, base=0.125, most=300.0, draw=0.5) == 0.5


def test_a_base_above_the_most_is_cut_down_to_it() -> None:
    assert delay(1, base=50.0, most=20.0, draw=0.5) == 10.0


@pytest.mark.parametrize("attempt", [1024, 1025, 10**6, 10**400])
def test_no_attempt_is_too_many(attempt: int) -> None:
    assert delay(attempt, base=2.0, most=300.0, draw=0.5) == 150.0
    assert delay(attempt, base=0.0, most=300.0, draw=0.5) == 0.0


@pytest.mark.parametrize("attempt", [0, -1])
def test_there_is_no_attempt_before_the_first(attempt: int) -> None:
    with pytest.raises(ValueError, match="number 1"):
        delay(attempt, base=1.0, most=300.0, draw=0.5)


@settings(deadline=None)
@given(
    attempt=st.integers(1, 5000),
    base=st.floats(1e-3, 1e6),
    most=st.floats(1e-3, 1e6),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_it_is_a_part_of_the_limit_and_never_beyond_the_most(
    attempt: int, base: float, most: float, draw: float
) -> None:
    waited = delay(attempt, base=base, most=most, draw=draw)
    assert 0 <= waited <= most
    limit = most if attempt > 64 else min(most, base * 2 ** (attempt - 1))
    assert math.isclose(waited, draw * limit, rel_tol=1e-12)

"""Admission: by count and by bytes, and given back in full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postwire.core.limits import Admission


def test_no_more_than_the_count_get_in() -> None:
    admission = Admission(max_count=2, max_bytes=1000)
    assert [admission.enter(1) for _ in range(3)] == [True, True, False]
    assert admission.count == 2


def test_a_refused_one_takes_no_room() -> None:
    admission = Admission(max_count=10, max_bytes=100)
    assert admission.enter(60)
    assert not admission.enter(41)
    assert admission.count == 1
    assert admission.enter(40), "exactly full is allowed"


def test_one_larger_than_all_the_room_gets_in_when_it_is_alone() -> None:
    admission = Admission(max_count=10, max_bytes=100)
    assert admission.enter(500)
    assert not admission.enter(1)
    admission.leave(500)
    assert admission.enter(100)


def test_room_that_was_left_is_free_again() -> None:
    admission = Admission(max_count=1, max_bytes=100)
    assert admission.enter(70)
    admission.leave(70)
    assert admission.count == 0
    assert admission.enter(70)


@given(st.lists(st.tuples(st.integers(0, 120), st.booleans()), max_size=60))
def test_never_over_the_limits_but_for_one_alone(steps: list[tuple[int, bool]]) -> None:
    admission = Admission(max_count=5, max_bytes=100)
    inside: list[int] = []
    for size, one_leaves_first in steps:
        if inside and one_leaves_first:
            admission.leave(inside.pop())
        room = len(inside) < 5 and (not inside or sum(inside) + size <= 100)
        assert admission.enter(size) is room
        if room:
            inside.append(size)
        assert admission.count == len(inside)

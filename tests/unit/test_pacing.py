"""When a batch goes."""

from __future__ import annotations

from postwire.outbox.pacing import MAX_PACES, MAX_TURNS, PACE, PACED_FROM, Pace


def looks(pace: Pace, *pending: int) -> list[float | None]:
    """What the machine says at each look, with so many pending."""
    return [pace.look(count) for count in pending]


def after_a_batch_of(count: int) -> Pace:
    pace = Pace()
    pace.gone(count)
    return pace


def test_one_alone_goes_after_a_turn_that_brings_no_other() -> None:
    assert looks(Pace(), 1, 1) == [0.0, None]


def test_what_each_turn_brings_more_to_waits_for_it() -> None:
    assert looks(Pace(), 1, 3, 4, 4) == [0.0, 0.0, 0.0, None]


def test_a_batch_that_keeps_growing_goes_in_the_end() -> None:
    pace = Pace()
    assert looks(pace, *range(1, MAX_TURNS + 2)) == [0.0] * MAX_TURNS + [None]


def test_where_nothing_waits_there_is_nothing_to_wait_for() -> None:
    assert looks(Pace(), 0) == [None]
    assert looks(after_a_batch_of(100), 0) == [None]


def test_after_a_large_batch_every_look_that_finds_more_has_another() -> None:
    pace = after_a_batch_of(PACED_FROM + 1)
    assert looks(pace, 5, 5, 7, 7) == [0.0, PACE, PACE, None]


def test_a_moment_in_which_nothing_waits_is_no_small_batch() -> None:
    pace = after_a_batch_of(PACED_FROM + 1)
    pace.gone(0)
    assert looks(pace, 1, 1, 1) == [0.0, PACE, None]


def test_a_batch_that_grows_at_every_look_goes_in_the_end() -> None:
    pace = after_a_batch_of(100)
    assert looks(pace, 1, 1, *range(2, 100))[1 : MAX_PACES + 2] == [PACE] * MAX_PACES + [None]


def test_a_few_callers_are_not_held_up() -> None:
    pace = after_a_batch_of(PACED_FROM)
    assert looks(pace, PACED_FROM, PACED_FROM) == [0.0, None]


def test_each_batch_is_gathered_anew() -> None:
    pace = after_a_batch_of(100)
    looks(pace, 1, 1, 2)
    pace.gone(2)
    assert looks(pace, 1, 1) == [0.0, None]

"""How what may be in flight is shared: what each class leaves free, and how much one of many may hold."""

from __future__ import annotations

import pytest

from postwire.core.admission import Admission, Share, WaitingStreams

PLENTY = 1 << 40


def entered(
    admission: Admission, queue: str, stream: Share | None = None, *, urgent: bool = False, size: int = 1
) -> int:
    """Let in as many as there is room for, and tell how many that were."""
    count = 0
    while admission.enter(size, queue, stream, urgent=urgent):
        count += 1
    return count


@pytest.mark.parametrize(
    ("max_count", "alone"),
    [
        (1000, (480, 720, 800)),
        (100, (48, 72, 80)),
        (10, (5, 8, 8)),  # with room for fewer than ten, nothing is left free
        (9, (8, 8, 8)),
        (4, (4, 4, 4)),
        (1, (1, 1, 1)),
    ],
)
def test_one_alone_holds_four_times_what_is_left_to_its_class(max_count: int, alone: tuple[int, int, int]) -> None:
    stream, call, urgent = (Admission(max_count=max_count, max_bytes=PLENTY) for _ in range(3))
    found = entered(stream, "email", Share()), entered(call, "email"), entered(urgent, "email", urgent=True)
    assert found == alone


@pytest.mark.parametrize(("max_bytes", "alone"), [(10_000, (49, 73, 81)), (1_000, (5, 8, 9))])
def test_bytes_are_shared_alike(max_bytes: int, alone: tuple[int, int, int]) -> None:
    """The last of them may go beyond the share, as it was below it before."""
    stream, call, urgent = (Admission(max_count=1_000_000, max_bytes=max_bytes) for _ in range(3))
    found = (
        entered(stream, "email", Share(), size=99),
        entered(call, "email", size=99),
        entered(urgent, "email", urgent=True, size=99),
    )
    assert found == alone


def test_whoever_holds_nothing_gets_in_until_its_class_is_full() -> None:
    admission = Admission(max_count=100, max_bytes=PLENTY)
    streams = [Share() for _ in range(60)]
    assert [entered(admission, f"q{number}", stream) > 0 for number, stream in enumerate(streams)].index(False) == 3
    assert admission.count == 60
    calls = [entered(admission, f"r{number}") for number in range(40)]
    assert admission.count == 90
    assert calls[0] == 24
    assert entered(admission, "another") == 0
    assert sum(entered(admission, f"s{number}", urgent=True) for number in range(10)) == 10
    assert admission.count == 100


def test_streams_that_feed_one_queue_hold_no_more_together_than_it_may() -> None:
    admission = Admission(max_count=1000, max_bytes=PLENTY)
    streams = [Share() for _ in range(3)]
    assert [entered(admission, "email", one) for one in streams] == [480, 0, 0]
    # One of the first's ends, and any of them may have its place.
    admission.leave(1, "email", streams[0])
    assert [entered(admission, "email", one) for one in streams[::-1]] == [1, 0, 0]
    assert entered(admission, "sms", streams[1]) == 96


def test_calls_are_not_held_to_what_streams_have_taken() -> None:
    admission = Admission(max_count=1000, max_bytes=PLENTY)
    entered(admission, "email", Share())
    assert entered(admission, "sms") == 336
    assert entered(admission, "mms", urgent=True) == 148


def test_one_larger_than_all_the_room_gets_in_when_it_is_alone() -> None:
    admission = Admission(max_count=10, max_bytes=100)
    stream = Share()
    assert admission.enter(500, "email", stream)
    assert not admission.enter(1, "sms", urgent=True)
    admission.leave(500, "email", stream)
    assert (stream.count, stream.bytes) == (0, 0)
    assert admission.enter(50, "email", stream)


def test_a_refused_one_takes_no_room() -> None:
    admission = Admission(max_count=10, max_bytes=100)
    assert admission.enter(60, "email", urgent=True)
    assert not admission.enter(41, "sms", urgent=True)
    assert admission.count == 1
    assert admission.enter(40, "sms", urgent=True), "exactly full is allowed"


# Turns.


def test_streams_are_served_in_the_order_in_which_they_wait_and_who_has_no_room_holds_up_nobody() -> None:
    admission = Admission(max_count=1000, max_bytes=PLENTY)
    first, second, third = (Share() for _ in range(3))
    waiting = WaitingStreams(admission)
    assert not waiting
    assert waiting.next() is None
    assert entered(admission, "email", first) == 480
    waiting.add(first, 1, "email")
    waiting.add(second, 1, "sms")
    waiting.add(third, 1, "sms")
    assert waiting.next() is second, "the first is at its share"
    entered(admission, "mms", Share())
    admission.leave(1, "email", first)
    for _ in range(100):
        admission.leave(1, "email", first)
    assert waiting.next() is first
    waiting.remove(first)
    assert waiting.next() is second
    waiting.remove(second)
    waiting.add(second, 1, "sms")
    assert waiting.next() is third, "who has had its turn is at the end"
    for one in (second, third, third):
        waiting.remove(one)
    assert not waiting


def test_while_there_is_no_room_for_streams_it_costs_nothing_how_many_wait() -> None:
    class Asked(Admission):
        times = 0

        def has_room(self, size: int, queue: str, stream: Share | None = None, *, urgent: bool = False) -> bool:
            self.times += 1
            return super().has_room(size, queue, stream, urgent=urgent)

    for size, max_bytes in ((1, PLENTY), (2, 1000)):
        admission = Asked(max_count=1000, max_bytes=max_bytes)
        waiting = WaitingStreams(admission)
        for _ in range(1000):
            waiting.add(Share(), size, "email")
        while waiting.next():
            assert admission.enter(size, "sms", urgent=True)
        admission.times = 0
        assert waiting.next() is None
        assert admission.times == 0

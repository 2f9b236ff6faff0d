"""The window of a hook: order, what is tried again, what is given up, and what is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postwire.core.event_window import (
    FAILED_FOR,
    MAX_PAUSE,
    MAX_REFUSALS,
    REFUSED_FOR,
    WINDOW,
    ChangedMessage,
    Checkpoint,
    EventWindow,
    StateEvent,
)
from postwire.core.listing import Position
from postwire.core.message import MessageState

LONG = 1_000_000.0


def event(position: int, message_id: str, revision: int = 1) -> StateEvent:
    return StateEvent((position,), message_id, revision, MessageState.SENT, position * 1_000_000, {"team": "a"})


def change(one: StateEvent) -> ChangedMessage:
    return ChangedMessage(one.position, one.message_id, one)


def unwanted(position: int, message_id: str) -> ChangedMessage:
    return ChangedMessage((position,), message_id, None)


def window_of(*changes: ChangedMessage, checkpoint: Checkpoint | None = None) -> EventWindow:
    window = EventWindow(checkpoint or Checkpoint.at((0,)), lambda: 0.0)
    window.add(changes, changes[-1].position if changes else (0,))
    return window


def begun(window: EventWindow, now: float = 0.0) -> StateEvent:
    found = window.next(now)
    assert found
    return found


def test_an_event_does_not_show_labels_and_has_an_id_without_a_dot() -> None:
    one = event(1, "a", 7)
    assert "team" not in repr(one)
    assert one.id == "a-7"


def test_events_go_in_the_order_of_the_feed() -> None:
    window = window_of(change(event(1, "a")), unwanted(2, "b"), change(event(3, "c")))
    assert [begun(window).message_id, begun(window).message_id, window.next(0.0)] == ["a", "c", None]
    assert not window.is_due(0.0)


def test_a_newer_event_takes_the_place_of_one_that_has_not_begun() -> None:
    window = window_of(change(event(1, "a", 1)), change(event(2, "b")), change(event(3, "a", 2)))
    assert [begun(window).id, begun(window).id, window.next(0.0)] == ["b-1", "a-2", None]


def test_a_newer_event_takes_the_place_of_one_that_waits_to_be_tried_again() -> None:
    window = window_of(change(event(1, "a", 1)))
    assert not window.failed(begun(window), 0.0, refused=False)
    window.add([change(event(2, "a", 2))], (2,))
    assert begun(window).id == "a-2"
    assert window.next(LONG) is None


def test_a_newer_event_waits_for_the_end_of_one_that_has_begun() -> None:
    window = window_of(change(event(1, "a", 1)), change(event(2, "b")))
    first = begun(window)
    window.add([change(event(3, "a", 2))], (3,))
    assert begun(window).id == "b-1"
    assert window.next(LONG) is None
    window.done(first, 1.0)
    assert begun(window).id == "a-2"


@pytest.mark.parametrize("newer", [change(event(2, "a", 2)), unwanted(2, "a")])
@pytest.mark.parametrize("end", ["failed", "throttled", "back"])
def test_what_was_overtaken_is_not_told_after_what_came_behind_it(newer: ChangedMessage, end: str) -> None:
    window = window_of(change(event(1, "a", 1)))
    first = begun(window)
    window.add([newer], (2,))
    if end == "failed":
        assert not window.failed(first, 0.0, refused=False)
    elif end == "throttled":
        window.throttled(first, 0.0, 1.0)
    else:
        window.back(first)
    assert ((found := window.next(LONG)) and found.id) == (newer.event and newer.event.id)
    assert window.next(LONG) is None


def test_what_fails_waits_for_longer_each_time_and_holds_up_nobody() -> None:
    window = window_of(change(event(1, "a")), change(event(2, "b")))
    now = 0.0
    delays: list[float] = []
    first = begun(window)
    for _ in range(12):
        assert not window.failed(first, now, refused=False)
        time = window.next_time(now)
        if not delays:
            assert time is None, "another can go now"
            window.done(begun(window), now - 1)
            time = window.next_time(now)
        assert time is not None
        assert not window.is_due(time - 0.01)
        delays.append(time - now)
        now = time
        first = begun(window, now)
    assert delays == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 150, 150, 150]


def test_neither_new_events_nor_those_that_come_again_keep_the_others_waiting() -> None:
    window = window_of(*(change(event(number, f"old-{number}")) for number in range(1, 5)))
    for _ in range(4):
        window.failed(begun(window), 0.0, refused=False)
    window.add([change(event(number, f"new-{number}")) for number in range(5, 9)], (8,))
    order = [begun(window, 10.0).message_id[:3] for _ in range(8)]
    assert sorted(order[:2]) == ["new", "old"]
    assert order[:4].count("new") == 2


def refused_until_given_up(window: EventWindow, take: str | None, refused: bool, step: float) -> tuple[int, float]:
    """How often, and for how long, an event is tried while others are taken, or none."""
    now, tries, number = 0.0, 0, 100
    while True:
        found = begun(window, now)
        if found.message_id != "bad":
            window.done(found, now)
            continue
        tries += 1
        if window.failed(found, now, refused=refused) or now > 3 * FAILED_FOR:
            return tries, now
        now += step
        if take:
            number += 1
            window.add([change(event(number, f"{take}-{number}"))], (number,))


def test_what_is_refused_is_given_up_after_some_tries_while_others_are_taken() -> None:
    assert refused_until_given_up(window_of(change(event(1, "bad"))), "good", True, 400.0)[0] == MAX_REFUSALS


def test_what_is_refused_is_given_up_after_an_hour_though_no_other_is_taken() -> None:
    _, after = refused_until_given_up(window_of(change(event(1, "bad"))), None, True, 400.0)
    assert REFUSED_FOR <= after <= REFUSED_FOR + 400


def test_what_fails_is_given_up_after_a_day_while_others_are_taken() -> None:
    _, after = refused_until_given_up(window_of(change(event(1, "bad"))), "good", False, 400.0)
    assert FAILED_FOR <= after <= FAILED_FOR + 400


def test_nothing_is_given_up_at_a_receiver_that_takes_nothing() -> None:
    _, after = refused_until_given_up(window_of(change(event(1, "bad"))), None, False, 400.0)
    assert after > 3 * FAILED_FOR


def test_a_receiver_that_asks_for_less_is_left_alone_and_no_event_is_blamed() -> None:
    window = window_of(change(event(1, "a")), change(event(2, "b")))
    window.throttled(begun(window), 0.0, 30.0)
    assert not window.is_due(29.9)
    assert window.next(29.9) is None
    assert window.next_time(0.0) == 30.0
    assert {begun(window, 30.0).message_id, begun(window, 30.0).message_id} == {"a", "b"}


def test_it_is_left_alone_for_longer_each_time_and_for_five_minutes_at_most() -> None:
    window = window_of(change(event(1, "a")))
    now, pauses = 0.0, []
    for retry_after in [*[None] * 3, 1e9]:
        window.throttled(begun(window, now), now, retry_after)
        time = window.next_time(now)
        assert time is not None
        pauses.append(time - now)
        now = time
    assert pauses == [0.5, 1.0, 2.0, MAX_PAUSE]


def test_with_new_secrets_everything_is_tried_at_once() -> None:
    window = window_of(change(event(1, "a")))
    window.failed(begun(window), 0.0, refused=False)
    window.pause(0.0, 300.0)
    window.resume()
    assert window.is_due(0.0)


def test_only_so_many_are_held() -> None:
    window = window_of(*(change(event(number, f"m-{number}")) for number in range(1, WINDOW + 1)))
    assert window.room == 0
    window.failed(begun(window), 0.0, refused=False)
    assert window.room == 0
    window.done(begun(window), 0.0)
    assert window.room == 1


def test_the_oldest_is_that_of_all_that_are_not_done() -> None:
    window = window_of(change(event(1, "a")), change(event(2, "b")), change(event(3, "c")))
    assert window.oldest == 1_000_000
    window.failed(begun(window), 0.0, refused=False)
    assert window.oldest == 1_000_000
    window.done(begun(window), 0.0)
    window.done(begun(window, 100.0), 100.0)
    window.done(begun(window, 100.0), 100.0)
    assert window.oldest is None


# What is kept.


def kept(window: EventWindow) -> EventWindow:
    return EventWindow(Checkpoint.decode(window.checkpoint().encode()), lambda: 0.0)


def rest(window: EventWindow, *changes: ChangedMessage) -> list[str]:
    """What a window tells that is given again what the feed has behind where it goes on."""
    after = window.read_to
    window.add([one for one in changes if one.position > after], changes[-1].position)
    reported = []
    while found := window.next(LONG):
        reported.append(found.id)
        window.done(found, LONG)
    return reported


def test_after_a_crash_all_that_was_not_done_is_told_and_nothing_else() -> None:
    changes = [change(event(number, f"m-{number}")) for number in range(1, 7)]
    window = window_of(*changes)
    aside, done, active = begun(window), begun(window), begun(window)
    window.failed(aside, 0.0, refused=False)
    window.done(done, 0.0)
    assert rest(kept(window), *changes) == [f"m-{number}-1" for number in (1, 3, 4, 5, 6)]
    assert active.message_id == "m-3"


def test_a_second_crash_while_it_reads_again_forgets_nothing() -> None:
    changes = [change(event(number, f"m-{number}")) for number in range(1, 7)]
    window = window_of(*changes)
    for number in range(6):
        one = begun(window)
        if number in (1, 4):
            window.failed(one, 0.0, refused=False)
        else:
            window.done(one, 0.0)
    again = kept(window)
    again.add(changes[1:3], (3,))
    assert rest(kept(again), *changes) == ["m-2-1", "m-5-1"]


def test_where_nothing_is_wanted_the_place_moves_on() -> None:
    window = window_of(unwanted(1, "a"), unwanted(2, "b"))
    assert window.checkpoint() == Checkpoint.at((2,))


def test_what_the_feed_has_dropped_is_counted_but_for_what_is_held() -> None:
    window = window_of(change(event(1, "a")), change(event(2, "b")))
    assert window.known_to == (2,)
    assert window.skip((7,), 5) == 5
    assert window.read_to == (7,)
    assert [begun(window).message_id, begun(window).message_id] == ["a", "b"]


def test_what_was_left_by_an_earlier_boot_and_dropped_is_counted_one_by_one() -> None:
    checkpoint = Checkpoint((2,), (9,), frozenset({(3,), (5,), (8,)}))
    window = EventWindow(checkpoint, lambda: 0.0)
    assert window.known_to == (9,)
    assert window.skip((6,), 0) == 2
    assert rest(window, change(event(7, "done")), change(event(8, "left")), change(event(10, "new"))) == [
        "left-1",
        "new-1",
    ]


@pytest.mark.parametrize("position", [(7,), (7, 3)])
def test_a_checkpoint_is_kept_as_text(position: Position) -> None:
    one = Checkpoint(position, position, frozenset({position}))
    assert Checkpoint.decode(one.encode()) == one
    assert replace(one, left=frozenset()) != one

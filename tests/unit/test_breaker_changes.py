"""The breaker's changes of state: those an operator makes, and those a listener hears."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.breakers import (
    CLOSED,
    FORCED_OPEN,
    HALF_OPEN,
    NOW,
    OPEN,
    SUCCESS,
    breaker,
    calls,
    in_state,
    opened,
    permit_of,
)

from postwire.core.breaker import (
    Breaker,
    BreakerSettings,
    BreakerSnapshot,
    BreakerState,
    Permit,
    Transition,
    Verdict,
)

# The operator.


@pytest.mark.parametrize("state", list(BreakerState))
def test_forced_open_lets_nothing_through_until_it_is_resumed(state: BreakerState) -> None:
    it = in_state(state)
    it.force_open(NOW)
    it.force_open(NOW)
    assert it.state is FORCED_OPEN
    for later in (0, 5, 20, 1e9):
        assert not it.admits(NOW + later)
        assert it.next_probe_time(NOW + later) is None
        assert it.acquire(NOW + later) is None
    it.resume(NOW)
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 0, 0, 0, 0.0, None)


@pytest.mark.parametrize("operation", ["resume", "reset"])
@pytest.mark.parametrize("state", [CLOSED, OPEN, HALF_OPEN])
def test_an_operator_closes_it_with_an_empty_window(state: BreakerState, operation: str) -> None:
    it = in_state(state)
    getattr(it, operation)(NOW)
    assert it.snapshot(NOW) == BreakerSnapshot(CLOSED, 0, 0, 0, 0.0, None)


def test_what_is_forced_open_is_not_reset() -> None:
    it = in_state(FORCED_OPEN)
    with pytest.raises(ValueError, match="forced open"):
        it.reset(NOW)
    assert it.state is FORCED_OPEN


@pytest.mark.parametrize("operation", ["force_open", "resume", "reset"])
@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN])
def test_what_was_under_way_before_an_operator_came_no_longer_counts(
    state: BreakerState, verdict: Verdict, operation: str
) -> None:
    it = breaker(minimum_calls=1) if state is CLOSED else opened(NOW - 5)
    permit = permit_of(it)
    assert it.state is state
    getattr(it, operation)(NOW)
    before = it.snapshot(NOW)
    it.release(permit, verdict, NOW)
    assert it.snapshot(NOW) == before


# The listener.


class Listener:
    """Hears of changes. `then` is what it does at each."""

    def __init__(self, then: Callable[[Transition], object] = lambda _: None) -> None:
        self.heard: list[tuple[BreakerState, BreakerState]] = []
        self.faults: list[Exception] = []
        self.then = then
        settings = BreakerSettings(minimum_calls=1)
        self.breaker = Breaker(settings, listener=self.on_change, on_fault=self.faults.append)

    def on_change(self, change: Transition) -> None:
        self.heard.append((change.source, change.target))
        self.then(change)


def test_each_change_is_heard_once_and_nothing_else_is() -> None:
    listener = Listener()
    it = listener.breaker
    it.resume(NOW)
    calls(it, "sf")
    calls(it, "-f", NOW + 5)
    calls(it, "s", NOW + 15)
    it.reset(NOW + 15)
    it.force_open(NOW + 15)
    it.force_open(NOW + 15)
    it.resume(NOW + 15)
    assert listener.heard == [
        (CLOSED, OPEN),
        (OPEN, HALF_OPEN),
        (HALF_OPEN, OPEN),
        (OPEN, HALF_OPEN),
        (HALF_OPEN, CLOSED),
        (CLOSED, FORCED_OPEN),
        (FORCED_OPEN, CLOSED),
    ]


def test_a_change_is_heard_once_it_is_settled() -> None:
    seen: list[BreakerSnapshot] = []
    listener = Listener(lambda _: seen.append(listener.breaker.snapshot(NOW)))
    calls(listener.breaker, "sf")
    calls(listener.breaker, "s", NOW + 5)
    assert seen == [
        BreakerSnapshot(OPEN, 2, 1, 0, 0.5, NOW + 5),
        BreakerSnapshot(HALF_OPEN, 2, 1, 0, 0.5, NOW + 25),
        BreakerSnapshot(CLOSED, 0, 0, 0, 0.0, None),
    ]


def test_a_listener_that_raises_harms_nothing() -> None:
    def fail(change: Transition) -> None:
        raise LookupError(change.target.value)

    listener = Listener(fail)
    calls(listener.breaker, "f")
    calls(listener.breaker, "s", NOW + 5)
    assert listener.breaker.state is CLOSED
    assert [str(fault) for fault in listener.faults] == ["open", "half_open", "closed"]


@pytest.mark.parametrize("deaf", [True, False])
def test_nor_does_one_whose_fault_nobody_takes(deaf: bool) -> None:
    def fail(_: object) -> None:
        raise LookupError

    it = Breaker(BreakerSettings(minimum_calls=1), listener=fail, on_fault=None if deaf else fail)
    calls(it, "f")
    calls(it, "s", NOW + 5)
    assert it.state is CLOSED


def test_a_listener_that_asks_for_a_permit_gets_none_that_another_has() -> None:
    got: list[Permit | None] = []
    listener = Listener(lambda _: got.append(listener.breaker.acquire(NOW + 5)))
    calls(listener.breaker, "f", NOW + 4)
    probe = listener.breaker.acquire(NOW + 9)
    assert probe is not None
    assert got == [None, None]
    listener.breaker.release(probe, SUCCESS, NOW + 9)
    assert listener.breaker.state is CLOSED
    assert got[2] is not None


@pytest.mark.parametrize("at", [OPEN, HALF_OPEN, CLOSED])
def test_a_listener_may_force_it_open_in_the_middle_of_anything(at: BreakerState) -> None:
    def force_open(change: Transition) -> None:
        if change.target is at:
            listener.breaker.force_open(NOW)

    listener = Listener(force_open)
    it = listener.breaker
    calls(it, "f")
    if at is not OPEN:
        calls(it, "s", NOW + 5)
    assert listener.heard[-2:] == [(listener.heard[-2][0], at), (at, FORCED_OPEN)]
    assert it.snapshot(NOW).state is FORCED_OPEN
    assert it.acquire(NOW + 1000) is None


def test_a_listener_may_close_it_when_a_lease_is_over_and_the_call_that_saw_it_goes_through() -> None:
    def resume(change: Transition) -> None:
        if change.source is HALF_OPEN:
            listener.breaker.resume(NOW)

    listener = Listener(resume)
    calls(listener.breaker, "f", NOW - 5)
    permit_of(listener.breaker)
    calls(listener.breaker, "s", NOW + 20)
    assert listener.breaker.snapshot(NOW + 20) == BreakerSnapshot(CLOSED, 1, 0, 0, 0.0, None)

"""Breakers to start from, and calls to put through them."""

from __future__ import annotations

from typing import Any

from postwire.core.breaker import Breaker, BreakerSettings, BreakerState, Permit, Verdict

CLOSED, OPEN = BreakerState.CLOSED, BreakerState.OPEN
HALF_OPEN, FORCED_OPEN = BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN
SUCCESS, FAILURE, NONE = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NONE
VERDICTS = {"s": SUCCESS, "f": FAILURE, "-": NONE}

NOW = 1000.0


def breaker(**settings: Any) -> Breaker:
    return Breaker(BreakerSettings(**settings))


def permit_of(breaker: Breaker, now: float = NOW) -> Permit:
    permit = breaker.acquire(now)
    assert permit is not None
    return permit


def calls(breaker: Breaker, verdicts: str, now: float = NOW, duration: float = 0.0) -> None:
    """Calls one after another, that begin and end at `now`."""
    for verdict in verdicts:
        breaker.release(permit_of(breaker, now), VERDICTS[verdict], now, duration)


def opened(now: float = NOW, **settings: Any) -> Breaker:
    """A breaker that opened at `now`; one failure is enough for it."""
    it = breaker(**{"minimum_calls": 1, **settings})
    calls(it, "f", now)
    assert it.state is OPEN
    return it


def half_opened(now: float = NOW, **settings: Any) -> tuple[Breaker, Permit]:
    """A breaker whose first probe went out at `now`, and the probe."""
    it = opened(now - 5, **settings)
    return it, permit_of(it, now)


def in_state(state: BreakerState) -> Breaker:
    """A breaker in a state, at `NOW`."""
    if state is CLOSED:
        it = breaker(minimum_calls=5)
        calls(it, "sf")
    elif state is OPEN:
        it = opened()
    elif state is HALF_OPEN:
        it, _ = half_opened()
    else:
        it = breaker()
        it.force_open(NOW)
    assert it.state is state
    return it

"""Gates for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from postwire.core.breaker import Breaker, BreakerSettings, BreakerState, Verdict
from postwire.core.gate import Gate, GateSettings

NOW = 1000.0
OPEN_FOR = 0.5
"""Seconds: shorter than the retry budget takes for its next repeat."""
LEASE = 20.0
LATER = NOW + OPEN_FOR
"""When a breaker that opened at `NOW` lets its first probe in."""


@dataclass
class FreeListener:
    """Hears `on_free`, and looks at the gate each time: its attempts in flight, and its breaker."""

    gate: Gate | None = None
    seen: list[tuple[int, BreakerState]] = field(default_factory=list)

    def __call__(self) -> None:
        assert self.gate is not None
        self.seen.append((self.gate.in_flight, self.gate.breaker.state))


def make(
    limits: GateSettings | None = None,
    breaker: BreakerSettings | None = None,
    *,
    draws: Iterable[float] = itertools.repeat(0.5),
    listener: FreeListener | None = None,
) -> Gate:
    """A gate wired up with its breaker, which opens with the third failure."""
    gate = Gate(
        "sms-mms",
        limits or GateSettings(),
        Breaker(
            breaker or BreakerSettings(minimum_calls=3, open_for=OPEN_FOR, lease=LEASE),
            listener=lambda _: gate.changed(),
        ),
        jitter=iter(draws).__next__,
    )
    if listener is not None:
        listener.gate, gate.on_free = gate, listener
    return gate


def attempt(gate: Gate, now: float, verdict: Verdict = Verdict.NONE, *, repeat: bool = False) -> None:
    """An attempt that is over at once."""
    gate.enter(now, repeat=repeat).close(verdict, now)


def fail(gate: Gate, count: int, now: float = NOW) -> None:
    """Calls that fail, past the gate: only its breaker knows of them."""
    for permit in [gate.breaker.acquire(now) for _ in range(count)]:
        assert permit is not None
        gate.breaker.release(permit, Verdict.FAILURE, now)

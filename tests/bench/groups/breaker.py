"""The breaker alone, and the gate around it: what a permit takes, and what a result, in µs of CPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.bench.bench import Bench
from tests.bench.figures import figure
from tests.bench.processes import BenchError
from tests.bench.progress import say
from tests.bench.report import Result

from postwire.core.breaker import Breaker, BreakerSettings, BreakerState, Verdict
from postwire.core.gate import Gate, GateSettings

CALLS: Final = 20_000
ROUNDS: Final = 15
INTERVAL: Final = 0.0005
"""Seconds from one call to the next."""

DURATION: Final = 0.02
"""Seconds that each takes."""

SETTINGS: Final = BreakerSettings(slow_call_ratio=0.5, slow_call_duration=5.0)
VERDICTS: Final = [Verdict.FAILURE, *[Verdict.SUCCESS] * 19] * (CALLS // 20)
"""One call in twenty fails, which opens nothing."""


def measure(bench: Bench) -> Result:
    """See the module."""
    say("breaker")
    found: dict[str, list[float]] = {}
    breaker = Breaker(SETTINGS)
    gate = Gate("sms", GateSettings(max_concurrent=CALLS, rate=1e6, burst=CALLS), Breaker(SETTINGS), jitter=lambda: 0.5)
    start = 1000.0
    for _ in range(ROUNDS):
        times = [start + INTERVAL * number for number in range(CALLS)]
        start = times[-1] + 1
        with _timed(found.setdefault("breaker-permit", [])):
            permits = [breaker.acquire(now) for now in times]
        with _timed(found.setdefault("breaker-result", [])):
            for permit, verdict, now in zip(permits, VERDICTS, times, strict=True):
                assert permit
                breaker.release(permit, verdict, now, DURATION)
        with _timed(found.setdefault("gate-permit", [])):
            entered = [gate.enter(now) for now in times]
        with _timed(found.setdefault("gate-result", [])):
            for one, verdict, now in zip(entered, VERDICTS, times, strict=True):
                one.close(verdict, now, DURATION)
        for each in (breaker, gate.breaker):
            snapshot = each.snapshot(start)
            if (snapshot.state, snapshot.calls, gate.in_flight) != (BreakerState.CLOSED, SETTINGS.window_calls, 0):
                raise BenchError(f"breaker: it was to be closed with a full window, and is {snapshot}")
    return Result([figure(name, values) for name, values in found.items()])


@contextmanager
def _timed(found: list[float]) -> Iterator[None]:
    """Add the µs of this thread's CPU that a call takes; the loop around it included, and no garbage collection."""
    gc.disable()
    try:
        before = time.thread_time_ns()
        yield
        found.append((time.thread_time_ns() - before) / 1000 / CALLS)
    finally:
        gc.enable()

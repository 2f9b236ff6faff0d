"""What a provider's gate should be: the rules as one would tell them, over plain lists of what happened.

Whatever asks takes `now`, looks through the lists anew, and changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from postwire.core.breaker import BreakerSettings, BreakerState, Verdict
from postwire.core.gate import GatePermit, GateSettings
from postwire.core.obstacles import Obstacle

COOL_DOWN_DRAW = 0.5
"""The draw for each cool-down with backoff."""

BLOCKED = {
    BreakerState.OPEN: Obstacle.OPEN,
    BreakerState.HALF_OPEN: Obstacle.HALF_OPEN,
    BreakerState.FORCED_OPEN: Obstacle.DRAINED,
}


@dataclass
class Entry:
    """An attempt that was let in, in that epoch of the breaker; a probe has a lease, which ends at that time."""

    name: str
    permit: GatePermit
    epoch: int
    lease: float | None
    noted: list[list[float]]
    """Where its time was noted."""


@dataclass
class GateModel:
    """The model of one provider's gate, breaker and all. Times must be exact in binary, and the jitter none."""

    limits: GateSettings
    rules: BreakerSettings
    out: list[Entry] = field(default_factory=list)  # in flight

    entered: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    repeats: list[float] = field(default_factory=list)  # within the tenth
    steady: list[float] = field(default_factory=list)  # of the one a second
    cool_until: float = -math.inf
    throttlings: int = 0

    state: BreakerState = BreakerState.CLOSED
    epoch: int = 0  # rises with each change of state
    results: list[tuple[float, bool, bool]] = field(default_factory=list)  # since it last closed: when, failed, slow
    open_until: float = -math.inf
    openings: int = 0  # since it last closed
    probe_successes: int = 0

    # What it is at a time.

    def probes(self) -> list[Entry]:
        return [one for one in self.out if one.epoch == self.epoch and one.lease is not None]

    def lapse(self) -> float:
        """When the first probe's lease ends. From then on, the probe has failed."""
        return min((one.lease for one in self.probes() if one.lease is not None), default=math.inf)

    def opening(self) -> float:
        return min(self.rules.open_for * 2.0**self.openings, self.rules.open_for_max)

    def breaker_at(self, now: float) -> tuple[BreakerState, float]:
        """The state, and when it ends if it is open."""
        if self.state is BreakerState.HALF_OPEN and now >= self.lapse():
            return BreakerState.OPEN, self.lapse() + self.opening()
        return self.state, self.open_until

    def is_blocked(self, now: float) -> bool:
        state, until = self.breaker_at(now)
        if state is BreakerState.OPEN:
            return now < until
        if state is BreakerState.HALF_OPEN:
            return len(self.probes()) >= self.rules.probe_calls
        return state is BreakerState.FORCED_OPEN

    def window(self, now: float) -> list[tuple[float, bool, bool]]:
        return [one for one in self.results if now - one[0] <= self.rules.window_time][-self.rules.window_calls :]

    def is_failing(self, now: float) -> bool:
        window = self.window(now)
        return bool(window) and sum(failed for _, failed, _ in window) / len(window) >= self.rules.failure_ratio

    def shares(self, now: float) -> bool:
        """Whether a tenth of the last first attempts is more than the repeats so far, reckoned by whole seconds."""
        second = math.floor(now)
        firsts = sum(math.floor(at) > second - 10 for at in self.firsts)
        return 10 * (sum(math.floor(at) > second - 11 for at in self.repeats) + 1) <= firsts

    def budget_allows(self, now: float) -> bool:
        return self.shares(now) or all(now - at >= 1 for at in self.steady)

    def rate_allows(self, now: float) -> bool:
        """Whether one more leaves every stretch of time that ends now within `rate * t + burst`."""
        rate, burst = self.limits.rate, self.limits.burst
        if rate is None:
            return True
        if burst is None:
            burst = max(1, math.ceil(rate))
        return all(
            len(self.entered) - index + 1 <= burst + rate * (now - start) for index, start in enumerate(self.entered)
        )

    def obstacle(self, now: float, *, repeat: bool = False) -> Obstacle | None:
        if self.is_blocked(now):
            return BLOCKED[self.state]  # as it was left: that a lease is over shows only with the next step
        if now < self.cool_until:
            return Obstacle.COOLING_DOWN
        if repeat and self.is_failing(now) and not self.budget_allows(now):
            return Obstacle.RETRY_BUDGET
        if len(self.out) >= self.limits.max_concurrent:
            return Obstacle.CONCURRENCY
        return None if self.rate_allows(now) else Obstacle.RATE

    # What happens to it.

    def become(self, state: BreakerState) -> None:
        self.state = state
        self.epoch += 1
        self.probe_successes = 0
        if state is BreakerState.CLOSED:
            self.openings = 0
            self.results.clear()

    def open(self, start: float) -> None:
        self.open_until = start + self.opening()
        self.openings += 1
        self.become(BreakerState.OPEN)

    def settle(self, now: float) -> None:
        if self.breaker_at(now)[0] is not self.state:
            self.open(self.lapse())

    def enter(self, name: str, now: float, repeat: bool, permit: GatePermit) -> Entry:
        self.settle(now)
        if self.state is BreakerState.OPEN:
            self.become(BreakerState.HALF_OPEN)
        lease = now + self.rules.lease if self.state is BreakerState.HALF_OPEN else None
        noted = [self.entered]
        if not repeat:
            noted.append(self.firsts)
        elif self.is_failing(now):
            noted.append(self.repeats if self.shares(now) else self.steady)
        for times in noted:
            times.append(now)
        self.out.append(Entry(name, permit, self.epoch, lease, noted))
        return self.out[-1]

    def close(self, entry: Entry, verdict: Verdict, now: float, duration: float) -> None:
        if entry.epoch == self.epoch:
            self.settle(now)
        self.out.remove(entry)
        if entry.epoch != self.epoch or verdict is Verdict.NONE:
            return
        failed = verdict is Verdict.FAILURE
        slow = self.rules.slow_call_duration is not None and duration > self.rules.slow_call_duration
        if entry.lease is not None:
            if failed or slow:
                self.open(now)
                return
            self.probe_successes += 1
            if self.probe_successes >= self.rules.close_after:
                self.become(BreakerState.CLOSED)
            return
        self.results.append((now, failed, slow))
        window = self.window(now)
        slow_ratio = math.inf if self.rules.slow_call_ratio is None else self.rules.slow_call_ratio
        too_slow = sum(slow for _, _, slow in window) / len(window) >= slow_ratio
        if len(window) >= self.rules.minimum_calls and (self.is_failing(now) or too_slow):
            self.open(now)

    def cancel(self, entry: Entry) -> None:
        """At the instant of its entry, and as if that had not been; but a breaker that began to probe stays so."""
        self.out.remove(entry)
        for times in entry.noted:
            times.pop()

    def cool_down(self, now: float, retry_after: float | None) -> None:
        cooling = now < self.cool_until
        self.throttlings += not cooling
        if retry_after is None or not math.isfinite(retry_after):
            longest = min(self.limits.backoff_max, self.limits.backoff_base * 2 ** (self.throttlings - 1))
            retry_after = 0 if cooling else COOL_DOWN_DRAW * longest
        self.cool_until = max(self.cool_until, now + retry_after)

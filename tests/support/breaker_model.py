"""The breaker's rules once more, told from what has happened so far: plain, slow, and none of it the breaker's code."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from postwire.core.breaker import BreakerSettings


def draw(number: int) -> float:
    """The jitter of the breaker's opening of that number, from 0: in sixteenths, exact in binary."""
    return (number * 7 % 16) / 16


@dataclass
class Given:
    """A permit: in which era it was given, when, and what its call said in time ("" so far)."""

    era: int
    probe: bool
    start: float
    end: str = ""


@dataclass
class Result:
    when: float
    failed: bool
    slow: bool


@dataclass
class BreakerModel:
    settings: BreakerSettings
    time: float = -math.inf
    state: str = "closed"
    era: int = 0
    openings: int = 0
    openings_since_closed: int = 0
    until: float = math.nan
    results: list[Result] = field(default_factory=list)
    """Since it last closed, those of probes left out."""
    probes: list[Given] = field(default_factory=list)
    """Of this half-open, back or not."""
    heard: list[tuple[str, str]] = field(default_factory=list)

    def see(self, now: float) -> None:
        self.time = max(self.time, now)

    def trial(self) -> BreakerModel:
        """One to try out on what would happen. It shares no list that trying changes."""
        return BreakerModel(
            self.settings,
            self.time,
            self.state,
            self.era,
            self.openings,
            self.openings_since_closed,
            self.until,
            self.results,
            list(self.probes),
        )

    # What can be asked.

    def window(self) -> list[Result]:
        last = self.results[-self.settings.window_calls :]
        return [result for result in last if self.time - result.when <= self.settings.window_time]

    def counts(self) -> tuple[int, int, int]:
        window = self.window()
        return len(window), sum(result.failed for result in window), sum(result.slow for result in window)

    def exceeds_failure_ratio(self) -> bool:
        calls, failures, _ = self.counts()
        return calls > 0 and failures >= self.settings.failure_ratio * calls

    def admits(self, now: float) -> bool:
        return self.trial().acquire(now) is not None

    def next_probe_time(self, now: float) -> float | None:
        if self.state == "open":
            return self.until
        if self.state == "half_open" and self.leases():
            trial = self.trial()
            trial.see(now)
            if trial.a_lease_is_over():
                return trial.until
            if len(self.leases()) >= self.settings.probe_calls:
                return min(self.leases())
        return None

    def leases(self) -> list[float]:
        """When the leases of the probes that are out end."""
        return [probe.start + self.settings.lease for probe in self.probes if not probe.end]

    # What can happen.

    def acquire(self, now: float) -> Given | None:
        self.see(now)
        self.a_lease_is_over()
        if self.state == "open" and self.time >= self.until:
            self.become("half_open")
        given = Given(self.era, self.state == "half_open", self.time)
        if self.state == "closed":
            return given
        if self.state == "half_open" and len(self.leases()) < self.settings.probe_calls:
            self.probes.append(given)
            return given
        return None

    def release(self, given: Given, verdict: str, now: float, duration: float) -> None:
        if given.end or given.era != self.era:
            return
        self.see(now)
        if self.a_lease_is_over():
            return
        given.end = verdict
        slow = self.settings.slow_call_duration is not None and duration > self.settings.slow_call_duration
        if verdict == "none":
            return
        if not given.probe:
            self.results.append(Result(self.time, verdict == "failure", slow))
            if self.too_much():
                self.open(self.time)
        elif verdict == "failure" or slow:
            self.open(self.time)
        elif sum(probe.end == "success" for probe in self.probes) == self.settings.close_after:
            self.close()

    def force_open(self, now: float) -> None:
        self.see(now)
        self.become("forced_open")

    def resume(self, now: float) -> None:
        self.see(now)
        self.close()

    # What follows.

    def too_much(self) -> bool:
        calls, failures, slow_calls = self.counts()
        many, slow_many = self.settings.failure_ratio, self.settings.slow_call_ratio
        return calls >= self.settings.minimum_calls and (
            failures >= many * calls or (slow_many is not None and slow_calls >= slow_many * calls)
        )

    def a_lease_is_over(self) -> bool:
        over = [end for end in self.leases() if end <= self.time]
        if over:
            self.open(min(over))
        return bool(over)

    def open(self, start: float) -> None:
        doubled = self.settings.open_for * 2 ** min(self.openings_since_closed, 60)
        self.until = start + min(doubled, self.settings.open_for_max) * (1 + 0.1 * draw(self.openings))
        self.openings += 1
        self.openings_since_closed += 1
        self.become("open")

    def close(self) -> None:
        self.openings_since_closed = 0
        self.results = []
        self.become("closed", even_again=True)

    def become(self, state: str, even_again: bool = False) -> None:
        if state != self.state:
            self.heard.append((self.state, state))
        elif not even_again:
            return
        self.state = state
        self.era += 1
        self.probes = []

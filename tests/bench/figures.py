"""The figures to reach, and the arithmetic that leads to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final

from tests.bench.jobs import Round


@dataclass(frozen=True, slots=True)
class Target:
    """What the design asks for (section 12): `must`, and what to `reach` for.

    More is better, unless `at_most`. A figure is judged as it is shown: with so many `digits` after the point.
    """

    name: str
    title: str
    unit: str
    must: float
    reach: float | None = None
    at_most: bool = False
    digits: int = 2


TARGETS: Final = (
    Target("traced", "Dispatch, every span exported", "× echo", must=0.5, reach=0.65, digits=3),
    Target("sampled", "Dispatch, spans sampled at 1 %", "× echo", must=0.55, reach=0.7, digits=3),
    Target("p50-1", "p50 of a Dispatch, 1 caller, against a version before", "× p50", 1.05, reach=0.9, at_most=True),
    Target("p50-8", "the same, 8 callers", "× p50", must=1.05, reach=0.9, at_most=True),
    Target("p50-64", "the same, 64 callers", "× p50", must=1.05, reach=0.9, at_most=True),
    Target("accept", "DispatchStream, acceptance", "× echo", must=5, reach=8),
    Target("outcome", "DispatchStream, through to outcome", "× echo", must=2.5, reach=3.5),
    Target("peer", "the same work in Celery with Redis", "× our CPU", must=3, reach=5),
    Target("outbox", "a Dispatch, 1,000,000 in the outbox against none", "× cost", must=1.1, reach=1.0, at_most=True),
    Target("outbox-stream", "the same in a DispatchStream", "× cost", must=1.1, reach=1.0, at_most=True),
    Target("nodes", "a Dispatch at a node, 1,000,000 in the database against none", "× cost", must=1.1, at_most=True),
    Target("nodes-stream", "the same in a DispatchStream", "× cost", must=1.1, at_most=True),
    Target("providers", "a Dispatch, 1,000 providers against 2", "× cost", must=1.1, reach=1.0, at_most=True),
    Target("providers-shared", "the same, with all of them in one tier", "× cost", must=1.5, reach=1.0, at_most=True),
    Target("key", "a Dispatch with an API key against none", "× cost", must=1.08, at_most=True),
    Target("encrypted", "the same with 100 tenants, and encrypted", "× cost", must=1.2, at_most=True),
    Target("tenants", "a Dispatch, 100 tenants with keys and quotas against none", "× cost", must=1.1, at_most=True),
    Target("tenants-stream", "the same in a DispatchStream", "× cost", must=1.1, at_most=True),
    Target("guards", "a Dispatch that two guards count against none", "× cost", must=1.15, at_most=True),
    Target("guards-stream", "the same in a DispatchStream", "× cost", must=1.3, at_most=True),
    Target("http-listening", "a Dispatch by gRPC, http.listen on against off", "× throughput", must=0.98),
    Target("http-watched", "the same, with a console open", "× throughput", must=0.98),
    Target(
        "suppression", "a Dispatch, 1,000,000 suppressed against none", "× cost", must=1.05, reach=1.0, at_most=True
    ),
    Target("suppression-stream", "the same in a DispatchStream", "× cost", must=1.1, reach=1.0, at_most=True),
    Target("breaker-permit", "breaker: permit", "µs", must=1, reach=0.5, at_most=True),
    Target("breaker-result", "breaker: result", "µs", must=1, reach=0.5, at_most=True),
    Target("gate-permit", "the same with all limits: permit", "µs", must=2, reach=1, at_most=True),
    Target("gate-result", "the same with all limits: result", "µs", must=2, reach=1, at_most=True),
    Target("memory", "RSS over 1,000,000 dispatches", "MiB", must=1, reach=0, at_most=True, digits=1),
    Target("boot", "boot to serving", "s", must=1, reach=0.7, at_most=True),
    Target("webhook", "an SMS by webhook against a mock", "× mock", must=0.5),
    Target("smpp", "an SMS by smpp against a mock", "× mock", must=0.5),
    Target("smtp", "an email by smtp against a mock", "× mock", must=0.3),
    Target("held", "the loop held up by an email of 20 MB", "ms", must=20, at_most=True, digits=0),
    Target("isolation", "p99 beside a provider that hangs", "× p99", must=1.5, at_most=True),
)
"""In the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured for a target: the median of several rounds, with the lowest and the highest of them.

    Where it is `estimated`, `low` and `high` are those between which it lies with a confidence of 95 %.
    """

    target: Target
    value: float
    low: float
    high: float
    note: str = ""
    estimated: bool = False

    @property
    def verdict(self) -> str:
        """How it compares with what is asked for: reached, met, MISSED, or unclear."""
        if self.estimated and len({self._rating(one) == "MISSED" for one in (self.low, self.high)}) == 2:
            return "unclear"
        return self._rating(self.value)

    def _rating(self, value: float) -> str:
        shown = round(value, self.target.digits)
        if self.target.reach is not None and _holds(shown, self.target.reach, self.target.at_most):
            return "reached"
        return "met" if _holds(shown, self.target.must, self.target.at_most) else "MISSED"


def target(name: str) -> Target:
    """The target of that name."""
    (found,) = (one for one in TARGETS if one.name == name)
    return found


def figure(name: str, values: Sequence[float], note: str = "") -> Figure:
    """The figure for the target of that name: what the rounds come to."""
    return Figure(target(name), median(values), min(values), max(values), note)


def _holds(value: float, limit: float, at_most: bool) -> bool:
    return value <= limit if at_most else value >= limit


@dataclass(frozen=True, slots=True)
class Case:
    """What is done again and again, a round at a time, and compared with another case: the one it is `against`.

    Where it is a point of a plot, it is `at` that place of the horizontal axis (so many callers, so many messages that
    wait) on the line called `series`.
    """

    name: str
    title: str
    against: str = ""
    series: str = ""
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One round of one case. `cpu` is the server's, in seconds; `beside` what works beside it has used."""

    case: str
    number: int
    messages: int
    cpu: float
    round: Round
    beside: float = 0.0

    @property
    def per_cpu_second(self) -> float:
        """Messages a second of server CPU."""
        return self.messages / self.cpu


def ratios(measurements: Sequence[Measurement], case: Case) -> list[float]:
    """Round by round, how a case's throughput a second of server CPU compares with that of the case it is against."""
    yardstick = {one.number: one.per_cpu_second for one in measurements if one.case == case.against}
    return [one.per_cpu_second / yardstick[one.number] for one in measurements if one.case == case.name]


def costs(measurements: Sequence[Measurement], case: Case) -> list[float]:
    """The same the other way round: how the CPU that a message takes compares."""
    return [1 / ratio for ratio in ratios(measurements, case)]


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """By how much y rises with x, and between which values that lies with a confidence of 95 %.

    The median over all pairs of points (Theil), which a few jumps do not move, and Sen's interval around it (P. K. Sen,
    "Estimates of the Regression Coefficient Based on Kendall's Tau", 1968), for points whose x differ.
    """
    rises = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    n = len(points)
    half = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = int((len(rises) - half) / 2), math.ceil((len(rises) + half) / 2)
    return median(rises), rises[max(low, 0)], rises[min(high, len(rises) - 1)]

"""Histograms of durations, counted in plain numbers.

The SDK has observable counters and gauges but no observable histogram, and recording into one of its histograms costs
7 µs for each reader: as much as everything else that is recorded of a message. So durations are counted here, and join
the SDK's own metrics when a reader collects them. They are cumulative.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    PeriodicExportingMetricReader,
)

from postwire.telemetry.otel_internals import JoiningReader

Key = tuple[str, ...]


class _Tally:
    __slots__ = ("counts", "largest", "smallest", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0
        self.smallest = float("inf")
        self.largest = 0.0


class Durations:
    """One histogram. A series has a key: the values of the attributes `names`. `bounds` are in seconds."""

    def __init__(self, name: str, description: str, names: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._description = description
        self._names = tuple(names)
        self._bounds = tuple(bounds)
        self._tallies: dict[Key, _Tally] = {}
        self._start_time = time.time_ns()

    def record(self, key: Key, seconds: float) -> None:
        """Count one duration."""
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally(len(self._bounds) + 1)
        tally.counts[bisect_left(self._bounds, seconds)] += 1
        tally.total += seconds
        if seconds < tally.smallest:
            tally.smallest = seconds
        if seconds > tally.largest:
            tally.largest = seconds

    def collect(self) -> Metric:
        """All of it as the SDK's metric. For any thread."""
        now = time.time_ns()
        points = []
        for key, tally in list(self._tallies.items()):
            counts = tally.counts.copy()
            attributes = {name: value for name, value in zip(self._names, key, strict=True) if value}
            points.append(
                HistogramDataPoint(
                    attributes=attributes,
                    start_time_unix_nano=self._start_time,
                    time_unix_nano=now,
                    count=sum(counts),
                    sum=tally.total,
                    bucket_counts=counts,
                    explicit_bounds=self._bounds,
                    min=tally.smallest,
                    max=tally.largest,
                )
            )
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
        return Metric(name=self._name, description=self._description, unit="s", data=data)


class _WithDurations(JoiningReader):
    durations: Sequence[Durations] = ()

    def join(self, metrics: MetricsData) -> MetricsData:
        """Return `metrics` with `durations` in its first scope, which is ours: it always has a gauge."""
        resource, *resources = metrics.resource_metrics
        scope, *scopes = resource.scope_metrics
        scope = replace(scope, metrics=[*scope.metrics, *(one.collect() for one in self.durations)])
        return replace(metrics, resource_metrics=[replace(resource, scope_metrics=[scope, *scopes]), *resources])


class FetchedReader(_WithDurations, PrometheusMetricReader):
    """For metrics that are fetched. `durations` joins what it collects."""


class PushedReader(_WithDurations, PeriodicExportingMetricReader):
    """For metrics that are pushed. `durations` joins what it collects."""

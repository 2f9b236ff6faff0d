"""Histograms of our own, held to the SDK's for the same durations."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from postwire.telemetry import names
from postwire.telemetry.durations import Durations, FetchedReader, PushedReader

BOUNDS = (0.005, 0.1, 1.0, 60.0)


def durations(attributes: Sequence[str] = ("a", "b"), bounds: Sequence[float] = BOUNDS) -> Durations:
    return Durations("took", "How long it took.", attributes, bounds)


def points(of: Durations) -> dict[tuple[tuple[str, Any], ...], HistogramDataPoint]:
    data = of.collect().data
    assert isinstance(data, Histogram)
    return {tuple(sorted((point.attributes or {}).items())): point for point in data.data_points}


def one_point(of: Durations) -> HistogramDataPoint:
    (point,) = points(of).values()
    return point


def by_the_sdk(seconds: Sequence[float], bounds: Sequence[float]) -> HistogramDataPoint:
    """What a histogram of the SDK makes of them."""
    reader = InMemoryMetricReader()
    view = View(instrument_name="took", aggregation=ExplicitBucketHistogramAggregation(bounds))
    meters = MeterProvider([reader], shutdown_on_exit=False, views=[view])
    histogram = meters.get_meter("m").create_histogram("took", "s")
    for one in seconds:
        histogram.record(one)
    found = reader.get_metrics_data()
    meters.shutdown()
    assert found
    data = found.resource_metrics[0].scope_metrics[0].metrics[0].data
    assert isinstance(data, Histogram)
    (point,) = data.data_points
    assert isinstance(point, HistogramDataPoint)
    return point


def test_a_metric_has_a_name_a_unit_and_what_it_is_for() -> None:
    metric = durations().collect()
    assert (metric.name, metric.description, metric.unit) == ("took", "How long it took.", "s")
    assert isinstance(metric.data, Histogram)
    assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
    assert list(metric.data.data_points) == []


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.005, 0), (0.0050001, 1), (0.1, 1), (1.0, 2), (60.0, 3), (60.1, 4), (1e9, 4)],
)
def test_a_duration_is_in_the_first_bucket_that_is_long_enough(seconds: float, bucket: int) -> None:
    took = durations()
    took.record(("x", "y"), seconds)
    point = one_point(took)
    assert list(point.bucket_counts) == [int(index == bucket) for index in range(len(BOUNDS) + 1)]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_it_counts_as_the_sdk_does(seconds: list[float]) -> None:
    took = durations()
    for one in seconds:
        took.record(("x", "y"), one)
    ours, theirs = one_point(took), by_the_sdk(seconds, BOUNDS)
    assert list(ours.bucket_counts) == list(theirs.bucket_counts)
    assert tuple(ours.explicit_bounds) == tuple(theirs.explicit_bounds)
    assert (ours.count, ours.min, ours.max) == (theirs.count, theirs.min, theirs.max)
    assert ours.sum == pytest.approx(theirs.sum)


def test_each_series_is_counted_apart_and_what_is_empty_is_no_attribute() -> None:
    took = durations()
    for key in (("x", "y"), ("x", "y"), ("x", "z"), ("x", "")):
        took.record(key, 1.0)
    assert {attributes: point.count for attributes, point in points(took).items()} == {
        (("a", "x"), ("b", "y")): 2,
        (("a", "x"), ("b", "z")): 1,
        (("a", "x"),): 1,
    }


def test_it_is_cumulative_since_one_start() -> None:
    took = durations()
    took.record(("x", "y"), 1.0)
    first = one_point(took)
    took.record(("x", "y"), 3.0)
    second = one_point(took)
    assert (first.count, first.sum) == (1, 1.0), "what was collected does not change any more"
    assert (second.count, second.sum, second.min, second.max) == (2, 4.0, 1.0, 3.0)
    assert second.start_time_unix_nano == first.start_time_unix_nano <= first.time_unix_nano
    assert first.time_unix_nano <= second.time_unix_nano


def test_it_is_collected_while_it_is_recorded() -> None:
    took, faults, done = durations(), list[Exception](), threading.Event()

    def collect() -> None:
        while not done.is_set():
            try:
                for point in points(took).values():
                    assert point.count == sum(point.bucket_counts)
            except Exception as error:
                faults.append(error)
                return

    collector = threading.Thread(target=collect)
    collector.start()
    for number in range(20_000):
        took.record((str(number % 500), "y"), 1.0)
    done.set()
    collector.join()
    assert faults == []
    assert sum(point.count for point in points(took).values()) == 20_000


def test_boundaries_are_seconds_and_rise() -> None:
    for bounds, last in ((names.ATTEMPT_BUCKETS, 60), (names.RPC_BUCKETS, 10)):
        assert list(bounds) == sorted(set(bounds))
        assert (bounds[0], bounds[-1]) == (0.005, last)


# In the readers.


class Kept(MetricExporter):
    """Keeps what it is to export."""

    def __init__(self) -> None:
        super().__init__()
        self.exports: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, *_: Any, **__: Any) -> MetricExportResult:
        self.exports.append(metrics_data)
        return MetricExportResult.SUCCESS

    def shutdown(self, *_: Any, **__: Any) -> None: ...

    def force_flush(self, *_: Any, **__: Any) -> bool:
        return True


@pytest.fixture
def observed() -> tuple[Durations, Durations]:
    one, other = durations(), Durations("waited", "How long it waited.", [], [1.0])
    one.record(("x", "y"), 0.05)
    other.record((), 2.0)
    return one, other


def test_those_who_fetch_get_them_among_the_others(observed: tuple[Durations, Durations]) -> None:
    registry = CollectorRegistry()
    reader = FetchedReader(registry=registry)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    meters.get_meter("m").create_observable_gauge("build")
    meters.get_meter("m").create_counter("tries").add(2)
    reader.durations = observed
    text = generate_latest(registry).decode()
    meters.shutdown()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    buckets = {
        sample.labels["le"]: sample.value
        for sample in samples
        if sample.name == "took_seconds_bucket" and (sample.labels["a"], sample.labels["b"]) == ("x", "y")
    }
    assert buckets == {"0.005": 0, "0.1": 1, "1.0": 1, "60.0": 1, "+Inf": 1}
    values = {sample.name: sample.value for sample in samples}
    assert values["tries_total"] == 2
    assert (values["took_seconds_count"], values["took_seconds_sum"]) == (1, 0.05)
    assert values["waited_seconds_sum"] == 2


def test_those_who_are_pushed_to_get_them_among_the_others(observed: tuple[Durations, Durations]) -> None:
    exporter = Kept()
    reader = PushedReader(exporter, export_interval_millis=3_600_000)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    meters.get_meter("m").create_counter("tries").add(2)
    reader.durations = observed
    meters.force_flush()
    meters.shutdown()
    for data in exporter.exports:
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert [metric.name for metric in scope.metrics] == ["tries", "took", "waited"]
    assert len(exporter.exports) == 2, "and once more at the end"


def test_a_reader_without_any_has_what_the_sdk_has() -> None:
    exporter = Kept()
    meters = MeterProvider([PushedReader(exporter, export_interval_millis=3_600_000)], shutdown_on_exit=False)
    meters.get_meter("m").create_counter("tries").add(2)
    meters.force_flush()
    meters.shutdown()
    assert [metric.name for metric in exporter.exports[0].resource_metrics[0].scope_metrics[0].metrics] == ["tries"]

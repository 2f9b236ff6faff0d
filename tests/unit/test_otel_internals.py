"""Whether the OpenTelemetry that is installed still has what Postwire uses of it without being promised it.

One test for each, so that the name of the one that fails says what broke. Mend it in
`postwire.telemetry.otel_internals`, and raise the bounds in pyproject.toml.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common import _internal as otlp_common
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import postwire.telemetry

BOUNDED = (
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-exporter-prometheus",
)


class Kept(SpanExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.ended = False

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.ended = True


def takes(function: Callable[..., object], *arguments: Any, **named: Any) -> bool:
    """Whether it can be called so."""
    try:
        inspect.signature(function).bind(*arguments, **named)
    except TypeError:
        return False
    return True


def test_the_batch_processor_of_spans_has_a_queue_that_takes_anything() -> None:
    kept = Kept()
    processor = BatchSpanProcessor(kept, schedule_delay_millis=3_600_000)
    batches: Any = getattr(processor, "_batch_processor", None)
    assert batches is not None, "BatchSpanProcessor._batch_processor is gone: see SpanQueue"
    assert takes(batches.emit, object()), "emit takes something else: see SpanQueue.put"
    assert takes(batches.shutdown, timeout_millis=1), "shutdown takes no time-out any more: see SpanQueue.shutdown"
    ours = ("a span", "that is none of the SDK's")
    batches.emit(ours)
    batches.shutdown(timeout_millis=10_000)
    assert kept.spans == [ours], "what is queued is changed, or not exported at the end: see SpanQueue"
    assert kept.ended


def test_the_exporter_of_spans_asks_for_their_translation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Asked(Exception):
        pass

    class Exporter(OTLPSpanExporter):
        def _translate_data(self, data: Any) -> Any:
            asked.append(data)
            raise Asked

    exporter = Exporter(endpoint="http://127.0.0.1:1", timeout=1.0)
    try:
        with pytest.raises(Asked):
            exporter.export(["a span"])  # type: ignore[list-item]  # that is the point
    finally:
        exporter.shutdown()
    assert asked == [["a span"]], "OTLPSpanExporter._translate_data is not asked: see span_exporter"


def test_the_exporters_package_encodes_a_resource() -> None:
    encode = getattr(otlp_common, "_encode_resource", None)
    assert encode is not None, "_encode_resource is gone: see encode_resource"
    (attribute,) = encode(Resource({"service.name": "postwire"})).attributes
    assert (attribute.key, attribute.value.string_value) == ("service.name", "postwire")


@pytest.mark.parametrize("reader", [PrometheusMetricReader, PeriodicExportingMetricReader])
def test_a_metric_reader_receives_what_was_collected(reader: type[Any]) -> None:
    receive = getattr(reader, "_receive_metrics", None)
    assert receive is not None, f"{reader.__name__}._receive_metrics is gone: see JoiningReader"
    assert takes(receive, object(), object(), 10_000.0, more=1), "it takes something else: see JoiningReader"


@pytest.mark.parametrize("name", BOUNDED)
def test_no_release_that_may_have_changed_them_is_installed_with_postwire(name: str) -> None:
    """Below the next minor version of the one that all of this was tried with."""
    (spec,) = (one for one in requires("postwire") or [] if re.match(rf"{name}[<>=]", one))
    bound = re.search(r"<(\d+)\.(\d+)", spec)
    assert bound, f"{name} has no upper bound"
    installed = re.match(r"(\d+)\.(\d+)", version(name))
    assert installed
    assert (int(bound[1]), int(bound[2])) == (int(installed[1]), int(installed[2]) + 1)


def test_nothing_else_uses_what_is_not_public() -> None:
    private = re.compile(r"opentelemetry[\w.]*\._|\._batch_processor|_receive_metrics|_translate_data")
    folder = Path(postwire.telemetry.__file__).parents[1]
    users = {path.name for path in folder.rglob("*.py") if private.search(path.read_text(encoding="utf-8"))}
    assert users == {"otel_internals.py"}

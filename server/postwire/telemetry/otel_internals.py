"""All that Postwire uses of OpenTelemetry's SDK beyond its public interface, in one place.

Any release of the SDK may change these, so pyproject.toml has it below the next minor version, and
tests/unit/test_otel_internals.py says which of them a release has broken. Why each is needed is said at each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource as WireResource
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource


class JoiningReader:
    """Mixed into a metric reader: what it collects goes through `join`. The SDK has no observable histograms."""

    def join(self, metrics: MetricsData) -> MetricsData:
        """Add to what was collected."""
        raise NotImplementedError

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        reader: Any = super()
        reader._receive_metrics(self.join(metrics_data), timeout_millis, **kwargs)


def encode_resource(resource: Resource) -> WireResource:
    """The resource as OTLP has it."""
    from opentelemetry.exporter.otlp.proto.common._internal import _encode_resource

    return _encode_resource(resource)


def span_exporter(
    encode: Callable[[Sequence[Any]], ExportTraceServiceRequest], *, endpoint: str | None, timeout: float | None
) -> OTLPSpanExporter:
    """The SDK's OTLP exporter for spans that are not the SDK's: `encode` makes the request of a batch."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    class Exporter(OTLPSpanExporter):
        def _translate_data(self, data: Sequence[Any]) -> ExportTraceServiceRequest:
            return encode(data)

    return Exporter(endpoint=endpoint, timeout=timeout)


class SpanQueue:
    """The SDK's batch processor, for spans that are not the SDK's. `put` takes one."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._batches: Any = BatchSpanProcessor(exporter)._batch_processor
        # Not `on_end`, which asks each span whether it is sampled: all of ours are.
        self.put: Callable[[Any], None] = self._batches.emit

    def shutdown(self, timeout: float) -> None:
        """Export what is left, in at most `timeout` seconds. Blocks."""
        self._batches.shutdown(timeout_millis=int(timeout * 1000))  # the processor's own takes no time

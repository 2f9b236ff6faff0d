"""OTLP over gRPC: spans and metrics to a collector. Imported only where one is configured.

The exporter, its retries and its settings (`OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*`) are the SDK's; only the translation of
spans is ours, since ours are no SDK spans. What has few different values is translated once, and then copied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind

from postwire import __version__
from postwire.telemetry import names
from postwire.telemetry.durations import PushedReader
from postwire.telemetry.otel_internals import SpanQueue, encode_resource, span_exporter
from postwire.telemetry.tracing import Attributes, EndedSpan

_KINDS: Final = {
    SpanKind.SERVER: Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: Span.SPAN_KIND_CLIENT,
    SpanKind.CONSUMER: Span.SPAN_KIND_CONSUMER,
}
_SAMPLED_FLAG: Final = 0x01
_KNOWN_REMOTE_FLAG: Final = 0x100
_REMOTE_FLAG: Final = 0x200
_CACHED: Final = 4096


def encode(resource: Resource, spans: Sequence[EndedSpan]) -> ExportTraceServiceRequest:
    """The request that exports `spans`."""
    scope_spans = ScopeSpans(scope=InstrumentationScope(name=names.SCOPE, version=__version__))
    for span in spans:
        _add(scope_spans, span)
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(resource=encode_resource(resource), scope_spans=[scope_spans], schema_url=resource.schema_url)
        ]
    )


def _add(scope_spans: ScopeSpans, span: EndedSpan) -> None:
    wire = scope_spans.spans.add()
    wire.MergeFromString(_alike(span.kind, span.name, span.attributes))
    wire.trace_id = span.trace_id.to_bytes(16, "big")
    wire.span_id = span.span_id.to_bytes(8, "big")
    wire.start_time_unix_nano = span.start_time
    wire.end_time_unix_nano = span.end_time
    if span.parent_id:
        wire.parent_span_id = span.parent_id.to_bytes(8, "big")
        if span.kind is SpanKind.SERVER:  # whose parent is the caller's
            wire.flags |= _REMOTE_FLAG
    if span.trace_state:
        wire.trace_state = span.trace_state
    if span.message_id:
        attribute = wire.attributes.add(key=names.MESSAGE_ID)
        attribute.value.string_value = span.message_id
    if span.error:
        wire.status.code = Status.STATUS_CODE_ERROR
        wire.status.message = span.error
    for event in span.events:
        wire.events.add(
            name=event.name,
            time_unix_nano=event.time,
            attributes=[_attribute(key, value) for key, value in event.attributes],
        )
    if span.dropped_events:
        wire.dropped_events_count = span.dropped_events
    for link in span.links:
        wire.links.add(
            trace_id=link.trace_id.to_bytes(16, "big"),
            span_id=link.span_id.to_bytes(8, "big"),
            # Remote, as all that is read back from where it was kept: an earlier process may have made it.
            flags=_SAMPLED_FLAG | _KNOWN_REMOTE_FLAG | _REMOTE_FLAG,
        )


@lru_cache(_CACHED)
def _alike(kind: SpanKind, name: str, attributes: Attributes) -> bytes:
    """What many spans have in common, encoded."""
    wire = Span(name=name, kind=_KINDS[kind], flags=_SAMPLED_FLAG | _KNOWN_REMOTE_FLAG)
    wire.attributes.extend(_attribute(key, value) for key, value in attributes)
    return wire.SerializeToString()


@lru_cache(_CACHED)
def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def export_timeout(signal: str) -> float | None:
    """How long an export of `signal` (`TRACES`) may take, in seconds; None: the SDK's own.

    The specification has the variables in milliseconds, and the SDK takes them for seconds.
    """
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"):
        if text := os.environ.get(variable):
            return float(text) / 1000
    return None


class SpanExport:
    """A queue of spans that have ended, which a thread empties in batches. `endpoint` None: the environment's."""

    def __init__(self, resource: Resource, endpoint: str | None) -> None:
        exporter = span_exporter(partial(encode, resource), endpoint=endpoint, timeout=export_timeout("TRACES"))
        self._queue = SpanQueue(exporter)
        self._put = self._queue.put

    def __call__(self, span: EndedSpan) -> None:
        """Take a span: see `SpanSink`."""
        self._put(span)

    def shutdown(self, timeout: float) -> None:
        """Export what is left, in at most `timeout` seconds. Blocks."""
        self._queue.shutdown(timeout)


def metric_reader(endpoint: str | None) -> PushedReader:
    """Exports metrics at `OTEL_METRIC_EXPORT_INTERVAL`."""
    return PushedReader(OTLPMetricExporter(endpoint=endpoint, timeout=export_timeout("METRICS")))

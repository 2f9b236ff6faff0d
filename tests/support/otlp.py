"""A collector: a real gRPC server in this process that takes spans and metrics, and keeps them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.support.waiting import PATIENCE

ERROR: Final = 2
"""The status code of a span that reads as an error."""


def values(attributes: Any) -> dict[str, str]:
    """Attributes as they read: ours are strings, all of them."""
    pairs: list[KeyValue] = list(attributes)
    assert len({pair.key for pair in pairs}) == len(pairs), "a key is there twice"
    return {pair.key: pair.value.string_value for pair in pairs}


@dataclass(frozen=True)
class Seen:
    """A span as a backend would show it."""

    span: Span
    resource: dict[str, str]
    scope: str

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def attributes(self) -> dict[str, str]:
        return values(self.span.attributes)

    @property
    def failed(self) -> bool:
        return self.span.status.code == ERROR


class Collector:
    """Listens while it is entered. `endpoint` is what `OTEL_EXPORTER_OTLP_ENDPOINT` wants."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.endpoint = ""
        self._address = address
        self._traces: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self._metrics: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        """What came beside each export."""
        self._arrived = threading.Condition()
        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])

    def __enter__(self) -> Self:
        # The generated code knows no types.
        add_traces: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        add_metrics: Any = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
        add_traces(_Service(self._take_traces), self._server)
        add_metrics(_Service(self._take_metrics), self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port(self._address)}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()

    def spans(self) -> list[Seen]:
        """Every span so far, in the order of arrival."""
        with self._arrived:
            return list(self._seen())

    def wait_for_spans(self, count: int, trace_id: str = "") -> list[Seen]:
        """Return the spans, of one trace if it is given, once so many have arrived. More would be there too."""

        def found() -> list[Seen]:
            return [one for one in self._seen() if trace_id in ("", one.trace_id)]

        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(found()) >= count, PATIENCE)
            spans = found()
        assert arrived, f"{len(spans)} spans: {[one.name for one in spans]}"
        return spans

    def metrics(self) -> dict[str, Metric]:
        """Every metric, as it was told last."""
        with self._arrived:
            return dict(self._reported())

    def wait_for_metrics(self, good: Callable[[dict[str, Metric]], object]) -> dict[str, Metric]:
        """Return once they are good."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: good(dict(self._reported())), PATIENCE)
            found = dict(self._reported())
        assert arrived, str(found)
        return found

    def metric_resources(self) -> list[dict[str, str]]:
        """Of whom metrics were told."""
        with self._arrived:
            return [values(one.resource.attributes) for export in self._metrics for one in export.resource_metrics]

    def everything(self) -> str:
        """All that has arrived, as text: for looking into it for what must not be there."""
        with self._arrived:
            return "\n".join([*map(str, self._traces), *map(str, self._metrics), *map(str, self.metadata)])

    def _seen(self) -> Iterator[Seen]:
        for export in self._traces:
            for resource in export.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield Seen(span, values(resource.resource.attributes), scope.scope.name)

    def _reported(self) -> Iterator[tuple[str, Metric]]:
        for export in self._metrics:
            for resource in export.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        yield metric.name, metric

    def _take_traces(self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext) -> Any:
        self._take(self._traces, request, context)
        return trace_service_pb2.ExportTraceServiceResponse()

    def _take_metrics(
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> Any:
        self._take(self._metrics, request, context)
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def _take(self, kept: list[Any], request: Any, context: grpc.ServicerContext) -> None:
        with self._arrived:
            kept.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            self._arrived.notify_all()


class _Service:
    def __init__(self, export: Callable[[Any, grpc.ServicerContext], Any]) -> None:
        self.Export = export

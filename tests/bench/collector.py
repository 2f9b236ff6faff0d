"""Where traced servers send their spans: takes them, counts them, and forgets them.

Run as `python -m tests.bench.collector`: it prints the address it listens on, serves until SIGTERM, and then prints how
many spans it got.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from tests.bench.loops import loop_factory


async def serve() -> int:
    """Listen on a free port of loopback; returns the number of spans."""
    spans = 0

    async def take_spans(
        request: traces.ExportTraceServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> traces.ExportTraceServiceResponse:
        nonlocal spans
        spans += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        return traces.ExportTraceServiceResponse()

    async def take_metrics(
        request: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> metrics.ExportMetricsServiceResponse:
        return metrics.ExportMetricsServiceResponse()

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "opentelemetry.proto.collector.trace.v1.TraceService",
                {
                    "Export": grpc.unary_unary_rpc_method_handler(
                        take_spans,
                        request_deserializer=traces.ExportTraceServiceRequest.FromString,
                        response_serializer=traces.ExportTraceServiceResponse.SerializeToString,
                    )
                },
            ),
            grpc.method_handlers_generic_handler(
                "opentelemetry.proto.collector.metrics.v1.MetricsService",
                {
                    "Export": grpc.unary_unary_rpc_method_handler(
                        take_metrics,
                        response_serializer=metrics.ExportMetricsServiceResponse.SerializeToString,
                    )
                },
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(None)
    return spans


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(runner.run(serve()), flush=True)

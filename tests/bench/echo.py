"""The yardstick: a bare grpc.aio server with one unary method, in a process of its own.

It does what no gRPC server in Python can do without: take the call, parse the same `DispatchRequest`, and serialise a
`DispatchResponse` with the same fields, which is made once and not per call. No interceptor, no other service, no log.
The event loop is the one that the service picks: uvloop where it is installed.

Run as `python -m tests.bench.echo`: it prints the address it listens on, and serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc
from tests.bench import payload
from tests.bench.loops import loop_factory

from postwire.v1 import dispatch_service_pb2 as pb


async def serve() -> None:
    """Listen on a free port of loopback."""
    response = payload.response()

    async def dispatch(request: pb.DispatchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.DispatchResponse:
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        dispatch,
        request_deserializer=pb.DispatchRequest.FromString,
        response_serializer=pb.DispatchResponse.SerializeToString,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(payload.SERVICE, {payload.DISPATCH: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve())

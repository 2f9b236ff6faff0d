"""A real server on a real socket whose guarded methods are the test's, and what their callers see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from postwire.api.access import Access
from postwire.api.guard import Calls, Guard
from postwire.core.principal import Role
from postwire.telemetry.base import CallObserver

PATH = "postwire.v1.Test/Method"


@asynccontextmanager
async def guarded(
    access: Access,
    inner: Any,
    needed: tuple[Role, ...] | None,
    *,
    streams: bool = False,
    credentials: grpc.ServerCredentials | None = None,
    observers: Sequence[CallObserver] = (),
) -> AsyncIterator[str]:
    """Serve `inner`, which takes and gives bytes, or streams of them; gives the address."""
    guard = Guard(Calls(), observers, access)
    handler: Any = (
        grpc.stream_stream_rpc_method_handler(guard.stream_handler(PATH, inner, needed))
        if streams
        else grpc.unary_unary_rpc_method_handler(guard.handler(PATH, inner, needed))
    )
    server = grpc.aio.server()
    service, _, method = PATH.partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    if credentials:
        port = server.add_secure_port("localhost:0", credentials)
    else:
        port = server.add_insecure_port("localhost:0")
    await server.start()
    try:
        yield f"localhost:{port}"
    finally:
        await server.stop(None)

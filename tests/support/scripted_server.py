"""A gRPC server in this process that answers as it is told, for the tests of those that call one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from postwire.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from postwire.v1.dispatch_service_pb2_grpc import add_DispatchServiceServicer_to_server
from postwire.v1.inbox_service_pb2_grpc import add_InboxServiceServicer_to_server
from postwire.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from postwire.v1.suppression_service_pb2_grpc import add_SuppressionServiceServicer_to_server


class ScriptedServer:
    """Answers every method of every service with its `answer`: a message, a list of them for a stream, a status, or
    what a function makes of the request and the context."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.asked: list[Any] = []

    def __getattr__(self, method: str) -> Callable[[Any, Any], Any]:
        if not method[0].isupper():
            raise AttributeError(method)
        return self._answer

    def refuse(self, code: grpc.StatusCode, text: str, *details: Any) -> None:
        """End the calls that follow with this status."""
        packed = []
        for detail in details:
            packed.append(AnyMessage())
            packed[-1].Pack(detail)
        self.answer = Status(code=code.value[0], message=text, details=packed)

    def _answer(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if callable(self.answer):
            return self.answer(request, context)
        if isinstance(self.answer, Status):
            context.set_trailing_metadata((("grpc-status-details-bin", self.answer.SerializeToString()),))
            code = next(code for code in grpc.StatusCode if code.value[0] == self.answer.code)
            context.abort(code, self.answer.message)
        return iter(self.answer) if isinstance(self.answer, list) else self.answer


@contextmanager
def serving(scripted: Any) -> Iterator[str]:
    """Serves every service by what is told; gives the address."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        add_DispatchServiceServicer_to_server(scripted, server)
        add_AdminServiceServicer_to_server(scripted, server)
        add_ProviderServiceServicer_to_server(scripted, server)
        add_SuppressionServiceServicer_to_server(scripted, server)
        add_InboxServiceServicer_to_server(scripted, server)
        add_HealthServicer_to_server(scripted, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()

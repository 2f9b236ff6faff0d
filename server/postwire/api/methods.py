"""The methods of a service, as gRPC is told of them: by its descriptor, so that requests are read in our way."""

from __future__ import annotations

from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from postwire.api.requests import reader_of

_HANDLERS: Final[dict[tuple[bool, bool], Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether requests are a stream, and whether answers are."""


def serve(server: grpc.aio.Server, service: str, servicer: Any) -> None:
    """Serve all methods of a service, given by its full name. What they are given is to go through `requests.read`."""
    server.add_registered_method_handlers(
        service,
        {
            method.name: _HANDLERS[method.client_streaming, method.server_streaming](
                getattr(servicer, method.name),
                request_deserializer=reader_of(GetMessageClass(method.input_type)),
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
            for method in descriptor_pool.Default().FindServiceByName(service).methods
        },
    )

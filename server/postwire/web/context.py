"""A call over HTTP, as the guard sees one: see `api.call.Context`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from math import ceil
from types import MappingProxyType
from typing import Any, Final, NoReturn

import grpc
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.request import RequestContext
from google.protobuf import duration_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.rpc import error_details_pb2, status_pb2
from protobuf import Message, Registry
from protobuf._codegen import file_desc
from protobuf.wkt import Any as ConnectAny
from protobuf.wkt.google.protobuf import duration_pb

from postwire.api.errors import DETAILS_KEY
from postwire.core.admission import Room
from postwire.core.errors import Overloaded
from postwire.http_body import Body

_CODES: Final[Mapping[grpc.StatusCode, Code]] = MappingProxyType(
    {
        status: Code.CANCELED if status is grpc.StatusCode.CANCELLED else Code[status.name]
        for status in grpc.StatusCode
        if status is not grpc.StatusCode.OK
    }
)
_RETRY_INFO: Final = error_details_pb2.RetryInfo.DESCRIPTOR.full_name


def _known_details() -> Registry:
    """The types of details, for connectrpc, which has Protocol Buffers of its own: it shows what is in one where it
    knows the type (`debug`), which is what people read who have no generated code.
    """
    file = FileDescriptorProto.FromString(error_details_pb2.DESCRIPTOR.serialized_pb)
    for one in file.message_type:
        _name_fields(one, error_details_pb2.DESCRIPTOR.message_types_by_name[one.name])
    return Registry(file_desc(file.SerializeToString(), [duration_pb.desc()], {}))


def _name_fields(proto: DescriptorProto, descriptor: Descriptor) -> None:
    """Write down what the fields are called in JSON, which a file that was compiled for Python leaves out."""
    for field in proto.field:
        field.json_name = descriptor.fields_by_name[field.name].json_name
    for inner in proto.nested_type:
        _name_fields(inner, descriptor.nested_types_by_name[inner.name])


_DETAILS: Final = _known_details()


class Exchange:
    """One request and its answer: what the call in it is to know of them."""

    __slots__ = ("_callbacks", "_under_way", "body", "peer", "tenant")

    def __init__(self, client: tuple[str, int] | None, body: Body, under_way: Room) -> None:
        """`under_way` counts the calls of each tenant: each takes a connection."""
        host, port = client or ("", 0)
        kind, shown = ("ipv6", f"[{host}]") if ":" in host else ("ipv4", host)
        self.peer = f"{kind}:{shown}:{port}"
        self.body = body
        self.tenant = ""
        self._under_way = under_way
        self._callbacks: list[Callable[[Any], None]] = []

    def enter(self, tenant: str) -> None:
        """Have the call count as one of a tenant's until the answer is on its way.

        Raises:
            Overloaded: it has too many.
        """
        self.tenant = tenant
        self._under_way.hold(1, tenant)
        if self._under_way.is_over(tenant):
            self._under_way.hold(-1, tenant)
            raise Overloaded(text="too many calls of this tenant are under way over HTTP: end some, and try again")
        self.add_done_callback(lambda _: self._under_way.hold(-1, tenant))

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called when the answer is on its way."""
        self._callbacks.append(callback)

    def end(self) -> None:
        """The answer is on its way."""
        for callback in self._callbacks:
            callback(self)


current: Final[ContextVar[Exchange]] = ContextVar("postwire_exchange")
"""The exchange that the current task answers."""


class HttpContext:
    """What the guard asks of a call."""

    def __init__(self, request: RequestContext[Any, Any]) -> None:
        self._request = request
        self._exchange = current.get()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """See `Context.invocation_metadata`: the request's headers."""
        return tuple(self._request.request_headers.allitems())

    def time_remaining(self) -> float | None:
        """See `Context.time_remaining`."""
        left = self._request.timeout_ms
        return None if left is None else max(left / 1000, 0.0)

    def peer(self) -> str:
        """See `Context.peer`."""
        return self._exchange.peer

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """See `Context.auth_context`: uvicorn shows no certificate of a caller's, so there is none."""
        return MappingProxyType({})

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See `Context.add_done_callback`."""
        self._exchange.add_done_callback(callback)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()
    ) -> NoReturn:
        """See `Context.abort`."""
        found: list[ErrorDetail] = []
        for key, value in trailing_metadata:
            if key != DETAILS_KEY:
                self._request.response_trailers[key] = str(value)
                continue
            assert isinstance(value, bytes)
            for packed in status_pb2.Status.FromString(value).details:
                found.append(_detail(packed.TypeName(), packed.value))
                if packed.TypeName() == _RETRY_INFO:
                    self._request.response_headers["retry-after"] = str(_seconds(packed.value))
        raise ConnectError(_CODES[code], details, found)


def _detail(type_name: str, value: bytes) -> ErrorDetail:
    known = _DETAILS.message(type_name)
    if known is None:
        return ErrorDetail(ConnectAny(type_url=f"type.googleapis.com/{type_name}", value=value))
    made: Message = known.type.from_binary(value)
    return ErrorDetail(made)


def _seconds(retry_info: bytes) -> int:
    """Whole ones, as HTTP counts them (RFC 9110, section 10.2.3): at least one."""
    delay: duration_pb2.Duration = error_details_pb2.RetryInfo.FromString(retry_info).retry_delay
    return max(1, ceil(delay.seconds + delay.nanos / 1e9))

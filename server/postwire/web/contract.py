"""The contract over HTTP: Connect, gRPC-Web and plain JSON, all of them answered by the same guarded methods as gRPC.

connectrpc speaks the protocols: https://connectrpc.com/docs/protocol and
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md. What it is given is made of the descriptors.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication
from connectrpc.server import Endpoint as Endpoints
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from postwire.api.errors import INTERNAL_TEXT
from postwire.api.guard import Guard
from postwire.core.admission import Room
from postwire.http_body import SMALL_BODY, Body, BodyRoom, BodyTooLarge, BodyTooSlow, Disconnected, NoRoom
from postwire.http_connections import MAX_CONNECTIONS
from postwire.telemetry.base import CONNECT
from postwire.web import lines
from postwire.web.codecs import Codec, Encoding, LazyGzip, Unread
from postwire.web.context import Exchange, HttpContext, current
from postwire.web.responses import Receive, Scope, Sending, refusal
from postwire.web.trimming import trimmed

if TYPE_CHECKING:
    from connectrpc._server_shared import EndpointServerStream, EndpointUnary

MAX_JSON: Final = 1 << 20
"""Bytes of a request in JSON. Reading 32 MiB of it would hold up the loop for a quarter of a second."""

LEAST_ROOM: Final = 64 << 20
"""Bytes of requests that may be held at once while they come in, at the least. Those of whom it is not known that they
may call have as much for themselves: however slow they are, the others' are taken."""

LARGEST_HELD: Final = 2.5
"""How many of the largest there is room for. Of these, one tenant alone has two: see `core.admission`."""

_ENVELOPE: Final = 5
"""Bytes in front of a request that a protocol of streams has."""


Endpoint: TypeAlias = "EndpointServerStream[Any, Any] | EndpointUnary[Any, Any]"


@dataclass(frozen=True, slots=True)
class ContentType:
    """What a request says it is: how it is written, and whether in a protocol for streams (gRPC-Web is for both).

    `has_envelopes`: whether that protocol has each message of a stream in one; else it is on a line of its own.
    """

    encoding: Encoding
    takes_unary: bool
    takes_streams: bool
    has_envelopes: bool = True


CONTENT_TYPES: Final[Mapping[str, ContentType]] = {
    "application/json": ContentType(Encoding.JSON, takes_unary=True, takes_streams=True, has_envelopes=False),
    "application/proto": ContentType(Encoding.BINARY, takes_unary=True, takes_streams=False),
    "application/connect+json": ContentType(Encoding.JSON, takes_unary=False, takes_streams=True),
    "application/connect+proto": ContentType(Encoding.BINARY, takes_unary=False, takes_streams=True),
    "application/grpc-web": ContentType(Encoding.BINARY, takes_unary=True, takes_streams=True),
    "application/grpc-web+proto": ContentType(Encoding.BINARY, takes_unary=True, takes_streams=True),
    "application/grpc-web+json": ContentType(Encoding.JSON, takes_unary=True, takes_streams=True),
}


def is_offered(method: MethodDescriptor) -> bool:
    """Whether a method can be called over HTTP: not where the caller sends a stream, which browsers cannot."""
    return not method.client_streaming


def takes(method: MethodDescriptor, content_type: ContentType) -> bool:
    """Whether requests of a method may be of that type."""
    return content_type.takes_streams if method.server_streaming else content_type.takes_unary


class Contract:
    """`methods`, by their paths, and an ASGI application that answers their calls."""

    def __init__(
        self, guard: Guard, services: Mapping[str, object], max_bytes: int, on_fault: Callable[[Exception], None]
    ) -> None:
        """`services` are servicers by the full names of their services; `max_bytes` is how large a request may be in
        Protocol Buffers.
        """
        self._on_fault = on_fault
        self._tenant_of = guard.tenant_of
        limits = {Encoding.JSON: MAX_JSON, Encoding.BINARY: max_bytes}
        self._codecs = {encoding: Codec(encoding, most, on_fault) for encoding, most in limits.items()}
        self._room = BodyRoom(max(LEAST_ROOM, round(LARGEST_HELD * max_bytes)))
        self._under_way = Room(MAX_CONNECTIONS)
        self.methods = {path: method for name in services for path, method in _methods_of(name)}
        endpoints: dict[str, Endpoint] = {}
        for name, servicer in services.items():
            guarded = guard.around(name, _Reader(servicer), system=CONNECT)
            endpoints |= {
                path: self._endpoint(method, guarded) for path, method in _methods_of(name) if is_offered(method)
            }
        self._applications = {encoding: _Application(endpoints, codec) for encoding, codec in self._codecs.items()}

    async def answer(self, content_type: ContentType, scope: Scope, receive: Receive, sending: Sending) -> None:
        """Answer a call of a method that takes such requests."""
        tenant = self._known_tenant(scope)
        with self._room.reserve(tenant is not None, tenant) as body:
            exchange = Exchange(scope.get("client"), body, self._under_way)
            token = current.set(exchange)
            most = self._codecs[content_type.encoding].max_bytes
            try:
                is_enveloped = content_type.takes_streams and content_type.has_envelopes
                reading = _Reading(body, scope, receive, sending, most, is_enveloped=is_enveloped)
                application = self._applications[content_type.encoding]
                if content_type.has_envelopes or not self.methods[scope["path"]].server_streaming:
                    await application(scope, reading, sending)
                else:
                    enveloping = lines.Enveloping(scope, reading)
                    await application(lines.as_stream(scope), enveloping, lines.Lines(sending))
            except Exception as error:
                self._on_fault(error)
                if not sending.has_begun:
                    await refusal(500, INTERNAL_TEXT)(scope, receive, sending)
            finally:
                current.reset(token)
                exchange.end()

    def _known_tenant(self, scope: Scope) -> str | None:
        """For which tenant a caller calls of whom it is known that he may. What is small has room in any
        case: nobody asks.
        """
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if length.isdigit() and len(length) <= len(str(SMALL_BODY)) and int(length) <= SMALL_BODY:
            return None
        return self._tenant_of([(name.decode(), value.decode()) for name, value in scope["headers"]])

    def _endpoint(self, descriptor: MethodDescriptor, guarded: Any) -> Endpoint:
        info: MethodInfo[Any, Any] = MethodInfo(
            name=descriptor.name,
            service_name=descriptor.containing_service.full_name,
            input=GetMessageClass(descriptor.input_type),
            output=GetMessageClass(descriptor.output_type),
            idempotency_level=IdempotencyLevel.UNKNOWN,  # so that none is called with GET
            stream_type=StreamType.SERVER_STREAM if descriptor.server_streaming else StreamType.UNARY,
        )
        call = getattr(guarded, descriptor.name)
        if descriptor.server_streaming:
            return Endpoints.server_stream(
                method=info, function=lambda request, context: call(request, _context_of(request, context))
            )

        async def unary(request: Any, context: Any) -> Any:
            answer: Message = await call(request, _context_of(request, context))
            content_type = CONTENT_TYPES[media_type(context.request_headers["content-type"])]
            return await self._codecs[content_type.encoding].write(answer, current.get().tenant)

        return Endpoints.unary(method=info, function=unary)


def _context_of(request: Unread, context: Any) -> HttpContext:
    """The context of a call, at the end of which its request is not held any more."""
    made = HttpContext(context)
    made.add_done_callback(request.forget)
    return made


def _methods_of(service: str) -> Iterable[tuple[str, MethodDescriptor]]:
    """The methods of a service, with the paths that they are called at."""
    for method in descriptor_pool.Default().FindServiceByName(service).methods:
        yield f"/{service}/{method.name}", method


def media_type(content_type: str) -> str:
    """The type that a header names, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


class _Application(ConnectASGIApplication[None]):
    """connectrpc's, for one encoding: what is too large is another size for each."""

    path = "/"

    def __init__(self, endpoints: Mapping[str, Endpoint], codec: Codec) -> None:
        super().__init__(
            service=None,
            endpoints=lambda _: endpoints,
            read_max_bytes=codec.max_bytes,
            compressions=[LazyGzip()],
            codecs=[codec],
        )


class _Reader:
    """A servicer that reads requests, refuses those that are none, and has another answer the rest; of each tenant no
    more at once than its part of the connections.
    """

    def __init__(self, servicer: object) -> None:
        self._servicer = servicer

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._servicer, name)
        if inspect.isasyncgenfunction(inner):

            async def stream(request: Unread, call: Any) -> AsyncIterator[Any]:
                current.get().enter(call.tenant)
                async with aclosing(inner(await _read(request, call.tenant), call)) as responses:
                    async for response in responses:
                        yield response

            return stream

        async def unary(request: Unread, call: Any) -> Any:
            current.get().enter(call.tenant)
            return await inner(await _read(request, call.tenant), call)

        return unary


async def _read(request: Unread, tenant: str) -> Message:
    """The message. Its bytes are not held any more."""
    message = await request.read(tenant)
    current.get().body.release()
    return message


class _Reading:
    """What ASGI calls `receive`, which gives the body all at once, and after that what the caller does."""

    def __init__(
        self, body: Body, scope: Scope, receive: Receive, sending: Sending, most: int, *, is_enveloped: bool
    ) -> None:
        self._body = body
        self._is_enveloped = is_enveloped
        self._scope = scope
        self._receive = receive
        self._sending = sending
        self._most = most
        self._is_read = False

    async def __call__(self) -> dict[str, Any]:
        if self._is_read:
            return await self._receive()  # type: ignore[return-value]  # it is one
        self._is_read = True
        try:
            data = await self._body.read(self._scope["headers"], self._receive, self._most + _ENVELOPE)
        except BodyTooLarge:
            self._sending.status = 413
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"the body is larger than {self._most} bytes") from None
        except NoRoom:
            self._sending.status = 503
            self._sending.headers.append((b"retry-after", b"1"))
            raise ConnectError(Code.UNAVAILABLE, "too much is coming in at once: repeat the call later") from None
        except BodyTooSlow:
            self._sending.status = 408
            self._sending.headers.append((b"connection", b"close"))  # RFC 9110, section 15.5.9
            raise ConnectError(Code.DEADLINE_EXCEEDED, "the body has not come in time") from None
        except Disconnected:
            return {"type": "http.disconnect"}
        data = trimmed(data, dict(self._scope["headers"]), is_enveloped=self._is_enveloped)
        return {"type": "http.request", "body": data, "more_body": False}

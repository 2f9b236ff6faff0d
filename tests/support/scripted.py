"""A gRPC server in this process that answers as a test tells it to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from tests.support.waiting import PATIENCE

from postwire.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from postwire.v1.dispatch_service_pb2 import (
    DispatchRejection,
    DispatchStreamRequest,
    DispatchStreamResponse,
    DispatchStreamResult,
)
from postwire.v1.dispatch_service_pb2_grpc import add_DispatchServiceServicer_to_server
from postwire.v1.error_reason_pb2 import ErrorReason
from postwire.v1.inbox_service_pb2_grpc import add_InboxServiceServicer_to_server
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from postwire.v1.suppression_service_pb2_grpc import add_SuppressionServiceServicer_to_server

DETAILS: Final = "grpc-status-details-bin"

Frames = Iterator[DispatchStreamRequest]
Script = Callable[["ScriptedServer", Frames, Any], Iterator[DispatchStreamResponse]]


class Refuse:
    """An answer that ends a call: a status, its details, and what else goes into the trailers."""

    def __init__(self, code: grpc.StatusCode, *details: Any, text: str = "no", **trailers: str) -> None:
        status = Status(code=code.value[0], message=text)
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        self.code, self.text = code, text
        self.trailers: tuple[tuple[str, Any], ...] = tuple(
            (name.replace("_", "-"), value) for name, value in trailers.items()
        )
        if details:
            self.trailers += ((DETAILS, status.SerializeToString()),)

    def end(self, context: Any) -> None:
        context.set_trailing_metadata(self.trailers)
        context.abort(self.code, self.text)


def overloaded(delay_ms: int = 1, code: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED) -> Refuse:
    """What the service says that has no room."""
    return Refuse(
        code,
        ErrorInfo(reason="OVERLOADED", domain="postwire"),
        RetryInfo(retry_delay=_milliseconds(delay_ms)),
        grpc_retry_pushback_ms=str(delay_ms),
    )


class ScriptedServer:
    """Answers every method of every service: with what it was told to, or with what a function makes of the context;
    the last answer again and again. `DispatchStream` goes by `scripts`, one a call, the last again and again."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[Any] = []
        self.time_left: list[float] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.scripts: list[Script] = [accept]
        self.streams: list[list[list[str]]] = []
        """The request ids of each frame of each stream."""
        self.changed = threading.Condition()

    def __getattr__(self, method: str) -> Callable[[Any, Any], Any]:
        if not method[0].isupper():
            raise AttributeError(method)
        return self._answer

    def DispatchStream(self, frames: Frames, context: Any) -> Iterator[DispatchStreamResponse]:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        with self.changed:
            self.metadata.append(dict(context.invocation_metadata()))
            self.streams.append([])
            self.changed.notify_all()
        return script(self, self._noted(frames, self.streams[-1]), context)

    def until(self, is_so: Callable[[], object]) -> None:
        """Return once it is so."""
        with self.changed:
            assert self.changed.wait_for(is_so, PATIENCE), f"streams: {self.streams}, asked: {self.asked}"

    @property
    def sent(self) -> list[str]:
        """The request ids of all streams, in the order of their coming."""
        return [one for stream in self.streams for frame in stream for one in frame]

    def _noted(self, frames: Frames, into: list[list[str]]) -> Frames:
        for frame in frames:
            with self.changed:
                into.append([request.request_id for request in frame.requests])
                self.changed.notify_all()
            yield frame

    def _answer(self, request: Any, context: Any) -> Any:
        with self.changed:
            self.asked.append(request)
            self.time_left.append(context.time_remaining())
            self.metadata.append(dict(context.invocation_metadata()))
            self.changed.notify_all()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Refuse):
            answer.end(context)
        return answer(context) if callable(answer) else answer


# Scripts for `DispatchStream`.


def accept(scripted: ScriptedServer, frames: Frames, context: Any) -> Iterator[DispatchStreamResponse]:
    """Answers every frame with one response."""
    sequence = 0
    for frame in frames:
        results = []
        for request in frame.requests:
            message = Message(message_id=f"m-{request.request_id}", request_id=request.request_id)
            results.append(DispatchStreamResult(sequence=sequence, message=message))
            sequence += 1
        yield DispatchStreamResponse(results=results)


def silent(scripted: ScriptedServer, frames: Frames, context: Any) -> Iterator[DispatchStreamResponse]:
    """Takes frames and says nothing."""
    for _ in frames:
        pass
    yield from ()


def deaf(scripted: ScriptedServer, frames: Frames, context: Any) -> Iterator[DispatchStreamResponse]:
    """Takes no frame and says nothing, for as long as the call goes on."""
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait(PATIENCE)
    yield from ()


def ending(count: int, end: Refuse | None) -> Script:
    """Answers so many requests, then ends the stream; None: in good order.

    It takes a frame in any case: where a stream is ended while its caller writes, grpc.aio hides the status.
    """

    def script(scripted: ScriptedServer, frames: Frames, context: Any) -> Iterator[DispatchStreamResponse]:
        left = count
        if not left:
            next(frames, None)
        for response in accept(scripted, frames, context) if left else ():
            del response.results[left:]
            left -= len(response.results)
            yield response
            if not left:
                break
        if end is not None:
            end.end(context)

    return script


def rejecting(*rejections: DispatchRejection | None, then: Script = accept) -> Script:
    """Gives the first requests these rejections (None: takes it), one response each, and the others what follows."""

    def script(scripted: ScriptedServer, frames: Frames, context: Any) -> Iterator[DispatchStreamResponse]:
        waiting = list(rejections)
        for response in then(scripted, frames, context):
            for result in response.results:
                if waiting and (rejection := waiting.pop(0)) is not None:
                    result.rejection.CopyFrom(rejection)
                yield DispatchStreamResponse(results=[result])

    return script


def rejection(code: grpc.StatusCode, reason: str, delay_ms: int | None = None, **fields: Any) -> DispatchRejection:
    """Why a request of a stream is refused."""
    return DispatchRejection(
        code=code.value[0],
        reason=ErrorReason.Value(f"ERROR_REASON_{reason}"),
        message="no",
        retry_delay=None if delay_ms is None else _milliseconds(delay_ms),
        **fields,
    )


def _milliseconds(number: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(number)
    return duration


@contextmanager
def serving(scripted: Any, address: str = "127.0.0.1:0", tls: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """Serves it, with TLS if there is something for it; gives the address."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 36 << 20)])
        add_DispatchServiceServicer_to_server(scripted, server)
        add_AdminServiceServicer_to_server(scripted, server)
        add_ProviderServiceServicer_to_server(scripted, server)
        add_SuppressionServiceServicer_to_server(scripted, server)
        add_InboxServiceServicer_to_server(scripted, server)
        port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
        server.start()
        try:
            yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"

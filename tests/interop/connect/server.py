"""The service that Connect's own conformance runner calls, behind the guard, the adapter and the listener of Postwire.

The runner starts it, says on standard input what the server is to be like, and hears on standard output where it is:
see https://github.com/connectrpc/conformance/blob/main/docs/testing_servers.md. Its stubs are in the folder that is
named.
"""

from __future__ import annotations

import asyncio
import signal
import struct
import sys
import traceback
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NoReturn

import connectrpc
import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import status_pb2
from tests.support.access import access_of
from tests.support.configs import KINDS

from postwire.api.call import CallContext, OtherStatus
from postwire.api.errors import DETAILS_KEY
from postwire.api.guard import Calls, Guard
from postwire.api.transport import HEADROOM_BYTES
from postwire.config.http import HTTP_TLS
from postwire.config.schema import Config, load
from postwire.config.tls import read_certificates
from postwire.web.endpoint import WebEndpoint

connectrpc.__path__.append(f"{sys.argv[1]}/connectrpc")  # the runner's package has the name of the library's

from connectrpc.conformance.v1 import config_pb2, server_compat_pb2, service_pb2  # noqa: E402

SERVICE: Final = service_pb2.DESCRIPTOR.services_by_name["ConformanceService"].full_name
STATUS_OF: Final = {code.value[0]: code for code in grpc.StatusCode}


class Servicer:
    """Answers as requests say."""

    async def Unary(self, request: Any, call: CallContext) -> Any:
        return service_pb2.UnaryResponse(payload=await payload(request, call))

    async def IdempotentUnary(self, request: Any, call: CallContext) -> Any:
        return service_pb2.IdempotentUnaryResponse(payload=await payload(request, call))

    async def Unimplemented(self, request: Any, call: CallContext) -> Any:
        raise OtherStatus(grpc.StatusCode.UNIMPLEMENTED, "not here")

    async def ServerStream(self, request: Any, call: CallContext) -> AsyncIterator[Message]:
        wanted, seen = request.response_definition, info(request, call)
        add_metadata(wanted, call)
        for index, data in enumerate(wanted.response_data):
            await asyncio.sleep(wanted.response_delay_ms / 1000)
            made = service_pb2.ConformancePayload(data=data, request_info=None if index else seen)
            yield service_pb2.ServerStreamResponse(payload=made)
        if wanted.HasField("error"):
            refuse(wanted.error, call, () if wanted.response_data else (seen,))

    async def ClientStream(self, request: Any, call: CallContext) -> Any:
        raise OtherStatus(grpc.StatusCode.UNIMPLEMENTED, "not offered")

    async def BidiStream(self, request: Any, call: CallContext) -> AsyncIterator[Message]:
        raise OtherStatus(grpc.StatusCode.UNIMPLEMENTED, "not offered")
        yield  # so that it is a stream


async def payload(request: Any, call: CallContext) -> Any:
    """What a call that is no stream gives, after as long as it is to take."""
    wanted, seen = request.response_definition, info(request, call)
    add_metadata(wanted, call)
    await asyncio.sleep(wanted.response_delay_ms / 1000)
    if wanted.HasField("error"):
        refuse(wanted.error, call, (seen,))
    return service_pb2.ConformancePayload(data=wanted.response_data, request_info=seen)


def context_of(call: CallContext) -> Any:
    """What the adapter knows of the call. A servicer of ours needs no headers, nor details of its own, but this one."""
    return call.time_remaining.__self__  # type: ignore[attr-defined]  # a method of it


def info(request: Message, call: CallContext) -> Any:
    headers: dict[str, list[str]] = {}
    for name, value in context_of(call).invocation_metadata():
        headers.setdefault(name, []).append(value)
    packed = Packed()
    packed.Pack(request)
    left = call.time_remaining()
    return service_pb2.ConformancePayload.RequestInfo(
        request_headers=[service_pb2.Header(name=name, value=values) for name, values in headers.items()],
        timeout_ms=None if left is None else round(left * 1000),
        requests=[packed],
    )


def add_metadata(wanted: Any, call: CallContext) -> None:
    request = context_of(call)._request
    for asked, given in (
        (wanted.response_headers, request.response_headers),
        (wanted.response_trailers, request.response_trailers),
    ):
        for header in asked:
            for value in header.value:
                given.add(header.name, value)


def refuse(error: Any, call: CallContext, more: Iterable[Message]) -> NoReturn:
    status = status_pb2.Status(code=error.code, message=error.message, details=error.details)
    for message in more:
        status.details.add().Pack(message)
    context = context_of(call)
    context.abort = partial(context.abort, trailing_metadata=((DETAILS_KEY, status.SerializeToString()),))
    raise OtherStatus(STATUS_OF[error.code], error.message)


class OpenGuard(Guard):
    """Asks nobody who he is: the contract's table of roles knows nothing of this service."""

    def around(self, service: str, servicer: object, needed: Any = None, system: str = "") -> Any:
        return super().around(service, servicer, lambda _: None, system)


def configuration(asked: server_compat_pb2.ServerCompatRequest, folder: Path) -> Config:
    environ = {"POSTWIRE_HTTP__LISTEN": "127.0.0.1:0", "POSTWIRE_CONSOLE__ENABLED": "false"}
    if asked.use_tls:
        for name, content in (("CERT", asked.server_creds.cert), ("KEY", asked.server_creds.key)):
            file = folder / name
            file.touch(0o600)
            file.write_bytes(content)
            environ[f"POSTWIRE_HTTP__TLS__{name}_FILE"] = str(file)
    config = load(path=None, environ=environ, kinds=KINDS, cwd=folder)
    if asked.message_receive_limit:
        # Less than the configuration takes: the runner's limit is smaller than the room that it leaves.
        limit = asked.message_receive_limit - HEADROOM_BYTES
        config = replace(config, server=replace(config.server, max_message_bytes=limit))
    return config


async def serve(asked: server_compat_pb2.ServerCompatRequest, folder: Path) -> None:
    config = configuration(asked, folder)
    endpoint = WebEndpoint(
        config,
        read_certificates(config.http.tls, HTTP_TLS),
        OpenGuard(Calls(), (), access_of("")),
        {SERVICE: Servicer()},
        authenticates=lambda: False,
        on_fault=traceback.print_exception,
    )
    host, _, port = endpoint.listen().rpartition(":")
    endpoint.start()
    answer = server_compat_pb2.ServerCompatResponse(host=host, port=int(port), pem_cert=asked.server_creds.cert)
    data = answer.SerializeToString()
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
    sys.stdout.buffer.flush()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await endpoint.stop(1.0)


def main() -> None:
    (length,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    asked = server_compat_pb2.ServerCompatRequest.FromString(sys.stdin.buffer.read(length))
    assert asked.http_version == config_pb2.HTTP_VERSION_1
    with TemporaryDirectory() as folder:
        asyncio.run(serve(asked, Path(folder)))


if __name__ == "__main__":
    main()

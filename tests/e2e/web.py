"""Calls of `http.listen` over a real socket, as curl makes them."""

from __future__ import annotations

import http.client
import json
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message
from tests.e2e.calls import TIMEOUT
from tests.e2e.server import Server

from postwire.config.endpoints import host_port

HTTP: Final = {"http__listen": "127.0.0.1:0"}
"""The setting under which a server has the listener."""

JSON: Final = "application/json"


@dataclass(frozen=True)
class Answer:
    """What has come back. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def detail(self, type_name: str) -> dict[str, Any]:
        """What an error says in a detail of this type; nothing where it has none."""
        details = self.json.get("details", ())
        return next((one["debug"] for one in details if one["type"] == f"google.rpc.{type_name}"), {})

    @property
    def reason(self) -> str:
        reason: str = self.detail("ErrorInfo").get("reason", "")
        return reason

    @property
    def violations(self) -> list[tuple[str, str]]:
        found = self.detail("BadRequest").get("fieldViolations", ())
        return [(one.get("field", ""), one["description"]) for one in found]


def address(server: Server) -> tuple[str, int]:
    """Where it listens."""
    return host_port(server.wait_for_event("serving")["http_listen"])


def url(server: Server) -> str:
    """The same, as the base of addresses."""
    host, port = address(server)
    return f"http://{host}:{port}"


def path_of(method: str) -> str:
    """Where a method is called: `Dispatch`, or `ProviderService/ListProviders`."""
    if method.startswith("/"):
        return method
    return f"/postwire.v1.{method}" if "/" in method else f"/postwire.v1.DispatchService/{method}"


def sent(body: object) -> bytes:
    """A request as JSON; bytes are as they are."""
    if isinstance(body, bytes):
        return body
    return json.dumps(body if not isinstance(body, Message) else json_format.MessageToDict(body)).encode()


def named(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers from keywords."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def call(server: Server, method: str, body: object = b"{}", verb: str = "POST", **headers: str) -> Answer:
    """Call a method with JSON, or ask for a path; `headers` are more of them, with _ for -."""
    with _asked(server, method, body, verb, headers) as answer:
        given = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, given, answer.read())


@contextmanager
def streamed(server: Server, method: str, body: object = b"{}", **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Call a method with JSON that answers with a stream; gives its lines, one by one."""
    with _asked(server, method, body, "POST", headers) as answer:
        assert answer.status == 200, answer.read()
        yield (json.loads(line) for line in answer)


@contextmanager
def _asked(
    server: Server, method: str, body: object, verb: str, headers: Mapping[str, str]
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(*address(server), timeout=TIMEOUT)
    try:
        content = sent(body) if verb == "POST" else None
        connection.request(verb, path_of(method), content, {"content-type": JSON, **named(headers)})
        yield connection.getresponse()
    finally:
        connection.close()


def secure(server: Server, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    """A connection over TLS."""
    return http.client.HTTPSConnection(*address(server), timeout=TIMEOUT, context=context)


def envelopes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The flags and what is in each of the envelopes that a stream is made of."""
    while data:
        flags, length = struct.unpack_from(">BI", data)
        yield flags, data[5 : 5 + length]
        data = data[5 + length :]


def enveloped(data: bytes) -> bytes:
    """A message in its envelope."""
    return struct.pack(">BI", 0, len(data)) + data

"""Streams for whoever has no client that speaks Connect: one JSON object in, one a line out.

Connect has requests and answers of streams in envelopes (https://connectrpc.com/docs/protocol#streaming-rpcs), which
curl cannot write and nobody can read. So the request is put in one here, and answers are taken out of theirs. A stream
that is refused before it has said anything is refused as any other call is, with a status; later, an error is its last
line.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from postwire.web.responses import Event, Header, Receive, Scope, Send

CONTENT_TYPE: Final = "application/x-ndjson"

_ENVELOPE: Final = struct.Struct(">BI")
_COMPRESSED, _LAST = 1, 2
_STATUS_OF: Final[Mapping[str, int]] = MappingProxyType(
    {
        "canceled": 499,
        "invalid_argument": 400,
        "deadline_exceeded": 504,
        "not_found": 404,
        "already_exists": 409,
        "permission_denied": 403,
        "resource_exhausted": 429,
        "failed_precondition": 400,
        "aborted": 409,
        "out_of_range": 400,
        "unimplemented": 501,
        "unavailable": 503,
        "unauthenticated": 401,
    }
)
"""See https://connectrpc.com/docs/protocol#error-codes; of all others it is 500."""


def as_stream(scope: Scope) -> Scope:
    """A request, as one of Connect for a stream."""
    headers: list[Header] = []
    for name, value in scope["headers"]:
        if name == b"content-type":
            headers.append((name, b"application/connect+json"))
        elif name == b"content-encoding":
            headers.append((b"connect-content-encoding", value))
        elif name != b"connect-accept-encoding":  # a line is not compressed
            headers.append((name, value))
    return {**scope, "headers": headers}


class Enveloping:
    """What ASGI calls `receive`. `receive` gives the body all at once."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        encoding = next((value for name, value in scope["headers"] if name == b"content-encoding"), b"identity")
        self._flags = 0 if encoding == b"identity" else _COMPRESSED

    async def __call__(self) -> Event:
        """The body is in an envelope."""
        event = await self._receive()
        if event["type"] != "http.request":
            return event
        body: bytes = event["body"]
        return {**event, "body": _ENVELOPE.pack(self._flags, len(body)) + body}


class Lines:
    """What ASGI calls `send`. connectrpc sends an envelope at a time."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Event | None = None

    async def __call__(self, event: Event) -> None:
        """Send what is in the envelope."""
        if event["type"] == "http.response.start":
            self._start = event  # until it is known whether the stream is refused
            return
        body: bytes = event["body"]
        if not body:
            await self._begin(200, CONTENT_TYPE)
            await self._send(event)
            return
        flags, _ = _ENVELOPE.unpack_from(body)
        content = body[_ENVELOPE.size :]
        if not flags & _LAST:
            await self._begin(200, CONTENT_TYPE)
            await self._send({**event, "body": content + b"\n"})
            return
        error = json.loads(content).get("error")
        if error and self._start:
            await self._begin(_STATUS_OF.get(error["code"], 500), "application/json")
            content = _written(error)
        else:
            await self._begin(200, CONTENT_TYPE)
            content = _written({"error": error}) + b"\n" if error else b""
        await self._send({**event, "body": content})

    async def _begin(self, status: int, content_type: str) -> None:
        """Send the headers, if that is still to be done."""
        if self._start:
            headers = [*_without(self._start["headers"]), (b"content-type", content_type.encode())]
            await self._send({**self._start, "status": status, "headers": headers})
            self._start = None


def _without(headers: Iterable[Header]) -> Iterable[Header]:
    """What is not about envelopes."""
    return (one for one in headers if one[0] not in (b"content-type", b"connect-content-encoding"))


def _written(error: object) -> bytes:
    return json.dumps(error, ensure_ascii=False).encode()

"""Streams without envelopes: what curl sends and gets, and what connectrpc does."""

from __future__ import annotations

import gzip
import json
import struct
from typing import Any

import pytest

from postwire.web.lines import Enveloping, Lines, as_stream
from postwire.web.responses import Event

START: Event = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/connect+json"),
        (b"connect-content-encoding", b"identity"),
        (b"retry-after", b"2"),
    ],
}


def envelope(value: object, flags: int = 0) -> Event:
    data = json.dumps(value).encode()
    return {
        "type": "http.response.body",
        "body": struct.pack(">BI", flags, len(data)) + data,
        "more_body": not flags,
    }


async def sent(*events: Event) -> list[Any]:
    found: list[Any] = []

    async def send(event: Event) -> None:
        found.append(event)

    lines = Lines(send)
    for event in events:
        await lines(event)
    return found


async def test_each_message_is_a_line_and_the_end_is_none() -> None:
    start, first, second, end = await sent(START, envelope({"a": 1}), envelope({}), envelope({"metadata": {}}, 2))
    assert start["status"] == 200
    assert sorted(start["headers"]) == [(b"content-type", b"application/x-ndjson"), (b"retry-after", b"2")]
    assert (first["body"], first["more_body"]) == (b'{"a": 1}\n', True)
    assert second["body"] == b"{}\n"
    assert (end["body"], end["more_body"]) == (b"", False)


async def test_a_stream_of_nothing_is_ok() -> None:
    start, end = await sent(START, envelope({}, 2))
    assert (start["status"], end["body"]) == (200, b"")


@pytest.mark.parametrize(
    ("code", "status"), [("unauthenticated", 401), ("invalid_argument", 400), ("internal", 500), ("unknown", 500)]
)
async def test_an_error_before_anything_else_is_the_answer(code: str, status: int) -> None:
    error = {"code": code, "message": "ä", "details": []}
    start, end = await sent(START, envelope({"error": error}, 2))
    assert start["status"] == status
    assert sorted(start["headers"]) == [(b"content-type", b"application/json"), (b"retry-after", b"2")]
    assert (json.loads(end["body"]), end["more_body"]) == (error, False)


async def test_a_later_error_is_the_last_line() -> None:
    error = {"code": "unavailable", "message": "x"}
    start, _, end = await sent(START, envelope({"a": 1}), envelope({"error": error}, 2))
    assert start["status"] == 200
    assert end["body"] == b'{"error": {"code": "unavailable", "message": "x"}}\n'


async def test_what_is_refused_before_it_is_a_stream_goes_through() -> None:
    start, end = await sent(START, {"type": "http.response.body", "body": b"", "more_body": False})
    assert (start["status"], end["body"]) == (200, b"")


@pytest.mark.parametrize(
    ("encoding", "flags", "body"),
    [(None, 0, b"{}"), (b"identity", 0, b"{}"), (b"gzip", 1, gzip.compress(b"{}", mtime=0))],
)
async def test_the_request_is_put_in_an_envelope(encoding: bytes | None, flags: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"connect-accept-encoding", b"gzip"), (b"host", b"a")]
    if encoding:
        headers.append((b"content-encoding", encoding))
    scope = {"type": "http", "path": "/a", "headers": headers}

    async def receive() -> Event:
        return {"type": "http.request", "body": body, "more_body": False}

    assert (await Enveloping(scope, receive)())["body"] == struct.pack(">BI", flags, len(body)) + body
    expected = {b"content-type": b"application/connect+json", b"host": b"a"}
    if encoding:
        expected[b"connect-content-encoding"] = encoding
    stream = as_stream(scope)
    assert dict(stream["headers"]) == expected
    assert stream["path"] == "/a"


async def test_who_hangs_up_has_sent_nothing() -> None:
    async def receive() -> Event:
        return {"type": "http.disconnect"}

    assert await Enveloping({"headers": []}, receive)() == {"type": "http.disconnect"}

"""Connections over HTTP: what one that is slow, or takes in nothing, may take of the others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from postwire import http_connections
from postwire.http_connections import Listener

LARGE = bytes(64 << 20)
"""More than the buffers of two sockets hold."""


class Application:
    """Answers a body with its length, and a GET with a lot."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        count = 0
        while True:
            event = await receive()
            count += len(event.get("body", b""))
            if not event.get("more_body"):
                break
        content = LARGE if scope["method"] == "GET" else str(count).encode()
        length = (b"content-length", str(len(content)).encode())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            if scope["path"] == "/whole":
                await send({"type": "http.response.body", "body": content})
                return
            for begin in range(0, len(content), 1 << 16):
                await send(
                    {"type": "http.response.body", "body": content[begin : begin + (1 << 16)], "more_body": True}
                )
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.ended.set()


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture
async def port(application: Application) -> AsyncIterator[int]:
    listener = Listener(application, None)
    port = listener.listen("127.0.0.1", 0)
    listener.start()
    yield port
    await listener.stop(5.0)


async def test_whoever_takes_in_nothing_is_cut_off(
    application: Application, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connections, "STALL_TIME", 0.05)
    with socket.create_connection(("127.0.0.1", port)) as stalled:
        stalled.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        async with asyncio.timeout(30):
            await application.ended.wait()


async def test_whoever_takes_it_in_slowly_gets_it_all(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "STALL_TIME", 30.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    assert len(await reader.readexactly(len(LARGE))) == len(LARGE)
    writer.close()


@pytest.mark.parametrize("kept", [True, False])
async def test_what_is_said_at_once_may_be_taken_in_for_longer_than_a_request_may_take(
    application: Application, port: int, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(http_connections, "REQUEST_TIME", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET /whole HTTP/1.1\r\nhost: localhost\r\n%b\r\n" % (b"" if kept else b"connection: close\r\n"))
    await reader.readuntil(b"\r\n\r\n")
    await application.ended.wait()
    await asyncio.sleep(0.2)  # longer than a request may take
    assert len(await reader.readexactly(len(LARGE))) == len(LARGE)
    writer.close()


@pytest.mark.parametrize("kept", [True, False])
async def test_whoever_takes_in_nothing_of_what_is_said_at_once_is_cut_off(
    application: Application, port: int, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(http_connections, "REQUEST_TIME", 0.05)
    monkeypatch.setattr(http_connections, "STALL_TIME", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET /whole HTTP/1.1\r\nhost: localhost\r\n%b\r\n" % (b"" if kept else b"connection: close\r\n"))
    await application.ended.wait()
    await asyncio.sleep(0.5)  # several times what it may take in nothing for
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(len(LARGE))
    writer.close()


async def test_a_large_request_has_the_time_that_its_bytes_take(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "REQUEST_TIME", 0.05)
    monkeypatch.setattr(http_connections, "LEAST_RATE", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3603\r\n\r\n" + bytes(3600))
    await asyncio.sleep(0.2)  # longer than a small one may take
    writer.write(b"end")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(4) == b"3603"
    writer.close()


async def test_one_that_does_not_go_on_is_cut_off_all_the_same(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "REQUEST_TIME", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3603\r\n\r\n" + bytes(100))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()

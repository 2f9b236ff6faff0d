"""A proxy between a client and a server on loopback that fails as networks do, when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

_CHUNK: Final = 65_536


class TcpProxy:
    """Passes on whatever comes. Made by `proxied`."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._clients: set[asyncio.StreamWriter] = set()
        self._to_lose: bytes | None = None
        self.port = 0
        """The one to connect to."""
        self.lost_answers = 0

    def lose_answer_to(self, words: bytes) -> None:
        """The next time that a client sends something with these words in it, the server gets it; and as soon as that
        answers, the connection is cut."""
        self._to_lose = words

    def send(self, data: bytes) -> None:
        """Send all clients something that no server has sent."""
        for client in self._clients:
            client.write(data)

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Serve one connection, until either side ends it."""
        answers, server = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._clients.add(client)
        is_lost = asyncio.Event()

        async def ask() -> None:
            while data := await reader.read(_CHUNK):
                if self._to_lose is not None and self._to_lose in data:
                    self._to_lose = None
                    is_lost.set()
                server.write(data)

        async def answer() -> None:
            while data := await answers.read(_CHUNK):
                if is_lost.is_set():
                    self.lost_answers += 1
                    return
                client.write(data)

        ways = [asyncio.ensure_future(way()) for way in (ask, answer)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (client, server):
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()


@asynccontextmanager
async def proxied(server_port: int) -> AsyncIterator[TcpProxy]:
    """A proxy to the server at a port."""
    proxy = TcpProxy(server_port)
    served: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    listening = await asyncio.start_server(begin, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)

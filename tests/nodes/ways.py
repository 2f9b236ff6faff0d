"""A way to a server that can be cut, as a cable is: what comes along it is lost, and nobody is told."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.support import listeners

_PIECE: Final = 64 * 1024


class Way:
    """From a port of its own to another one of this machine. `is_whole` while it is not cut."""

    def __init__(self, to: int) -> None:
        self.port = 0
        self.is_whole = True
        self._to = to
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def mend(self) -> None:
        """Let new connections through. Those that something of was lost end."""
        self.is_whole = True
        for writer in self._writers:
            writer.close()

    async def stop(self) -> None:
        """End it, with all connections."""
        if self._server:
            await listeners.close(self._server)
        self.mend()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        for one, other in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(_PIECE):
                if self.is_whole:
                    writer.write(piece)
                    await writer.drain()
        except OSError:
            pass  # one of both has gone
        finally:
            self._writers.discard(writer)
            writer.close()

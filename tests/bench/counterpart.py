"""Stands in for vendors: takes whatever is posted, every email and every submit_sm, and does as little as it can.

Run as `python -m tests.bench.counterpart`: it prints the ports that it listens on, of HTTP, SMTP and SMPP, and
serves until SIGTERM. It is a process of its own, so that its CPU is not counted.
"""

from __future__ import annotations

import asyncio
import re
import signal
import struct
from typing import Any, Final

from tests.bench.loops import loop_factory

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_BODY: Final = b'{"id":"bench"}'
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)
_HEADER: Final = struct.Struct(">IIII")
_REPLIES: Final = {b"EHLO": b"250-bench\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n", b"DATA": b"354 go on\r\n"}


class Http(asyncio.Protocol):
    """Answers each request once it is there whole."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._held, self._missing = b"", 0

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._missing:  # of a large body, only the length is looked at
            self._missing -= len(data)
            if self._missing <= 0:
                self._transport.write(_ANSWER)
                self._missing = 0
            return
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._held, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._held) < whole:
                self._missing, self._held = whole - len(self._held), b""
                return
            self._held = self._held[whole:]
            self._transport.write(_ANSWER)


class Smtp(asyncio.Protocol):
    """Says yes to everything."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._held, self._in_data = b"", False
        self._transport.write(b"220 bench\r\n")

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._held += data
        while True:
            if self._in_data:
                if (end := self._held.find(b"\r\n.\r\n")) < 0:
                    self._held = self._held[-4:]
                    return
                self._held, self._in_data = self._held[end + 5 :], False
                self._transport.write(b"250 queued as bench\r\n")
            elif (end := self._held.find(b"\r\n")) < 0:
                return
            else:
                word = self._held[:4].upper()
                self._held = self._held[end + 2 :]
                self._in_data = word == b"DATA"
                self._transport.write(_REPLIES.get(word, b"250 OK\r\n"))


class Smpp(asyncio.Protocol):
    """Answers each PDU well: what it says of it, an id or who it is, is the same for all."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._held += data
        while len(self._held) >= _HEADER.size:
            length, command, _, sequence = _HEADER.unpack_from(self._held)
            if len(self._held) < length:
                return
            self._held = self._held[length:]
            self._transport.write(_HEADER.pack(_HEADER.size + 6, command | 0x8000_0000, 0, sequence) + b"bench\0")


async def serve() -> None:
    """Listen on free ports of loopback."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    servers = [await loop.create_server(kind, "127.0.0.1", 0) for kind in (Http, Smtp, Smpp)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve())

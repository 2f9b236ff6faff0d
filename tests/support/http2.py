"""A caller that speaks HTTP/2 itself (RFC 9113), as far as it takes to ping, and to do what no library does."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Self

from tests.support.waiting import PATIENCE

DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 1
END_STREAM: Final = 1
END_HEADERS: Final = 4

INITIAL_WINDOW_SIZE: Final = 4
"""The setting that says how much of a stream its reader takes before it has asked for more."""

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

STALLED: Final = 1.0
"""Seconds after which a server that takes nothing more counts as having stopped to read."""


def frame(kind: int, payload: bytes = b"", *, stream: int = 0, flags: int = 0) -> bytes:
    """A frame, as it is on the wire."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def fields(*pairs: tuple[str, str]) -> bytes:
    """A block of header fields: literals without indexing and without Huffman (RFC 7541, 6.2.2)."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in pairs)


def call(path: str, *metadata: tuple[str, str]) -> bytes:
    """The block of fields with which gRPC begins a call of `path`, which starts with a slash."""
    return fields(
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *metadata,
    )


def message(payload: bytes, *, compressed: bool = False) -> bytes:
    """A message in gRPC's framing, for DATA."""
    return bytes((compressed,)) + struct.pack(">I", len(payload)) + payload


def _string(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest, size = len(data) - 127, b"\x7f"
    while rest >= 128:
        size += bytes((rest % 128 + 128,))
        rest //= 128
    return size + bytes((rest,)) + data


class Connection:
    """A connection to `host:port`, as a context. `settings` are those of RFC 9113, 6.5.2, by number.

    Unless it is told otherwise, it acknowledges what the server sets, without having read it.
    """

    def __init__(
        self, address: str, settings: Mapping[int, int] = MappingProxyType({}), *, acknowledges: bool = True
    ) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        greeting = PREFACE + frame(SETTINGS, b"".join(struct.pack(">HI", *pair) for pair in settings.items()))
        if acknowledges:
            greeting += frame(SETTINGS, flags=ACK)
        try:
            self.send(greeting)
        except OSError:
            self._socket.close()
            raise
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def ping(self) -> str:
        """Ping, and wait for the answer. Returns nothing, or why the server says goodbye instead."""
        self.send(frame(PING, b"postwire"))
        while True:
            kind, flags, _, payload = self.receive()
            if kind == PING and flags & ACK:
                return ""
            if kind == GOAWAY:
                return payload[8:].decode()

    def rest(self, seconds: float) -> None:
        """Let time pass in which nothing comes."""
        self._socket.settimeout(seconds)
        try:
            self._received += self._socket.recv(4096)
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(PATIENCE)

    def receive(self) -> tuple[int, int, int, bytes]:
        """The next frame: its kind, flags, stream and payload."""
        head = self._read(9)
        return head[3], head[4], int.from_bytes(head[5:], "big"), self._read(int.from_bytes(head[:3], "big"))

    def is_closed(self) -> bool:
        """Whether the server hangs up, and says nothing more before; waits for either."""
        try:
            return not self._socket.recv(4096)
        except ConnectionError:
            return True

    def flood(self, pieces: Iterable[bytes], *, reading: bool = True) -> int:
        """Send as many of the pieces as the server takes, without waiting for any answer; returns how many.

        Ends early where the server hangs up, or reads no further. With `reading`, what it says is thrown away.
        """
        self._socket.setblocking(False)
        try:
            for count, piece in enumerate(pieces):
                if not self._push(piece, reading):
                    return count
            return count + 1
        finally:
            self._socket.settimeout(PATIENCE)

    def _push(self, piece: bytes, reading: bool) -> bool:
        rest, last = memoryview(piece), time.monotonic()
        while rest:
            readable, writable, _ = select.select([self._socket] if reading else [], [self._socket], [], STALLED)
            try:
                if readable and not self._socket.recv(65536):
                    return False
                if writable:
                    rest, last = rest[self._socket.send(rest) :], time.monotonic()
                elif time.monotonic() - last > STALLED:
                    return False
            except OSError:
                return False
        return True

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            piece = self._socket.recv(65536)
            assert piece, "the server has hung up"
            self._received += piece
        found, self._received = self._received[:size], self._received[size:]
        return found

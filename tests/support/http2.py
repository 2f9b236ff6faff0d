"""A caller that speaks HTTP/2 itself (RFC 9113), as far as it takes to ping."""

from __future__ import annotations

import socket
import struct
from typing import Final, Self

from tests.support.waiting import PATIENCE

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY = 4, 6, 7
_ACK: Final = 1


class Connection:
    """An idle connection to `host:port`, as a context."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self._socket.sendall(_PREFACE)
        self._send(_SETTINGS)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ping(self) -> str:
        """Ping, and wait for the answer. Returns nothing, or why the server says goodbye instead."""
        self._send(_PING, b"postwire")
        while True:
            kind, flags, payload = self._frame()
            if kind == _PING and flags & _ACK:
                return ""
            if kind == _GOAWAY:
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

    def _send(self, kind: int, payload: bytes = b"") -> None:
        self._socket.sendall(struct.pack(">I", len(payload))[1:] + bytes((kind, 0)) + bytes(4) + payload)

    def _frame(self) -> tuple[int, int, bytes]:
        head = self._read(9)
        return head[3], head[4], self._read(int.from_bytes(head[:3], "big"))

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            piece = self._socket.recv(4096)
            assert piece, "the server has hung up"
            self._received += piece
        found, self._received = self._received[:size], self._received[size:]
        return found

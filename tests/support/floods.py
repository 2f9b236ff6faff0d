"""What hostile callers send, as pieces for `http2.Connection.flood`, and what a server process needs meanwhile."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call,
    fields,
    frame,
    message,
)

DISPATCH: Final = "/postwire.v1.DispatchService/Dispatch"
DISPATCH_STREAM: Final = "/postwire.v1.DispatchService/DispatchStream"
LIST_MESSAGES: Final = "/postwire.v1.DispatchService/ListMessages"
LIST_PROVIDERS: Final = "/postwire.v1.ProviderService/ListProviders"
WATCH_PROVIDERS: Final = "/postwire.v1.ProviderService/WatchProviders"

_CANCEL: Final = struct.pack(">I", 8)
_LARGEST_FRAME: Final = 16384
_ACCEPT_ENCODING: Final = b"\x90"
"""A field of the static table (RFC 7541, Appendix A): one byte that stands for 47."""


def _streams(count: int) -> range:
    return range(1, 2 * count, 2)


def begun(path: str, count: int) -> Iterator[bytes]:
    """Calls that are begun, and never go on."""
    for stream in _streams(count):
        yield frame(HEADERS, call(path), stream=stream, flags=END_HEADERS)


def called(path: str, count: int, request: bytes = b"") -> Iterator[bytes]:
    """Calls."""
    data = message(request)
    for stream in _streams(count):
        yield frame(HEADERS, call(path), stream=stream, flags=END_HEADERS) + frame(
            DATA, data, stream=stream, flags=END_STREAM
        )


def reset(path: str, count: int) -> Iterator[bytes]:
    """Calls that are taken back at once (CVE-2023-44487)."""
    for stream in _streams(count):
        yield frame(HEADERS, call(path), stream=stream, flags=END_HEADERS) + frame(RST_STREAM, _CANCEL, stream=stream)


def pings(count: int, *, answers: bool = False) -> Iterator[bytes]:
    """Pings, or answers to pings that nobody has sent."""
    return itertools.repeat(frame(PING, b"postwire", flags=ACK if answers else 0), count)


def settings(count: int) -> Iterator[bytes]:
    """Settings that change, each of which wants an answer (CVE-2019-9515)."""
    for number in range(count):
        yield frame(SETTINGS, struct.pack(">HI", INITIAL_WINDOW_SIZE, 65535 + number % 2))


def window_updates(count: int) -> Iterator[bytes]:
    """One byte more, again and again."""
    return itertools.repeat(frame(WINDOW_UPDATE, struct.pack(">I", 1)), count)


def empty_data(count: int) -> Iterator[bytes]:
    """Frames of a call that carry nothing (CVE-2019-9518)."""
    yield frame(HEADERS, call(DISPATCH_STREAM), stream=1, flags=END_HEADERS)
    yield from itertools.repeat(frame(DATA, stream=1), count)


def continuations(count: int) -> Iterator[bytes]:
    """Header fields of a call that never end (CVE-2024-27316)."""
    yield frame(HEADERS, call(LIST_PROVIDERS), stream=1)
    for number in range(count):
        yield frame(CONTINUATION, fields((f"x-{number}", "v" * 1000)), stream=1)


def large_metadata(count: int, size: int) -> Iterator[bytes]:
    """Calls with one field of so many bytes."""
    for stream in _streams(count):
        block = call(LIST_PROVIDERS, ("x-large", "v" * size))
        parts = [block[start : start + _LARGEST_FRAME] for start in range(0, len(block), _LARGEST_FRAME)]
        yield b"".join(
            frame(
                CONTINUATION if index else HEADERS,
                part,
                stream=stream,
                flags=END_HEADERS if index == len(parts) - 1 else 0,
            )
            for index, part in enumerate(parts)
        )


def header_bombs(count: int) -> Iterator[bytes]:
    """Calls whose fields are many times larger than what is sent."""
    for stream in _streams(count):
        block = call(LIST_PROVIDERS) + _ACCEPT_ENCODING * (_LARGEST_FRAME // 2)
        yield frame(HEADERS, block, stream=stream, flags=END_HEADERS)


def resident(pid: int, *, peak: bool = False) -> int:
    """Bytes of memory that a process holds; with `peak`, the most since `forget_peak`."""
    key = "VmHWM:" if peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def forget_peak(pid: int) -> None:
    """Measure the peak from now on (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")

"""What cannot be read is answered as it would have been, and nothing of it is kept."""

from __future__ import annotations

import struct

import pytest

from postwire.web.trimming import trimmed

DATA = bytes(1000)
EMPTY = struct.pack(">BI", 0, 0)


def envelope(flags: int, data: bytes = DATA) -> bytes:
    return struct.pack(">BI", flags, len(data)) + data


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"", {}),
        (b"\0\0", {}),
        (envelope(0), {}),
        (envelope(0, b""), {}),
        (envelope(1), {b"connect-content-encoding": b"gzip"}),
        (envelope(1), {b"grpc-encoding": b"gzip"}),
    ],
)
def test_one_message_in_its_envelope_is_left_alone(data: bytes, headers: dict[bytes, bytes]) -> None:
    assert trimmed(data, headers, is_enveloped=True) == data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (envelope(0)[:-1], envelope(0)[:5]),
        (envelope(0) * 2, EMPTY * 2),
        (envelope(0) + b"\0", EMPTY * 2),
        (envelope(2), struct.pack(">BI", 2, 0)),
        (envelope(0xFF)[:-1], struct.pack(">BI", 0xFF, 0)),
        (envelope(1), envelope(1, b"\0")),
    ],
)
def test_what_is_none_is_cut_down_to_what_is_wrong_with_it(data: bytes, expected: bytes) -> None:
    assert trimmed(data, {}, is_enveloped=True) == expected


@pytest.mark.parametrize(("encoding", "expected"), [(b"gzip", DATA), (b"identity", DATA), (b"", DATA), (b"br", b"")])
def test_what_is_packed_in_an_unknown_way_is_not_kept(encoding: bytes, expected: bytes) -> None:
    assert trimmed(DATA, {b"content-encoding": encoding}, is_enveloped=False) == expected

"""Contents as lines of ASCII: 7bit, quoted-printable and base64 (RFC 2045, section 6)."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Final

from postwire.providers.mail.fields import MAX_LINE
from postwire.providers.pieces import PIECE, Body, Pieces

_LINE: Final = 57
"""Bytes in a line of base64, which has 76 characters then."""
_BYTES: Final = PIECE // (76 + 2) * _LINE
"""Bytes that make one piece of base64."""
_TEXT_AT_ONCE: Final = 64 * 1024
"""Characters of a text that is looked at as a whole, to find out how to encode it best."""


def base64(data: bytes) -> Body:
    """Return bytes in base64, without an end of line after the last."""
    return Pieces(lambda: _lines([data]))


def encoded_text(text: str) -> tuple[str, Body]:
    """Return the name of an encoding, and a text in it: in UTF-8, its lines ended by CRLF.

    What is not in base64 ends in CRLF if the text ends a line.
    """
    if len(text) > _TEXT_AT_ONCE:
        return "base64", Pieces(lambda: _lines(_sliced(text)))
    data = _canonical(text)
    if b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        return "base64", base64(data)  # neither may be in lines (RFC 5322, section 2.3)
    # A delimiter has `=_` in it, which can be in no other encoding.
    if data.isascii() and b"=_" not in data and max(map(len, data.split(b"\r\n"))) <= MAX_LINE:
        return "7bit", data
    printable = _quoted_printable(data)
    if len(printable) * 8 > len(data) * 11:  # which is how long base64 is
        return "base64", base64(data)
    return "quoted-printable", printable


def _canonical(text: str) -> bytes:
    return text.encode().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _quoted_printable(data: bytes) -> bytes:
    # It ends lines that it breaks itself like the first one that it sees, and there may be none.
    return binascii.b2a_qp(data, istext=True).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _sliced(text: str) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = start + _TEXT_AT_ONCE
        while text[end - 1 : end] == "\r":
            end += 1  # an end of line is not cut in half
        yield _canonical(text[start:end])
        start = end


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Base64 in lines, of data that comes in parts."""
    rest, begun = b"", False
    for part in parts:
        view = memoryview(rest + part if rest else part)
        end = len(view) - len(view) % _LINE
        for start in range(0, end, _BYTES):
            yield _encoded(view[start : min(start + _BYTES, end)], begun)
            begun = True
        rest = bytes(view[end:])
    if rest:
        yield _encoded(rest, begun)


def _encoded(data: memoryview | bytes, begun: bool) -> bytes:
    encoded = binascii.b2a_base64(data, newline=False)
    lines = [encoded[at : at + 76] for at in range(0, len(encoded), 76)]
    return (b"\r\n" if begun else b"") + b"\r\n".join(lines)

"""Bodies that are made in pieces, so that a large email holds the loop for moments only."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PIECE: Final = 256 * 1024
"""About how many bytes are made without a pause."""

_CHARACTERS: Final = 64 * 1024
_BYTES: Final = 3 * 64 * 1024
"""Of a text and of data that are encoded at a time; of three bytes, base64 makes four."""


@dataclass(frozen=True, slots=True, repr=False)
class Pieces:
    """A body as what makes it, piece by piece: the same each time `make` is called."""

    make: Callable[[], Iterator[bytes]]


Body = bytes | Pieces


@dataclass(frozen=True, slots=True)
class Base64:
    """Data that stands in a body in base64."""

    data: bytes | Pieces = field(repr=False)


def whole(body: Body) -> bytes:
    """A body at once, for where nobody waits."""
    return body if isinstance(body, bytes) else b"".join(body.make())


async def each(body: Body) -> AsyncIterator[bytes]:
    """Step through a body, with a turn of the loop after each piece."""
    if isinstance(body, bytes):
        yield body
        return
    for piece in body.make():
        yield piece
        await asyncio.sleep(0)


def gathered(make: Callable[[], Iterator[bytes]]) -> Body:
    """What `make` makes: as bytes if it is small, and otherwise as pieces of about `PIECE` bytes."""
    pieces = _filled(make())
    first = next(pieces, b"")
    return first if next(pieces, None) is None else Pieces(lambda: _filled(make()))


def base64_pieces(data: Body) -> Iterator[bytes]:
    """The base64 of some data, without line breaks."""
    rest = b""
    for piece in _sliced(data):
        piece = rest + piece
        end = len(piece) - len(piece) % 3
        rest = piece[end:]
        yield b64encode(piece[:end])
    yield b64encode(rest)


def json_body(value: Any) -> Body:
    """A value as JSON in UTF-8, always the same for the same value. It may have `Base64` in it."""
    return gathered(lambda: _json(value))


def _json(value: Any) -> Iterator[bytes]:
    if isinstance(value, Base64):
        yield b'"'
        yield from base64_pieces(value.data)
        yield b'"'
    elif isinstance(value, str) and len(value) > _CHARACTERS:
        yield b'"'
        for at in range(0, len(value), _CHARACTERS):
            yield _plain_json(value[at : at + _CHARACTERS])[1:-1]
        yield b'"'
    elif isinstance(value, Mapping):
        yield b"{"
        for at, (name, one) in enumerate(value.items()):
            yield (b"," if at else b"") + _plain_json(name) + b":"
            yield from _json(one)
        yield b"}"
    elif isinstance(value, list | tuple):
        yield b"["
        for at, one in enumerate(value):
            if at:
                yield b","
            yield from _json(one)
        yield b"]"
    else:
        yield _plain_json(value)


def _plain_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _sliced(data: Body) -> Iterator[bytes]:
    for piece in [data] if isinstance(data, bytes) else data.make():
        for at in range(0, len(piece), _BYTES):
            yield piece[at : at + _BYTES]


def _filled(small: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces."""
    held: list[bytes] = []
    size = 0
    for piece in small:
        held.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)

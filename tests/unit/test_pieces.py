"""Bodies that are made in pieces are the same as those that are made at once."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postwire.providers.pieces import PIECE, Base64, Pieces, base64_pieces, each, gathered, json_body, whole

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(VALUES)
def test_json_is_as_the_library_writes_it(value: Any) -> None:
    assert whole(json_body(value)) == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_a_long_text_is_written_in_pieces_and_no_character_is_cut() -> None:
    text = '\u00fc"\\\n\U0001f600x' * 100_000
    body = json_body({"a": text, "b": [text]})
    assert isinstance(body, Pieces)
    assert json.loads(whole(body)) == {"a": text, "b": [text]}
    assert whole(body) == whole(body)


@given(st.lists(st.binary(max_size=20)))
def test_base64_does_not_depend_on_how_data_is_divided(parts: list[bytes]) -> None:
    data = Pieces(lambda: iter(parts))
    assert b"".join(base64_pieces(data)) == b64encode(b"".join(parts))


def test_data_stands_in_json_in_base64_whatever_it_is_made_of() -> None:
    data = bytes(range(256)) * 4096
    for given_data in (data, Pieces(lambda: iter((data[:7], data[7:])))):
        assert json.loads(whole(json_body({"a": Base64(given_data)}))) == {"a": b64encode(data).decode()}


def test_what_is_small_is_bytes_and_what_is_large_comes_in_even_pieces() -> None:
    def made(size: int) -> Iterator[bytes]:
        return iter([b"x" * 1000] * size)

    assert gathered(lambda: made(3)) == b"x" * 3000
    large = gathered(lambda: made(1000))
    assert isinstance(large, Pieces)
    sizes = [len(piece) for piece in large.make()]
    assert sum(sizes) == 1_000_000
    assert all(PIECE <= size < PIECE + 1000 for size in sizes[:-1])


async def test_stepping_through_gives_the_same() -> None:
    data = Pieces(lambda: iter((b"a", b"b")))
    assert [piece async for piece in each(data)] == [b"a", b"b"]
    assert [piece async for piece in each(b"ab")] == [b"ab"]

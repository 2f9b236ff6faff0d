"""Calls of vendors, as readers of receipts get them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import pytest

from postwire.core.receipts import Inbound, Receipt
from postwire.core.reference import References
from postwire.providers.receipts.base import Fetched, Forged, ReceiptCall, ReceiptReader

NOW: Final = 1_800_000_000_000_000
SECONDS: Final = str(NOW // 1_000_000)
PUBLIC: Final = "https://receipts.example.com/receipts/vendor"

REFERENCES: Final = References(b"k" * 32)
REFERENCE: Final = REFERENCES.make("0197c0de-0000-7000-8000-000000000000", 1)
OTHER: Final = REFERENCES.make("0197c0de-0000-7000-8000-000000000001", 2)
FOREIGN: Final = References(b"x" * 32).make("0197c0de-0000-7000-8000-000000000000", 1)
"""One that does not hold."""


async def no_fetch(_: str) -> Fetched:
    raise AssertionError("nothing is to be fetched")


def receipt_call(
    body: object = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    query: str = "",
    reference: str = "",
    now: int = NOW,
) -> ReceiptCall:
    """A call; a body that is not bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = PUBLIC + (f"/{reference}" if reference else "") + (f"?{query}" if query else "")
    return ReceiptCall(
        method, url, headers or {}, data, reference, now, is_reference=lambda text: REFERENCES.read(text) is not None
    )


def verify(reader: ReceiptReader, call: ReceiptCall) -> None:
    """Those that wait for nothing need no event loop, which takes longer than all the rest."""
    with suppress(StopIteration):
        reader.verify(call, no_fetch).send(None)


def refused(reader: ReceiptReader, call: ReceiptCall) -> str:
    """The reason why a call is refused, which it is."""
    with pytest.raises(Forged) as found:
        verify(reader, call)
    return found.value.reason


def taken(reader: ReceiptReader, call: ReceiptCall) -> list[Receipt | Inbound]:
    """What a call reports that is the vendor's."""
    verify(reader, call)
    return list(reader.read(call, call.now))


def flipped(text: str) -> Iterator[str]:
    """A text with each of its bits changed, one at a time."""
    for at, character in enumerate(text):
        for bit in range(8):
            yield text[:at] + chr(ord(character) ^ (1 << bit)) + text[at + 1 :]


def assert_no_bit_may_change(reader: ReceiptReader, signature: str, call: Callable[[str], ReceiptCall]) -> None:
    """`call` makes one with a signature; the right one is taken, and no other."""
    verify(reader, call(signature))
    for changed in flipped(signature):
        with pytest.raises(Forged):
            verify(reader, call(changed))
    for junk in (
        "",
        "é",
        "\u2028",
        "v1,",
        " ",
        "=" * 9,
        "\udc80",
        signature + "=",
        signature.upper() + "x",
    ):
        with pytest.raises(Forged):
            verify(reader, call(junk))


def junk_bodies() -> list[bytes]:
    """Bodies that nobody sends."""
    values: list[Any] = [None, [], {}, 7, "x", [None, [], 7, {}], {"signature": 7}, {"event-data": []}, {"data": None}]
    broken = [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"1" * 5000, b'"\\ud800"']
    return broken + [json.dumps(one).encode() for one in values]

"""What readers of receipts share to find out whether a call is the vendor's.

All of it is strict: what can be written in two ways is taken in one only, so that nothing but the vendor's own bytes
pass. Everything refused is a `Forged`, whatever a stranger sends.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final

from postwire.providers.receipts.base import Forged, ReceiptCall

TOLERANCE: Final = 300
"""Seconds that a vendor's clock and ours may differ, where it signs each try anew."""

TRIED_FOR: Final = 24 * 3600
"""The same where a vendor may try again for most of a day what it has signed once. What is kept is kept once, whenever
it comes again, so that this is all there is to be gained by whoever has seen a call."""

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+")
_SECONDS: Final = re.compile(r"[1-9][0-9]{0,11}")


def header(call: ReceiptCall, name: str) -> str:
    """A header that the vendor always sends; `name` is in lower case.

    Raises:
        Forged: it is not there, or has what is not ASCII.
    """
    value = call.headers.get(name)
    if not value:
        raise Forged("missing")
    if not value.isascii():
        raise Forged("signature")
    return value


def decoded_base64(text: str) -> bytes:
    """The bytes of standard base64, padded. Of several texts that mean the same bytes, only one is taken.

    Raises:
        Forged: it is something else.
    """
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # the latter where it is not ASCII
        raise Forged("signature") from None
    if b64encode(data).decode() != text:
        raise Forged("signature")
    return data


def decoded_hex(text: str) -> bytes:
    """The bytes of hexadecimal digits, whose letters are all small or all large.

    Raises:
        Forged: it is something else.
    """
    if not _HEX.fullmatch(text):
        raise Forged("signature")
    return bytes.fromhex(text)


def secrets_of(*secrets: str | None) -> tuple[bytes, ...]:
    """The bytes of those secrets that are set, to try one after the other."""
    return tuple(secret.encode() for secret in secrets if secret)


def check_equal(given: bytes, expected: Iterable[bytes]) -> None:
    """Return if a signature is one of those that would be right. How long that takes says nothing of them.

    Raises:
        Forged: it is none.
    """
    if not any([hmac.compare_digest(given, one) for one in expected]):  # noqa: C419  all are compared
        raise Forged("signature")


def check_fresh(seconds: str, now: int, tolerance: int = TOLERANCE) -> None:
    """Return if a time (s since the epoch, in decimal digits) is at most `tolerance` seconds from `now` (µs).

    Raises:
        Forged: it is older, or ahead, or no such time.
    """
    if not _SECONDS.fullmatch(seconds):
        raise Forged("signature")
    if abs(int(seconds) * 1_000_000 - now) > tolerance * 1_000_000:
        raise Forged("stale")

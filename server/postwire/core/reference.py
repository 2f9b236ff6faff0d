"""What a receipt quotes, so that it finds its attempt even where a time-out has left no id of the vendor's.

40 characters of base64url: the message id (16 bytes), the number of the attempt (2) and the beginning of an HMAC-SHA256
over both (12). No vendor's field holds less: Vonage's `client-ref` has 40. Nobody can make one who has not the key.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final
from uuid import UUID

LENGTH: Final = 40
"""Characters of a reference."""

MAX_ATTEMPT: Final = 0xFFFF
"""The last attempt that can be named: no message has as many."""

_PURPOSE: Final = b"postwire/receipt/1"
_MAC_BYTES: Final = 12


class References:
    """Makes and reads references under one key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, message_id: str, attempt: int) -> str:
        """The reference of an attempt of a message."""
        named = bytes.fromhex(message_id.replace("-", "")) + min(attempt, MAX_ATTEMPT).to_bytes(2, "big")
        return urlsafe_b64encode(named + self._mac(named)).decode()

    def read(self, reference: str) -> tuple[str, int] | None:
        """The message id and the attempt that a reference names; None where it is not one of ours."""
        if len(reference) != LENGTH or not reference.isascii():
            return None
        try:
            data = urlsafe_b64decode(reference)
        except binascii.Error:
            return None
        # Python passes over characters that are none of base64's, and then there is less.
        named, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if urlsafe_b64encode(data).decode() != reference or not hmac.compare_digest(mac, self._mac(named)):
            return None
        return str(UUID(bytes=named[:16])), int.from_bytes(named[16:], "big")

    def _mac(self, named: bytes) -> bytes:
        return hmac.digest(self._key, _PURPOSE + named, "sha256")[:_MAC_BYTES]

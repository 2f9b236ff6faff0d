"""Tokens that are of no use to anybody but the tenant that they were given to.

A module of its own: where there are no tenants, what encrypts is not even imported.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION: Final = b"\x01"
_LABEL: Final = b"postwire/tokens/1"
_SALT: Final = slice(1, 17)
_NONCE: Final = slice(17, 29)
_SEALED: Final = slice(29, None)
_LONGEST: Final = 1_000
"""No token of ours is as long: nothing longer is looked at."""

_NOT_OURS: Final = "must be a token that an earlier call with the same messages or filter gave, or left out"


class SealedTokens:
    """Tokens in AES-256-GCM: a version, a salt, a nonce, the ciphertext. What one is bound to is associated data.

    Every start has a key of its own, HMAC-SHA256 of a label and its salt under the store's key, and counts its nonces:
    so no nonce is used twice, however many tokens there are. Those of an earlier start, or of another server of the
    same store, are opened with the key that their salt leads to.
    """

    def __init__(self, lookup_key: bytes, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        """`lookup_key` is that of the store."""
        self._lookup_key = lookup_key
        self._salt = random_bytes(_SALT.stop - _SALT.start)
        self._cipher = self._cipher_of(self._salt)
        self._nonces = count()

    def wrap(self, token: str, bound_to: bytes) -> str:
        """See `Tokens.wrap`."""
        nonce = next(self._nonces).to_bytes(_NONCE.stop - _NONCE.start, "big")
        sealed = self._cipher.encrypt(nonce, token.encode(), bound_to)
        return base64.urlsafe_b64encode(_VERSION + self._salt + nonce + sealed).decode()

    def unwrap(self, token: str, bound_to: bytes) -> str:
        """See `Tokens.unwrap`."""
        if len(token) > _LONGEST:
            raise ValueError(_NOT_OURS)
        try:
            data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
            if not data.startswith(_VERSION):
                raise ValueError
            salt = data[_SALT]
            cipher = self._cipher if salt == self._salt else self._cipher_of(salt)
            return cipher.decrypt(data[_NONCE], data[_SEALED], bound_to).decode()
        except (ValueError, InvalidTag):
            raise ValueError(_NOT_OURS) from None

    def _cipher_of(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._lookup_key, _LABEL + salt, hashlib.sha256))

"""API keys: `pw_` with 10 characters that a key is found by, and 52 that prove it.

The 52 are 256 random bits in base32 (RFC 4648, in lower case). Nobody can go through so many, so what is kept is a
plain SHA-256 of them: a slow hash would only cost time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from postwire.core.errors import InvalidCredentials
from postwire.core.principal import Principal

PREFIX: Final = "pw_"
"""What every key begins with, and no token of anybody else's."""

_KEY: Final = re.compile(r"pw_([a-z0-9]{10})_([a-z2-7]{52})")
_ID_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 10
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made just now: `text` is what its owner sends, and is not to be kept here."""

    id: str
    text: str
    sha256: str


def new_key(random_bytes: Callable[[int], bytes]) -> NewKey:
    """Make a key of so many random bytes as are asked for."""
    number = int.from_bytes(random_bytes(_ID_LENGTH))
    key_id = ""
    for _ in range(_ID_LENGTH):  # 80 bits for 51.7: every character is as likely, but for less than one in 2**28
        number, index = divmod(number, len(_ID_ALPHABET))
        key_id += _ID_ALPHABET[index]
    secret = base64.b32encode(random_bytes(_SECRET_BYTES)).decode().rstrip("=").lower()
    return NewKey(key_id, f"{PREFIX}{key_id}_{secret}", hashlib.sha256(secret.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of the configuration: whom it makes of a caller, and until when (µs since the epoch, None: for good)."""

    id: str
    sha256: str
    principal: Principal
    expires: int | None


class ApiKeys:
    """All that are known."""

    def __init__(self, keys: Iterable[KnownKey]) -> None:
        self._keys: Mapping[str, tuple[bytes, Principal, int | None]] = {
            one.id: (bytes.fromhex(one.sha256), one.principal, one.expires) for one in keys
        }

    def verify(self, text: str, now: int) -> Principal:
        """Whose key it is, at `now` (µs since the epoch).

        Raises:
            InvalidCredentials: nobody's, or its time is over. An unknown id takes as long as a wrong key.
        """
        found = _KEY.fullmatch(text)
        if not found:
            raise InvalidCredentials
        key_id, secret = found.groups()
        digest, principal, expires = self._keys.get(key_id, _NOBODY)
        # Compared in any case, and before anything else is looked at.
        is_right = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), digest)
        if not is_right or principal is None or (expires is not None and now >= expires):
            raise InvalidCredentials
        return principal

    def known_id(self, text: str) -> str:
        """The id in a key that is refused, for a log: only one that is known, as the rest may be anything."""
        found = _KEY.fullmatch(text)
        return found[1] if found and found[1] in self._keys else ""


_NOBODY: Final[tuple[bytes, None, None]] = (bytes(hashlib.sha256().digest_size), None, None)

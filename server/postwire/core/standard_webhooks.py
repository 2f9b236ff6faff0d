"""Standard Webhooks: how what is posted to somebody's endpoint is signed, by a secret that both sides have.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, its scheme `v1`.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
"""The headers."""

_PREFIX: Final = "whsec_"
_SHORTEST: Final = 24
_LONGEST: Final = 64
"""Bytes of a key."""


def key_of(secret: str, name: str = "secret") -> bytes:
    """The key that a secret stands for: base64, with or without `whsec_` before it.

    Raises:
        ValueError: it is none. Led by `name`, and without the secret.
    """
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:  # binascii.Error is one, too
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(
            f"{name}: must be {_SHORTEST} to {_LONGEST} bytes in base64, with or without {_PREFIX} before it"
        )
    return key


def hasher(key: bytes, webhook_id: str, seconds: int) -> hmac.HMAC:
    """What the body is put into, to be signed under an id at a time (s since the epoch)."""
    return hmac.new(key, f"{webhook_id}.{seconds}.".encode(), hashlib.sha256)


def signature_of(digest: bytes) -> str:
    """One signature, as it stands in the header."""
    return f"v1,{b64encode(digest).decode()}"


def signed_headers(keys: Iterable[bytes], webhook_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers of a body that is signed by several keys, of which its receiver has to know one."""
    signatures = []
    for key in keys:
        digest = hasher(key, webhook_id, seconds)
        digest.update(body)
        signatures.append(signature_of(digest.digest()))
    return {ID: webhook_id, TIMESTAMP: str(seconds), SIGNATURE: " ".join(signatures)}

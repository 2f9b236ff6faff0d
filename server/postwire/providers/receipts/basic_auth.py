"""Basic auth (RFC 7617): how a vendor says who it is that signs nothing."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.providers.receipts.base import Forged, ReceiptCall


class BasicAuth:
    """Knows the calls of one user."""

    def __init__(self, username: str, password: str) -> None:
        self._expected = f"{username}:{password}".encode()

    @classmethod
    def of(cls, config: ProviderReceiptsConfig) -> BasicAuth | None:
        """One for the user of a provider, None where it has none. Raises ValueError, led by a key."""
        username, password = config.username, config.password
        if username is None and password is None:
            return None
        if not username:
            raise ValueError("username: is missing, beside password")
        if not password:
            raise ValueError("password: is missing, beside username")
        if ":" in username:
            raise ValueError("username: has a colon, which no user of basic auth can have")
        return cls(username, password)

    def verify(self, call: ReceiptCall) -> None:
        """Return if a call is that user's.

        Raises:
            Forged: it is not.
        """
        scheme, _, text = call.headers.get("authorization", "").partition(" ")
        try:
            given = b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):  # the latter where it is not ASCII
            given = b""
        is_same = hmac.compare_digest(given, self._expected)
        if scheme.lower() != "basic" or not is_same:
            raise Forged("credentials")

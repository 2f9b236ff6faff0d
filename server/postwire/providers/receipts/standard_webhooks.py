"""Standard Webhooks: HMAC-SHA256 of id, time and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
from typing import Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.standard_webhooks import hasher, key_of, signature_of
from postwire.providers.receipts.base import Forged, ReceiptCall
from postwire.providers.receipts.signatures import check_fresh, header

_MOST: Final = 16
"""Signatures that are looked at, at most: there is one for each secret in use."""


class StandardWebhooks:
    """Knows what is signed with one of some keys. `prefix` is that of the headers' names."""

    def __init__(self, keys: tuple[bytes, ...], prefix: str = "webhook") -> None:
        self._keys = keys
        self._prefix = prefix

    @classmethod
    def of(cls, config: ProviderReceiptsConfig, prefix: str = "webhook") -> StandardWebhooks | None:
        """One for the secrets of a provider, None where it has none. Raises ValueError, led by a key."""
        if config.secret is None:
            if config.previous_secret is not None:
                raise ValueError("secret: is missing, beside previous_secret")
            return None
        keys = [key_of(config.secret)]
        if config.previous_secret is not None:
            keys.append(key_of(config.previous_secret, "previous_secret"))
        return cls(tuple(keys), prefix)

    def verify(self, call: ReceiptCall) -> None:
        """Return if a call is signed, and not too long ago.

        Raises:
            Forged: it is not.
        """
        names = (f"{self._prefix}-{name}" for name in ("id", "timestamp", "signature"))
        call_id, seconds, signatures = (header(call, name) for name in names)
        check_fresh(seconds, call.now)
        # Compared as they are written, which is in one way only.
        given = signatures.split(" ")[:_MOST]
        expected = [self._signature(key, call_id, int(seconds), call.body) for key in self._keys]
        if not any([hmac.compare_digest(one, right) for one in given for right in expected]):  # noqa: C419  all of them
            raise Forged("signature")

    def _signature(self, key: bytes, call_id: str, seconds: int, body: bytes) -> str:
        hashed = hasher(key, call_id, seconds)
        hashed.update(body)
        return signature_of(hashed.digest())

    def id_of(self, call: ReceiptCall) -> str:
        """The id of a call that was verified: the same whenever it is tried again."""
        return header(call, f"{self._prefix}-id")

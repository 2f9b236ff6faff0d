"""The key that references are made with."""

from __future__ import annotations

import hmac
from typing import Final

from postwire.config.receipts import ReceiptsConfig
from postwire.core.reference import References

_PURPOSE: Final = b"postwire/references/1"


def references(config: ReceiptsConfig, lookup_key: bytes) -> References:
    """The references of this server: by `receipts.key`, or else by a key that is made of the store's `lookup_key`."""
    if config.key is not None:
        return References(config.key.encode())
    return References(hmac.digest(lookup_key, _PURPOSE, "sha256"))

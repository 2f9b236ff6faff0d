"""Gets what vendors publish of what they sign with."""

from __future__ import annotations

from typing import Final

from postwire.auth.fetching import fetch
from postwire.providers.receipts.base import Fetched

TIMEOUT: Final = 3.0
"""Seconds that it may take: a vendor is waiting."""

MAX_BYTES: Final = 64 * 1024

MAX_UNDER_WAY: Final = 4
"""How many are fetched at once: whoever forges calls may ask for as many as he likes."""


class Fetcher:
    """See `providers.receipts.base.Fetch`."""

    def __init__(self) -> None:
        self._under_way = 0

    async def __call__(self, url: str) -> Fetched:
        """What is at an https address.

        Raises:
            OSError: it cannot be had; the text says why, and shows neither the URL nor what was there.
        """
        if not url.startswith("https://"):
            raise OSError("it is not at an address of https")
        if self._under_way >= MAX_UNDER_WAY:
            raise OSError("too much is being fetched")
        self._under_way += 1
        try:
            return Fetched(*await fetch(url, timeout=TIMEOUT, max_bytes=MAX_BYTES))
        finally:
            self._under_way -= 1

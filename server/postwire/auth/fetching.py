"""Gets the text of a key set over HTTPS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

TIMEOUT: Final = 5.0
"""Seconds that it may take: a caller may be waiting."""

MAX_BYTES: Final = 256 * 1024
"""How much is read: a set of a few keys is far smaller."""


async def fetch_text(url: str) -> str:
    """What is at a URL.

    Raises:
        OSError: it cannot be had; the text says why, and shows neither the URL nor what was there.
    """
    import aiohttp  # only where keys are fetched

    # Anew each time, and beside the calls: authorities change as well, and reading them takes a while.
    context = await asyncio.to_thread(ssl.create_default_context)
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            # As for all programs, the environment may name a proxy.
            aiohttp.ClientSession(trust_env=True, auto_decompress=False) as session,
            session.get(url, ssl=context, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.status != 200:
                raise OSError(f"the server answers {response.status}")
            content = await response.content.read(MAX_BYTES + 1)
            while len(content) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES)):
                content += more
    except TimeoutError:
        raise OSError(f"it did not come within {TIMEOUT:g} s") from None
    except aiohttp.ClientError as error:
        raise OSError(f"it could not be fetched: {type(error).__name__}") from None
    if len(content) > MAX_BYTES:
        raise OSError(f"there are more than {MAX_BYTES:,} bytes")
    return content.decode("utf-8", "replace")

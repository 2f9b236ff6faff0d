"""Gets what others publish over HTTPS: key sets, and what vendors sign with."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

TIMEOUT: Final = 5.0
"""Seconds that a key set may take: a caller may be waiting."""

MAX_BYTES: Final = 256 * 1024
"""How much of a key set is read: one of a few keys is far smaller."""


async def fetch_text(url: str) -> str:
    """What is at a URL.

    Raises:
        OSError: it cannot be had; the text says why, and shows neither the URL nor what was there.
    """
    status, content = await fetch(url, timeout=TIMEOUT, max_bytes=MAX_BYTES)
    if status != 200:
        raise OSError(f"the server answers {status}")
    return content.decode("utf-8", "replace")


async def fetch(url: str, *, timeout: float, max_bytes: int) -> tuple[int, bytes]:
    """The status that a URL is answered with, and what is there. `timeout` is in seconds. No redirect is followed.

    Raises:
        OSError: it cannot be had; the text says why, and shows neither the URL nor what was there.
    """
    import aiohttp  # only where something is fetched

    # Anew each time, and beside the calls: authorities change as well, and reading them takes a while.
    context = await asyncio.to_thread(ssl.create_default_context)
    try:
        async with (
            asyncio.timeout(timeout),
            # As for all programs, the environment may name a proxy.
            aiohttp.ClientSession(trust_env=True, auto_decompress=False) as session,
            session.get(url, ssl=context, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as response,
        ):
            content = await response.content.read(max_bytes + 1)
            while len(content) <= max_bytes and (more := await response.content.read(max_bytes)):
                content += more
    except TimeoutError:
        raise OSError(f"it did not come within {timeout:g} s") from None
    except aiohttp.ClientError as error:
        raise OSError(f"it could not be fetched: {type(error).__name__}") from None
    if len(content) > max_bytes:
        raise OSError(f"there are more than {max_bytes:,} bytes")
    return response.status, content

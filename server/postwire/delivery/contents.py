"""Between messages and the bytes that are kept of them. What is large is not for the event loop."""

from __future__ import annotations

import asyncio
from typing import Final

from postwire.core import canonical
from postwire.core.message import DispatchCommand, OutboundMessage

LARGE: Final = 256 * 1024
"""From how many bytes on a message is encoded, hashed or decoded on another thread."""


async def encode(command: DispatchCommand) -> tuple[bytes, bytes]:
    """The command's content in canonical form, and its payload's hash."""
    return encode_small(command) if command.size < LARGE else await asyncio.to_thread(encode_small, command)


def encode_small(command: DispatchCommand) -> tuple[bytes, bytes]:
    """The same at once, for what is not `LARGE`."""
    return canonical.encode(command.message, command.options)


async def decode(content: bytes) -> OutboundMessage:
    """The message whose content that is.

    Raises:
        ValueError: it is in an encoding that this version does not read.
    """
    if len(content) < LARGE:
        return canonical.decode_message(content)
    return await asyncio.to_thread(canonical.decode_message, content)

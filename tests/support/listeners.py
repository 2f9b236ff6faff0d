"""Servers of asyncio that are closed while callers come."""

from __future__ import annotations

import asyncio


async def close(server: asyncio.Server) -> None:
    """Close a server, whose last connections are then its own to end.

    `Server.close` alone has whoever was accepted just before fail, and leaves the socket open
    (https://github.com/python/cpython/issues/109564).
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    await asyncio.sleep(0)  # whoever was accepted is connected by then
    server.close()

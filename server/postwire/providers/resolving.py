"""Name resolution that holds nobody up: neither another provider, nor the end of the process.

`getaddrinfo` blocks, cannot be cancelled, and waits for many seconds where a name server does not answer. A loop runs
it in a few threads which everything shares, and waits for them when it ends. Here each name has a thread of its own
while it is looked up, one at a time, which the process does not wait for.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""What `socket.getaddrinfo` gives one of."""


class NameResolver:
    """Looks names up. Calls for the same name share one look-up, and a call that is cancelled leaves it going."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int, int], asyncio.Future[list[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[AddressInfo]:
        """Return the addresses of a host, as `socket.getaddrinfo` does for TCP.

        Raises:
            OSError: it has none, or that cannot be found out.
        """
        name = host, port, family
        if (found := self._under_way.get(name)) is None:
            found = self._under_way[name] = asyncio.get_running_loop().create_future()
            found.add_done_callback(lambda _: self._under_way.pop(name, None))
            found.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody may have gone
            threading.Thread(target=_look_up, args=(found, *name), name="postwire-resolve", daemon=True).start()
        return await asyncio.shield(found)


def _look_up(found: asyncio.Future[list[AddressInfo]], host: str, port: int, family: int) -> None:
    result: Any
    try:
        result = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a label that is too long for IDNA is a UnicodeError
        result = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "no such name")

    def settle() -> None:
        if found.done():
            return
        if isinstance(result, OSError):
            found.set_exception(result)
        else:
            found.set_result(result)

    with suppress(RuntimeError):  # the loop has ended, and nobody waits
        found.get_loop().call_soon_threadsafe(settle)

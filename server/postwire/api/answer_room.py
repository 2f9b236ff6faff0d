"""Room for large answers: a caller that reads none of what it asks for has few of them kept in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from postwire.api.call import Context

MAX_ANSWERS: Final = 8
"""How many large answers one connection may have under way. A page of 1,000 messages is a megabyte and more."""

_UNIX: Final = "unix:"
"""What every caller at a unix socket is called: who they are cannot be told, and the file's mode says who may."""


@dataclass(slots=True)
class _Connection:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_ANSWERS))
    users: int = 0


class AnswerRoom:
    """Counts answers by connection, until gRPC has sent them. What is too much waits, in turn."""

    def __init__(self) -> None:
        self._connections: dict[str, _Connection] = {}

    async def enter(self, context: Context) -> None:
        """Wait for room for the answer to this call. It is given back when the call is over."""
        peer = context.peer()
        if peer.startswith(_UNIX):
            return
        connection = self._connections.setdefault(peer, _Connection())
        connection.users += 1
        try:
            await connection.slots.acquire()
        except asyncio.CancelledError:
            self._leave(peer, connection)
            raise

        def over(_: object) -> None:
            connection.slots.release()
            self._leave(peer, connection)

        context.add_done_callback(over)

    def _leave(self, peer: str, connection: _Connection) -> None:
        connection.users -= 1
        if not connection.users:
            del self._connections[peer]

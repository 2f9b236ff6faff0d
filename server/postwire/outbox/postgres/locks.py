"""Locks that hold for all nodes, until the end of a transaction."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from postwire.outbox.postgres.queries import QUERIES, Connection

_OURS: Final = 0x706F7374  # "post"


class Lock(IntEnum):
    """What is done by one node at a time, since it depends on what others have done. What is taken together is taken in
    this order."""

    STORE = 0
    """Making the database ready."""
    KEYS = 1
    """Taking up keys, and doing without some."""
    PROVIDERS = 2
    """What operators do to providers."""
    SUPPRESSIONS = 3
    """Adding and removing suppressions."""
    HELD = 4
    """Holding receipts, and releasing them. Whoever locks messages as well has them locked before."""


async def take_lock(connection: Connection, lock: Lock) -> None:
    """Wait for a lock. What is read from then on is as the last one has left it who had it."""
    await connection.fetch(QUERIES["lock"], _OURS, lock.value)

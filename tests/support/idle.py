"""When nothing goes on by itself any more: what is left waits for a provider, a door or a clock."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.support.paused import Paused
from tests.support.waiting import PATIENCE

from postwire.outbox.base import Outbox
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.sqlite import SqliteOutbox

CALM: Final = 40
"""More turns with the store than anything takes from one thing that it waits for to the next."""


async def until_idle(outbox: Outbox | Paused) -> None:
    """Return once nothing goes on by itself: at once where that can be seen, and else after many turns."""
    inner = outbox._inner if isinstance(outbox, Paused) else outbox
    # Work on threads of the loop's own is not seen.
    if isinstance(inner, SqliteOutbox) and getattr(inner._loop, "_default_executor", ()) is None:
        async with asyncio.timeout(PATIENCE):
            while not _is_idle(inner):  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        return
    for _ in range(CALM):
        await inner.stats()
        await _written(inner)


def _is_idle(outbox: SqliteOutbox) -> bool:
    """Whether no thread of the store has anything to do, and the loop nothing that it could do next.

    Whatever a thread has done is with the loop before the thread does the next.
    """
    if not outbox._closed:
        if outbox._writer._under_way or outbox._writer._betweens:
            return False
        if outbox._readers:
            outbox._readers.submit(int).result(PATIENCE)  # it does one thing after the other
    loop: Any = outbox._loop
    return not loop._ready and not any(timer.when() <= loop.time() for timer in loop._scheduled)


async def _written(outbox: Outbox) -> None:
    """Return once no commit is under way. A store is read beside its commits, however long these take."""
    async with asyncio.timeout(PATIENCE):
        if isinstance(outbox, SqliteOutbox):
            while outbox._writer._under_way:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        elif isinstance(outbox, PostgresOutbox):
            while tasks := outbox.database._tasks:
                await asyncio.wait(tasks)
                await asyncio.sleep(0)

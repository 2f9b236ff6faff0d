"""A process of its own that owns a store, for as long as somebody needs it to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.forking import Forked
from tests.support.waiting import PATIENCE

from postwire.outbox.sqlite import SqliteOutbox


@contextmanager
def owned_elsewhere(path: Path) -> Iterator[None]:
    """Another process serves the store, and closes it in order at the end."""
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as says:  # noqa: PTH123  a descriptor
        process = Forked(f"{__name__}:own", [str(path)], cwd=path.parent, env=os.environ, stdout=writing, stderr=2)
        os.close(writing)
        assert says.readline() == "ready\n"
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0


# In that process.


def own() -> None:
    asyncio.run(_own(sys.argv[1]))


async def _own(path: str) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    outbox = await SqliteOutbox.open(path)
    print("ready", flush=True)  # noqa: T201  to whoever waits for it
    await over.wait()
    await outbox.close()

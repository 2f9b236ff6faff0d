"""What is run in a process of its own, and killed in the middle of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.support import build, forking

from postwire.core.ids import MessageIds, RandomBits
from postwire.outbox.sqlite import SqliteOutbox, restore
from postwire.outbox.sqlite.files import StoreFiles


def crash(path: Path) -> None:
    """Have the process that serves the store end, once it has accepted a message: with a log that is not empty."""
    _until_killed("accept", str(path))
    assert StoreFiles(path).log.stat().st_size > 0


def restore_until(at: int, path: Path, copy: Path, *, now: int) -> None:
    """Have a restore end before the step `at`; before it has a copy, where that is -1."""
    _until_killed("restore_until_killed", str(at), str(path), str(copy), str(now))


def _until_killed(function: str, *arguments: str) -> None:
    done = forking.run(*arguments, main=f"{__name__}:{function}")
    assert done.returncode == -signal.SIGKILL, done.stderr


# In that process.


def accept() -> None:
    _, path = sys.argv
    asyncio.run(_accept(path))


async def _accept(path: str) -> None:
    build._ids = MessageIds(RandomBits(os.urandom))
    outbox = await SqliteOutbox.open(path)
    await outbox.accept(build.new_message(build.command(request_id="crashed")))
    _die()


def restore_until_killed() -> None:
    _, at, path, copy, now = sys.argv
    if int(at) < 0:
        vars(restore).update(copy_pages=_die, check=_die)
    else:
        vars(restore)["STEPS"] = (*restore.STEPS[: int(at)], _die, *restore.STEPS[int(at) :])
    asyncio.run(restore.restore(Path(path), Path(copy), now=int(now)))


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

"""Tasks that run a provider's code, which may not end when it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

CANCEL_GRACE: Final = 0.5
"""Seconds that tasks have to end once they are cancelled."""


async def cancel_pending(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel the tasks that have not ended. One that does not end within `CANCEL_GRACE` is left behind."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=CANCEL_GRACE)


def abandon(task: asyncio.Future[Any]) -> None:
    """Cancel a task that nobody waits for any more. What it raises is looked at, or asyncio would complain."""
    task.cancel()
    task.add_done_callback(_look_at)


def _look_at(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()

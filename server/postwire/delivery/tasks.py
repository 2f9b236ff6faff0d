"""Started work, drained in time: each active message has a task, which a drain waits for, and in the end cancels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar

from postwire.telemetry.logs import EventLog

T = TypeVar("T")

CANCEL_GRACE: Final = 0.5
"""Seconds that tasks have to end once they are cancelled."""

_log = EventLog()


class StartedTasks:
    """The tasks that run. Those that wait for the store are apart, since no drain is to wait for that; and so are those
    in the middle of a commit, since what they have asked for is kept whether they are cancelled or not.

    `is_drained` says whether a drain has cancelled what ran: nothing is to be begun any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting_for_store: set[asyncio.Task[None]] = set()
        self._committing: set[asyncio.Task[Any]] = set()
        self.is_drained = False
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._tasks)

    def launch(
        self, work: Coroutine[None, None, None], done: Callable[[], None], *, context: Context | None = None
    ) -> None:
        """Do work in a task of its own. `done` is called at its end, however that comes about; faults are logged."""
        self._follow(self._loop.create_task(work, context=context), partial(self._completed, done))

    def track(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Have a drain wait for a task, and cancel it in the end."""
        self._follow(task, self._ended)
        return task

    def start_commit(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        """Begin work that a drain waits for as for any other, and does not cancel: it looks at `is_drained` then."""
        task = self.track(self._loop.create_task(work))
        self._committing.add(task)
        task.add_done_callback(self._committing.discard)
        return task

    def start(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        """Begin work that somebody waits for."""
        return self.track(self._loop.create_task(work))

    def start_for_store(self, work: Coroutine[None, None, None]) -> None:
        """Begin work that waits until the store is available. It is cancelled in the end, and not waited for."""
        task = self._loop.create_task(work)
        self._waiting_for_store.add(task)
        task.add_done_callback(self._waiting_for_store.discard)

    async def drain(self, grace: float) -> int:
        """Wait up to `grace` seconds for what runs, then cancel it; returns how many tasks were cancelled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()
        self.is_drained = True
        cancelled = list(self._tasks - self._committing)
        for task in (*cancelled, *self._waiting_for_store):
            task.cancel()
        if cancelled:  # a provider may be slow to end, and is not waited for
            await asyncio.wait(cancelled, timeout=CANCEL_GRACE)
        return len(cancelled)

    async def close(self) -> None:
        """Return once no commit is under way any more, however long the store takes."""
        if self._committing:
            await asyncio.wait(self._committing)

    def _follow(self, task: asyncio.Task[T], ended: Callable[[asyncio.Task[T]], None]) -> None:
        self._tasks.add(task)
        self._idle.clear()
        task.add_done_callback(ended)

    def _completed(self, done: Callable[[], None], task: asyncio.Task[None]) -> None:
        self._ended(task)
        done()
        if not task.cancelled() and (error := task.exception()):
            _log.fault(error)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

"""A task that does its work again and again, and can be woken in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final

from postwire.clock import Clock
from postwire.core.errors import StoreUnavailable
from postwire.outbox.base import Availability
from postwire.telemetry.logs import EventLog

MAX_IDLE_DELAY: Final = 60.0
"""Seconds. The machine may be suspended meanwhile, which the clock that alarms go by does not count."""

AFTER_A_FAULT: Final = 1.0
"""Idle seconds after a fault of ours. If the task ended there, its work would never be done."""

_log = EventLog()


class WakeableTask:
    """Runs `work` again and again. It returns for how many seconds there is nothing more to do, or less if woken."""

    def __init__(self, work: Callable[[], Awaitable[float]], *, outbox: Availability, clock: Clock) -> None:
        self._work = work
        self._outbox = outbox
        self._clock = clock
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether `start` has been called."""
        return self._task is not None

    def start(self) -> None:
        """Begin, and do the work once."""
        # In a context of its own: it does not work for the caller that happens to start it.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    def wake(self) -> None:
        """Have the work done again now; after the run under way, if there is one."""
        self._woken.set()

    async def stop(self) -> None:
        """Cancel the task, and wait for its end. It may be started again."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                pause = await self._work()
            except StoreUnavailable:
                await self._outbox.wait_available()
                pause = AFTER_A_FAULT  # a store that cannot be read may still say that it can commit
            except Exception as error:
                _log.fault(error)
                pause = AFTER_A_FAULT
            if pause > 0:
                await self._sleep(min(pause, MAX_IDLE_DELAY))

    async def _sleep(self, seconds: float) -> None:
        alarm = self._clock.call_later(seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            alarm.cancel()

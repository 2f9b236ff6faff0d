"""Hooks where several nodes share a store: one of them reads the feed, and posts for all."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Final, Protocol

from postwire.core.errors import StoreUnavailable
from postwire.delivery.wakeable_task import AFTER_A_FAULT
from postwire.outbox.base import Availability
from postwire.telemetry.logs import EventLog

GRACE: Final = 0.5
"""Seconds that what is being posted has to end where another node goes on with it. It may post that once more."""

_log = EventLog()


class Hooks(Protocol):
    """See `notify.service.Notify`, which is not imported for this: it comes with aiohttp."""

    async def start(self) -> None:
        """See `Notify.start`."""
        ...

    async def stop(self, grace: float) -> None:
        """See `Notify.stop`."""
        ...


class NotifyDuty:
    """Starts and stops the hooks as the duty to post comes and goes. What comes later goes on where it was kept that
    they stood."""

    def __init__(self, hooks: Hooks, *, store: Availability) -> None:
        self._hooks = hooks
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, as soon as the store can be read."""
        self._task = asyncio.get_running_loop().create_task(self._start(), context=Context())

    async def stop(self) -> None:
        """Post nothing more."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._hooks.stop(GRACE)

    async def _start(self) -> None:
        while True:
            try:
                await self._store.wait_available()
                await self._hooks.start()
                return
            except StoreUnavailable:
                pass  # some may have begun, and begin anew
            except Exception as error:
                _log.fault(error)
            await self._hooks.stop(0.0)
            await asyncio.sleep(AFTER_A_FAULT)

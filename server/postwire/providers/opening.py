"""Opening the providers, beside the boot: each until it succeeds, and none in the way of another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Final

from postwire.core import backoff
from postwire.core.availability import probe_pause
from postwire.core.gate import Gate
from postwire.core.obstacles import Obstacle
from postwire.providers import capabilities
from postwire.providers.base import Provider, ProviderHealth
from postwire.providers.registry import ProviderEntry

OPEN_TIMEOUT: Final = 30.0
"""Seconds that a provider has to open."""

QUICK: Final = 0.1
"""Seconds that a boot gives the providers, so that those with little to do are there for the first message."""

RETRY_BASE: Final = 1.0
RETRY_MAX: Final = 60.0
"""Seconds, at most, of the first pause after which it is tried again, and of any. Doubled with each in a row."""

CANCEL_GRACE: Final = 0.5
"""Seconds that tasks have to end once they are cancelled."""


class ProviderOpening:
    """One task for each provider that has something to open: see `Provider.open`."""

    def __init__(
        self,
        entries: Iterable[ProviderEntry],
        *,
        jitter: Callable[[], float],
        on_fault: Callable[[BaseException], None],
    ) -> None:
        """`jitter` gives draws in [0, 1) for pauses, `on_fault` is called with what a provider's code raises."""
        self._entries = [entry for entry in entries if capabilities.open_of(entry.provider)]
        self._jitter = jitter
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin with all of them; returns once they are open, or soon."""
        if not self._entries:
            return
        loop = asyncio.get_running_loop()
        for entry in self._entries:
            entry.gate.availability.note_opening(Obstacle.UNAVAILABLE)
            self._tasks.add(loop.create_task(self._open(entry.provider, entry.gate), context=Context()))
        await asyncio.wait(self._tasks, timeout=QUICK)
        for entry in self._entries:
            if entry.gate.availability.state is Obstacle.UNAVAILABLE:
                entry.gate.note_opening(Obstacle.UNAVAILABLE, "it is being opened")

    async def stop(self) -> None:
        """Cancel what has not ended. What does not end then is left behind."""
        pending = [task for task in self._tasks if not task.done()]
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=CANCEL_GRACE)

    async def _open(self, provider: Provider, gate: Gate) -> None:
        failures = refusals = 0
        while True:
            health = await self._try(provider)
            if health.ok:
                gate.note_opened()
                return
            if health.misconfigured:
                refusals += 1
                gate.note_opening(Obstacle.MISCONFIGURED, health.detail)
                pause = probe_pause(refusals)
            else:
                failures += 1
                gate.note_opening(Obstacle.UNAVAILABLE, health.detail)
                pause = backoff.delay(failures, base=RETRY_BASE, most=RETRY_MAX, draw=self._jitter())
            await asyncio.sleep(pause)

    async def _try(self, provider: Provider) -> ProviderHealth:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                opened = await own() if (own := capabilities.open_of(provider)) else None
                return opened or ProviderHealth(ok=True)
        except TimeoutError:
            return ProviderHealth(ok=False, detail=f"it did not open within {OPEN_TIMEOUT:g} s")
        except (asyncio.CancelledError, Exception) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise  # by `stop`; else something of the provider's own was cancelled
            if not isinstance(error, OSError):  # networks fail, and code should not
                self._on_fault(error)
            return ProviderHealth(ok=False, detail=f"it could not be opened: {type(error).__name__}")

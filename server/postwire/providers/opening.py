"""Opening the providers, beside the boot: each until it succeeds, and none in the way of another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import Context
from typing import Final

from postwire.core import backoff
from postwire.core.availability import probe_pause
from postwire.core.gate import Gate
from postwire.core.obstacles import Obstacle
from postwire.providers import capabilities
from postwire.providers.base import ProviderHealth
from postwire.providers.registry import ProviderEntry
from postwire.providers.tasks import CANCEL_GRACE, abandon, cancel_pending

OPEN_TIMEOUT: Final = 30.0
"""Seconds that a provider has to open."""

QUICK: Final = 0.1
"""Seconds that a boot gives the providers, so that those with little to do are there for the first message."""

RETRY_BASE: Final = 1.0
RETRY_MAX: Final = 60.0
"""Seconds, at most, of the first pause after which it is tried again, and of any. Doubled with each in a row."""


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
        self._openers = [(entry.gate, own) for entry in entries if (own := capabilities.open_of(entry.provider))]
        self._jitter = jitter
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin with all of them; returns once they are open, or soon."""
        if not self._openers:
            return
        loop = asyncio.get_running_loop()
        for gate, own in self._openers:
            gate.availability.note_opening(Obstacle.UNAVAILABLE)
            self._tasks.add(loop.create_task(self._open(own, gate), context=Context()))
        await asyncio.wait(self._tasks, timeout=QUICK)
        for gate, _ in self._openers:
            if gate.availability.state is Obstacle.UNAVAILABLE:
                gate.note_opening(Obstacle.UNAVAILABLE, "it is being opened")

    async def stop(self) -> None:
        """Cancel what has not ended. What does not end then is left behind."""
        await cancel_pending(self._tasks)

    async def _open(self, own: Callable[[], Awaitable[ProviderHealth | None]], gate: Gate) -> None:
        retry = asyncio.Event()
        gate.on_configured = retry.set
        failures = refusals = 0
        while True:
            retry.clear()
            task = asyncio.ensure_future(own())
            try:
                await asyncio.wait({task}, timeout=OPEN_TIMEOUT)
                if task.done():
                    health = self._health(task)
                else:
                    abandon(task)
                    health = ProviderHealth(ok=False, detail=f"it did not open within {OPEN_TIMEOUT:g} s")
            except asyncio.CancelledError:  # by `stop`
                abandon(task)
                await asyncio.wait({task}, timeout=CANCEL_GRACE)
                raise
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
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await retry.wait()
            await asyncio.wait({task})  # one that swallows its cancellation is not opened beside itself

    def _health(self, task: asyncio.Future[ProviderHealth | None]) -> ProviderHealth:
        """What has come of an opening."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            health = task.result()
            if health is None:
                return ProviderHealth(ok=True)
            if isinstance(health, ProviderHealth):
                return health
            error = TypeError("an opening has to give a ProviderHealth, or None")
        if isinstance(error, TimeoutError):
            return ProviderHealth(ok=False, detail="it did not open in time")
        if not isinstance(error, OSError):  # networks fail, and code should not
            self._on_fault(error)
        return ProviderHealth(ok=False, detail=f"it could not be opened: {type(error).__name__}")

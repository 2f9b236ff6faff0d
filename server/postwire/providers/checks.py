"""Asking the vendors, at boot, whether they can be reached: all side by side, and nobody waits for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Final

from postwire.providers.base import Provider, ProviderHealth

CHECK_TIMEOUT: Final = 3.0
"""Seconds that a vendor has to answer."""

CANCEL_GRACE: Final = 0.5
"""Seconds that checks have to end once they are cancelled."""

OnChecked = Callable[[Provider, ProviderHealth], None]


class ProviderChecks:
    """One check of each provider. `report` is called with each result as it comes."""

    def __init__(
        self,
        providers: Iterable[Provider],
        report: OnChecked,
        *,
        on_fault: Callable[[BaseException], None],
        timeout: float = CHECK_TIMEOUT,
    ) -> None:
        """`on_fault` is called with what a check raises, `timeout` is in seconds."""
        self._providers = tuple(providers)
        self._report = report
        self._on_fault = on_fault
        self._timeout = timeout
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start all checks, and return at once."""
        loop = asyncio.get_running_loop()
        self._tasks = {loop.create_task(self._check(provider), context=Context()) for provider in self._providers}

    async def stop(self) -> None:
        """Cancel the checks that have not ended. One that does not end then is left behind."""
        pending = [task for task in self._tasks if not task.done()]
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=CANCEL_GRACE)

    async def _check(self, provider: Provider) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                health = await provider.check()
            if not isinstance(health, ProviderHealth):
                raise TypeError("a check has to give a ProviderHealth")
        except TimeoutError:
            health = ProviderHealth(ok=False, detail=f"it did not answer within {self._timeout:g} s")
        except (asyncio.CancelledError, Exception) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise  # by `stop`; else something of the provider's own was cancelled
            self._on_fault(error)
            health = ProviderHealth(ok=False, detail=f"its check failed with {type(error).__name__}")
        self._report(provider, health)

"""Asking the vendors whether they can be reached: at boot all side by side, and nobody waits for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any, Final

from postwire.providers.base import Provider, ProviderHealth
from postwire.providers.tasks import abandon, cancel_pending

CHECK_TIMEOUT: Final = 3.0
"""Seconds that a vendor has to answer."""

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
        self._checks: set[asyncio.Task[Any]] = set()
        self._reports: set[asyncio.Task[Any]] = set()
        self._stopping = False

    def start(self) -> None:
        """Start all checks, and return at once."""
        for provider in self._providers:
            self.check(provider)

    def check(self, provider: Provider, and_then: OnChecked | None = None) -> None:
        """Start one check, and return at once. `and_then` is called with the result as well, once it is reported."""
        loop = asyncio.get_running_loop()
        check = loop.create_task(_check(provider), context=Context())
        end = loop.create_task(self._report_end(provider, check, and_then), context=Context())
        for tasks, task in ((self._checks, check), (self._reports, end)):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def wait(self) -> None:
        """Return once every check has been reported: after the time limit, whatever a check does with it."""
        if self._reports:
            await asyncio.wait(self._reports)

    async def stop(self) -> None:
        """Cancel the checks that have not ended, and report none of them. One that does not end then is left behind."""
        self._stopping = True
        await cancel_pending(self._checks)

    async def _report_end(
        self, provider: Provider, check: asyncio.Task[ProviderHealth], and_then: OnChecked | None
    ) -> None:
        # Not `asyncio.timeout`, which waits for a check that swallows its cancellation.
        await asyncio.wait({check}, timeout=self._timeout)
        if check.done():
            health = self._result(check)
        else:
            abandon(check)
            health = ProviderHealth(ok=False, detail=f"it did not answer within {self._timeout:g} s")
        if health is not None:
            self._report(provider, health)
            if and_then:
                and_then(provider, health)

    def _result(self, check: asyncio.Task[ProviderHealth]) -> ProviderHealth | None:
        """What a check that has ended says; None if `stop` has ended it."""
        try:
            health = check.result()
            if not isinstance(health, ProviderHealth):
                raise TypeError("a check has to give a ProviderHealth")
        except (asyncio.CancelledError, Exception) as error:
            if isinstance(error, asyncio.CancelledError) and self._stopping:
                return None
            self._on_fault(error)  # something of the provider's own was cancelled, or it failed
            return ProviderHealth(ok=False, detail=f"its check failed with {type(error).__name__}")
        return health


async def _check(provider: Provider) -> ProviderHealth:
    return await provider.check()

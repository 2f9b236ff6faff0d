"""The receipts of simulated providers that are still to come, and who reports them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import Final

from postwire.core.errors import StoreUnavailable
from postwire.core.receipts import Receipt
from postwire.providers.base import Report

MAX_PENDING: Final = 100_000
"""Receipts that are still to come, at most. More of them never come."""

MAX_AT_ONCE: Final = 256
"""Receipts that are reported at once, at most."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds until it reports again what could not be kept: twice as long each time."""


class PendingReceipts:
    """Receipts that are still to come. One task reports them, while there are any; nobody waits for it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._due: list[tuple[float, int, Receipt]] = []
        self._numbers = count()
        self._earlier = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, receipts: Sequence[Receipt], delay: float) -> None:
        """Have these reported in `delay` seconds. It neither waits nor raises."""
        if not receipts or len(self._due) + len(receipts) > MAX_PENDING:
            return
        loop = asyncio.get_running_loop()
        first = self._due[0][0] if self._due else None
        at = loop.time() + delay
        for receipt in receipts:
            heappush(self._due, (at, next(self._numbers), receipt))
        if first is None or at < first:
            self._earlier.set()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="receipts of a simulated provider")

    async def close(self) -> None:
        """Forget what is still to come."""
        self._due.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            self._earlier.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._due[0][0]):
                    await self._earlier.wait()
            batch: list[Receipt] = []
            while self._due and self._due[0][0] <= loop.time() and len(batch) < MAX_AT_ONCE:
                batch.append(heappop(self._due)[2])
            if batch:
                await self._keep(batch)

    async def _keep(self, batch: Sequence[Receipt]) -> None:
        """Report some until they are kept."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._report(batch)
            except StoreUnavailable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception as error:  # whatever is wrong with these, there are others
                fault = {"message": "receipts of a simulated provider could not be reported", "exception": error}
                asyncio.get_running_loop().call_exception_handler(fault)
                return
            else:
                return

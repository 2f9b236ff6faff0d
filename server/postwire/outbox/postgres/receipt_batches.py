"""Receipts that come while others are being kept are kept together, in the next transaction.

Each of them alone is a dozen statements and a commit: vendors that report faster than that would be refused, come
again, and never be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from postwire.outbox.base import KeptAs, ReceiptReport
from postwire.outbox.postgres.database import Refused

AT_ONCE: Final = 500
"""How many receipts are kept in one transaction, unless somebody brings more at once."""

Keep = Callable[[Sequence[ReceiptReport], int], Awaitable[Sequence[KeptAs]]]


class ReceiptBatches:
    """`keep` keeps receipts in one transaction, of which so many may be held, and gives what became of each."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._waiting: list[tuple[Sequence[ReceiptReport], int, asyncio.Future[Sequence[KeptAs]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, reports: Sequence[ReceiptReport], max_held: int) -> Sequence[KeptAs]:
        """Keep receipts; returns what became of each. Whoever does not wait for it changes nothing.

        Raises:
            StoreUnavailable: whether they are kept is unknown.
        """
        kept: asyncio.Future[Sequence[KeptAs]] = asyncio.get_running_loop().create_future()
        self._waiting.append((reports, max_held, kept))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return await kept

    async def _run(self) -> None:
        while self._waiting:
            count = taken = 0
            for reports, _, _ in self._waiting:
                if taken and count + len(reports) > AT_ONCE:
                    break
                taken, count = taken + 1, count + len(reports)
            batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
            try:
                fates = await self._keep([one for reports, _, _ in batch for one in reports], batch[-1][1])
            except Refused as error:
                if len(batch) == 1:
                    _fail(batch[0][2], error)
                    continue
                for reports, max_held, kept in batch:  # one of them has what the database does not take
                    try:
                        _answer(kept, await self._keep(reports, max_held))
                    except Exception as alone:
                        _fail(kept, alone)
            except Exception as error:
                for _, _, kept in batch:
                    _fail(kept, error)
            else:
                at = 0
                for reports, _, kept in batch:
                    _answer(kept, fates[at : at + len(reports)])
                    at += len(reports)
        self._task = None


def _answer(kept: asyncio.Future[Sequence[KeptAs]], fates: Sequence[KeptAs]) -> None:
    if not kept.done():
        kept.set_result(fates)


def _fail(kept: asyncio.Future[Sequence[KeptAs]], error: Exception) -> None:
    if not kept.done():
        kept.set_exception(error)

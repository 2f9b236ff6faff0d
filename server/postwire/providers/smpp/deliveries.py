"""What a message centre delivers on a bind: kept first, and answered then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from postwire.core.errors import StoreUnavailable
from postwire.core.receipts import Inbound, Receipt
from postwire.providers.base import Report
from postwire.providers.smpp.bodies import deliver_resp_body
from postwire.providers.smpp.pdu import Malformed, Pdu, Status

MAX_AT_ONCE: Final = 100
"""Deliveries that are kept at once, at most: others wait for that."""

MAX_WAITING: Final = 1_000
"""Deliveries that wait, at most: then no more are read of that bind."""

KEEP_TIME: Final = 5.0
"""Seconds that a message centre is kept waiting. What is kept later is known when it comes again."""

Read = Callable[[Pdu], Sequence[Receipt | Inbound]]
"""Reads what is delivered; empty where it says nothing that is used. Raises Malformed."""

_BODY: Final = deliver_resp_body()


class Bound(Protocol):
    """A connection, as it is seen here."""

    def answer(self, pdu: Pdu, status: int, body: bytes = b"") -> None:
        """Answer a request."""
        ...

    def hold(self, reason: str) -> None:
        """Read no more for now."""
        ...

    def release(self, reason: str) -> None:
        """Read again."""
        ...


class Deliveries:
    """Those of one connection. One task keeps them, while there are any, in the order in which they came."""

    def __init__(self, connection: Bound, read: Read, report: Report) -> None:
        self._connection, self._read, self._report = connection, read, report
        self._waiting: list[Pdu] = []
        self.task: asyncio.Task[None] | None = None

    def add(self, pdu: Pdu) -> None:
        """Have a delivery kept and answered. It neither waits nor raises."""
        self._waiting.append(pdu)
        if len(self._waiting) == MAX_WAITING:
            self._connection.hold("deliveries")
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._run(), name="deliveries of a bind")

    def end(self, ended: Callable[[], object]) -> None:
        """The connection has gone: what waits will be delivered again. `ended` is called once nothing is being kept."""
        self._waiting.clear()
        if self.task is None or self.task.done():
            ended()
        else:
            self.task.add_done_callback(lambda _: ended())

    async def _run(self) -> None:
        while self._waiting:
            batch, rest = self._waiting[:MAX_AT_ONCE], self._waiting[MAX_AT_ONCE:]
            self._waiting = rest
            if len(rest) < MAX_WAITING:
                self._connection.release("deliveries")
            await self._keep(batch)

    async def _keep(self, batch: Sequence[Pdu]) -> None:
        found: list[Receipt | Inbound] = []
        to_keep: list[Pdu] = []
        for pdu in batch:
            try:
                read = self._read(pdu)
            except Malformed:
                # It would be as wrong the next time.
                self._connection.answer(pdu, Status.ESME_RX_R_APPN, _BODY)
                continue
            if not read:
                self._connection.answer(pdu, Status.ESME_ROK, _BODY)
                continue
            found += read
            to_keep.append(pdu)
        if to_keep:
            status = await self._kept(found)
            for pdu in to_keep:
                self._connection.answer(pdu, status, _BODY)

    async def _kept(self, found: Sequence[Receipt | Inbound]) -> Status:
        try:
            async with asyncio.timeout(KEEP_TIME):
                await self._report(found)
        except (StoreUnavailable, TimeoutError):
            return Status.ESME_RX_T_APPN
        except Exception as error:  # whatever is wrong with these, there are others
            fault = {"message": "what a message centre delivers could not be kept", "exception": error}
            asyncio.get_running_loop().call_exception_handler(fault)
            return Status.ESME_RX_T_APPN
        return Status.ESME_ROK

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
"""Deliveries that wait, at most: then no more are read of that bind for a little while."""

MAX_OCTETS: Final = 4 * 1024 * 1024
"""The same, in octets of all that wait."""

HOLD_TIME: Final = 0.5
"""Seconds of that while, at most, since answers to what was submitted are not read then, either. What still waits is to
come again."""

_TURN: Final = 0.005
"""Seconds for which deliveries are read before others have a turn."""

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
        self._octets = 0
        self._is_behind = False  # some were refused, and nothing was kept since
        self._hold: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def add(self, pdu: Pdu) -> None:
        """Have a delivery kept and answered. It neither waits nor raises."""
        self._waiting.append(pdu)
        self._octets += len(pdu.body)
        if self._hold is None and self._is_full:
            if self._is_behind:
                self._refuse()
                return
            self._connection.hold("deliveries")
            self._hold = asyncio.get_running_loop().call_later(HOLD_TIME, self._refuse)
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._run(), name="deliveries of a bind")

    def end(self, ended: Callable[[], object]) -> None:
        """The connection has gone: what waits will be delivered again. `ended` is called once nothing is being kept."""
        self._take(len(self._waiting))
        if self.task is None or self.task.done():
            ended()
        else:
            self.task.add_done_callback(lambda _: ended())

    async def _run(self) -> None:
        while self._waiting:
            await self._keep(self._take(MAX_AT_ONCE))

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING or self._octets >= MAX_OCTETS

    def _take(self, most: int) -> Sequence[Pdu]:
        """Take the first of those that wait."""
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        self._octets -= sum(len(pdu.body) for pdu in taken)
        if self._hold is not None and not self._is_full:
            self._hold.cancel()
            self._hold = None
            self._connection.release("deliveries")
        return taken

    def _refuse(self) -> None:
        """Have all that wait come again."""
        self._is_behind = True
        for pdu in self._take(len(self._waiting)):
            self._connection.answer(pdu, Status.ESME_RX_T_APPN, _BODY)

    async def _keep(self, batch: Sequence[Pdu]) -> None:
        loop = asyncio.get_running_loop()
        found: list[tuple[Pdu, Sequence[Receipt | Inbound]]] = []
        begun = loop.time()
        for pdu in batch:
            if loop.time() - begun >= _TURN:
                await asyncio.sleep(0)
                begun = loop.time()
            try:
                read = self._read(pdu)
            except Malformed:
                # It would be as wrong the next time.
                self._connection.answer(pdu, Status.ESME_RX_R_APPN, _BODY)
                continue
            if not read:
                self._connection.answer(pdu, Status.ESME_ROK, _BODY)
                continue
            found.append((pdu, read))
        await asyncio.sleep(0)  # though there is nothing to be kept
        if not found:
            return
        try:
            status = await self._kept([one for _, read in found for one in read])
        except Exception as error:
            if len(found) == 1:
                self._note(error)
                status = Status.ESME_RX_T_APPN
            else:
                await self._keep_each(found)
                return
        for pdu, _ in found:
            self._connection.answer(pdu, status, _BODY)

    async def _keep_each(self, found: Sequence[tuple[Pdu, Sequence[Receipt | Inbound]]]) -> None:
        """Keep some one by one: whatever is wrong with one of them, the others are kept."""
        is_away = False
        for pdu, read in found:
            status = Status.ESME_RX_T_APPN
            if not is_away:
                try:
                    status = await self._kept(read)
                    is_away = status != Status.ESME_ROK
                except Exception as error:
                    self._note(error)
            self._connection.answer(pdu, status, _BODY)

    async def _kept(self, found: Sequence[Receipt | Inbound]) -> Status:
        """Have some kept. Returns how that is to be answered; raises whatever is wrong with one of them."""
        try:
            async with asyncio.timeout(KEEP_TIME):
                await self._report(found)
        except (StoreUnavailable, TimeoutError):
            self._refuse()  # what waits would do so for as long, one batch after another
            return Status.ESME_RX_T_APPN
        self._is_behind = False
        return Status.ESME_ROK

    def _note(self, error: Exception) -> None:
        fault = {"message": "what a message centre delivers could not be kept", "exception": error}
        asyncio.get_running_loop().call_exception_handler(fault)

"""All binds of a provider: who of them takes the next PDU, who waits for that, and what is delivered on any."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import ProviderHealth, Report
from postwire.providers.connecting import ConnectFailed
from postwire.providers.resolving import NameResolver
from postwire.providers.smpp.answers import EXPIRED, LOST, NO_SMPP, Answer
from postwire.providers.smpp.bind import Bind
from postwire.providers.smpp.connection import Connection
from postwire.providers.smpp.deliveries import Deliveries, Read
from postwire.providers.smpp.pace import Pace
from postwire.providers.smpp.pdu import Command, Pdu
from postwire.providers.smpp.session import LEAVE
from postwire.providers.smpp.settings import SmppSettings
from postwire.providers.smpp.statuses import bind_meaning_of, name_of
from postwire.providers.tasks import cancel_pending

MAX_PACED: Final = 5.0
"""Seconds that a message waits for its turn by `submit_rate`. Where it would be more, it is to come again."""

_GRACE: Final = 0.5
"""Seconds that connections have to end beyond what their sessions allow."""

_UNANSWERED: Final = {
    EXPIRED.lack: "the message centre did not answer the request to bind in time: see port and tls",
    LOST.lack: "the connection ended without an answer to the request to bind: see port and tls",
    NO_SMPP.lack: "what answers there does not speak SMPP: see port and tls",
}
"""Why a bind was not made, by what its answer lacks."""

_CLOSED: Final = DispatchResult(Outcome.ERROR, error_code="closed", detail="the provider is being closed")
_UNBOUND: Final = DispatchResult(Outcome.ERROR, error_code="unbound", detail="no bind was there in time")
_FULL: Final = DispatchResult(
    Outcome.RATE_LIMITED, error_code="window", detail="the message centre has not answered what it was given before"
)


class NoRoom(Exception):
    """A message cannot be handed over now, and surely was not: `result` says why. It has no text."""

    def __init__(self, result: DispatchResult) -> None:
        super().__init__()
        self.result = result


class Binds:
    """See the module: the `Owner` of connections, and the `Keeper` of binds."""

    def __init__(
        self,
        settings: SmppSettings,
        connect_timeout: float,
        *,
        named: Callable[[bytes], str],
        read: Read,
        report: Report,
        jitter: Callable[[], float],
    ) -> None:
        """`named` gives the id, as it is kept, in the answer for what was taken; `jitter`, draws in [0, 1)."""
        self.named = named
        self._settings, self._connect_timeout = settings, connect_timeout
        self._read, self._report = read, report
        self._tls = ssl.create_default_context(cafile=settings.ca_file) if settings.tls else None
        self._names = NameResolver()
        self._pace = Pace(settings.submit_rate) if settings.submit_rate else None
        self._transmitting = _bind(settings.binds, self, jitter, _TRANSMITTING[settings.bind])
        receiving = _bind(settings.binds, self, jitter, Command.BIND_RECEIVER) if settings.bind == "pair" else []
        self._binds = [*self._transmitting, *receiving]
        self._up: list[Connection] = []
        self._waiters: deque[asyncio.Future[ConnectFailed | None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._deliveries: dict[Connection, Deliveries] = {}
        self._alone = asyncio.Lock()
        self._closed = False

    async def open(self) -> ProviderHealth:
        """Begin to keep the binds up. Returns once one can transmit, or none can, and then they are given up."""
        async with self._alone:
            if not self._tasks:
                loop = asyncio.get_running_loop()
                self._tasks = [loop.create_task(bind.run(), name="a bind") for bind in self._binds]
        try:
            await self._one_up()
        except BaseException as error:
            await self._stop()
            if isinstance(error, ConnectFailed):
                return error.health
            raise
        return ProviderHealth(ok=True)

    async def check(self) -> ProviderHealth:
        """Look whether a bind can be made, or is there."""
        async with self._alone:
            if not self._tasks:
                return await self._try()
        try:
            await self._one_up()
        except ConnectFailed as failure:
            return failure.health
        return ProviderHealth(ok=True)

    def renew(self, settings: SmppSettings) -> None:
        """Bind with these settings. What was handed over is waited for, on the binds that there are."""
        self._settings = settings
        for bind in self._binds:
            if bind.connection is not None:
                bind.connection.leave(settings.response_timeout)
            bind.try_now()

    async def close(self) -> None:
        """End all, in good order where that can be had soon."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        await self._stop()

    async def room(self, most: float | None = None) -> Connection:
        """Return a connection that takes a PDU, at once. `most` is for how many seconds it is waited for.

        Raises:
            NoRoom: there is none in time, or was none.
        """
        if self._pace is not None:
            await self._turn(self._pace, MAX_PACED if most is None else most)
        if not self._waiters and (found := self._pick()) is not None:
            return found
        if most is None:
            # A bind that is being left is made again once its answers are there.
            is_there = self._up or any(bind.connection is not None for bind in self._transmitting)
            most = self._settings.response_timeout if is_there else self._connect_timeout
        try:
            async with asyncio.timeout(most):
                return await self._wait_for_room(most)
        except TimeoutError:
            raise NoRoom(self._why_none()) from None

    # What connections and binds tell.

    def freed(self, connection: Connection) -> None:
        """See `Owner`."""
        self._wake()

    def delivered(self, connection: Connection, pdu: Pdu) -> None:
        """See `Owner`."""
        if (deliveries := self._deliveries.get(connection)) is None:
            deliveries = self._deliveries[connection] = Deliveries(connection, self._read, self._report)
            connection.gone.add_done_callback(lambda _: self._forget(connection))
        deliveries.add(pdu)

    def unavailable(self, connection: Connection) -> None:
        """See `Owner`."""
        if connection in self._up:
            self._up.remove(connection)

    def came_up(self, connection: Connection) -> None:
        """See `Keeper`."""
        if connection.settings is not self._settings:
            connection.leave()
        elif connection.is_bound and connection.role != Command.BIND_RECEIVER:
            self._up.append(connection)
            self._wake()

    def failed(self, bind: Bind) -> None:
        """See `Keeper`."""
        if (failure := self._failure()) is not None:
            while self._waiters:
                waiter = self._waiters.popleft()
                if not waiter.done():
                    waiter.set_result(failure)

    # How.

    async def _connect(self, role: Command) -> Connection:
        settings = self._settings
        connection = await Connection.open(settings, role, self, self._tls, self._names, self._connect_timeout)
        try:
            answer = await connection.bound
        except BaseException:
            connection.abort()
            raise
        if answer.lack or answer.status:
            connection.abort()
            raise _refused(answer)
        return connection

    async def _try(self) -> ProviderHealth:
        try:
            connection = await self._connect(_TRANSMITTING[self._settings.bind])
        except ConnectFailed as failure:
            return failure.health
        try:
            connection.leave()
            await asyncio.wait({connection.gone}, timeout=2 * LEAVE + _GRACE)
        finally:
            connection.abort()
        return ProviderHealth(ok=True)

    async def _one_up(self) -> None:
        """Return once a bind can transmit. Raises ConnectFailed where none can."""
        while not self._up:
            if self._hurry() and (failure := self._failure()) is not None:
                raise failure
            if (failure := await self._woken()) is not None:
                raise failure
        self._wake()  # whoever is next

    async def _wait_for_room(self, most: float) -> Connection:
        while True:
            if self._closed:
                raise NoRoom(_CLOSED)
            # Nobody waits for what is not tried in time.
            if not self._up and self._hurry() > most and (failure := self._failure()) is not None:
                raise NoRoom(failure.result)
            if (failure := await self._woken()) is not None:
                raise NoRoom(failure.result)
            if (found := self._pick()) is not None:
                return found

    async def _woken(self) -> ConnectFailed | None:
        """Return once there may be room, or with what all binds have come to."""
        waiter: asyncio.Future[ConnectFailed | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # another, in place of this one
            elif waiter in self._waiters:  # or room came for it, just as it gave up, and went to another
                self._waiters.remove(waiter)
            raise

    async def _turn(self, pace: Pace, most: float) -> None:
        loop = asyncio.get_running_loop()
        if (wait := pace.wait(loop.time())) > most:
            detail = "more is to be sent than submit_rate lets through"
            raise NoRoom(DispatchResult(Outcome.RATE_LIMITED, "", "submit_rate", detail, retry_after=wait))
        if (wait := pace.take(loop.time())) > 0:
            await asyncio.sleep(wait)

    def _pick(self) -> Connection | None:
        """The connection with the most room, if any has some."""
        best, most = None, 0
        for connection in self._up:
            if (room := connection.room) > most:
                best, most = connection, room
        return best

    def _wake(self) -> None:
        """Have as many go on as there is room for."""
        if not self._waiters:
            return
        room = sum(connection.room for connection in self._up)
        while room > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1

    def _hurry(self) -> float:
        """Have binds be made soon. Return in how many seconds the first is tried; 0 if one is."""
        return min(bind.hurry() for bind in self._transmitting)

    def _failure(self) -> ConnectFailed | None:
        """Why no bind can transmit, and none is being made; None otherwise."""
        if self._up or not all(bind.is_pausing for bind in self._transmitting):
            return None
        return next((bind.failure for bind in self._transmitting if bind.failure), None)

    def _why_none(self) -> DispatchResult:
        if self._up:
            return _FULL
        failures = [bind.failure for bind in self._transmitting if bind.failure]
        return failures[0].result if failures else _UNBOUND

    def _forget(self, connection: Connection) -> None:
        self._deliveries[connection].end(lambda: self._deliveries.pop(connection, None))

    async def _stop(self) -> None:
        connections = [bind.connection for bind in self._binds if bind.connection is not None]
        for task in self._tasks:
            task.cancel()
        for connection in connections:
            connection.leave()
        if connections:
            await asyncio.wait({one.gone for one in connections}, timeout=2 * LEAVE + _GRACE)
        for connection in connections:
            connection.abort()
        await cancel_pending(self._tasks)
        await cancel_pending([one.task for one in self._deliveries.values() if one.task is not None])
        self._tasks = []


_TRANSMITTING: Final = {"transceiver": Command.BIND_TRANSCEIVER, "pair": Command.BIND_TRANSMITTER}


def _bind(count: int, binds: Binds, jitter: Callable[[], float], role: Command) -> list[Bind]:
    return [Bind(partial(binds._connect, role), binds, jitter) for _ in range(count)]


def _refused(answer: Answer) -> ConnectFailed:
    """What has become of a connection whose request to be bound has this answer, which is no good one."""
    if answer.lack:
        return ConnectFailed(answer.lack, _UNANSWERED[answer.lack])
    meaning = bind_meaning_of(answer.status)
    return ConnectFailed(
        name_of(answer.status),
        meaning.detail,
        misconfigured=meaning.outcome is Outcome.MISCONFIGURED,
        throttled=meaning.outcome is Outcome.RATE_LIMITED,
    )

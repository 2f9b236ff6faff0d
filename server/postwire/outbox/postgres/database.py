"""The connections of a node to its database, and what becomes of them.

A write is never cancelled on the server: neither by a time-out of the driver's nor by the end of the task that asked
for it. Either would make visible what is not on the standby yet. So each runs in a task of its own, and a connection
that does not answer is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from postwire.core.errors import StoreUnavailable
from postwire.outbox.postgres.queries import QUERIES, Connection, Record

T = TypeVar("T")

WATCHDOG: Final = 5.0
"""Seconds after which a connection is cut that does not answer."""

CONNECT_TIME: Final = 5.0
"""Seconds that a new connection may take."""

RETRY: Final = 0.2
"""Seconds from one try to reach the database to the next."""

SESSION: Final[Mapping[str, str]] = {
    "application_name": "postwire",
    "plan_cache_mode": "force_generic_plan",
    "idle_in_transaction_session_timeout": "3s",
    "lock_timeout": "4s",
    "statement_timeout": "0",
    "synchronous_commit": "on",
    "jit": "off",
}
"""What every session has."""

LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # on a dead socket, too
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.PostgresIOError,
    asyncpg.InternalServerError,
)
"""What says something about the database, or the way to it. Anything else is our fault."""


class Lane(Enum):
    """What a connection is for: each has its own, so that none of it waits for the others."""

    WRITE = "write"
    CLAIM = "claim"
    HEARTBEAT = "heartbeat"
    READ = "read"
    CONTROL = "control"


class Database:
    """See the module. Every method raises `StoreUnavailable` where the database cannot be reached or does not answer; a
    write that did is unknown."""

    def __init__(self, url: str, password: str | None = None) -> None:
        self._url = url
        self._password = password
        self._connections: dict[Lane, Connection] = {}
        self._locks = {lane: asyncio.Lock() for lane in Lane}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: list[Callable[[bool], None]] = []
        self._up = asyncio.Event()
        self._up.set()
        self._probing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def available(self) -> bool:
        """See `Outbox.available`."""
        return self._up.is_set()

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        """See `Outbox.on_availability`."""
        self._listeners.append(listener)

    async def wait_available(self) -> None:
        """See `Outbox.wait_available`."""
        await self._up.wait()

    async def fetch(self, lane: Lane, query: str, *args: Any) -> list[Record]:
        """Run one statement, which is a transaction of its own, and return what it finds."""
        return await self._run(lane, lambda connection: connection.fetch(QUERIES[query], *args))

    async def transact(self, lane: Lane, work: Callable[[Connection], Awaitable[T]], *, one_moment: bool = False) -> T:
        """Do `work` in one transaction; `one_moment`: it reads, and sees all of it as it is at one moment."""

        async def run(connection: Connection) -> T:
            transaction = (
                connection.transaction(isolation="repeatable_read", readonly=True)
                if one_moment
                else connection.transaction()
            )
            async with transaction:
                return await work(connection)

        return await self._run(lane, run)

    async def use(self, lane: Lane, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` with a connection, in transactions that it begins itself."""
        return await self._run(lane, work)

    async def _run(self, lane: Lane, work: Callable[[Connection], Awaitable[T]]) -> T:
        task = asyncio.get_running_loop().create_task(self._work(lane, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _work(self, lane: Lane, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._locks[lane]:
            dog: asyncio.TimerHandle | None = None
            try:
                connection = await self._connection(lane)
                dog = asyncio.get_running_loop().call_later(WATCHDOG, self._cut, lane, connection)
                return await work(connection)
            except LOST:
                self._cut(lane, self._connections.get(lane))
                self._lost()
                raise StoreUnavailable from None
            finally:
                if dog:
                    dog.cancel()

    async def _connection(self, lane: Lane) -> Connection:
        if self._closed:
            raise StoreUnavailable
        connection = self._connections.get(lane)
        if connection is None or connection.is_closed():
            connection = await asyncpg.connect(
                self._url,
                password=self._password,
                timeout=CONNECT_TIME,
                server_settings=dict(SESSION),
                target_session_attrs=SessionAttribute.read_write,
            )
            self._connections[lane] = connection
            # Nothing is read that a standby may not have yet: see docs/adr/0043.
            await connection.execute(QUERIES["mark"])
        return connection

    def _cut(self, lane: Lane, connection: Connection | None) -> None:
        """Close the socket of a connection. No request to cancel is sent."""
        if connection:
            connection.terminate()
        if self._connections.get(lane) is connection:
            self._connections.pop(lane, None)

    def _lost(self) -> None:
        if self._up.is_set() and not self._closed:
            self._up.clear()
            self._probing = asyncio.get_running_loop().create_task(self._probe())
            for listener in self._listeners:
                listener(False)

    async def _probe(self) -> None:
        """Try until a write has passed."""
        while True:
            try:
                await self._work(Lane.CONTROL, lambda connection: connection.execute(QUERIES["mark"]))
                break
            except StoreUnavailable:
                await asyncio.sleep(RETRY)
        self._up.set()
        for listener in self._listeners:
            listener(True)

    async def close(self) -> None:
        """Finish what was started, as long as it is answered, and close."""
        self._closed = True
        if self._probing:
            self._probing.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in self._connections.values():
            connection.terminate()

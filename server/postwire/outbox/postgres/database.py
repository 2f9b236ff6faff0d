"""The connections of a node to its database, and what becomes of them.

A write is never cancelled on the server: neither by a time-out of the driver's nor by the end of the task that asked
for it. Either would make visible what is not on the standby yet. So each runs in a task of its own, and a connection
that does not answer is cut. What a cut leaves behind is a session of the server's that waits for the standby; so as
long as there is one, no connection is used for more: see docs/adr/0043.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

import asyncpg

from postwire.core.errors import StoreUnavailable
from postwire.outbox.postgres.connecting import BY_INDEX, ONE_BY_ONE, WRITING, Hosts
from postwire.outbox.postgres.queries import QUERIES, Connection, Record

T = TypeVar("T")

WATCHDOG: Final = 5.0
"""Seconds after which a connection is cut that does not answer."""

LONGEST_COMMIT: Final = 1.0
"""Seconds that a commit waits for a standby that is there."""

FIRST_PLANS: Final = 0.25
"""Seconds for which the first plans of a session are used; those that follow for twice as long, each time."""

LAST_PLANS: Final = 64.0
"""Seconds for which any are used at the most: some milliseconds of the server's every minute."""

RETRY: Final = 0.2
"""Seconds from one try to reach the database to the next."""

CONTENDED: Final = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError, asyncpg.SerializationError)
"""What says that others were in the way. The transaction is taken back, and nothing else is wrong."""

LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # on a dead socket, too
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.PostgresIOError,
    asyncpg.InternalServerError,
)
"""What says something about the database, or the way to it."""


class Contended(StoreUnavailable):
    """Others were in the way for too long. Nothing is kept, and it can be tried again at once."""


class Refused(Exception):
    """The database cannot do what it was asked to: our fault. It says what kind of fault, and none of the values."""


class _Stuck(Exception):
    """A session of ours waits for the standby, and one more would wait with it."""


class _NotSynced(Exception):
    """An operator has cancelled the wait for the standby: what was committed may be lost yet."""


class Lane(Enum):
    """What a connection is for: each has its own, so that none of it waits for the others."""

    WRITE = "write"
    CLAIM = "claim"
    HEARTBEAT = "heartbeat"
    READ = "read"
    CONTROL = "control"


_SETTINGS: Final[Mapping[Lane, Mapping[str, str]]] = {Lane.WRITE: WRITING, Lane.HEARTBEAT: BY_INDEX}


@dataclass(slots=True)
class _Line:
    """The connection of a lane, if there is one, and who waits for it. `losses` counts what went wrong; `is_marked`: it
    can be used. One of an earlier `term` than the database's is not used any more. `is_warned`: see `_NotSynced`. What
    it does is planned anew at `plan_time`, and then after twice the `pause` (s). `dog`: cuts it."""

    connection: Connection | None = None
    term: int = 0
    is_marked: bool = False
    is_warned: bool = False
    pause: float = 0.0
    plan_time: float = 0.0
    losses: int = 0
    dog: asyncio.TimerHandle | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Database:
    """See the module. Every method raises `StoreUnavailable` where the database cannot be reached or does not answer; a
    write that did is unknown."""

    def __init__(self, url: str, password: str | None = None, *, watchdog: float = WATCHDOG) -> None:
        self._hosts = Hosts(url, password)
        self._watchdog = watchdog
        self._lines = {lane: _Line() for lane in Lane}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: list[Callable[[bool], None]] = []
        self.greetings: list[str] = []
        """The names of statements that every new connection runs before it is used."""
        self._available = asyncio.Event()
        self._available.set()
        self._passes = True  # the last write did, as far as is known
        self._fenced = False
        self._term = 0  # one more whenever the database was lost
        self._probing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def available(self) -> bool:
        """See `Outbox.available`."""
        return self._available.is_set()

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        """See `Outbox.on_availability`."""
        self._listeners.append(listener)

    async def wait_available(self) -> None:
        """See `Outbox.wait_available`."""
        await self._available.wait()

    def use_password(self, password: str | None) -> None:
        """See `Hosts.use_password`."""
        self._hosts.use_password(password)

    def fence(self, fenced: bool) -> None:
        """Have nothing written of messages, and nothing taken, until the fence is taken down: the node has lost its
        lease. What keeps the lease is written all the same."""
        self._fenced = fenced
        self._set_available()

    async def fetch(self, lane: Lane, query: str, *args: Any) -> list[Record]:
        """Run one statement, which is a transaction of its own, and return what it finds."""
        return await self._run(lane, lambda connection: connection.fetch(QUERIES[query], *args))

    async def transact(
        self,
        lane: Lane,
        work: Callable[[Connection], Awaitable[T]],
        *,
        one_moment: bool = False,
        patience: float | None = None,
    ) -> T:
        """Do `work` in one transaction; `one_moment`: it reads, and sees all of it as it is at one moment. It is given
        up after `patience` seconds, or the few that are enough for what is usual."""

        async def run(connection: Connection) -> T:
            transaction = (
                connection.transaction(isolation="repeatable_read", readonly=True)
                if one_moment
                else connection.transaction()
            )
            async with transaction:
                return await work(connection)

        return await self._run(lane, run, patience)

    async def use(self, lane: Lane, work: Callable[[Connection], Awaitable[T]], *, patience: float | None = None) -> T:
        """Do `work` with a connection, in transactions that it begins itself."""
        return await self._run(lane, work, patience)

    async def close(self) -> None:
        """Finish what was started, as long as it is answered, and close."""
        self._closed = True
        self._available.clear()  # for good: nobody is to try again and again until it can commit
        if self._probing:
            self._probing.cancel()
        self._hurry()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for line in self._lines.values():
            self._cut(line)
        await asyncio.sleep(0)  # the sockets are closed in the next turn of the loop

    async def _run(
        self,
        lane: Lane,
        work: Callable[[Connection], Awaitable[T]],
        patience: float | None = None,
        *,
        probes: bool = False,
    ) -> T:
        """Do `work` in a task that nobody cancels."""
        if not probes and self._is_barred(lane):
            raise StoreUnavailable
        task = asyncio.get_running_loop().create_task(self._work(lane, work, patience or self._watchdog))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting any more who would look at it

    def _is_barred(self, lane: Lane) -> bool:
        """Whether nothing is to be done on a lane now. Reads are never barred."""
        if self._closed:
            return True
        if lane in (Lane.WRITE, Lane.CLAIM):
            return self._fenced or not self._passes
        return lane is not Lane.READ and not self._passes

    async def _work(self, lane: Lane, work: Callable[[Connection], Awaitable[T]], patience: float) -> T:
        line = self._lines[lane]
        losses = line.losses
        async with line.lock:
            if line.losses != losses:  # whoever waited for an answer waited long enough
                raise StoreUnavailable
            try:
                connection = await self._connected(lane, line)
                line.dog = asyncio.get_running_loop().call_later(patience, connection.terminate)
                if self._closed:
                    self._hurry()
                if not line.is_marked:
                    await self._mark(connection)
                    line.is_marked = True
                await self._plan(line, connection)
                result = await work(connection)
                if line.is_warned:
                    raise _NotSynced
                return result
            except CONTENDED:
                raise Contended from None
            except _Stuck:
                self._lose(lane)
                raise StoreUnavailable from None
            except (*LOST, _NotSynced) as error:
                if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
                    raise Refused(_kind(error)) from None  # a value that is none of its type
                self._cut(line)
                self._lose(lane)
                raise StoreUnavailable from None
            except asyncpg.PostgresError as error:
                raise Refused(_kind(error)) from None
            finally:
                if line.dog:
                    line.dog.cancel()
                line.dog = None

    async def _connected(self, lane: Lane, line: _Line) -> Connection:
        is_old = line.term != self._term and lane is not Lane.READ  # that is tried for as long as it answers
        if line.connection and (is_old or line.connection.is_closed()):
            self._cut(line)
        if line.connection is None:
            line.term = self._term
            line.connection = await self._hosts.connect(_SETTINGS.get(lane, ONE_BY_ONE))
            line.pause, line.plan_time = FIRST_PLANS, 0.0
            line.connection.add_log_listener(lambda _, message: _note(line, message))
        return line.connection

    async def _mark(self, connection: Connection) -> None:
        """Have all that a connection may read be where a commit has to be: nothing is read from it before."""
        if await connection.fetchval(QUERIES["stuck"], min(self._watchdog / 2, LONGEST_COMMIT)):
            raise _Stuck
        await connection.execute(QUERIES["mark"])
        for greeting in self.greetings:
            await connection.execute(QUERIES[greeting])

    async def _plan(self, line: _Line, connection: Connection) -> None:
        """Now and then, have what comes next be planned anew: a plan is for tables as large as they were, and the first
        ones were made while they may have been empty."""
        now = asyncio.get_running_loop().time()
        if not line.plan_time:
            line.plan_time = now + line.pause
        elif now >= line.plan_time:
            await connection.execute("DISCARD PLANS")
            line.pause = min(2 * line.pause, LAST_PLANS)
            line.plan_time = now + line.pause

    def _cut(self, line: _Line) -> None:
        """Close the socket of a connection. No request to cancel is sent."""
        if line.connection:
            line.connection.terminate()
        line.connection, line.is_marked, line.is_warned = None, False, False

    def _lose(self, lane: Lane) -> None:
        """A lane is of no use now. Where it is one for writes, nothing is written until a write has passed."""
        self._lines[lane].losses += 1
        if lane is Lane.READ or self._closed:
            return
        if self._passes:
            self._passes = False
            self._term += 1
            self._hurry()
            self._set_available()
        if self._probing is None:
            self._probing = asyncio.get_running_loop().create_task(self._probe())

    def _hurry(self) -> None:
        """Give up soon what may take long: nobody is to wait for an answer that may never come."""
        loop = asyncio.get_running_loop()
        for line in self._lines.values():
            if line.connection and line.dog and line.dog.when() > loop.time() + self._watchdog:
                line.dog.cancel()
                line.dog = loop.call_later(self._watchdog, line.connection.terminate)

    async def _probe(self) -> None:
        """Try until a write has passed."""
        while not self._passes:
            try:
                await self._run(Lane.HEARTBEAT, _nothing, probes=True)  # its connection is new, and marked by that
                self._passes = True
            except Exception:  # unavailable, or refused: who operates it may mend that as well
                await asyncio.sleep(RETRY)
        self._probing = None
        self._set_available()

    def _set_available(self) -> None:
        available = self._passes and not self._fenced
        if self._closed or available == self._available.is_set():
            return
        if available:
            self._available.set()
        else:
            self._available.clear()
        for listener in self._listeners:
            try:
                listener(available)
            except Exception as error:  # it keeps nothing from the others
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a listener of the store failed", "exception": error}
                )


async def _nothing(_: Connection) -> None:
    """What there is to do for who only asks whether a write passes."""


def _note(line: _Line, message: object) -> None:
    """Look at a notice of the server's. Its text comes in many languages, so any general warning counts."""
    if getattr(message, "sqlstate", None) == asyncpg.PostgresWarning.sqlstate:
        line.is_warned = True


def _kind(error: Exception) -> str:
    """What kind of fault it is. Its text has values in it, which may be somebody's."""
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {state}" if state else type(error).__name__

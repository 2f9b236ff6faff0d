"""Group commit: one batch travels at a time, and takes all that has come since the one before.

A commit costs an fsync, here and on a standby, and the way there and back. So writes wait while a batch is under way,
and the next one takes them all: first the changes, by one statement, then the accepts, by another. Each is a commit.

Changes of one message are kept in the order in which they came, one after the other. One whose message somebody else
has locked for long is put aside, with those that come after it, and is looked at again and again: the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from postwire.core.errors import StoreUnavailable
from postwire.outbox.operations import Future
from postwire.outbox.pacing import Pace
from postwire.outbox.postgres.accepting import run_accepts
from postwire.outbox.postgres.changes import run_changes
from postwire.outbox.postgres.database import Contended, Lane
from postwire.outbox.postgres.operations import Accept, Change, Operation
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import Connection

MAX_MESSAGES: Final = 1_000
"""How many messages one batch is about, if it has more than one operation: they take a fraction of a second."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""How large the contents in one batch are in all, if it has more than one operation."""

TRIES: Final = 12
"""How often a batch is tried that others were in the way of: each time for as long as `connecting.WRITING` says."""

PATIENCE: Final = 12.0
"""Seconds after which a change fails whose message somebody else has locked."""

LOOK: Final = 0.1
"""Seconds from one look at what is put aside to the next."""

Some = TypeVar("Some", Accept, Change)


class Writer:
    """Writes what is submitted. It is the only one that uses the lane for writes."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._loop = asyncio.get_running_loop()
        self._pending: list[Operation] = []
        self._pace = Pace()
        self._gathering = False  # a batch is under way, or about to be
        self._aside: list[Change] = []
        self._look: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def submit(self, operation: Operation) -> Future:
        """Have an operation done; its future is set once that is committed."""
        if self._closing or not self._part.database.available:
            operation.future.set_exception(StoreUnavailable())
            return operation.future
        self._pending.append(operation)
        self._wake()
        return operation.future

    def _wake(self) -> None:
        if not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._gather)

    async def close(self) -> None:
        """Commit what was submitted."""
        self._closing = True
        while self._gathering or self._aside:
            await asyncio.sleep(0 if self._gathering else LOOK)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _gather(self) -> None:
        """Begin a batch, once it is to wait no longer."""
        delay = None if self._closing else self._pace.look(len(self._pending))
        if delay is None:
            self._begin()
        elif delay:
            self._loop.call_later(delay, self._gather)
        else:
            self._loop.call_soon(self._gather)

    def _begin(self) -> None:
        batch = self._next_batch()
        self._pace.gone(len(batch))
        self._gathering = bool(batch)
        if batch:
            task = self._loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next_batch(self) -> Sequence[Operation]:
        if self._aside and self._look is None:  # it is time
            self._pending[:0] = self._aside
            self._aside.clear()
        taken = messages = size = 0
        for one in self._pending:
            messages += one.count
            size += one.size
            if taken and (messages > MAX_MESSAGES or size > MAX_BYTES):
                break
            taken += 1
        batch, self._pending = self._pending[:taken], self._pending[taken:]
        return batch

    async def _run(self, batch: Sequence[Operation]) -> None:
        for operation in batch:  # unless it gets another result
            operation.result = StoreUnavailable()
        try:
            await self._run_changes([one for one in batch if isinstance(one, Change)])
            if accepts := [one for one in batch if isinstance(one, Accept)]:
                await self._commit(accepts, self._accept)
        finally:
            for operation in batch:
                if operation not in self._aside:
                    _settle(operation)
            if self._aside and self._look is None:
                self._look = self._loop.call_later(LOOK, self._look_again)
            self._loop.call_soon(self._gather)

    def _look_again(self) -> None:
        self._look = None
        self._wake()

    async def _run_changes(self, changes: Sequence[Change]) -> None:
        try:
            left = self._put_aside(changes, await self._locked([one for one in changes if one.give_up is not None]))
            while left:
                now, left = _of_different_messages(left)
                tries = TRIES
                while now and tries:
                    tries -= 1
                    if await self._commit(now, run_changes, tries=1) is None:
                        break
                    now = self._put_aside(now, await self._locked(now))
                left = self._put_aside(left, frozenset())
        except StoreUnavailable:
            pass  # as is said of all that have no other result

    async def _locked(self, changes: Sequence[Change]) -> frozenset[str]:
        """The messages among those of changes that somebody else has locked."""
        ids = sorted(message_id for one in changes for message_id in one.message_ids)
        if not ids:
            return frozenset()
        found = await self._part.database.fetch(Lane.WRITE, "locked_by_others", ids)
        return frozenset(str(one["message_id"]) for one in found)

    def _put_aside(self, changes: Sequence[Change], locked: frozenset[str]) -> list[Change]:
        """Put changes aside whose messages are locked, or have a change there. Return the others."""
        ids = locked.union(*(one.message_ids for one in self._aside))
        if not ids:
            return list(changes)
        others = []
        for one in changes:
            if ids.isdisjoint(one.message_ids):
                others.append(one)
            elif one.give_up is not None and self._loop.time() >= one.give_up:
                one.result = Contended()
            else:
                if one.give_up is None:
                    one.give_up = self._loop.time() + PATIENCE
                self._aside.append(one)
                ids |= one.message_ids
        return others

    async def _accept(self, connection: Connection, part: Part, operations: Sequence[Accept]) -> None:
        await run_accepts(connection, part, [new for one in operations for new in one.news])
        for one in operations:
            one.result = [new.result for new in one.news] if one.several else one.news[0].result

    async def _commit(
        self,
        operations: Sequence[Some],
        function: Callable[[Connection, Part, Sequence[Some]], Awaitable[None]],
        tries: int = TRIES,
    ) -> Contended | None:
        """Do operations together; where one of them is at fault, in two halves. Each has its result then. Returns why
        they have none of their own, where others were in the way each time."""
        try:
            await self._part.database.use(Lane.WRITE, lambda connection: function(connection, self._part, operations))
        except Contended as error:
            if tries > 1:
                return await self._commit(operations, function, tries - 1)
            _fail(operations, error)
            return error
        except StoreUnavailable as error:
            _fail(operations, error)
        except Exception as error:
            if len(operations) > 1:
                middle = len(operations) // 2
                for some in (operations[:middle], operations[middle:]):
                    await self._commit(some, function)
            else:
                _fail(operations, error)
        return None


def _of_different_messages(changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    """Those that can be kept together, and those that have to come after them."""
    first: list[Change] = []
    later: list[Change] = []
    seen: set[str] = set()
    for one in changes:
        (first if seen.isdisjoint(one.message_ids) else later).append(one)
        seen |= one.message_ids
    return first, later


def _fail(operations: Sequence[Operation], error: Exception) -> None:
    for operation in operations:
        operation.result = error


def _settle(operation: Operation) -> None:
    if operation.future.done():  # the one who waited was cancelled
        return
    if isinstance(operation.result, BaseException):
        operation.future.set_exception(operation.result)
    else:
        operation.future.set_result(operation.result)

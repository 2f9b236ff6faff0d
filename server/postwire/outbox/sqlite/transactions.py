"""Transactions of many operations: begun and committed on either of two threads, and taken apart where one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import apsw

from postwire.core.errors import StoreUnavailable
from postwire.outbox.operations import Future
from postwire.outbox.sqlite.queries import QUERIES
from postwire.outbox.sqlite.schema import without_waiting


class Operation(Protocol):
    """Something to be done in a transaction, with others."""

    future: Future
    result: object


class Batch(Protocol):
    """Does the operations of one transaction, and leaves each one's result in it: a value, or an exception to raise."""

    def __call__(self, connection: apsw.Connection, operations: Sequence[Operation]) -> None:
        """Run inside a transaction, more than once where the first fails. Raises whatever makes the transaction
        fail."""
        ...

    def is_light(self, connection: apsw.Connection, operations: Sequence[Operation]) -> bool:
        """Whether they take so little time that the event loop can do without it. Changes nothing."""
        ...


STORE_FAULTS: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
    apsw.PermissionsError,
    apsw.ProtocolError,
)
"""What says something about the store. Anything else is the fault of one operation."""


class Transactions:
    """Those of the writing connection. One is under way at a time, on one thread at a time."""

    def __init__(self, connection: apsw.Connection, batch: Batch, on_commit: Callable[[], object]) -> None:
        """`on_commit` is called after each commit of a batch, or of an operation done by itself."""
        self._connection = connection
        self._batch = batch
        self._on_commit = on_commit

    @property
    def pages_read(self) -> int:
        """How many pages were read from the file so far, since SQLite's cache had them not."""
        return self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0]

    def begin(self, operations: Sequence[Operation]) -> bool:
        """Begin the transaction of a batch that is light, which is to be committed next, or taken back. False where it
        is for `commit` to begin it: it is not light, the store is in use, or something is wrong, which `commit` will
        meet again."""
        try:
            if not self._batch.is_light(self._connection, operations):
                return False
            with without_waiting(self._connection):
                self._connection.execute(QUERIES["begin"])
            self._batch(self._connection, operations)
        except Exception:
            self.take_back()
            return False
        return True

    def commit(self, operations: Sequence[Operation], *, is_begun: bool = False) -> bool:
        """Do the operations in one transaction; if it `is_begun`, do the rest of it. Each has its result then. False
        where the store is at fault."""
        try:
            self._transact(None if is_begun else lambda: self._batch(self._connection, operations))
            self._on_commit()
        except STORE_FAULTS:
            refuse(operations)
            return False
        except Exception as error:  # one operation's fault: it must not take the others with it
            if len(operations) > 1:
                return self._commit_singly(operations)
            # A future takes no StopIteration.
            operations[0].result = RuntimeError("stopped") if isinstance(error, StopIteration) else error
        return True

    def _commit_singly(self, operations: Sequence[Operation]) -> bool:
        for index, operation in enumerate(operations):
            if not self.commit([operation]):
                refuse(operations[index + 1 :])
                return False
        return True

    def probe(self) -> bool:
        """Whether the store can commit."""
        try:
            self._transact(lambda: self._connection.execute(QUERIES["touch_marker"]))
        except apsw.Error:
            return False
        return True

    def take_back(self) -> None:
        """Take back what was begun and not committed."""
        if self._connection.in_transaction:
            with suppress(apsw.Error):
                self._connection.execute(QUERIES["rollback"])

    def _transact(self, work: Callable[[], object] | None) -> None:
        """One transaction: of `work`, or the one that is begun."""
        execute = self._connection.execute
        if work:
            execute(QUERIES["begin"])
        try:
            if work:
                work()
            execute(QUERIES["commit"])
        except BaseException:
            if self._connection.in_transaction:
                execute(QUERIES["rollback"])
            raise


def refuse(operations: Sequence[Operation]) -> None:
    """Have the store be unavailable for them."""
    for operation in operations:
        operation.result = StoreUnavailable()

"""Group commit: one thread that owns the writing connection, and one commit for all that wait.

SQLite has one writer, and a durable commit costs an fsync. So writes wait while a commit is under way, and the next one
takes them all. Handing work between threads costs as much as the work, so one batch travels at a time: it goes out when
the batch before has come back and those who waited for that have had their turn, since most of them write again. Its
statements are run on the loop where they are few, and the thread commits: that is what waits for the disk.

A commit that failed in its fsync may still turn up after a restart, and the disk that failed once is not to be trusted
(Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). After any failure the store is
unavailable until a marker transaction has committed, which also overwrites what the failed one left in the log.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import apsw

from postwire.core.errors import StoreUnavailable
from postwire.outbox.operations import Future
from postwire.outbox.pacing import Pace
from postwire.outbox.sqlite.transactions import Batch, Operation, Transactions, refuse

PROBE_INTERVAL: Final = 0.5
"""Seconds between two attempts to find out whether the store can commit again."""

CHECK_INTERVAL: Final = 1.0
"""Seconds between two looks at whether the file is still in its place, where nothing is written. With writes there is
one after each commit, before its result is reported."""

LOOP_TIME: Final = 0.005
"""Seconds that the statements of a batch may take on the event loop. Where they take longer and have read from the
file, it is on a disk that is slow to read, and the batches that follow are left to the thread for a while."""

LOOP_READS: Final = 4
"""How many pages they may read all the same: a busy machine makes a batch slow as well, and the thread is no remedy."""

LOOP_PAUSE: Final = 64
"""How many batches such a while is. The next one is twice as long, where the disk is still as slow after it."""

LONGEST_PAUSE: Final = 64 * LOOP_PAUSE


@dataclass(slots=True, eq=False)
class _Between:
    """Something to be done outside of a transaction."""

    function: Callable[[apsw.Connection], object]
    future: Future
    result: object = None


@dataclass(frozen=True, slots=True)
class _Given:
    """A batch for the thread, whose transaction `is_begun` and is only to be committed, or is all to be done."""

    operations: Sequence[Operation]
    is_begun: bool


class Writer:
    """The writing thread. All of its methods are for the event loop's thread."""

    def __init__(
        self,
        connection: apsw.Connection,
        batch: Batch,
        on_commit: Callable[[], object] = lambda: None,
        on_reported: Callable[[], object] = lambda: None,
        *,
        is_in_place: Callable[[], bool] | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`on_commit` is called on the writing thread after each commit of a batch, or of an operation done by itself;
        `on_reported` on the loop, once the results of a batch have been reported. `is_in_place` returns, on the writing
        thread, whether the store's file is still at its path: where it is not, the store is gone for good.
        """
        self._connection = connection
        self._transactions = Transactions(connection, batch, on_commit)
        self._on_reported = on_reported
        self._is_in_place = is_in_place
        self._loop = asyncio.get_running_loop()
        self._pending: list[Operation] = []
        self._under_way = False  # a batch is on the thread, or about to be
        self._betweens = 0  # how much is to be done between two transactions
        self._pace = Pace()
        self._now = now
        self._left_to_thread = 0  # how many of the next batches are not begun on the loop
        self._pause = LOOP_PAUSE
        self._queue: queue.SimpleQueue[_Given | _Between | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="postwire-writer", daemon=True)
        self._listeners: list[Callable[[bool], None]] = []
        self._gone_listeners: list[Callable[[], None]] = []
        self._is_gone = False
        self._available = asyncio.Event()
        self._available.set()
        self._closing = False
        self._thread.start()

    @property
    def available(self) -> bool:
        """Whether the last commit went well."""
        return self._available.is_set()

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        """Have `listener` called whenever `available` changes."""
        self._listeners.append(listener)

    @property
    def is_gone(self) -> bool:
        """Whether the file was moved away or replaced."""
        return self._is_gone

    def on_gone(self, listener: Callable[[], None]) -> None:
        """Have `listener` called once it is gone."""
        self._gone_listeners.append(listener)

    async def wait_available(self) -> None:
        """Return once the store can commit."""
        await self._available.wait()

    def submit(self, operation: Operation) -> Future:
        """Have an operation done; its future is set once the commit that holds it is on disk."""
        if self._closing or not self._available.is_set():
            operation.future.set_exception(StoreUnavailable())
            return operation.future
        self._pending.append(operation)
        if not self._under_way:
            self._under_way = True
            self._loop.call_soon(self._gather)
        return operation.future

    def run_between(self, function: Callable[[apsw.Connection], object]) -> Future:
        """Have something done on the writing thread between two transactions, which wait for it: it has to be short.

        A failure of the store in it is `StoreUnavailable` for the caller, and says nothing about commits.
        """
        between = _Between(function, self._loop.create_future())
        if self._closing or not self._available.is_set():
            between.future.set_exception(StoreUnavailable())
        else:
            self._betweens += 1
            self._queue.put(between)
        return between.future

    async def close(self) -> None:
        """Commit what was submitted, and end the thread. The connection stays open."""
        self._closing = True
        self._available.clear()  # for good: nobody is to try again and again until it can commit
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _gather(self) -> None:
        """Hand over what waits, once it is to wait no longer."""
        if (delay := self._pace.look(len(self._pending))) is None:
            self._hand_over()
        elif delay:
            self._loop.call_later(delay, self._gather)
        else:
            self._loop.call_soon(self._gather)

    def _hand_over(self) -> None:
        operations, self._pending = self._pending, []
        self._pace.gone(len(operations))
        self._under_way = bool(operations)
        if operations:
            self._queue.put(_Given(operations, self._begin(operations)))

    def _begin(self, operations: Sequence[Operation]) -> bool:
        """Run the statements of a batch here, if they are few; else the thread does.

        On the thread each of them gives up the interpreter's lock and has to win it back from a loop that is busy. The
        connection is nobody else's now: no batch is under way, and the thread uses it for what it was given alone.
        """
        if self._left_to_thread:
            self._left_to_thread -= 1
            return False
        if self._betweens or not self._available.is_set():
            return False
        begun, reads = self._now(), self._transactions.pages_read
        is_begun = self._transactions.begin(operations)
        if self._now() - begun > LOOP_TIME and self._transactions.pages_read - reads > LOOP_READS:
            self._left_to_thread = self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        else:
            self._pause = LOOP_PAUSE
        return is_begun

    def _finish(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            _settle(operation)
        self._on_reported()
        self._loop.call_soon(self._gather)

    def _run(self) -> None:
        failed = gone = False
        while True:
            try:
                given = self._queue.get(timeout=self._patience(failed, gone))
            except queue.Empty:
                if gone := self._has_gone():
                    failed = True
                elif failed and self._transactions.probe():
                    failed = False
                    self._report_result(self._set_available, True)
                continue
            if given is None:
                return
            if isinstance(given, _Between):
                self._run_aside(given, failed)
                continue
            if failed:
                self._transactions.take_back()
                refuse(given.operations)
            else:
                if failed := not self._transactions.commit(given.operations, is_begun=given.is_begun):
                    self._report_result(self._set_available, False)
                if gone := self._has_gone():
                    failed = True
                    refuse(given.operations)
            self._report_result(self._finish, given.operations)

    def _patience(self, failed: bool, gone: bool) -> float | None:
        """How long (s) to wait for something to write before looking after the store itself."""
        if gone:
            return None
        if failed:
            return PROBE_INTERVAL
        return CHECK_INTERVAL if self._is_in_place else None

    def _has_gone(self) -> bool:
        if self._is_in_place is None or self._is_in_place():
            return False
        self._report_result(self._set_gone)
        return True

    def _run_aside(self, between: _Between, failed: bool) -> None:
        try:
            between.result = StoreUnavailable() if failed else between.function(self._connection)
        except apsw.Error:
            between.result = StoreUnavailable()
        except Exception as error:
            between.result = error
        self._report_result(self._end_between, between)

    def _report_result(self, callback: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear of it
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _end_between(self, between: _Between) -> None:
        self._betweens -= 1
        _settle(between)

    def _set_available(self, available: bool) -> None:
        if available == self._available.is_set():
            return
        if available:
            self._available.set()
        else:
            self._available.clear()
        for listener in self._listeners:
            self._notify(listener, available)

    def _set_gone(self) -> None:
        self._is_gone = True
        self._set_available(False)
        for listener in self._gone_listeners:
            self._notify(listener)

    def _notify(self, listener: Callable[..., None], *arguments: object) -> None:
        try:
            listener(*arguments)
        except Exception as error:  # it keeps nothing from the others
            self._loop.call_exception_handler({"message": "a listener of the store failed", "exception": error})


def _settle(operation: Operation) -> None:
    if operation.future.done():  # the one who waited was cancelled
        return
    if isinstance(operation.result, BaseException):
        operation.future.set_exception(operation.result)
    else:
        operation.future.set_result(operation.result)

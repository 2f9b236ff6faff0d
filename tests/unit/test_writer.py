"""The writing thread by itself, on a store of one table: shared commits, and what happens when it cannot commit.

The faults are real ones: a store at its page limit, an fsync that fails. What becomes of an outbox then is in
`test_writer_outbox`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from postwire.core.errors import StoreUnavailable
from postwire.outbox.sqlite import writer as writer_module
from postwire.outbox.sqlite.transactions import Operation
from postwire.outbox.sqlite.writer import LOOP_PAUSE, LOOP_READS, LOOP_TIME, Writer


@pytest.fixture(autouse=True)
def _probe_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "PROBE_INTERVAL", 0.005)


async def settle(*writes: Any) -> list[Any]:
    return await asyncio.gather(*writes, return_exceptions=True)


@dataclass(eq=False)
class Step:
    """One operation: what it does in the transaction."""

    do: Callable[[apsw.Connection], object]
    future: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    result: object = None


class Batches:
    """Runs steps, and notes the transactions they came in: how many there were, and on which thread."""

    def __init__(self, *, light: bool) -> None:
        self.light = light
        self.sizes: list[int] = []
        self.threads: list[str] = []

    def is_light(self, _: apsw.Connection, operations: Sequence[Operation]) -> bool:
        return self.light

    def __call__(self, connection: apsw.Connection, operations: Sequence[Operation]) -> None:
        self.sizes.append(len(operations))
        self.threads.append(threading.current_thread().name)
        for operation in operations:
            assert isinstance(operation, Step)
            operation.result = operation.do(connection)


def insert(text: str) -> Callable[[apsw.Connection], object]:
    return lambda connection: connection.execute("INSERT INTO t VALUES (?)", (text,)).fetchall()


def fail(_: apsw.Connection) -> object:
    raise KeyError("one operation's own fault")


def prepared(connection: apsw.Connection) -> apsw.Connection:
    connection.execute(
        "CREATE TABLE t (text); CREATE TABLE marker (id INTEGER PRIMARY KEY, value); INSERT INTO marker VALUES (1, 0)"
    )
    return connection


@pytest.fixture(params=[True, False], ids=["light", "not light"])
async def batches(request: pytest.FixtureRequest) -> Batches:
    return Batches(light=request.param)


@pytest.fixture
async def connection() -> AsyncIterator[apsw.Connection]:
    made = prepared(apsw.Connection(":memory:"))
    yield made
    made.close()


@pytest.fixture
async def thread(connection: apsw.Connection, batches: Batches) -> AsyncIterator[Writer]:
    made = Writer(connection, batches)
    yield made
    await made.close()


def texts(connection: apsw.Connection) -> list[str]:
    return [str(text) for (text,) in connection.execute("SELECT text FROM t").fetchall()]


async def test_what_is_submitted_in_one_turn_shares_one_commit(
    thread: Writer, batches: Batches, connection: apsw.Connection
) -> None:
    await asyncio.gather(*(thread.submit(Step(insert(str(i)))) for i in range(100)))
    assert batches.sizes == [100]
    assert texts(connection) == [str(i) for i in range(100)], "in the order of submission"


async def test_what_comes_during_a_commit_shares_the_next(thread: Writer, batches: Batches) -> None:
    batches.light = False  # it is held up in a statement
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: apsw.Connection) -> None:
        begun.set()
        go_on.wait()

    first = thread.submit(Step(slow))
    await asyncio.to_thread(begun.wait)
    later = []
    for i in range(5):
        later.append(thread.submit(Step(insert(str(i)))))
        await asyncio.sleep(0)  # each in a turn of its own
    go_on.set()
    await asyncio.gather(first, *later)
    assert batches.sizes == [1, 5]


async def test_one_that_cannot_be_done_fails_alone(thread: Writer, connection: apsw.Connection) -> None:
    steps = [insert("a"), fail, insert("b"), lambda c: c.execute("no SQL"), insert("c")]
    verdicts = await settle(*(thread.submit(Step(step)) for step in steps))
    assert [type(one) for one in verdicts] == [list, KeyError, list, apsw.SQLError, list]
    assert texts(connection) == ["a", "b", "c"], "none of them twice"
    assert thread.available


async def test_one_whose_waiter_has_gone_is_done_all_the_same(thread: Writer, connection: apsw.Connection) -> None:
    gone, stays = Step(insert("gone")), Step(insert("stays"))
    thread.submit(gone)
    thread.submit(stays)
    gone.future.cancel()
    await stays.future
    assert texts(connection) == ["gone", "stays"]


async def test_a_store_that_is_full_is_away_and_comes_back(connection: apsw.Connection, batches: Batches) -> None:
    heard: list[bool] = []
    made = Writer(connection, batches)
    made.on_availability(heard.append)

    def full(database: apsw.Connection) -> None:
        database.pragma("max_page_count", 1)  # as small as it is: any new page is one too many
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")

    with pytest.raises(StoreUnavailable):
        await made.submit(Step(full))
    await made.wait_available()
    await made.submit(Step(lambda database: database.pragma("max_page_count", 1_000_000)))
    await made.submit(Step(insert("after")))
    assert heard == [False, True]
    assert texts(connection) == ["after"]
    await made.close()


async def test_a_store_at_fault_takes_the_whole_batch_with_it_but_is_told_once(
    connection: apsw.Connection, batches: Batches
) -> None:
    heard: list[bool] = []
    made = Writer(connection, batches)
    made.on_availability(heard.append)

    def broken(_: apsw.Connection) -> None:
        raise apsw.IOError("disk I/O error")

    verdicts = await settle(*(made.submit(Step(step)) for step in (insert("a"), broken, insert("b"))))
    assert [type(one) for one in verdicts] == [StoreUnavailable] * 3
    await made.wait_available()
    assert heard == [False, True]
    assert texts(connection) == []
    await made.close()


async def test_what_was_committed_is_noted_and_what_was_not_is_not(
    connection: apsw.Connection, batches: Batches
) -> None:
    heard: list[str] = []
    made = Writer(connection, batches, lambda: heard.append("commit"), lambda: heard.append("reported"))

    def broken(_: apsw.Connection) -> None:
        raise apsw.IOError("disk I/O error")

    async def hear(*steps: Callable[[apsw.Connection], object]) -> list[str]:
        heard.clear()
        await settle(*(made.submit(Step(step)) for step in steps))
        return heard

    assert await hear(insert("a"), insert("b")) == ["commit", "reported"]
    assert await hear(insert("a"), fail, insert("b")) == ["commit", "commit", "reported"], "each of two by itself"
    assert await hear(fail) == ["reported"]
    assert await hear(insert("a"), broken) == ["reported"], "a store at fault takes all of it back"
    await made.wait_available()
    assert heard == ["reported"], "a probe is nobody's commit"
    await made.close()


class BadDisk(apsw.VFS):
    """A disk whose fsync fails while `broken`, as the operating system reports it."""

    def __init__(self) -> None:
        self.broken = False
        self.syncs = 0
        self._loop = asyncio.get_running_loop()
        self._synced = asyncio.Event()
        super().__init__("bad-disk", "")

    def sync(self) -> None:
        self.syncs += 1
        self._loop.call_soon_threadsafe(self._synced.set)
        if self.broken:
            raise apsw.IOError("disk I/O error")

    async def reached(self, syncs: int) -> None:
        while self.syncs < syncs:
            self._synced.clear()
            await self._synced.wait()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return BadFile(self, name, flags)


class BadFile(apsw.VFSFile):
    def __init__(self, disk: BadDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:
        self._disk.sync()
        super().xSync(flags)


@pytest.fixture
async def bad_disk() -> AsyncIterator[BadDisk]:
    made = BadDisk()
    yield made
    made.unregister()


async def test_an_fsync_that_fails_is_a_commit_that_failed(tmp_path: Path, bad_disk: BadDisk, batches: Batches) -> None:
    database = prepared(apsw.Connection(str(tmp_path / "t.db"), vfs="bad-disk"))
    made = Writer(database, batches)
    heard: list[bool] = []
    made.on_availability(heard.append)
    await made.submit(Step(insert("before")))
    bad_disk.broken = True
    with pytest.raises(StoreUnavailable):
        await made.submit(Step(insert("unknown")))
    assert heard == [False]
    tried = bad_disk.syncs
    bad_disk.broken = False
    await made.wait_available()
    assert bad_disk.syncs > tried, "a marker was committed before it was called available"
    assert database.pragma("integrity_check") == "ok"
    await made.submit(Step(insert("after")))
    assert texts(database)[0] == "before"
    assert texts(database)[-1] == "after"
    await made.close()
    database.close()


async def test_the_store_stays_away_for_as_long_as_the_marker_fails(
    tmp_path: Path, bad_disk: BadDisk, batches: Batches
) -> None:
    database = prepared(apsw.Connection(str(tmp_path / "t.db"), vfs="bad-disk"))
    made = Writer(database, batches)
    bad_disk.broken = True
    with pytest.raises(StoreUnavailable):
        await made.submit(Step(insert("a")))
    tried = bad_disk.syncs
    await bad_disk.reached(tried + 3)  # a probe each, and each has failed
    assert not made.available
    bad_disk.broken = False
    await made.wait_available()
    await made.close()
    database.close()


WRITER = "postwire-writer"
LOOP = threading.main_thread().name


async def test_only_the_commit_of_a_light_batch_is_left_to_the_thread(
    connection: apsw.Connection, batches: Batches
) -> None:
    committed: list[str] = []
    made = Writer(connection, batches, lambda: committed.append(threading.current_thread().name))
    await made.submit(Step(insert("a")))
    assert batches.threads == [LOOP if batches.light else WRITER]
    assert committed == [WRITER]
    await made.close()


async def test_a_batch_that_fails_on_the_loop_is_done_again_on_the_thread(
    thread: Writer, batches: Batches, connection: apsw.Connection
) -> None:
    batches.light = True
    await settle(thread.submit(Step(insert("a"))), thread.submit(Step(fail)))
    assert batches.threads == [LOOP, WRITER, WRITER, WRITER], "all of it, and then each by itself"
    assert texts(connection) == ["a"], "nothing of the first is left"


@pytest.mark.parametrize("pages", [LOOP_READS, LOOP_READS + 1])
async def test_after_statements_that_waited_for_the_disk_those_that_follow_are_left_to_the_thread(
    tmp_path: Path, pages: int
) -> None:
    path = str(tmp_path / "t.db")
    prepared(apsw.Connection(path)).execute("CREATE TABLE pages (bytes)")
    other = apsw.Connection(path)
    other.executemany("INSERT INTO pages VALUES (zeroblob(4000))", [()] * 100)
    other.close()
    database = apsw.Connection(path)
    texts(database)
    time = took = 0.0
    batches = Batches(light=True)

    def now() -> float:
        nonlocal time
        time += took
        return time

    def read(connection: apsw.Connection) -> None:
        before = connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0]
        rows = connection.execute("SELECT * FROM pages")
        while connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0] - before < pages:
            next(rows)
        rows.close()

    made = Writer(database, batches, now=now)

    async def submit_many(count: int) -> None:
        batches.threads.clear()
        for _ in range(count):
            await made.submit(Step(lambda _: None))

    await submit_many(1)  # which reads the schema
    took = 2 * LOOP_TIME
    await submit_many(2)
    assert batches.threads == [LOOP] * 2, "it was slow for another reason"
    for pause in (LOOP_PAUSE, 2 * LOOP_PAUSE):
        took = 2 * LOOP_TIME
        await made.submit(Step(read))
        took = 0.0
        await submit_many(pause)
        assert batches.threads == [WRITER if pages > LOOP_READS else LOOP] * pause
    await submit_many(1)
    assert batches.threads == [LOOP]
    took = 2 * LOOP_TIME
    await made.submit(Step(read))
    took = 0.0
    await submit_many(LOOP_PAUSE + 1)
    assert batches.threads[-1] == LOOP, "the disk was quick again before, so that the pause is as short as the first"
    await made.close()
    database.close()


async def test_a_store_in_use_is_waited_for_by_the_thread_alone(tmp_path: Path) -> None:
    database, other = (apsw.Connection(str(tmp_path / "t.db")) for _ in range(2))
    prepared(database)
    database.set_busy_timeout(5_000)
    batches = Batches(light=True)
    made = Writer(database, batches)
    other.execute("BEGIN IMMEDIATE")
    step = made.submit(Step(insert("a")))
    for _ in range(100):  # the loop goes on while the thread waits
        await asyncio.sleep(0)
    assert not step.done()
    other.execute("ROLLBACK")  # a COMMIT would fail where the thread looks just then
    await step
    assert batches.threads == [WRITER]
    await made.close()
    database.close()
    other.close()


async def test_what_is_between_two_transactions_is_not_met_by_one_on_the_loop(thread: Writer, batches: Batches) -> None:
    batches.light = True
    begun, go_on = threading.Event(), threading.Event()

    def aside(connection: apsw.Connection) -> None:
        begun.set()
        go_on.wait()
        assert not connection.in_transaction

    between = thread.run_between(aside)
    await asyncio.to_thread(begun.wait)
    step = thread.submit(Step(insert("a")))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not batches.threads
    go_on.set()
    await asyncio.gather(between, step)
    assert batches.threads == [WRITER]
    await thread.submit(Step(insert("b")))
    assert batches.threads == [WRITER, LOOP]


async def test_what_was_begun_on_a_store_that_has_gone_is_taken_back(connection: apsw.Connection) -> None:
    batches, in_place, looked = Batches(light=True), True, threading.Event()

    def is_in_place() -> bool:
        looked.set()
        return in_place

    made = Writer(connection, batches, is_in_place=is_in_place)
    await made.submit(Step(insert("before")))
    in_place = False
    with pytest.raises(StoreUnavailable):
        await made.submit(Step(insert("lost")))
    assert made.is_gone
    assert not made.available
    await made.close()
    assert not connection.in_transaction

"""The connections to PostgreSQL: what is never cancelled, what is read through a new one, and what follows a loss.

Servers that wait for a standby wait here for one that never comes, until the test says that none is needed. What was
written until then is what a failover would lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from tests.support import build
from tests.support.copied_postgres import CopiedPostgres
from tests.support.outboxes import dropped, failed_over
from tests.support.postgres import NOT_SYNCED, new_database, server
from tests.support.tcp_proxy import proxied
from tests.support.waiting import PATIENCE

from postwire.cli.demo.local_postgres import LocalPostgres
from postwire.core.errors import StoreUnavailable
from postwire.core.message import DEFAULT_TENANT
from postwire.outbox.base import Accepted, OutboxError
from postwire.outbox.postgres import PostgresOutbox, connecting
from postwire.outbox.postgres.database import Database, Lane, Refused
from postwire.outbox.postgres.queries import QUERIES, Connection

FEW_SECONDS = 0.4
"""After which a connection is cut here."""


@pytest.fixture(scope="module")
def replicated() -> Iterator[LocalPostgres]:
    """A server of its own, since what it waits for holds for all of its databases."""
    server()  # or the test is skipped
    made = CopiedPostgres.make(NOT_SYNCED)
    yield made
    made.remove()


class Standby:
    """The standby that there is not: the server waits for it between `go` and `turn_up`."""

    def __init__(self, admin: Connection, url: str) -> None:
        self._admin = admin
        self._url = url

    async def go(self) -> None:
        await self._set("nobody")
        commit = asyncio.ensure_future(self._commit())
        while not (waiting := await self.waiting()):
            if commit.done():  # who tells sessions of it has not done so yet
                commit = asyncio.ensure_future(self._commit())
            await asyncio.sleep(0.01)
        await self._admin.execute("SELECT pg_terminate_backend($1)", waiting[0])
        await asyncio.wait([commit])
        commit.exception()
        await until(self.is_waited_for_by_nobody)

    async def turn_up(self) -> None:
        await self._set("")
        await until(self.is_waited_for_by_nobody)

    async def _set(self, names: str) -> None:
        await self._admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await self._admin.execute("SELECT pg_reload_conf()")

    async def _commit(self) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(QUERIES["mark"])
        finally:
            connection.terminate()

    async def is_waited_for_by_nobody(self) -> bool:
        return not await self.waiting()

    async def waiting(self) -> list[int]:
        """The sessions that wait for it, by their process ids."""
        found = await self._admin.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' ORDER BY pid")
        return [one["pid"] for one in found]

    async def wait_for_one(self) -> int:
        """Return once a session waits for it."""
        await until(self.waiting)
        return (await self.waiting())[0]

    async def visible(self, message_id: str) -> bool:
        """Whether others see a message."""
        return bool(await self._admin.fetchval("SELECT true FROM messages WHERE message_id = $1", message_id))

    async def cancel(self, process_id: int) -> None:
        """What an operator may do, and no driver should: what is committed is to be seen, on this server alone."""
        await self._admin.execute("SELECT pg_cancel_backend($1)", process_id)


async def until(is_so: Callable[[], Awaitable[object]]) -> None:
    """Return once it is so."""
    while not await is_so():  # noqa: ASYNC110  # another process does not tell
        await asyncio.sleep(0.01)


@pytest.fixture
async def standby(replicated: LocalPostgres) -> AsyncIterator[tuple[Standby, str]]:
    """The standby, and the URL of a database that is to be on it."""
    first = await asyncpg.connect(replicated.url())
    await first.execute("DROP DATABASE IF EXISTS kept WITH (FORCE)")
    await first.execute("CREATE DATABASE kept")
    await first.close()
    url = replicated.url("kept")
    admin = await asyncpg.connect(url, server_settings={"synchronous_commit": "local"})
    made = Standby(admin, url)
    yield made, url
    await made.turn_up()
    await admin.close()


@asynccontextmanager
async def opened(url: str, watchdog: float | None = None) -> AsyncIterator[PostgresOutbox]:
    outbox = await PostgresOutbox.open(url)
    if watchdog is not None:
        outbox.database._watchdog = watchdog
    try:
        assert (await outbox.accept(build.new_message())).created  # so that its connection for writes is there
        yield outbox
    finally:
        await outbox.close()


# Trap 1: a write is never cancelled on the server, and nothing is told of what nobody got an OK for.


async def test_a_write_goes_on_when_nobody_waits_for_it_any_more(standby: tuple[Standby, str]) -> None:
    there, url = standby
    async with opened(url) as outbox:
        new = build.new_message()
        await there.go()
        waiting = asyncio.ensure_future(outbox.accept(new))
        session = await there.wait_for_one()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        for _ in range(50):  # a request to cancel would be on its way
            assert await there.waiting() == [session]
        assert not await there.visible(new.record.message_id), "others do not see what a failover would lose"
        await there.turn_up()
        await until(lambda: there.visible(new.record.message_id))
        assert (await outbox.accept(build.repeated(new))) == Accepted(new.record, created=False)


async def test_even_the_end_of_the_process_cancels_no_write(standby: tuple[Standby, str]) -> None:
    there, url = standby
    async with opened(url) as outbox:
        new = build.new_message()
        await there.go()
        waiting = asyncio.ensure_future(outbox.accept(new))
        session = await there.wait_for_one()
        # As `asyncio.run` does with all that is left.
        for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
            task.cancel()
        with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
            await waiting
        for _ in range(50):
            assert await there.waiting() == [session]
        assert not await there.visible(new.record.message_id)
        await there.turn_up()


async def test_a_write_that_gets_no_answer_is_unknown_and_its_connection_cut(standby: tuple[Standby, str]) -> None:
    there, url = standby
    async with opened(url, FEW_SECONDS) as outbox:
        new = build.new_message()
        heard: list[bool] = []
        outbox.on_availability(heard.append)
        await there.go()
        with pytest.raises(StoreUnavailable):
            await outbox.accept(new)
        assert (outbox.available, heard) == (False, [False])
        assert len(await there.waiting()) == 1, "the server goes on with it"
        assert not await there.visible(new.record.message_id)
        await there.turn_up()
        await outbox.wait_available()
        assert heard == [False, True]
        assert await outbox.accept(build.repeated(new)) == Accepted(new.record, created=False)


async def test_a_repeat_is_answered_once_what_it_repeats_is_on_the_standby(standby: tuple[Standby, str]) -> None:
    there, url = standby
    async with opened(url) as outbox, opened(url) as other:
        new = build.new_message()
        await there.go()
        first = asyncio.ensure_future(outbox.accept(new))
        await there.cancel(await there.wait_for_one())
        with pytest.raises(StoreUnavailable):  # though the server calls it committed
            await first
        await until(lambda: there.visible(new.record.message_id))
        repeat = asyncio.ensure_future(other.accept(build.repeated(new)))
        await there.wait_for_one()
        for _ in range(50):
            assert not repeat.done()
            await asyncio.sleep(0)
        await there.turn_up()
        assert await repeat == Accepted(new.record, created=False)


async def test_a_repeat_that_is_refused_is_answered_once_what_it_repeats_is_on_the_standby(
    standby: tuple[Standby, str],
) -> None:
    there, url = standby
    async with opened(url) as outbox, opened(url) as other:
        new = build.new_message()
        key = new.record.request_id, DEFAULT_TENANT
        assert await other.find_by_request_id(*key, new.payload_hash) is None  # so that its connection is there
        await there.go()
        first = asyncio.ensure_future(outbox.accept(new))
        await there.cancel(await there.wait_for_one())
        with pytest.raises(StoreUnavailable):
            await first
        await until(lambda: there.visible(new.record.message_id))
        found = asyncio.ensure_future(other.find_by_request_id(*key, new.payload_hash))
        asked = asyncio.ensure_future(there.wait_for_one())
        await asyncio.wait([asked, found], return_when=asyncio.FIRST_COMPLETED)
        assert not found.done()
        await asked
        await there.turn_up()
        assert await found == new.record


async def test_a_new_connection_reads_nothing_that_is_not_on_the_standby(standby: tuple[Standby, str]) -> None:
    there, url = standby
    async with opened(url) as outbox:
        new = build.new_message()
        await there.go()
        first = asyncio.ensure_future(outbox.accept(new))
        await there.cancel(await there.wait_for_one())
        with pytest.raises(StoreUnavailable):
            await first
        reader = Database(url, watchdog=FEW_SECONDS)
        with pytest.raises(StoreUnavailable):
            await reader.fetch(Lane.READ, "message_by_id", new.record.message_id, DEFAULT_TENANT)
        await there.turn_up()
        assert await reader.fetch(Lane.READ, "message_by_id", new.record.message_id, DEFAULT_TENANT)
        await reader.close()


# Trap 2: what is cut leaves a session behind that waits.


async def test_after_a_cut_nothing_is_written_while_a_session_waits_for_the_standby(
    standby: tuple[Standby, str],
) -> None:
    there, url = standby
    async with opened(url, FEW_SECONDS) as outbox:
        await outbox.database.fetch(Lane.HEARTBEAT, "mark")
        await there.go()
        with pytest.raises(StoreUnavailable):
            await outbox.accept(build.new_message())
        left = await there.waiting()
        for _ in range(20):  # beats, and all else that is tried again and again
            for lane in (Lane.HEARTBEAT, Lane.CONTROL, Lane.CLAIM, Lane.WRITE):
                with pytest.raises(StoreUnavailable):
                    await outbox.database.fetch(lane, "mark")
            await asyncio.sleep(0.05)
        assert await there.waiting() == left
        await there.turn_up()
        await outbox.wait_available()
        await outbox.database.fetch(Lane.HEARTBEAT, "mark")
        await until(there.is_waited_for_by_nobody)


async def test_reads_go_on_while_no_write_passes(standby: tuple[Standby, str]) -> None:
    there, url = standby
    async with opened(url, FEW_SECONDS) as outbox:
        new = build.new_message()
        await outbox.accept(new)
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
        await there.go()
        writing = asyncio.ensure_future(outbox.advance(new.record, build.ended(new.record)))
        await there.wait_for_one()
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
        with pytest.raises(StoreUnavailable):
            await writing
        assert not outbox.available
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
        await there.turn_up()
        await outbox.wait_available()


# Trap 4: what the driver says of a socket that is dead.

FATAL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


async def test_what_the_driver_does_not_understand_is_a_lost_connection() -> None:
    url = await new_database()
    async with proxied(server().port) as proxy:
        database = Database(url.replace(f":{server().port}/", f":{proxy.port}/"))
        raised: list[str] = []

        async def use(connection: Connection) -> None:
            try:
                await connection.fetch(QUERIES["mark"])
            except Exception as error:
                raised.append(type(error).__name__)
                raise

        await database.use(Lane.WRITE, use)
        proxy.send(b"E" + (len(FATAL) + 4).to_bytes(4) + FATAL)  # to one that asks for nothing, and then no end
        await asyncio.sleep(0.05)
        with pytest.raises(StoreUnavailable):
            await database.use(Lane.WRITE, use)
        assert raised == ["InternalClientError"]
        await database.wait_available()
        await database.use(Lane.WRITE, use)
        await database.close()


# Losing it, and finding it again.


async def test_after_all_connections_were_ended_all_goes_on(
    replicated: LocalPostgres, standby: tuple[Standby, str]
) -> None:
    _, url = standby
    async with opened(url) as outbox:
        new = build.new_message()
        await outbox.accept(new)
        for lane in Lane:
            await outbox.database.fetch(lane, "mark")
        admin = await asyncpg.connect(url)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'postwire'"
        )
        await admin.close()
        record, losses = new.record, 0
        for step in (failed_over, dropped, build.retried, build.ended):
            after, tried = step(record), 0
            while True:
                try:
                    assert await outbox.advance(record, after, [after] if tried else ())
                    break
                except StoreUnavailable:
                    tried, losses = tried + 1, losses + 1
                    await outbox.wait_available()
            record = after
        for lane in Lane:
            await outbox.database.fetch(lane, "mark")
        assert losses <= 1, "one for all connections, and not one for each"


async def test_one_that_is_down_at_first_is_found_when_it_comes(replicated: LocalPostgres) -> None:
    database = Database(replicated.url())
    replicated.stop(immediate=True)
    try:
        with pytest.raises(StoreUnavailable):
            await database.fetch(Lane.CONTROL, "mark")
        assert not database.available
    finally:
        replicated.start()
    await database.wait_available()
    await database.fetch(Lane.CONTROL, "mark")
    await database.close()


async def test_a_fenced_node_writes_nothing_of_messages_and_keeps_its_lease() -> None:
    async with opened(await new_database()) as outbox:
        new = build.new_message()
        await outbox.accept(new)
        heard: list[bool] = []
        outbox.on_availability(heard.append)
        outbox.database.fence(True)
        outbox.database.fence(True)
        assert not outbox.available
        for write in (outbox.accept(build.new_message()), outbox.advance(new.record, build.ended(new.record))):
            with pytest.raises(StoreUnavailable):
                await write
        with pytest.raises(StoreUnavailable):
            await outbox.database.fetch(Lane.CLAIM, "mark")
        await outbox.database.fetch(Lane.HEARTBEAT, "mark")
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
        outbox.database.fence(False)
        assert heard == [False, True]
        assert await outbox.advance(new.record, build.ended(new.record))


async def test_of_several_hosts_the_one_is_used_that_takes_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "HOST_TIME", 0.3)
    url = await new_database()
    held: list[asyncio.StreamWriter] = []
    frozen = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = frozen.sockets[0].getsockname()[1]
    several = url.replace("@", f"@127.0.0.1:{port},127.0.0.1:1,") + "?target_session_attrs=read-write"
    database = Database(several)
    await database.fetch(Lane.WRITE, "mark")
    assert len(held) == 1
    await database.fetch(Lane.READ, "mark")
    assert len(held) == 1, "the next connection goes where the last one went"
    await database.close()
    frozen.close()
    for writer in held:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("change", "text"), [("database", "no such database"), ("settings", "cannot be used")])
async def test_what_no_waiting_mends_stops_the_boot(change: str, text: str) -> None:
    url = await new_database()
    url = url.rpartition("/")[0] + "/nothing" if change == "database" else url + "?sslmode=perhaps"
    with pytest.raises(OutboxError, match=rf"^store\.url: .*{text}"):
        await PostgresOutbox.open(url)


async def test_a_fault_of_ours_says_nothing_of_what_was_written() -> None:
    database = Database(await new_database())
    with pytest.raises(Refused) as raised:
        await database.fetch(Lane.READ, "message_by_id", "+447700900123", DEFAULT_TENANT)
    assert "+44" not in f"{raised.value!r} {raised.value.__cause__!r}"
    assert database.available
    await database.close()


@pytest.mark.parametrize("ends", [True, False])
async def test_what_may_take_long_is_given_up_with_the_database(ends: bool) -> None:
    url = await new_database()
    other = await asyncpg.connect(url)
    await other.execute("SELECT pg_advisory_lock(1)")
    database = Database(url, watchdog=FEW_SECONDS)
    await database.fetch(Lane.WRITE, "mark")
    is_waiting = asyncio.Event()

    async def wait(connection: Connection) -> None:
        await connection.execute("SET lock_timeout = 0")
        is_waiting.set()
        await connection.execute("SELECT pg_advisory_lock(1)")

    waiting = asyncio.ensure_future(database.use(Lane.CONTROL, wait, patience=600.0))
    await is_waiting.wait()
    async with asyncio.timeout(PATIENCE):
        if ends:
            await database.close()
        else:
            ending = "SELECT pg_terminate_backend(pg_backend_pid())"
            with pytest.raises(StoreUnavailable):
                await database.use(Lane.WRITE, lambda connection: connection.execute(ending))
        with pytest.raises(StoreUnavailable):
            await waiting
    await other.close()
    await database.close()

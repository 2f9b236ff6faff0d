"""Writes of several nodes on one database: that none waits for good, none is lost, and what one of them learns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import dropped, failed_over
from tests.support.postgres import new_database, server
from tests.support.tcp_proxy import proxied

from postwire.core.errors import GuardExceeded, StoreUnavailable
from postwire.core.guards import Cap, GuardRules, Guards
from postwire.core.message import DEFAULT_TENANT, MessageRecord, Sms
from postwire.outbox.base import Accepted, NewMessage
from postwire.outbox.postgres import PostgresOutbox, writer
from postwire.outbox.postgres.accepting import run_accepts
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.operations import New
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import Connection

MANY = 400
"""So many in one statement that two of them meet in its midst."""


@asynccontextmanager
async def nodes(url: str, count: int) -> AsyncIterator[Sequence[PostgresOutbox]]:
    """As many nodes on one database."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            outbox = await PostgresOutbox.open(url)
            stack.push_async_callback(outbox.close)
            made.append(outbox)
        yield made


def new(request_id: str = "", content: Sms | None = None) -> NewMessage:
    return build.new_message(build.command(content, request_id=request_id or build.new_request_id()))


@asynccontextmanager
async def no_deadlock() -> AsyncIterator[None]:
    """The server finds none meanwhile. Nobody else would tell: the writer tries again."""
    before = server().log().count("deadlock detected")
    yield
    assert server().log().count("deadlock detected") == before


# Nobody waits for a row that is another's affair.


async def test_a_row_that_somebody_has_locked_holds_up_no_other() -> None:
    url = await new_database()
    async with nodes(url, 1) as (one,):
        locked, *others = [(await one.accept(new())).record for _ in range(4)]
        admin = await asyncpg.connect(url)
        async with admin.transaction():
            await admin.execute("SELECT 1 FROM messages WHERE message_id = $1 FOR UPDATE", locked.message_id)
            step = failed_over(locked)
            first = asyncio.ensure_future(one.advance(locked, step))
            with_it = [asyncio.ensure_future(one.advance(record, build.ended(record))) for record in others]
            second = asyncio.ensure_future(one.advance(step, build.ended(step)))
            assert await asyncio.gather(*with_it) == [True] * len(others)
            assert (await one.accept(new())).created, "nor is what comes later"
            assert not first.done()
            assert not second.done()
        assert await first
        assert await second, "in the order in which they came"
        await admin.close()


async def test_a_change_of_a_row_that_stays_locked_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.0)
    url = await new_database()
    async with nodes(url, 1) as (one,):
        locked, other = [(await one.accept(new())).record for _ in range(2)]
        admin = await asyncpg.connect(url)
        async with admin.transaction():
            await admin.execute("SELECT 1 FROM messages WHERE message_id = $1 FOR UPDATE", locked.message_id)
            first = asyncio.ensure_future(one.advance(locked, build.ended(locked)))
            assert await one.advance(other, build.ended(other))
            with pytest.raises(StoreUnavailable):
                await first
            assert one.available, "it says nothing about the database"
        assert await one.advance(locked, build.ended(locked))
        await admin.close()


# Nobody waits for who waits for him.


async def test_two_nodes_that_accept_the_same_in_another_order_do_not_lock_each_other_out() -> None:
    url = await new_database()
    async with no_deadlock(), nodes(url, 2) as (one, other):
        for _ in range(4):
            news = [new() for _ in range(MANY)]
            repeats = [build.repeated(each) for each in reversed(news)]
            found = await asyncio.gather(one.accept_all(news), other.accept_all(repeats))
            created = [
                verdict.record.request_id
                for verdicts in found
                for verdict in verdicts
                if isinstance(verdict, Accepted) and verdict.created
            ]
            assert sorted(created) == sorted(each.record.request_id for each in news), "each once"


async def test_two_nodes_that_change_the_same_in_another_order_do_not_lock_each_other_out() -> None:
    url = await new_database()
    async with no_deadlock(), nodes(url, 2) as (one, other):
        news = [new() for _ in range(9)]
        await one.accept_all(news)
        changes = [(each.record, build.ended(each.record)) for each in news]
        # Both have begun before either can go on beyond the middle.
        held = await asyncpg.connect(url)
        async with held.transaction():
            await held.execute("SELECT 1 FROM messages WHERE message_id = $1 FOR UPDATE", news[4].record.message_id)
            both = asyncio.gather(one.advance_all(changes), other.advance_all(changes[::-1]))
            waiting = "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
            while not await held.fetchval(waiting):  # noqa: ASYNC110  # the server does not tell
                await asyncio.sleep(0.01)
        ours, theirs = await both
        await held.close()
        assert sorted([(*ours,), (*theirs,)]) == [(False,) * 9, (True,) * 9]


async def test_accepts_and_changes_and_guards_of_three_nodes_go_well_together() -> None:
    url, draw = await new_database(), random.Random(7)
    guards = Guards(GuardRules(max_per_recipient=Cap(10_000, build.HOUR)))

    async def live(outbox: PostgresOutbox, shared: Sequence[NewMessage]) -> None:
        for each in draw.sample(shared, len(shared)):
            record = (await outbox.accept(build.repeated(each))).record
            for step in (failed_over, build.ended):
                if len(record.attempts) > 2 or record.settled:
                    break
                after = step(record)
                await outbox.advance(record, after)
                record = await outbox.get(record.message_id, DEFAULT_TENANT) or after

    async with no_deadlock(), nodes(url, 3) as several:
        news = [guarded(guards, to=f"+1415555{number % 3:04}") for number in range(30)]
        await asyncio.gather(*(live(outbox, news) for outbox in several for _ in range(4)))


# A commit whose end is unknown.


async def test_an_accept_whose_answer_is_lost_is_found_by_whoever_asks_again() -> None:
    url = await new_database()
    async with proxied(server().port) as proxy, nodes(through(url, proxy.port), 1) as (outbox,):
        await outbox.accept(new())
        lost = new("r")
        proxy.lose_answer_to(b"r")
        with pytest.raises(StoreUnavailable):
            await outbox.accept(lost)
        assert proxy.lost_answers == 1
        await outbox.wait_available()
        assert await outbox.accept(build.repeated(lost)) == Accepted(lost.record, created=False)


async def test_a_change_whose_answer_is_lost_is_true_when_it_is_tried_again() -> None:
    url = await new_database()
    async with proxied(server().port) as proxy, nodes(through(url, proxy.port), 1) as (outbox,):
        first = new()
        await outbox.accept(first)
        record = first.record
        for step in (failed_over, dropped, build.retried, build.ended):
            after = step(record)
            proxy.lose_answer_to(UUID(record.message_id).bytes)
            with pytest.raises(StoreUnavailable):
                await outbox.advance(record, after)
            await outbox.wait_available()
            assert await outbox.advance(record, after, [after])
            assert await outbox.get(record.message_id, DEFAULT_TENANT) == after
            record = after
        assert proxy.lost_answers == 4


def through(url: str, port: int) -> str:
    """The URL of a database by way of a proxy."""
    return url.replace(f":{server().port}/", f":{port}/")


# Nodes that are dead.


async def test_a_node_that_is_dead_writes_nothing() -> None:
    async with nodes(await new_database(), 2) as (dead, other):
        before = new()
        await dead.accept(before)

        async def kill(connection: Connection) -> None:
            await connection.execute("UPDATE nodes SET dead = true WHERE node = $1", dead.number)

        await other.database.use(Lane.CONTROL, kill)
        late = new()
        with pytest.raises(StoreUnavailable):
            await dead.accept(late)
        assert not await dead.advance(before.record, build.ended(before.record))
        assert await other.get(late.record.message_id, DEFAULT_TENANT) is None
        assert await other.get(before.record.message_id, DEFAULT_TENANT) == before.record
        assert (await dead.accept(build.repeated(before))).record == before.record


# Guards.


def guarded(guards: Guards, *, request_id: str = "", to: str = "+14155550132") -> NewMessage:
    made = new(request_id, content=Sms(to, "Hello"))
    return replace(made, guarded=guards.check(build.command(Sms(to, "Hello")).message, START))


async def test_a_cap_holds_over_all_nodes() -> None:
    guards = Guards(GuardRules(max_per_prefix={"+1": Cap(50, build.HOUR)}, max_per_recipient=Cap(20, build.HOUR)))
    async with nodes(await new_database(), 3) as several:
        found = await asyncio.gather(
            *(
                outbox.accept_all([guarded(guards, to=f"+1415555{number % 4:04}") for number in range(7)])
                for outbox in several
                for _ in range(8)
            )
        )
    verdicts = [verdict for frame in found for verdict in frame]
    assert sum(isinstance(verdict, Accepted) for verdict in verdicts) == 50
    assert sum(isinstance(verdict, GuardExceeded) for verdict in verdicts) == len(verdicts) - 50


async def test_what_two_nodes_accept_under_one_request_id_is_counted_once() -> None:
    guards = Guards(GuardRules(max_per_recipient=Cap(20, build.HOUR)))
    async with nodes(await new_database(), 2) as (one, other):
        for number in range(20):
            first = guarded(guards, request_id=f"r-{number}")
            found = await asyncio.gather(one.accept(first), other.accept(build.repeated(first)))
            assert sorted(verdict.created for verdict in found) == [False, True]
        with pytest.raises(GuardExceeded):
            await one.accept(guarded(guards))


# Several in one batch.


async def test_a_batch_keeps_the_order_of_changes_of_one_message_and_disturbs_no_other() -> None:
    async with nodes(await new_database(), 1) as (outbox,):
        news = [new() for _ in range(20)]
        await outbox.accept_all(news)

        async def steps(record: MessageRecord) -> MessageRecord:
            pairs = []
            for step in (failed_over, dropped, build.retried, build.ended):
                pairs.append((record, step(record)))
                record = pairs[-1][1]
            assert all(await asyncio.gather(*(outbox.advance(*pair) for pair in pairs)))
            return record

        ends = await asyncio.gather(*(steps(each.record) for each in news))
        assert [await outbox.get(end.message_id, DEFAULT_TENANT) for end in ends] == ends


async def test_two_changes_of_one_message_are_not_kept_together() -> None:
    async with nodes(await new_database(), 1) as (outbox,):
        first = new()
        await outbox.accept(first)
        middle = failed_over(first.record)
        with pytest.raises(ValueError, match="one after the other"):
            await outbox.advance_all([(first.record, middle), (middle, failed_over(middle))])


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages were to be accepted at once, each time."""
    found: list[int] = []

    async def watched(connection: Connection, part: Part, news: Sequence[New]) -> None:
        found.append(len(news))
        await run_accepts(connection, part, news)

    monkeypatch.setattr(writer, "run_accepts", watched)
    return found


async def test_a_batch_is_no_larger_than_what_is_answered_in_time(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    monkeypatch.setattr(writer, "MAX_MESSAGES", 10)
    async with nodes(await new_database(), 1) as (outbox,):
        frames = [[new() for _ in range(count)] for count in (4, 4, 4, 25, 1, 9)]
        found = await asyncio.gather(*map(outbox.accept_all, frames))
    assert [len(verdicts) for verdicts in found] == [4, 4, 4, 25, 1, 9]
    assert sizes == [8, 4, 25, 10]


async def test_one_that_is_at_fault_is_found_in_few_steps(sizes: list[int]) -> None:
    async with nodes(await new_database(), 1) as (outbox,):
        news = [new() for _ in range(64)]
        news[20] = replace(news[20], record=replace(news[20].record, expire_time=2**63))
        found = await asyncio.gather(*map(outbox.accept, news), return_exceptions=True)
    assert [number for number, one in enumerate(found) if not isinstance(one, Accepted)] == [20]
    assert len(sizes) == 1 + 2 * 6

"""The keys of a store in PostgreSQL that several nodes share: what one encrypts with, all can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, KEYS, Q, dropped, each, queue_up
from tests.support.postgres import new_database

from postwire.config.encryption_keys import EncryptionKey
from postwire.core import lifecycle
from postwire.outbox.base import Announcement, OutboxError, Rekey, TakenMessage
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.queries import Connection
from postwire.outbox.postgres.taking import LACKING_PAUSE

ONE, TWO, _ = KEYS
NOW = START + build.HOUR

Join = Callable[..., Coroutine[Any, Any, PostgresOutbox]]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Opens nodes on one database."""
    url = await new_database()
    opened: list[PostgresOutbox] = []

    async def open_one(name: str, *keys: EncryptionKey) -> PostgresOutbox:
        opened.append(await PostgresOutbox.open(url, name=name, keys=keys))
        return opened[-1]

    yield open_one
    for left in opened:
        await left.close()


async def test_nodes_that_are_the_first_of_a_database_together_make_one_store_of_it() -> None:
    url = await new_database()
    owner = await asyncpg.connect(url)
    await owner.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await owner.close()
    nodes = await asyncio.gather(*(PostgresOutbox.open(url, name=f"n-{number}", keys=[ONE]) for number in range(4)))
    assert len({node.number for node in nodes}) == 4
    assert len({await node.lookup_key() for node in nodes}) == 1
    assert len({await node.store_name() for node in nodes}) == 1
    for node in nodes:
        await node.close()


async def test_all_nodes_have_one_lookup_key(join: Join) -> None:
    one, two = await join("one"), await join("two")
    assert await one.lookup_key() == await two.lookup_key()
    assert len(await one.lookup_key()) == 32


async def test_none_encrypts_with_a_key_that_another_node_has_not(join: Join) -> None:
    one, two = await join("one", ONE), await join("two", ONE)
    with pytest.raises(OutboxError, match='"key-2", is not among those of the node "two": put it behind'):
        await one.use_keys([TWO, ONE])
    await two.use_keys([ONE, TWO])
    await one.use_keys([TWO, ONE])
    for node in (one, two):
        new = await queue_up(node)
        for reader in (one, two):
            assert await reader.content(new.record.message_id, new.record.tenant) == new.content
    with pytest.raises(OutboxError, match="key-2"):
        await two.use_keys([ONE])


async def test_a_node_that_has_not_all_keys_cannot_join(join: Join) -> None:
    await join("one", TWO, ONE)
    for keys in ((), (ONE,)):
        with pytest.raises(OutboxError, match="key-2"):
            await join("two", *keys)
    with pytest.raises(OutboxError, match='not among those of the node "one"'):
        await join("two", KEYS[2], TWO, ONE)


async def test_a_rekey_waits_for_nodes_that_encrypt_with_another_key(join: Join) -> None:
    one, two = await join("one", ONE, TWO), await join("two", ONE, TWO)
    news = [await queue_up(node) for node in (one, two)]
    await one.use_keys([TWO, ONE])
    await one.start_rekey(NOW)
    step = await one.rekey_step(NOW)
    assert step == Rekey("key-2", NOW, rekeyed=2)
    news.append(await queue_up(two))
    for _ in range(3):
        assert await one.rekey_step(NOW) == Rekey("key-2", NOW, rekeyed=2, waiting_for=("two",))
    await two.use_keys([TWO, ONE])
    while (step := await one.rekey_step(NOW)) and step.end_time is None:
        assert not step.waiting_for
    assert await two.rekey() == Rekey("key-2", NOW, rekeyed=3, end_time=NOW)
    await one.use_keys([TWO])
    assert "key-1" in str(two.why_insufficient([TWO])), "it has not heard of it"
    await two.heartbeat(Announcement(), 1)
    assert two.why_insufficient([TWO]) is None
    assert not two.cipher.takes_plain
    await two.use_keys([TWO])
    for new in news:
        assert await two.content(new.record.message_id, new.record.tenant) == new.content


async def test_a_rekey_goes_on_at_any_node(join: Join) -> None:
    one, two = await join("one", ONE, TWO), await join("two", ONE, TWO)
    await queue_up(one)
    for node in (one, two):
        await node.use_keys([TWO, ONE])
    await one.start_rekey(NOW)
    steps = [await node.rekey_step(NOW) for node in (one, two, one, two)]
    assert any(step and step.end_time for step in steps)
    assert await one.rekey() == await two.rekey() == Rekey("key-2", NOW, rekeyed=1, end_time=NOW)


async def test_no_rekey_is_over_while_a_transaction_is_under_way_from_before(join: Join) -> None:
    one = await join("one", ONE, TWO)
    connection = await asyncpg.connect(one.database._hosts._urls[0])
    async with connection.transaction():  # as a commit of ours that the standby has not answered
        await connection.execute("SELECT pg_current_xact_id()")
        await one.use_keys([TWO, ONE])
        await one.start_rekey(NOW)
        for _ in range(4):
            step = await one.rekey_step(NOW)
            assert step == Rekey("key-2", NOW)
    while (step := await one.rekey_step(NOW)) and step.end_time is None:
        pass
    assert (await one.rekey()) == Rekey("key-2", NOW, end_time=NOW)
    await connection.close()


async def lapse(node: PostgresOutbox) -> None:
    """The lease of a node is over, and nobody has taken it for dead."""

    async def end(connection: Connection) -> None:
        await connection.execute("UPDATE nodes SET lease_until = lease_since WHERE node = $1", node.number)

    await node.database.use(Lane.CONTROL, end)


async def test_what_a_node_has_not_the_key_of_is_not_damaged_and_waits_for_one_that_has(join: Join) -> None:
    """A node whose lease has lapsed is not asked for its keys, and may come back before it is taken for dead."""
    one, two = await join("one", ONE), await join("two", ONE)
    await lapse(two)
    await one.use_keys([TWO, ONE])
    assert (await two.heartbeat(Announcement(), 0)).number == two.number, "it is back"
    new = await queue_up(one)
    found: list[TakenMessage] = []
    for node in (two, one):
        found += await node.take(Q, EVER, each(1), lambda queued: build.retried(queued.record))
        assert await node.advance(found[-1].record, dropped(found[-1].record))
    assert [(taken.content, taken.damaged) for taken in found] == [(None, False), (new.content, False)]


async def test_a_node_that_comes_upon_what_it_has_not_the_key_of_lets_the_others_take_for_a_while(join: Join) -> None:
    """Else it would take it and put it back again and again, as fast as it can."""
    one, two = await join("one", ONE), await join("two", ONE)
    await lapse(two)
    await one.use_keys([TWO, ONE])
    await two.heartbeat(Announcement(), 0)
    new = await queue_up(one)

    async def takes(node: PostgresOutbox, now: int) -> list[bytes | None]:
        found = await node.take(Q, now, each(1), lambda queued: build.retried(queued.record))
        for taken in found:
            assert await node.advance(taken.record, lifecycle.drop_attempt(taken.record, now=now, due=now))
        return [taken.content for taken in found]

    assert await takes(two, NOW) == [None]
    assert await takes(two, NOW + LACKING_PAUSE - 1) == []
    assert await takes(one, NOW) == await takes(one, NOW) == [new.content]
    assert await takes(two, NOW + LACKING_PAUSE) == [None]
    await two.use_keys([ONE, TWO])
    assert await takes(two, NOW + LACKING_PAUSE) == [new.content]


async def test_a_key_that_a_node_encrypts_with_is_needed_though_a_rekey_did_not_wait_for_it(join: Join) -> None:
    one, two = await join("one", ONE, TWO), await join("two", ONE, TWO)
    await lapse(two)
    await one.use_keys([TWO, ONE])
    await one.start_rekey(NOW)
    while (step := await one.rekey_step(NOW)) and step.end_time is None:
        assert not step.waiting_for
    assert one.why_insufficient([TWO]) is None
    await two.heartbeat(Announcement(), 0)
    new = await queue_up(two)
    await one.heartbeat(Announcement(), 0)
    assert "key-1" in str(one.why_insufficient([TWO]))
    assert "key-1" in str(two.why_insufficient([TWO]))
    assert await one.content(new.record.message_id, new.record.tenant) == new.content
    await two.use_keys([TWO, ONE])
    await one.start_rekey(NOW)
    while (step := await one.rekey_step(NOW)) and step.end_time is None:
        assert not step.waiting_for
    assert (await one.rekey()) == Rekey("key-2", NOW, rekeyed=1, end_time=NOW)
    await two.heartbeat(Announcement(), 0)
    assert two.why_insufficient([TWO]) is None

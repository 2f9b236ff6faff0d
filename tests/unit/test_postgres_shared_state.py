"""What nodes share in PostgreSQL beside messages: receipts, suppressions, and what operators do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, change, keep
from tests.support.postgres import new_database
from tests.support.receipts import MOST, pending, report, report_of

from postwire.core.message import MessageRecord
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.suppression import Suppression, SuppressionReason
from postwire.outbox.base import BEGINNING, HeldKey, KeptAs, ProviderMessageId, ReceiptFate
from postwire.outbox.postgres import PostgresOutbox

Nodes = tuple[PostgresOutbox, PostgresOutbox, "asyncpg.Connection[asyncpg.Record]"]


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """Two nodes on one database, and a connection of somebody else's."""
    url = await new_database()
    one, two = [await PostgresOutbox.open(url, name=name) for name in ("one", "two")]
    other = await asyncpg.connect(url)
    yield one, two, other
    await other.close()
    for node in (one, two):
        await node.close()


async def until_waiting(connection: asyncpg.Connection[asyncpg.Record], count: int) -> None:
    """Return once so many sessions of this database wait for locks."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while await connection.fetchval(query) < count:
        await connection.execute("SELECT pg_sleep(0.005)")


async def queued_once(node: PostgresOutbox) -> MessageRecord:
    """A message that waits after an attempt whose end is unknown."""
    new = await keep(node, queue="q")
    return await change(node, new.record, build.ended(new.record, DispatchResult(Outcome.UNCERTAIN)))


# Receipts.


async def test_no_attempt_is_opened_past_a_receipt_that_another_node_is_about_to_keep(nodes: Nodes) -> None:
    one, two, other = nodes
    record = await queued_once(one)
    async with other.transaction():
        await other.execute("SELECT 1 FROM messages FOR UPDATE")
        keeping = asyncio.ensure_future(two.keep_receipts([report_of(record)], MOST))
        await until_waiting(other, 1)
        opening = asyncio.ensure_future(one.advance(record, build.retried(record)))
        await until_waiting(other, 2)
    assert [kept.fate for kept in await keeping] == [ReceiptFate.KEPT]
    assert not await opening, "it has waited for the row, and sees what is in it now"


async def test_a_receipt_that_is_kept_as_its_message_is_removed_goes_with_it(nodes: Nodes) -> None:
    one, two, other = nodes
    new = await keep(one)
    record = await change(one, new.record, build.ended(new.record))
    async with other.transaction():
        await other.execute("SELECT 1 FROM messages FOR UPDATE")
        keeping = asyncio.ensure_future(two.keep_receipts([report_of(record)], MOST))
        await until_waiting(other, 1)
        removing = asyncio.ensure_future(one.remove_settled(BEGINNING, EVER, 9))
        await until_waiting(other, 2)
    assert [kept.fate for kept in await keeping] == [ReceiptFate.KEPT]
    await removing
    assert await other.fetchval("SELECT count(*) FROM messages") == 0
    assert await other.fetchval("SELECT count(*) FROM receipts") == 0, "it would be pending for ever"


async def test_a_receipt_that_comes_as_its_message_is_removed_is_held(nodes: Nodes) -> None:
    one, two, other = nodes
    new = await keep(one)
    record = await change(one, new.record, build.ended(new.record))
    async with other.transaction():
        await other.execute("SELECT 1 FROM messages FOR UPDATE")
        removing = asyncio.ensure_future(one.remove_settled(BEGINNING, EVER, 9))
        await until_waiting(other, 1)
        keeping = asyncio.ensure_future(two.keep_receipts([report_of(record)], MOST))
        await until_waiting(other, 2)
    await removing
    assert [kept.fate for kept in await keeping] == [ReceiptFate.HELD]
    assert await other.fetchval("SELECT count(*) FROM receipts") == 0


async def test_a_receipt_that_another_node_has_finished_is_not_taken_off_twice(nodes: Nodes) -> None:
    one, two, _ = nodes
    record = await queued_once(one)
    await two.keep_receipts([report_of(record), report_of(record)], MOST)
    (found,) = await one.reported([record.message_id])
    first, second = found.receipts
    await two.finish_receipts([first.number], START)
    assert not await one.advance(record, build.retried(record), receipts=[first.number]), "the second is in its way"
    assert await one.advance(record, build.retried(record), receipts=[first.number, second.number])


async def test_a_vendor_that_sends_what_no_text_may_have_does_no_harm(nodes: Nodes) -> None:
    one, _, _ = nodes
    record = await queued_once(one)
    await one.keep_receipts([report_of(record, code="\0c"), report(provider_message_id="\0id", code="\0")], MOST)
    (found,) = await one.reported([record.message_id])
    assert [receipt.code for receipt in found.receipts] == ["\ufffdc"]


async def test_finishing_again_changes_nothing(nodes: Nodes) -> None:
    one, two, other = nodes
    record = await queued_once(one)
    await two.keep_receipts([report_of(record, to_report=True)], MOST)
    (found,) = await one.reported([record.message_id])
    numbers = [found.receipts[0].number]
    await asyncio.gather(*(node.finish_receipts(numbers, now) for node in (one, two) for now in (None, START)))
    await one.finish_receipts(numbers, None)
    assert await other.fetchval("SELECT unapplied FROM messages") == 0
    assert await pending(one) == []


async def test_the_same_receipts_at_two_nodes_in_another_order_are_kept_once(nodes: Nodes) -> None:
    one, two, other = nodes
    records = [(await keep(one)).record for _ in range(20)]
    reports = [report_of(record) for record in records]
    fates = await asyncio.gather(
        *(node.keep_receipts(some, MOST) for _ in range(3) for node, some in ((one, reports), (two, reports[::-1])))
    )
    assert sum(kept.fate is ReceiptFate.KEPT for some in fates for kept in some) == len(reports)
    assert await other.fetchval("SELECT count(*) FROM messages WHERE unapplied = 1") == len(reports)


async def test_what_one_node_holds_another_releases_and_only_once(nodes: Nodes) -> None:
    one, two, _ = nodes
    new = await keep(one)
    early = report(provider_message_id="vendor-1")
    assert await two.keep_receipts([early], MOST) == [KeptAs(ReceiptFate.HELD)]
    after = build.ended(new.record, DispatchResult(Outcome.SUCCESS, provider_message_id="vendor-1"))
    assert await one.advance(new.record, after, provider_ids=[ProviderMessageId("p", "vendor-1", 1)])
    key = HeldKey("p", "vendor-1")
    released = await asyncio.gather(*(node.release_held([key]) for node in (one, two, one, two)))
    assert sorted(map(len, released)) == [0, 0, 0, 1]
    assert await pending(one) == [new.record.message_id]


async def test_no_more_are_held_than_allowed_though_two_nodes_hold_them(nodes: Nodes) -> None:
    one, two, other = nodes
    batches = [[report(provider_message_id=f"{at}-{number}") for number in range(5)] for at in range(8)]
    fates = await asyncio.gather(*((one, two)[at % 2].keep_receipts(batch, 12) for at, batch in enumerate(batches)))
    assert await other.fetchval("SELECT count(*) FROM held_receipts") == 12
    assert sum(bool(kept.dropped) for some in fates for kept in some) == 40 - 12


# Suppressions.


def suppression(number: int) -> Suppression:
    return Suppression(number.to_bytes(4) * 8, SuppressionReason.MANUAL, "test", START, "key-1")


async def test_what_one_node_suppresses_is_for_all(nodes: Nodes) -> None:
    one, two, _ = nodes
    assert one.has_suppressions
    assert await one.add_suppressions({"default": [suppression(1)]}) == 1
    assert await two.suppressions([suppression(1).address_hash], "default", START) == [suppression(1)]


async def test_the_same_at_two_nodes_in_another_order_are_there_once(nodes: Nodes) -> None:
    one, two, _ = nodes
    some = [suppression(number) for number in range(50)]
    added = await asyncio.gather(
        *(
            node.add_suppressions({"default": ordered})
            for _ in range(3)
            for node, ordered in ((one, some), (two, some[::-1]))
        )
    )
    assert sum(added) == len(some)
    hashes = [one.address_hash for one in some]
    removed = await asyncio.gather(
        *(
            node.remove_suppressions(ordered, ["default"], START)
            for node, ordered in ((one, hashes), (two, hashes[::-1]))
        )
    )
    assert sum(removed) == len(some)


# What operators do.


async def test_changes_of_providers_rise_in_the_order_of_commits(nodes: Nodes) -> None:
    one, two, other = nodes
    reader = asyncio.ensure_future(read_changes(other, 40))
    await asyncio.gather(*((one, two)[at % 2].set_drained(f"p-{at}", True) for at in range(40)))
    seen = await reader
    assert seen == sorted(seen)
    assert await other.fetchval("SELECT count(DISTINCT change) FROM provider_states") == 40


async def read_changes(connection: asyncpg.Connection[asyncpg.Record], count: int) -> list[int]:
    """The changes in the order in which they are to be seen first; none comes in before one that was seen."""
    seen: list[int] = []
    while len(seen) < count:
        found = await connection.fetch("SELECT change FROM provider_states ORDER BY change")
        seen += [one["change"] for one in found if one["change"] not in seen]
    return seen

"""Receipts that come while others are being kept are kept together, and each of them hears of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from postwire.core.errors import StoreUnavailable
from postwire.core.receipts import ReceiptState
from postwire.outbox.base import KeptAs, ReceiptFate, ReceiptReport
from postwire.outbox.postgres.database import Refused
from postwire.outbox.postgres.receipt_batches import ReceiptBatches


def report(event: str) -> ReceiptReport:
    return ReceiptReport("a", event.encode(), ReceiptState.DELIVERED, 1)


class Keeper:
    """Keeps nothing; the first transaction goes on until it `may_end`."""

    def __init__(self) -> None:
        self.transactions: list[list[bytes]] = []
        self.may_end = asyncio.Event()
        self.began = asyncio.Event()
        self.failing: Exception | None = None

    async def keep(self, reports: Sequence[ReceiptReport], max_held: int) -> Sequence[KeptAs]:
        events = [one.event for one in reports]
        self.transactions.append(events)
        self.began.set()
        await self.may_end.wait()
        if self.failing and b"bad" in events:
            raise self.failing
        return [KeptAs(ReceiptFate.KEPT, one.event.decode()) for one in reports]


async def kept(keeper: Keeper, *calls: str) -> list[Sequence[KeptAs] | BaseException]:
    """What each of the calls hears, the first of which is alone."""
    batches = ReceiptBatches(keeper.keep)
    tasks = [asyncio.create_task(batches.add([report(one) for one in call.split()], 9)) for call in calls]
    await keeper.began.wait()
    keeper.may_end.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_comes_at_once_is_kept_in_one_transaction_and_each_hears_of_its_own() -> None:
    keeper = Keeper()
    found = await kept(keeper, "one two", "three", "four")
    assert keeper.transactions == [[b"one", b"two", b"three", b"four"]]
    assert [[one.message_id for one in each] for each in found if not isinstance(each, BaseException)] == [
        ["one", "two"],
        ["three"],
        ["four"],
    ]


async def test_a_store_that_is_away_fails_all_of_a_transaction_and_the_next_goes_on() -> None:
    keeper = Keeper()
    keeper.failing = StoreUnavailable()
    batches = ReceiptBatches(keeper.keep)
    keeper.may_end.set()
    first, second = (asyncio.create_task(batches.add([report(one)], 9)) for one in ("bad", "two"))
    assert all(isinstance(one, StoreUnavailable) for one in await asyncio.gather(first, second, return_exceptions=True))
    assert [one.message_id for one in await batches.add([report("three")], 9)] == ["three"]


async def test_what_the_database_does_not_take_keeps_nothing_from_others() -> None:
    keeper = Keeper()
    keeper.failing = Refused("a value")
    good, bad, other = await kept(keeper, "one", "bad", "three")
    assert isinstance(bad, Refused)
    assert not isinstance(good, BaseException)
    assert not isinstance(other, BaseException)


async def test_whoever_does_not_wait_changes_nothing() -> None:
    keeper = Keeper()
    batches = ReceiptBatches(keeper.keep)
    gone, waits = (asyncio.create_task(batches.add([report(one)], 9)) for one in ("one", "two"))
    await keeper.began.wait()
    gone.cancel()
    keeper.may_end.set()
    assert [one.message_id for one in await waits] == ["two"]
    with pytest.raises(asyncio.CancelledError):
        await gone

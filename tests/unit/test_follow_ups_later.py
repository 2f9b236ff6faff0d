"""The same over drains, boots, clocks that are set, and many messages at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import build
from tests.support.follow_ups import DELIVERED, SENT, TICK, WITHIN, Setting
from tests.support.receipts import REFERENCES

from postwire.core import follow_up
from postwire.core.errors import StoreUnavailable
from postwire.core.message import DispatchCommand, MessageRecord
from postwire.core.outcome import Outcome
from postwire.core.receipts import Receipt, ReceiptState
from postwire.outbox.sqlite import SqliteOutbox


@pytest.fixture
async def outbox() -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(":memory:")
    yield opened
    await opened.close()


async def test_a_drain_begins_none_and_takes_nothing_away(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    setting.harness.delivery.follow_ups.stop()
    await setting.pass_time(WITHIN)
    assert follow_up.is_waiting(await setting.kept(record))
    assert await setting.names(record) == ["a"]
    await setting.end()


async def test_one_that_a_shutdown_cuts_short_stays_open_for_the_next_boot(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b._free.clear()
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.b.calls(1)
    assert await setting.harness.drain(0.0) == 1
    kept = await setting.kept(record)
    assert (kept.state, kept.attempts[-1].outcome) == (SENT, None), "it may have been handed over"
    assert setting.harness.left() == []


async def test_a_receipt_that_came_before_it_was_taken_back_ends_it(outbox: SqliteOutbox) -> None:
    """Of one that was kept after all, though the store had said that it may not be."""
    setting = await Setting(outbox).start()
    record = await setting.send()
    advance = outbox.advance

    async def once(before: MessageRecord, after: MessageRecord, *rest: Any, **reported: Any) -> bool:
        is_kept = await advance(before, after, *rest, **reported)
        if follow_up.is_under_way(after):
            outbox.advance = then  # type: ignore[method-assign]
            raise StoreUnavailable("it may be kept")
        return is_kept

    async def then(before: MessageRecord, after: MessageRecord, *rest: Any, **reported: Any) -> bool:
        outbox.advance = advance  # type: ignore[method-assign]
        receipt = Receipt(ReceiptState.DELIVERED, reference=REFERENCES.make(record.message_id, 1))
        await setting.harness.inbox.keep("a", [receipt])
        assert setting.harness.tracker
        await setting.harness.tracker.until_looked_at()
        return await advance(before, after, *rest, **reported)

    outbox.advance = once  # type: ignore[method-assign]
    await setting.pass_time(WITHIN)
    await setting.pass_time(WITHIN)
    kept = await setting.kept(record)
    assert (kept.state, len(kept.attempts)) == (DELIVERED, 1)
    await setting.end()


async def test_a_boot_closes_what_an_earlier_one_left_open_and_goes_on(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b._free.clear()
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.b.calls(1)
    await setting.harness.drain(0.0)
    again = await Setting(outbox, clock=setting.harness.clock).start()
    kept = await again.kept(record)
    assert (kept.state, kept.attempts[-1].outcome) == (SENT, Outcome.UNCERTAIN)
    assert follow_up.is_waiting(kept)
    await again.pass_time(WITHIN)
    assert (await again.names(record), len(again.b.keys)) == (["a", "b", "c"], 0), "it is never sent twice in silence"
    await again.end()


async def test_a_boot_without_it_ends_what_was_left(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    await setting.harness.completed()
    again = await Setting(outbox, clock=setting.harness.clock, within=None).start()
    await again.pass_time(WITHIN)
    assert (await again.names(record), await again.content(record)) == (["a"], None)
    await again.end()


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
async def test_a_clock_that_is_set_changes_nothing(outbox: SqliteOutbox, seconds: float) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    setting.harness.clock.step_wall(seconds)
    await setting.pass_time(WITHIN - TICK)
    assert await setting.names(record) == ["a"]
    await setting.pass_time(TICK)
    assert await setting.names(record) == ["a", "b"]
    await setting.end()


async def test_what_a_lid_has_slept_through_is_done_once_it_is_open(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    await setting.harness.calm()
    setting.harness.clock.suspend(2 * WITHIN)
    await setting.pass_time(2.0)
    assert await setting.names(record) == ["a", "b"]
    await setting.end()


async def test_many_come_due_at_once(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox, max_in_flight=1000).start()
    commands: list[DispatchCommand] = [build.command() for _ in range(200)]
    records = [await setting.harness.send(one) for one in commands]
    await setting.pass_time(WITHIN)
    for _ in range(6):
        await setting.pass_time(0.1)
    assert [await setting.names(one) for one in records] == [["a", "b"]] * 200
    assert len(setting.b.keys) == 200
    await setting.end()

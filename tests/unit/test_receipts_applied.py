"""What providers report later, from where it comes in to the record: in every moment of a message's life."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import build
from tests.support.providers import FakeProvider
from tests.support.receipts import REFERENCES
from tests.support.reported import booted, came, receipt
from tests.support.waiting import within

from postwire.core import receipt_states
from postwire.core.errors import StoreUnavailable
from postwire.core.message import DeliveryGuarantee, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.core.receipts import Receipt, ReceiptState
from postwire.outbox.base import HeldKey
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT, DELIVERED = MessageState.QUEUED, MessageState.SENT, MessageState.DELIVERED
UNDELIVERED, UNCERTAIN = MessageState.UNDELIVERED, MessageState.UNCERTAIN
ERROR, MAYBE = DispatchResult(Outcome.ERROR), DispatchResult(Outcome.UNCERTAIN)
AT_MOST_ONCE = DeliveryGuarantee.AT_MOST_ONCE


async def test_a_message_that_was_sent_comes_to_be_delivered(outbox: SqliteOutbox) -> None:
    harness = await booted(outbox)
    record = await harness.send()
    assert record.state is SENT
    await came(harness, receipt(record, code="0"))
    await harness.noted.reached(record.message_id, DELIVERED)
    kept = await harness.kept(record.message_id)
    assert (kept.state, kept.error_code, len(kept.receipts)) == (DELIVERED, "0", 1)
    assert harness.noted.events.count(("receipt", "delivered")) == 1


async def test_what_comes_twice_counts_once(outbox: SqliteOutbox) -> None:
    harness = await booted(outbox)
    record = await harness.send()
    one = receipt(record, ReceiptState.UNDELIVERED, code="30003")
    for _ in range(3):
        await came(harness, one, one)
    await harness.noted.reached(record.message_id, UNDELIVERED)
    assert harness.noted.events.count(("receipt", "undelivered")) == 1
    assert len((await harness.kept(record.message_id)).receipts) == 1


# While an attempt is open.


@pytest.mark.parametrize("answer", [build.SUCCESS, ERROR, MAYBE, DispatchResult(Outcome.DEFERRED)])
async def test_one_that_comes_while_its_attempt_is_open_is_applied_with_its_result(
    outbox: SqliteOutbox, answer: DispatchResult
) -> None:
    first, second = FakeProvider("one", answer=answer), FakeProvider("two")
    harness = await booted(outbox, first, second)

    async def report(message_id: str) -> None:
        await came(harness, receipt(message_id))
        await harness.calm()
        kept = await harness.kept(message_id)
        assert (kept.state, kept.receipts) == (MessageState.SENDING, ())

    first.meanwhile = report
    record = await harness.send()
    assert (record.state, record.attempts[0].outcome) == (DELIVERED, answer.outcome)
    assert harness.noted.events.count(("receipt", "delivered")) == 1
    assert (len(first.keys), len(second.keys)) == (1, 0), "nothing is sent once more"
    await harness.calm()
    assert harness.left() == []
    assert harness.delivery.queue_depths["sms"] == 0


async def test_a_complaint_while_an_attempt_is_open_does_not_keep_the_next_from_being_made(
    outbox: SqliteOutbox,
) -> None:
    first, second = FakeProvider("one", answer=ERROR), FakeProvider("two")
    harness = await booted(outbox, first, second)

    async def report(message_id: str) -> None:
        await came(harness, receipt(message_id, ReceiptState.COMPLAINED))

    first.meanwhile = report
    record = await harness.send()
    assert (record.state, len(second.keys), len(record.receipts)) == (SENT, 1, 1)


async def test_one_that_comes_just_before_the_commit_stands_in_its_way(outbox: SqliteOutbox) -> None:
    """After the executor has asked what there is, and before the next attempt is on disk."""
    first, second = FakeProvider("one", answer=ERROR), FakeProvider("two")
    harness = await booted(outbox, first, second)
    advance = outbox.advance

    async def late(before: MessageRecord, after: MessageRecord, *rest: Any, **reported: Any) -> bool:
        if len(after.attempts) == 2 and not reported.get("receipts"):
            await came(harness, receipt(before))
        return await advance(before, after, *rest, **reported)

    outbox.advance = late  # type: ignore[method-assign]
    record = await harness.send()
    await harness.noted.reached(record.message_id, DELIVERED)
    kept = await harness.kept(record.message_id)
    assert [one.outcome for one in kept.attempts] == [Outcome.ERROR], "its result is not lost"
    assert second.keys == []
    await harness.calm()
    assert harness.left() == []


async def test_a_result_is_not_lost_where_one_came_just_before_and_the_store_cannot_be_read(
    outbox: SqliteOutbox,
) -> None:
    first, second = FakeProvider("one", answer=ERROR), FakeProvider("two")
    harness = await booted(outbox, first, second)
    advance, get = outbox.advance, outbox.get

    async def late(before: MessageRecord, after: MessageRecord, *rest: Any, **reported: Any) -> bool:
        if len(after.attempts) == 2 and not reported.get("receipts"):
            await came(harness, receipt(before))
            outbox.get = unreadable  # type: ignore[assignment, method-assign]
        return await advance(before, after, *rest, **reported)

    async def unreadable(*_: object) -> MessageRecord | None:
        outbox.get = get  # type: ignore[method-assign]
        raise StoreUnavailable("it cannot be read")

    outbox.advance = late  # type: ignore[method-assign]
    record = await harness.send()
    await harness.noted.reached(record.message_id, DELIVERED)
    assert [one.outcome for one in (await harness.kept(record.message_id)).attempts] == [Outcome.ERROR]
    assert second.keys == []


async def test_a_result_is_not_lost_where_what_was_reported_meanwhile_cannot_be_applied(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = FakeProvider("one", answer=ERROR), FakeProvider("two")
    harness = await booted(outbox, first, second)

    async def report(message_id: str) -> None:
        await came(harness, receipt(message_id))

    def fail(*_: object, **__: object) -> MessageRecord:
        raise ValueError("it fails")

    first.meanwhile = report
    monkeypatch.setattr(receipt_states, "apply", fail)
    record = await harness.send()
    assert [one.outcome for one in record.attempts] == [Outcome.ERROR]
    harness.clock.advance(10.0)
    await harness.noted.reached(record.message_id, SENT)


# Between two attempts.


async def test_a_queued_message_that_was_delivered_is_not_sent_again(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answer=MAYBE)
    harness = await booted(outbox, provider)
    record = await harness.send()
    assert record.state is QUEUED
    await came(harness, receipt(record))
    await harness.noted.reached(record.message_id, DELIVERED)
    harness.clock.advance(3600.0)
    await harness.calm()
    assert len(provider.keys) == 1
    assert harness.delivery.queue_depths["sms"] == 0
    assert (await outbox.stats()).unsettled == 0


async def test_whoever_waits_for_a_queued_message_learns_of_it(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answer=MAYBE)
    harness = await booted(outbox, provider)
    record = await harness.send(build.command(request_id="r"))
    await came(harness, receipt(record, ReceiptState.ACCEPTED))
    await harness.noted.reached(record.message_id, SENT)
    again = await harness.send(build.command(request_id="r"))
    assert again.state is SENT


async def test_what_is_due_waits_until_what_was_reported_of_it_is_applied(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answer=MAYBE)
    harness = await booted(outbox, provider)
    assert harness.tracker
    record = await harness.send()
    wake, harness.tracker.wake = harness.tracker.wake, lambda: None  # the applier sleeps
    await came(harness, receipt(record))
    harness.clock.advance(10.0)
    await harness.calm()
    assert len(provider.keys) == 1
    harness.tracker.wake = wake
    wake()
    await harness.noted.reached(record.message_id, DELIVERED)
    await harness.calm()
    assert len(provider.keys) == 1


async def test_what_waits_for_that_does_not_hold_up_the_end(outbox: SqliteOutbox) -> None:
    harness = await booted(outbox, FakeProvider("one", answer=MAYBE))
    assert harness.tracker
    record = await harness.send()
    harness.tracker.wake = lambda: None  # the store is away
    await came(harness, receipt(record))
    harness.clock.advance(10.0)
    await harness.calm()
    assert await within(harness.delivery.drain(0.0)) == 0
    await within(harness.delivery.close())
    await harness.drain(0.0)


async def test_one_that_changes_nothing_does_not_keep_a_message_from_its_next_attempt(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answer=ERROR)
    harness = await booted(outbox, provider)
    record = await harness.send()
    await came(harness, receipt(record, ReceiptState.OPTED_OUT))
    await harness.calm()
    provider.answer = build.SUCCESS
    harness.clock.advance(10.0)
    await harness.noted.reached(record.message_id, SENT)
    assert len((await harness.kept(record.message_id)).receipts) == 1


async def test_after_an_uncertain_attempt_with_a_later_success(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answers=[MAYBE])
    harness = await booted(outbox, provider)
    record = await harness.send()
    harness.clock.advance(10.0)
    await harness.noted.reached(record.message_id, SENT)
    await came(harness, receipt(record, ReceiptState.UNDELIVERED))
    await harness.calm()
    assert (await harness.kept(record.message_id)).state is SENT, "the other attempt was successful"
    await came(harness, receipt(record, ReceiptState.UNDELIVERED, attempt=2, code="x"))
    await harness.noted.reached(record.message_id, UNDELIVERED)
    await came(harness, receipt(record))
    await harness.noted.reached(record.message_id, DELIVERED)
    assert len(provider.keys) == 2


async def test_an_uncertain_message_is_settled_by_what_is_reported(outbox: SqliteOutbox) -> None:
    harness = await booted(outbox, FakeProvider("one", answer=MAYBE))
    record = await harness.send(build.command(delivery_guarantee=AT_MOST_ONCE))
    assert record.state is UNCERTAIN
    await came(harness, receipt(record, ReceiptState.ACCEPTED))
    await harness.noted.reached(record.message_id, SENT)


# By the vendor's id.


async def test_an_id_that_is_not_known_yet_is_once_the_attempt_has_ended(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answer=DispatchResult(Outcome.SUCCESS, provider_message_id="v-1"))
    harness = await booted(outbox, provider)

    async def report(_: str) -> None:
        await came(harness, Receipt(ReceiptState.DELIVERED, provider_message_id="v-1"))
        assert await outbox.held_keys() == [HeldKey("one", "v-1")]

    provider.meanwhile = report
    record = await harness.send()
    await harness.noted.reached(record.message_id, DELIVERED)
    assert await outbox.held_keys() == []


async def test_an_id_is_believed_of_the_provider_that_gave_it(outbox: SqliteOutbox) -> None:
    result = DispatchResult(Outcome.SUCCESS, provider_message_id="v-1")
    harness = await booted(outbox, FakeProvider("one", answer=result), FakeProvider("two"))
    record = await harness.send()
    await came(harness, Receipt(ReceiptState.UNDELIVERED, provider_message_id="v-1"), provider_name="two")
    await came(harness, receipt(record, ReceiptState.UNDELIVERED), provider_name="two")
    await harness.calm()
    assert (await harness.kept(record.message_id)).state is SENT
    assert await outbox.held_keys() == [HeldKey("two", "v-1")]
    assert harness.noted.events.count(("receipt refused", "two unknown")) == 1


async def test_nothing_is_kept_of_providers_that_report_nothing(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answer=DispatchResult(Outcome.SUCCESS, provider_message_id="v-1"))
    harness = await booted(outbox, provider, receipts_of=["two"])
    await harness.send(build.command(build.email("a@example.com", "b@example.com")))
    assert provider.handovers[0].reference == provider.handovers[0].callback_url == ""
    await came(harness, Receipt(ReceiptState.DELIVERED, provider_message_id="v-1"))
    assert await outbox.held_keys() == [HeldKey("one", "v-1")]


async def test_each_recipient_of_an_email_is_reported_by_itself(outbox: SqliteOutbox) -> None:
    addresses = [f"{name}@example.com" for name in ("ada", "bob", "eve")]
    each = tuple(RecipientResult(Outcome.SUCCESS, provider_message_id=f"v-{at}") for at in range(3))
    provider = FakeProvider("one", answer=DispatchResult(Outcome.SUCCESS, recipients=each))
    harness = await booted(outbox, provider)
    record = await harness.send(build.command(build.email(*addresses)))
    await came(
        harness,
        receipt(record, ReceiptState.UNDELIVERED, recipient="Bob@Example.com", code="5.1.1"),
        Receipt(ReceiptState.DELIVERED, provider_message_id="v-2"),
    )
    await harness.noted.reached(record.message_id, UNDELIVERED)
    kept = await harness.kept(record.message_id)
    assert [one.state for one in kept.recipients] == [SENT, UNDELIVERED, DELIVERED]


# What vendors are to quote.


async def test_a_provider_is_given_what_a_receipt_is_to_quote(outbox: SqliteOutbox) -> None:
    one, two = FakeProvider("one", answer=ERROR), FakeProvider("two")
    harness = await booted(outbox, one, two)
    record = await harness.send()
    for number, provider in enumerate((one, two), 1):
        (handover,) = provider.handovers
        assert REFERENCES.read(handover.reference) == (record.message_id, number)
        assert handover.callback_url == f"https://example.com/receipts/{provider.name}/{handover.reference}"


async def test_what_is_the_same_to_the_vendor_quotes_the_same(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one", answers=[MAYBE], dedup_window=3600.0)
    harness = await booted(outbox, provider)
    record = await harness.send()
    assert record.state is SENT
    first, second = provider.handovers
    assert (first.key, first.reference) == (second.key, second.reference)
    await came(harness, receipt(record, ReceiptState.UNDELIVERED))
    await harness.noted.reached(record.message_id, UNDELIVERED)


# A restart, and a store that is away.


async def test_what_was_kept_is_applied_after_a_restart(tmp_path: Path) -> None:
    store = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    provider = FakeProvider("one", held=True)
    harness = await booted(store, provider)
    task = harness.start()
    await provider.calls()
    (message_id,) = provider.keys
    await came(harness, receipt(message_id))
    await harness.drain(0.0)
    assert (await task).state is MessageState.SENDING
    await store.close()

    store = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    provider = FakeProvider("one")
    harness = await booted(store, provider)
    await harness.noted.reached(message_id, DELIVERED)
    kept = await harness.kept(message_id)
    assert [one.outcome for one in kept.attempts] == [Outcome.UNCERTAIN]
    assert provider.keys == []
    await harness.drain(0.0)
    await store.close()


async def test_what_cannot_be_kept_is_not_received(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = await booted(outbox)
    record = await harness.send()

    async def away(*_: Any) -> Any:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "keep_receipts", away)
        with pytest.raises(StoreUnavailable):
            await came(harness, receipt(record))
    await came(harness, receipt(record))
    await harness.noted.reached(record.message_id, DELIVERED)


async def test_a_call_that_is_cut_short_has_kept_what_it_brought(outbox: SqliteOutbox) -> None:
    harness = await booted(outbox)
    record = await harness.send()
    task = asyncio.create_task(harness.inbox.keep("one", [receipt(record)]))
    await asyncio.sleep(0)
    task.cancel()
    await harness.noted.reached(record.message_id, DELIVERED)
    await harness.inbox.close()


async def test_one_message_that_fails_holds_up_no_other(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = FakeProvider("one", answer=ERROR)
    harness = await booted(outbox, provider)
    broken, other = [await harness.send() for _ in range(2)]
    apply = receipt_states.apply

    def fail(record: MessageRecord, *rest: Any, **given: Any) -> MessageRecord:
        if record.message_id == broken.message_id:
            raise ValueError("it fails")
        return apply(record, *rest, **given)

    monkeypatch.setattr(receipt_states, "apply", fail)
    await came(harness, receipt(broken), receipt(other))
    await harness.noted.reached(other.message_id, DELIVERED)
    provider.answer = build.SUCCESS
    harness.clock.advance(10.0)
    await harness.noted.reached(broken.message_id, SENT)


async def test_a_store_that_goes_away_just_then_leaves_no_message_behind(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = FakeProvider("one", answer=ERROR)
    harness = await booted(outbox, provider)
    one, other = [await harness.send() for _ in range(2)]
    finish, failures = outbox.finish_receipts, [StoreUnavailable()]

    def fail(*_: Any, **__: Any) -> MessageRecord:
        raise ValueError("it fails")

    def finish_or_fail(numbers: Sequence[int], now: int | None) -> Awaitable[None]:
        if failures:
            raise failures.pop()
        return finish(numbers, now)

    monkeypatch.setattr(receipt_states, "apply", fail)
    monkeypatch.setattr(outbox, "finish_receipts", finish_or_fail)
    await came(harness, receipt(one), receipt(other))
    provider.answer = build.SUCCESS
    for _ in range(3):  # for the store, for the applier, and for what waits to be tried again
        await harness.calm()
        harness.clock.advance(10.0)
    await harness.calm()
    assert [(await harness.kept(record.message_id)).state for record in (one, other)] == [SENT, SENT]

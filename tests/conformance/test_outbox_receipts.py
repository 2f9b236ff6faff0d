"""What every outbox keeps to with what providers report later."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, Q, Reopen, change, dropped, each, keep, queue_up, take
from tests.support.receipts import KEY, MOST, hash_of, pending, report, report_of

from postwire.core import receipt_states
from postwire.core.audit import AuditEvent
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.core.receipts import KeptReceipt, ReceiptState
from postwire.core.suppression import address_hash
from postwire.outbox.base import (
    BEGINNING,
    ErasureCounts,
    HeldKey,
    KeptAs,
    NewMessage,
    Outbox,
    ProviderMessageId,
    ReceiptFate,
    ReceiptReport,
)

DELIVERED, UNDELIVERED = ReceiptState.DELIVERED, ReceiptState.UNDELIVERED
KEPT, DOUBLE, HELD, REFUSED = ReceiptFate.KEPT, ReceiptFate.DOUBLE, ReceiptFate.HELD, ReceiptFate.REFUSED
ADDRESSES = ("ada@example.com", "bob@example.com", "eve@example.com")
DAY = 24 * build.HOUR


async def fates(outbox: Outbox, *reports: ReceiptReport, max_held: int = MOST) -> list[ReceiptFate]:
    return [one.fate for one in await outbox.keep_receipts(reports, max_held)]


async def receipts(outbox: Outbox, message: NewMessage | MessageRecord) -> tuple[KeptReceipt, ...]:
    record = message.record if isinstance(message, NewMessage) else message
    (found,) = await outbox.reported([record.message_id])
    return found.receipts


async def sent(outbox: Outbox, new: NewMessage, vendor_id: str = "vendor-1") -> MessageRecord:
    """Have its open attempt end well, and its id kept."""
    after = build.ended(new.record, DispatchResult(Outcome.SUCCESS, provider_message_id=vendor_id))
    assert await outbox.advance(new.record, after, provider_ids=[ProviderMessageId("p", vendor_id, 1)])
    return after


async def keep_email(outbox: Outbox, *addresses: str) -> NewMessage:
    """Have an email accepted, with the hashes of its recipients; an attempt is open."""
    of = build.command(build.email(*addresses), request_id=build.new_request_id())
    new = build.new_message(of, record=build.accepted(of, provider_name="p"))
    new = replace(new, recipient_hashes=tuple(map(hash_of, addresses)), keeps_hashes=True, sender="us@example.com")
    assert (await outbox.accept(new)).created
    return new


async def test_a_receipt_is_kept_once_as_it_came(outbox: Outbox) -> None:
    new = await keep(outbox)
    one = report_of(new, UNDELIVERED, code="30003", time=START - 7, permanent=True, to_report=True)
    assert await outbox.keep_receipts([one], MOST) == [KeptAs(KEPT, new.record.message_id)]
    assert await outbox.keep_receipts([one], MOST) == [KeptAs(DOUBLE, new.record.message_id)]
    assert await fates(outbox, replace(one, event=b"another"), one) == [KEPT, DOUBLE]
    first, second = await receipts(outbox, new)
    assert second.number > first.number
    assert first == KeptReceipt(
        number=first.number,
        provider_name="p",
        attempt_number=1,
        state=UNDELIVERED,
        receive_time=START,
        code="30003",
        time=START - 7,
        permanent=True,
        to_report=True,
    )


async def test_an_event_is_one_provider_s(outbox: Outbox) -> None:
    one, other = await keep(outbox, at="p"), await keep(outbox, at="q")
    ours = report_of(one)
    theirs = replace(report_of(other, provider_name="q"), event=ours.event)
    assert await fates(outbox, ours, theirs) == [KEPT, KEPT]


# Whose it is.


async def test_it_is_found_by_the_id_that_its_provider_gave(outbox: Outbox) -> None:
    new = await keep(outbox)
    record = await sent(outbox, new)
    assert await fates(outbox, report(provider_message_id="vendor-1")) == [KEPT]
    assert await fates(outbox, report(provider_name="q", provider_message_id="vendor-1")) == [HELD]
    (found,) = await receipts(outbox, record)
    assert (found.attempt_number, found.part) == (1, "vendor-1")


async def test_a_reference_counts_where_the_attempt_was_at_this_provider(outbox: Outbox) -> None:
    new = await keep(outbox, at="p")
    assert await fates(outbox, report_of(new, provider_name="q")) == [REFUSED]
    assert await receipts(outbox, new) == ()


async def test_an_id_does_not_lead_to_another_message_than_the_reference(outbox: Outbox) -> None:
    one, other = await keep(outbox), await keep(outbox)
    await sent(outbox, one, "vendor-1")
    await sent(outbox, other, "vendor-2")
    assert await outbox.keep_receipts([report_of(one, provider_message_id="vendor-2")], MOST) == [
        KeptAs(KEPT, one.record.message_id)
    ]


async def test_the_id_says_which_of_several_attempts_it_was(outbox: Outbox) -> None:
    """A reference may be that of the first of those that are the same to the vendor."""
    new = await keep(outbox)
    again = await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.UNCERTAIN)))
    taken = await take(outbox, again)
    after = build.ended(taken)
    assert await outbox.advance(taken, after, provider_ids=[ProviderMessageId("p", "vendor-1", 2)])
    await fates(outbox, report_of(new, provider_message_id="vendor-1"), report_of(new))
    assert [one.attempt_number for one in await receipts(outbox, new)] == [2, 1]


async def test_each_part_of_a_message_has_an_id(outbox: Outbox) -> None:
    new = await keep(outbox)
    after = build.ended(new.record, DispatchResult(Outcome.SUCCESS, provider_message_id="a,b"))
    ids = [ProviderMessageId("p", "a", 1), ProviderMessageId("p", "b", 1)]
    assert await outbox.advance(new.record, after, provider_ids=ids)
    assert await fates(outbox, *(report(provider_message_id=part) for part in "ab")) == [KEPT, KEPT]
    assert [one.part for one in await receipts(outbox, new)] == ["a", "b"]


# Which recipient it is about.


async def test_a_recipient_is_found_by_its_hash(outbox: Outbox) -> None:
    new = await keep_email(outbox, *ADDRESSES)
    of = [report_of(new, recipient_hash=hash_of(address)) for address in reversed(ADDRESSES)]
    assert await fates(outbox, *of) == [KEPT] * 3
    assert [one.recipient_index for one in await receipts(outbox, new)] == [2, 1, 0]


async def test_an_address_that_is_there_twice_is_two_recipients(outbox: Outbox) -> None:
    new = await keep_email(outbox, *ADDRESSES, ADDRESSES[0].upper())
    one = report_of(new, recipient_hash=address_hash(ADDRESSES[0], KEY))
    assert await fates(outbox, one, one) == [KEPT, DOUBLE]
    assert [one.recipient_index for one in await receipts(outbox, new)] == [0, 3]


async def test_nobody_else_is_meant_by_an_address_that_is_unknown(outbox: Outbox) -> None:
    new = await keep_email(outbox, *ADDRESSES)
    await fates(outbox, report_of(new, recipient_hash=hash_of("forwarded@example.net")))
    (found,) = await receipts(outbox, new)
    assert (found.recipient_index, found.is_unmatched) == (None, True)


async def test_where_there_is_one_recipient_it_is_meant_whatever_the_address(outbox: Outbox) -> None:
    new = await keep_email(outbox, ADDRESSES[0])
    await fates(outbox, report_of(new, recipient_hash=hash_of("forwarded@example.net")))
    (found,) = await receipts(outbox, new)
    assert (found.recipient_index, found.is_unmatched) == (0, False)


async def test_without_an_address_all_recipients_are_meant_or_the_one_whose_id_it_is(outbox: Outbox) -> None:
    new = await keep_email(outbox, *ADDRESSES)
    each_of = tuple(RecipientResult(Outcome.SUCCESS, provider_message_id=f"v-{at}") for at in range(3))
    after = build.ended(new.record, DispatchResult(Outcome.SUCCESS, recipients=each_of))
    ids = [ProviderMessageId("p", f"v-{at}", 1, at) for at in range(3)]
    assert await outbox.advance(new.record, after, provider_ids=ids)
    assert await fates(outbox, report_of(new), report(provider_message_id="v-1")) == [KEPT, KEPT]
    assert [(one.recipient_index, one.is_unmatched) for one in await receipts(outbox, new)] == [
        (None, False),
        (1, False),
    ]


async def test_only_those_are_meant_whom_the_attempt_was_for(outbox: Outbox) -> None:
    new = await keep_email(outbox, ADDRESSES[0], ADDRESSES[1], ADDRESSES[0])
    each_of = tuple(map(RecipientResult, (Outcome.ERROR, Outcome.SUCCESS, Outcome.SUCCESS)))
    queued = await change(
        outbox, new.record, build.ended(new.record, DispatchResult(Outcome.ERROR, recipients=each_of))
    )
    taken = await take(outbox, queued)
    assert taken.attempts[-1].positions == (0,)
    assert (await outbox.get(taken.message_id, DEFAULT_TENANT)) == taken
    await fates(outbox, report_of(new, attempt_number=2, recipient_hash=hash_of(ADDRESSES[0])))
    (found,) = await receipts(outbox, new)
    assert found.recipient_index == 0


# Applied with the change that it leads to.


async def test_a_receipt_is_applied_with_the_change_that_it_leads_to(outbox: Outbox) -> None:
    new = await keep(outbox)
    record = await sent(outbox, new)
    await fates(outbox, report_of(new, UNDELIVERED, code="30003"))
    assert await pending(outbox) == [record.message_id]
    found = await receipts(outbox, record)
    after = receipt_states.apply(record, found, now=START + 9)
    assert after.state is MessageState.UNDELIVERED
    stale = replace(record, revision=record.revision - 1)
    assert not await outbox.advance(stale, after, receipts=[one.number for one in found])
    assert await pending(outbox) == [record.message_id], "what is not kept is not applied"
    assert await outbox.advance(record, after, receipts=[one.number for one in found])
    assert await outbox.get(record.message_id, DEFAULT_TENANT) == after
    assert await pending(outbox) == []
    assert [one.is_applied for one in await receipts(outbox, record)] == [True]


async def test_one_that_is_to_be_reported_is_pending_until_it_is(outbox: Outbox) -> None:
    new = await keep(outbox)
    record = await sent(outbox, new)
    await fates(outbox, report_of(new, UNDELIVERED, to_report=True))
    found = await receipts(outbox, record)
    after = receipt_states.apply(record, found, now=START + 9)
    assert await outbox.advance(record, after, receipts=[one.number for one in found])
    assert await pending(outbox) == [record.message_id]
    await outbox.finish_receipts([one.number for one in found], START + 9)
    assert await pending(outbox) == []


async def test_a_queued_message_that_was_delivered_waits_no_longer(outbox: Outbox) -> None:
    new = await keep(outbox, queue="q")
    queued = await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.UNCERTAIN)))
    await fates(outbox, report_of(new))
    found = await receipts(outbox, queued)
    after = receipt_states.apply(queued, found, now=START + 9)
    assert await outbox.advance(queued, after, receipts=[one.number for one in found])
    assert await outbox.heads([Q], EVER, 9) == {}
    assert (await outbox.stats()).unsettled == 0
    assert await outbox.content(queued.message_id, DEFAULT_TENANT) is None, "nobody needs it"


# It stands in the way of the next attempt.


async def test_no_attempt_is_opened_past_a_receipt_that_is_not_applied(outbox: Outbox) -> None:
    new = await keep(outbox, queue="q")
    other = await queue_up(outbox)
    queued = await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.UNCERTAIN)))
    await fates(outbox, report_of(new, ReceiptState.COMPLAINED))
    opened = build.retried(queued)
    assert not await outbox.advance(queued, opened)
    taken = await outbox.take(Q, EVER, each(9), lambda one: build.retried(one.record))
    assert [one.record.message_id for one in taken] == [other.record.message_id], "others go on"
    assert await outbox.get(queued.message_id, DEFAULT_TENANT) == queued
    (found,) = await receipts(outbox, queued)
    listed = receipt_states.apply(queued, [found], now=START + 9)
    opened = build.retried(listed)
    assert await outbox.advance(queued, opened, receipts=[found.number])
    assert await outbox.get(queued.message_id, DEFAULT_TENANT) == opened


async def test_an_attempt_may_end_past_one_and_one_that_leads_to_nothing_is_out_of_the_way(outbox: Outbox) -> None:
    new = await keep(outbox, queue="q")
    await fates(outbox, report_of(new))
    queued = await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.ERROR)))
    assert not await outbox.advance(queued, build.retried(queued))
    (found,) = await receipts(outbox, queued)
    await outbox.finish_receipts([found.number], START)
    await take(outbox, queued)


async def test_several_changes_at_once_each_stand_for_themselves(outbox: Outbox) -> None:
    held_up, free = [await queue_up(outbox, queue="q") for _ in range(2)]
    first = await take(outbox, held_up.record)
    await fates(outbox, report_of(first))
    queued = await change(outbox, first, build.ended(first, DispatchResult(Outcome.ERROR)))
    results = await asyncio.gather(
        outbox.advance(queued, build.retried(queued)), outbox.advance(free.record, build.retried(free.record))
    )
    assert [*results] == [False, True]


async def test_it_stands_in_the_way_after_a_restart_as_well(reopen: Reopen) -> None:
    outbox = await reopen()
    new = await keep(outbox, queue="q")
    queued = await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.UNCERTAIN)))
    await fates(outbox, report_of(new))
    outbox = await reopen()
    assert await pending(outbox) == [queued.message_id]
    assert not await outbox.advance(queued, build.retried(queued))
    assert len(await receipts(outbox, queued)) == 1


# Held.


async def test_what_is_not_known_is_held_until_it_turns_up(outbox: Outbox) -> None:
    new = await keep(outbox)
    early = report(provider_message_id="vendor-1", recipient_hash=hash_of("x"), code="c", to_report=True)
    assert await fates(outbox, early, early) == [HELD, DOUBLE]
    assert await outbox.held_keys() == [HeldKey("p", "vendor-1")]
    assert await outbox.release_held([HeldKey("p", "vendor-1")]) == []
    await sent(outbox, new)
    assert await outbox.release_held([HeldKey("q", "vendor-1"), HeldKey("p", "other")]) == []
    assert await outbox.release_held([HeldKey("p", "vendor-1")]) == [new.record.message_id]
    assert await outbox.held_keys() == []
    (found,) = await receipts(outbox, new)
    assert (found.code, found.to_report, found.is_applied) == ("c", True, False)
    assert await fates(outbox, early) == [DOUBLE], "it is known when it comes again"


async def test_a_message_that_turns_up_later_is_found_by_its_id(outbox: Outbox) -> None:
    of = build.command()
    record = build.accepted(of, provider_name="p")
    early = report_of(record)
    assert await fates(outbox, early) == [HELD]
    key = HeldKey("", record.message_id)
    assert await outbox.held_keys() == [key]
    assert (await outbox.accept(build.new_message(of, record=record))).created
    assert await outbox.release_held([key]) == [record.message_id]


async def test_a_receipt_of_an_attempt_that_was_taken_back_is_held(outbox: Outbox) -> None:
    new = await queue_up(outbox)
    taken = await take(outbox, new.record)
    await change(outbox, taken, dropped(taken))
    assert await fates(outbox, report_of(new)) == [HELD]


async def test_of_too_many_the_oldest_goes_of_the_provider_that_has_most(outbox: Outbox) -> None:
    few = report(provider_name="few", provider_message_id="1")
    assert await fates(outbox, few, max_held=3) == [HELD]
    many = [report(provider_name="many", provider_message_id=str(at)) for at in range(5)]
    kept = await outbox.keep_receipts(many, 3)
    assert kept == [KeptAs(HELD)] * 2 + [KeptAs(HELD, dropped="many")] * 3
    assert await outbox.held_keys() == [HeldKey("few", "1"), HeldKey("many", "3"), HeldKey("many", "4")]


async def test_what_is_held_for_long_is_dropped_and_counted(outbox: Outbox) -> None:
    for at, name in enumerate(["p", "q", "p", "p"]):
        await fates(outbox, report(provider_name=name, provider_message_id=str(at), receive_time=START + at))
    assert await outbox.drop_held(START, 9) == {}
    assert await outbox.drop_held(START + 3, 2) == {"p": 1, "q": 1}
    assert await outbox.drop_held(START + 3, 2) == {"p": 1}
    assert await outbox.held_keys() == [HeldKey("p", "3")]


async def test_what_is_held_lasts(reopen: Reopen) -> None:
    outbox = await reopen()
    await fates(outbox, report(provider_message_id="1"))
    outbox = await reopen()
    assert await outbox.held_keys() == [HeldKey("p", "1")]
    assert await fates(outbox, report(provider_message_id="2"), max_held=1) == [HELD]
    assert await outbox.held_keys() == [HeldKey("p", "2")]


# What is removed.


async def everything(outbox: Outbox) -> NewMessage:
    """A settled email with all that may be kept of it."""
    new = await keep_email(outbox, *ADDRESSES)
    await sent(outbox, new)
    await fates(outbox, report_of(new, recipient_hash=hash_of(ADDRESSES[1])))
    return new


async def test_all_that_belongs_to_a_message_goes_with_it(outbox: Outbox) -> None:
    new = await everything(outbox)
    assert await outbox.remove_settled(BEGINNING, START + DAY, 9) is not None
    assert await outbox.reported([new.record.message_id]) == []
    assert await pending(outbox) == []
    assert await fates(outbox, report(provider_message_id="vendor-1")) == [HELD], "nobody has that id"


async def test_receipts_with_which_all_is_done_go_in_time(outbox: Outbox) -> None:
    new = await everything(outbox)
    (found,) = await receipts(outbox, new)
    assert await outbox.remove_receipts(START + DAY, 9) == 0
    await outbox.finish_receipts([found.number], START + 9)
    assert await outbox.remove_receipts(START + 9, 9) == 0
    assert await outbox.remove_receipts(START + 10, 9) == 1
    assert await receipts(outbox, new) == ()


async def test_what_has_come_in_is_known_by_its_provider_and_forgotten_in_time(outbox: Outbox) -> None:
    assert not await outbox.is_inbound_known("one", b"event")
    for now in (START, START + 9):
        await outbox.keep_inbound("one", b"event", now)
    assert await outbox.is_inbound_known("one", b"event")
    assert not await outbox.is_inbound_known("two", b"event")
    assert not await outbox.is_inbound_known("one", b"other")
    assert await outbox.remove_inbound(START, 9) == 0
    assert await outbox.remove_inbound(START + 1, 9) == 1
    assert not await outbox.is_inbound_known("one", b"event")


async def test_hashes_of_recipients_are_erased_once_nothing_is_to_come(outbox: Outbox) -> None:
    new, later = await everything(outbox), await keep_email(outbox, *ADDRESSES)
    for before, count in ((START, 3), (START + DAY, 0)):
        await outbox.erase_hashes(BEGINNING, before, 9)
        (found,) = await outbox.reported([new.record.message_id])
        assert len(found.recipient_hashes) == count
        assert found.sender == ("us@example.com" if count else "")
    (found,) = await outbox.reported([later.record.message_id])
    assert len(found.recipient_hashes) == 3, "it is not settled"
    await fates(outbox, report_of(new, recipient_hash=hash_of(ADDRESSES[0])))
    assert (await receipts(outbox, new))[-1].is_unmatched


async def test_hashes_of_recipients_are_erased_at_somebody_s_request(outbox: Outbox) -> None:
    new = await everything(outbox)
    event = AuditEvent(START, DEFAULT_TENANT, "ops", "m", "", "OK", "")
    ids = [new.record.message_id]
    assert await outbox.erase(ids, DEFAULT_TENANT, event) == ErasureCounts(1, 0)
    (found,) = await outbox.reported(ids)
    assert (found.recipient_hashes, found.sender) == ((), "")
    assert await outbox.erasable(ids, DEFAULT_TENANT) == ErasureCounts(0, 0)


@pytest.mark.parametrize("most", [3])
async def test_no_more_are_kept_of_a_message_than_allowed(
    outbox: Outbox, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postwire.outbox.base.receipts.MAX_PER_MESSAGE", most)
    new = await keep(outbox)
    assert await fates(outbox, *(report_of(new) for _ in range(5))) == [KEPT] * 3 + [REFUSED] * 2

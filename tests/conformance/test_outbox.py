"""What every outbox keeps to, whatever is behind it: the promises of `outbox.base.Outbox`.

An implementation that is new joins by a line in `tests.support.outboxes.PLACES`. Here: accepting, one request id that
is one message, writes side by side, and closing. What becomes of a message is in `test_outbox_advance`, what waits in
`test_outbox_queues`, lists are in `test_outbox_list`, and what only files can do is in `tests/unit/test_schema.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import Q, change, each, keep, queue_up, take

from postwire.core import canonical
from postwire.core.errors import RequestIdReused, StoreUnavailable
from postwire.core.listing import MessageFilter
from postwire.core.message import DEFAULT_TENANT, Attachment, MessageState, Mms, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Accepted, NewMessage, Outbox, OutboxStats

# Accepting.


async def test_what_was_accepted_is_read_back_as_it_was(outbox: Outbox) -> None:
    new = build.new_message()
    assert await outbox.accept(new) == Accepted(new.record, created=True)
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record


async def test_every_part_of_a_record_is_kept(outbox: Outbox) -> None:
    of = build.command(
        build.email(*(f"{i}@example.com" for i in range(60)), cc=tuple(f"c{i}@example.com" for i in range(40))),
        request_id="~ !\"'%_\\",
        labels={"a/b.c_d-e": "\u00fc \U0001f469\u200d\U0001f680 \u0645\u0631 \"'\\", "empty": ""},
        send_time=START - 1,
        expire_time=START + 1,
        provider_name="sms-eu",
        max_attempts=100,
    )
    new = build.new_message(of, record=build.accepted(of, provider_name="sms-eu", trace_id="ab" * 16))
    await outbox.accept(new)
    kept = await outbox.get(new.record.message_id, DEFAULT_TENANT)
    assert kept == new.record
    assert kept is not None
    assert list(kept.labels) == list(new.record.labels)
    assert len(kept.recipients) == 100


@pytest.mark.parametrize(
    "message",
    [
        OutboundMessage(build.sms("\u00fc \U0001f600 \0")),
        OutboundMessage(Mms("+15005550100", "Look"), {"k": "\u00fc"}),
        OutboundMessage(build.email(attachments=(Attachment("a", "", bytes(range(256)) * 5_000),))),
    ],
    ids=["sms", "mms", "email of over 1 MB"],
)
async def test_a_content_is_kept_to_the_byte(outbox: Outbox, message: OutboundMessage) -> None:
    new = await keep(outbox, content=message.content, labels=message.labels)
    content = await outbox.content(new.record.message_id, DEFAULT_TENANT)
    assert content == new.content
    assert content is not None
    assert canonical.decode_message(content) == message


async def test_a_message_can_be_accepted_that_nobody_carries_yet(outbox: Outbox) -> None:
    new = await queue_up(
        outbox, queue="sms#2", content=build.email("a@example.com", "b@example.com"), labels={"k": "v"}
    )
    assert (new.record.state, new.record.attempts) == (MessageState.QUEUED, ())
    assert {one.state for one in new.record.recipients} == {MessageState.QUEUED}
    kept = await outbox.get(new.record.message_id, DEFAULT_TENANT)
    assert kept == new.record
    assert kept is not None
    assert (kept.queue, kept.next_attempt_time) == ("sms#2", START)
    assert await outbox.content(new.record.message_id, DEFAULT_TENANT) == new.content


async def test_messages_with_an_attempt_and_without_share_a_commit(outbox: Outbox) -> None:
    calls = [build.command(request_id=build.new_request_id()) for _ in range(40)]
    records = [build.accepted(of, provider_name="p" if i % 3 else "") for i, of in enumerate(calls)]
    new = [build.new_message(of, record=record) for of, record in zip(calls, records, strict=True)]
    verdicts = await asyncio.gather(*(outbox.accept(one) for one in new))
    assert verdicts == [Accepted(record, created=True) for record in records]
    assert await asyncio.gather(*(outbox.get(record.message_id, DEFAULT_TENANT) for record in records)) == records


async def test_what_is_not_there_is_none(outbox: Outbox) -> None:
    await keep(outbox, request_id="another")
    assert await outbox.get(build.new_id(), DEFAULT_TENANT) is None
    assert await outbox.content(build.new_id(), DEFAULT_TENANT) is None
    assert await outbox.find_by_request_id("nothing", DEFAULT_TENANT, b"h" * 32) is None


async def test_a_new_one_can_commit(outbox: Outbox) -> None:
    assert outbox.available


# One request id is one message.


async def test_a_repeat_gives_the_first_message_as_it_now_stands(outbox: Outbox) -> None:
    new = await keep(outbox, request_id="r")
    assert await outbox.accept(build.repeated(new)) == Accepted(new.record, created=False)
    after = build.ended(new.record)
    assert await outbox.advance(new.record, after)
    repeat = build.repeated(new)
    assert await outbox.accept(repeat) == Accepted(after, created=False)
    assert await outbox.get(repeat.record.message_id, DEFAULT_TENANT) is None, "the repeat left nothing behind"
    assert await outbox.content(repeat.record.message_id, DEFAULT_TENANT) is None


async def test_a_repeat_of_what_waits_gives_it_and_then_what_became_of_it(outbox: Outbox) -> None:
    new = await queue_up(outbox, request_id="r")
    assert await outbox.accept(build.repeated(new)) == Accepted(new.record, created=False)
    assert await outbox.find_by_request_id("r", DEFAULT_TENANT, new.payload_hash) == new.record
    taken = await take(outbox, new.record)
    assert await outbox.accept(build.repeated(new)) == Accepted(taken, created=False)
    again = build.ended(taken, DispatchResult(Outcome.ERROR))
    await change(outbox, taken, again)
    assert again.state is MessageState.QUEUED
    assert await outbox.accept(build.repeated(new)) == Accepted(again, created=False)
    assert await outbox.stats() == OutboxStats(1, START), "the repeats left nothing behind"


async def test_a_repeat_that_would_be_sent_at_once_gives_what_waits(outbox: Outbox) -> None:
    new = await queue_up(outbox, request_id="r")
    repeat = replace(new, record=replace(build.accepted(provider_name="p"), request_id="r"))
    assert await outbox.accept(repeat) == Accepted(new.record, created=False)
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record, (
        "no attempt of the repeat's went to it"
    )
    assert await outbox.orphans(9) == []


async def test_another_payload_under_a_used_request_id_is_refused(outbox: Outbox) -> None:
    new = await keep(outbox, content=build.sms("one"), request_id="r")
    other = build.new_message(build.command(build.sms("two"), request_id="r"))
    with pytest.raises(RequestIdReused):
        await outbox.accept(other)
    assert await outbox.get(other.record.message_id, DEFAULT_TENANT) is None
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
    assert await outbox.accept(build.repeated(new)) == Accepted(new.record, created=False)


@pytest.mark.parametrize("tenant", ["other", ""])
async def test_request_ids_of_two_tenants_have_nothing_to_do_with_each_other(outbox: Outbox, tenant: str) -> None:
    one = await keep(outbox, request_id="r")
    theirs = build.new_message(build.command(build.sms("other"), request_id="r"))
    theirs = replace(theirs, record=replace(theirs.record, tenant=tenant))
    assert (await outbox.accept(theirs)).created
    assert await outbox.find_by_request_id("r", tenant, theirs.payload_hash) == theirs.record
    assert await outbox.find_by_request_id("r", DEFAULT_TENANT, one.payload_hash) == one.record


async def test_request_ids_are_compared_to_the_letter(outbox: Outbox) -> None:
    for request_id in ("abc", "ABC", "abc ", " abc", "ab_", "ab%"):
        await keep(outbox, request_id=request_id)


async def test_of_many_accepts_at_once_under_one_request_id_exactly_one_is_created(outbox: Outbox) -> None:
    first = build.new_message(build.command(request_id="r"))
    verdicts = await asyncio.gather(*(outbox.accept(build.repeated(first)) for _ in range(64)))
    created = [verdict.record for verdict in verdicts if verdict.created]
    assert len(created) == 1
    assert [verdict.record for verdict in verdicts] == created * 64
    assert await outbox.find_by_request_id("r", DEFAULT_TENANT, first.payload_hash) == created[0]


async def test_of_many_payloads_at_once_under_one_request_id_one_wins_and_the_others_are_refused(
    outbox: Outbox,
) -> None:
    calls = [build.new_message(build.command(build.sms(f"body {i % 4}"), request_id="r")) for i in range(64)]
    verdicts = await asyncio.gather(*(outbox.accept(new) for new in calls), return_exceptions=True)
    created = [i for i, verdict in enumerate(verdicts) if isinstance(verdict, Accepted) and verdict.created]
    assert len(created) == 1
    for i, verdict in enumerate(verdicts):
        if i % 4 == created[0] % 4:
            assert isinstance(verdict, Accepted)
            assert verdict.record == calls[created[0]].record
        else:
            assert isinstance(verdict, RequestIdReused)


async def test_find_is_by_request_id_and_payload(outbox: Outbox) -> None:
    new = await keep(outbox, request_id="r")
    assert await outbox.find_by_request_id("r", DEFAULT_TENANT, new.payload_hash) == new.record
    with pytest.raises(RequestIdReused):
        await outbox.find_by_request_id("r", DEFAULT_TENANT, b"another" * 4 + b"hash")
    after = build.ended(new.record)
    assert await outbox.advance(new.record, after)
    assert await outbox.find_by_request_id("r", DEFAULT_TENANT, new.payload_hash) == after


# Together.


async def test_many_writes_in_one_turn_are_all_done(outbox: Outbox) -> None:
    new = [build.new_message(build.command(request_id=build.new_request_id())) for _ in range(700)]
    verdicts = await asyncio.gather(*(outbox.accept(one) for one in new))
    assert verdicts == [Accepted(one.record, created=True) for one in new]
    ended = [build.ended(one.record) for one in new]
    pairs = [(one.record, after) for one, after in zip(new, ended, strict=True)]
    assert await asyncio.gather(*(outbox.advance(*pair) for pair in pairs)) == [True] * 700
    assert await asyncio.gather(*(outbox.get(one.message_id, DEFAULT_TENANT) for one in ended)) == ended
    assert await outbox.content(new[-1].record.message_id, DEFAULT_TENANT) is None, "it is settled"


async def test_accepts_repeats_results_and_reads_side_by_side(outbox: Outbox) -> None:
    async def live(number: int) -> None:
        new = build.new_message(build.command(build.sms(f"body {number}"), request_id=f"side-{number}"))
        first, second = await asyncio.gather(outbox.accept(new), outbox.accept(build.repeated(new)))
        assert (first.created, second.created) == (True, False)
        assert second.record == new.record
        after = build.ended(new.record)
        applied, _, found = await asyncio.gather(
            outbox.advance(new.record, after),
            outbox.get(new.record.message_id, DEFAULT_TENANT),
            outbox.find_by_request_id(f"side-{number}", DEFAULT_TENANT, new.payload_hash),
        )
        assert applied
        assert found in (new.record, after), "one moment or the other, and never half of each"
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == after

    await asyncio.gather(*(live(number) for number in range(100)))


async def test_a_read_sees_every_write_that_is_done(outbox: Outbox) -> None:
    for _ in range(50):
        new = await keep(outbox)
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == new.record
        after = build.ended(new.record)
        assert await outbox.advance(new.record, after)
        assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == after


def _taken_id(new: NewMessage, others: list[NewMessage]) -> NewMessage:
    return replace(new, record=replace(new.record, message_id=others[0].record.message_id))


POISON: Mapping[str, Callable[[NewMessage, list[NewMessage]], NewMessage]] = {
    "an id that is taken": _taken_id,
    "text that is no Unicode": lambda new, _: replace(new, record=replace(new.record, request_id="\ud800")),
    "an id that is none": lambda new, _: replace(new, record=replace(new.record, message_id="x")),
    "a number over 64 bits": lambda new, _: replace(new, record=replace(new.record, expire_time=2**63)),
}


@pytest.mark.parametrize("poison", POISON)
async def test_one_operation_that_cannot_be_done_does_not_take_the_others_with_it(outbox: Outbox, poison: str) -> None:
    new = [build.new_message(build.command(request_id=build.new_request_id())) for _ in range(9)]
    bad = POISON[poison](build.new_message(), new)
    before = new[0].record
    assert (await outbox.accept(new[0])).created
    verdicts = await asyncio.gather(
        *(outbox.accept(one) for one in new[1:5]),
        outbox.accept(bad),
        outbox.advance(before, replace(build.ended(before), update_time=2**63)),
        *(outbox.accept(one) for one in new[5:]),
        return_exceptions=True,
    )
    good = verdicts[:4] + verdicts[6:]
    assert good == [Accepted(one.record, created=True) for one in new[1:]]
    for fault in verdicts[4:6]:
        assert isinstance(fault, Exception)
        assert not isinstance(fault, StoreUnavailable), "the store is in order"
    assert outbox.available
    assert await outbox.get(before.message_id, DEFAULT_TENANT) == before
    assert await outbox.advance(before, build.ended(before))
    assert (await outbox.accept(build.new_message())).created


async def test_whoever_stops_waiting_takes_nobody_with_it(outbox: Outbox) -> None:
    new = [build.new_message() for _ in range(10)]
    waiting = [asyncio.ensure_future(outbox.accept(one)) for one in new]
    waiting[3].cancel()
    verdicts = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(verdicts[3], asyncio.CancelledError)
    assert [verdict.created for verdict in verdicts if isinstance(verdict, Accepted)] == [True] * 9
    assert await outbox.get(new[3].record.message_id, DEFAULT_TENANT) in (None, new[3].record)


# Closing.


async def test_closing_finishes_what_was_started(closing: Outbox) -> None:
    writes = [asyncio.ensure_future(closing.accept(build.new_message())) for _ in range(100)]
    await closing.close()
    assert all(write.done() and write.result().created for write in writes)


async def test_a_write_after_closing_is_refused(closing: Outbox) -> None:
    new = await keep(closing)
    await closing.close()
    with pytest.raises(StoreUnavailable):
        await closing.accept(build.new_message())
    with pytest.raises(StoreUnavailable):
        await closing.advance(new.record, build.ended(new.record))
    with pytest.raises(StoreUnavailable):
        await closing.reassign([(new.record, "q")])
    with pytest.raises(StoreUnavailable):
        await closing.set_drained("p", True)
    with pytest.raises(StoreUnavailable):
        await closing.keep_metadata("name", "value")
    with pytest.raises(StoreUnavailable):
        await closing.keep_ahead(1)
    with pytest.raises(StoreUnavailable):
        await closing.realign(START, START, START)


READS: Mapping[str, Callable[[Outbox], Awaitable[object]]] = {
    "get": lambda outbox: outbox.get(build.new_id(), DEFAULT_TENANT),
    "content": lambda outbox: outbox.content(build.new_id(), DEFAULT_TENANT),
    "find": lambda outbox: outbox.find_by_request_id("r", DEFAULT_TENANT, b"h" * 32),
    "list": lambda outbox: outbox.list(MessageFilter(), 1, None, DEFAULT_TENANT),
    "take": lambda outbox: outbox.take(Q, START, each(1), lambda _: None),
    "heads": lambda outbox: outbox.heads([Q], START, 1),
    "expired": lambda outbox: outbox.expired(START, 1),
    "next_expiry": lambda outbox: outbox.next_expiry(),
    "orphans": lambda outbox: outbox.orphans(1),
    "scan_queued": lambda outbox: outbox.scan_queued((), 1),
    "provider_states": lambda outbox: outbox.provider_states(),
    "get_by_request_id": lambda outbox: outbox.find_by_request_id("r", DEFAULT_TENANT),
    "fact": lambda outbox: outbox.metadata("name"),
    "stats": lambda outbox: outbox.stats(),
    "load": lambda outbox: outbox.load(START),
    "unsettled_counts": lambda outbox: outbox.unsettled_counts(START),
}


@pytest.mark.parametrize("read", READS)
async def test_a_read_after_closing_is_refused(closing: Outbox, read: str) -> None:
    await READS[read](closing)
    await closing.close()
    with pytest.raises(StoreUnavailable):
        await READS[read](closing)


async def test_closing_an_idle_one_ends(closing: Outbox) -> None:
    await closing.close()


async def test_availability_is_told_to_nobody_while_all_is_well(outbox: Outbox) -> None:
    heard: list[bool] = []
    outbox.on_availability(heard.append)
    await outbox.wait_available()
    order = random.Random(1)
    for _ in range(20):
        await keep(outbox, request_id=f"r-{order.random()}")
    assert heard == []

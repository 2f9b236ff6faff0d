"""What every outbox keeps to when a message changes: all of a change or nothing, and none that comes too late."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import change, dropped, failed_over, keep, look_at_due, queue_up, take

from postwire.core import lifecycle
from postwire.core.listing import MessageFilter
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState, RecipientStatus
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.outbox.base import Accepted, Outbox

ERROR = DispatchResult(Outcome.ERROR, error_code="421")
UNCERTAIN = DispatchResult(Outcome.UNCERTAIN, error_code="timeout")

Change = Callable[[MessageRecord], MessageRecord]

FROM_SENDING: Mapping[str, Change] = {
    "sent": build.ended,
    "requeued": lambda record: build.ended(record, ERROR),
    "failed over": failed_over,
    "dropped": dropped,
}
FROM_QUEUED: Mapping[str, Change] = {
    "taken": build.retried,
    "taken by another": lambda record: build.retried(record, "p-2"),
    "cancelled": lambda record: lifecycle.cancel(record, now=record.update_time + 1),
    "expired": lambda record: lifecycle.expire(record, now=record.update_time + 1),
}


async def shown(outbox: Outbox, record: MessageRecord) -> list[MessageRecord | None]:
    """The record as the store gives it, whichever way it is asked."""
    (listed,) = [
        one
        for one in (await outbox.list(MessageFilter(), 50, None, DEFAULT_TENANT)).records
        if one.message_id == record.message_id
    ]
    return [await outbox.get(record.message_id, DEFAULT_TENANT), listed]


# All of a change.


async def test_of_changes_that_are_kept_together_each_applies_unless_it_comes_too_late(outbox: Outbox) -> None:
    news = [await queue_up(outbox) for _ in range(4)]
    cancelled = await change(outbox, news[2].record, FROM_QUEUED["cancelled"](news[2].record))
    sending = await keep(outbox)
    changes = [(new.record, build.retried(new.record)) for new in news] + [
        (sending.record, build.ended(sending.record))
    ]
    assert [*await outbox.advance_all(changes)] == [True, True, False, True, True]
    for number, (_, after) in enumerate(changes):
        assert await shown(outbox, after) == [cancelled if number == 2 else after] * 2
    assert [*await outbox.advance_all(changes)] == [False] * 5, "once"


@pytest.mark.parametrize("outcome", Outcome)
async def test_an_outcome_is_recorded_once(outbox: Outbox, outcome: Outcome) -> None:
    new = await keep(outbox)
    after = build.ended(
        new.record, DispatchResult(outcome, provider_message_id="v \u00fc", error_code="c", detail="d"), after=5
    )
    assert await outbox.advance(new.record, after)
    assert await shown(outbox, after) == [after] * 2
    late = build.ended(new.record, DispatchResult(Outcome.UNCERTAIN, error_code="late"), after=9)
    assert not await outbox.advance(new.record, late)
    assert await shown(outbox, after) == [after] * 2


async def test_a_failover_closes_one_attempt_and_opens_the_next_in_one_commit(outbox: Outbox) -> None:
    new = await keep(outbox, at="p-1", trace_id="ab" * 16)
    after = failed_over(new.record, "p-2", error_code="550", detail="busy")
    assert [(one.provider_name, one.outcome) for one in after.attempts] == [("p-1", Outcome.ERROR), ("p-2", None)]
    assert await outbox.advance(new.record, after)
    assert await shown(outbox, after) == [after] * 2
    again = failed_over(after, "p-3")
    assert await outbox.advance(after, again)
    assert await shown(outbox, again) == [again] * 2
    for name, found in (("p-1", ()), ("p-2", ()), ("p-3", (again,))):
        by_name = MessageFilter(provider_names=frozenset({name}))
        assert (await outbox.list(by_name, 50, None, DEFAULT_TENANT)).records == found, (
            "it is the last attempt's provider that counts"
        )


async def test_an_attempt_that_is_dropped_has_never_been(outbox: Outbox) -> None:
    new = await queue_up(outbox)
    taken = await take(outbox, new.record, "p-1")
    after = await change(outbox, taken, dropped(taken))
    assert (after.state, after.attempts) == (MessageState.QUEUED, ())
    assert await shown(outbox, after) == [after] * 2
    again = await take(outbox, after, "p-2")
    assert [(one.number, one.provider_name) for one in again.attempts] == [(1, "p-2")]
    assert await shown(outbox, again) == [again] * 2


async def test_a_drop_leaves_the_attempts_before_it(outbox: Outbox) -> None:
    new = await keep(outbox, at="p-1")
    second = await change(outbox, new.record, failed_over(new.record, "p-2"))
    after = await change(outbox, second, dropped(second))
    assert [(one.provider_name, one.outcome) for one in after.attempts] == [("p-1", Outcome.ERROR)]
    assert await shown(outbox, after) == [after] * 2
    by_name = MessageFilter(provider_names=frozenset({"p-1"}))
    assert (await outbox.list(by_name, 50, None, DEFAULT_TENANT)).records == (after,), (
        "the provider is again that of the last attempt"
    )


async def test_a_long_life_is_kept_step_by_step(outbox: Outbox) -> None:
    steps: list[Change] = [
        build.retried,
        lambda record: build.ended(record, DispatchResult(Outcome.RATE_LIMITED)),
        lambda record: build.retried(record, "p-2"),
        failed_over,
        dropped,
        build.retried,
        lambda record: build.ended(record, UNCERTAIN),
        build.retried,
        lambda record: build.ended(record, DispatchResult(Outcome.REJECTED, error_code="550")),
        lambda record: lifecycle.resolve(record, sent=True, now=record.update_time + 1),
    ]
    record = (await queue_up(outbox, content=build.email("a@example.com", "b@example.com"), request_id="r")).record
    bystander = (await queue_up(outbox)).record
    for step in steps:
        record = await change(outbox, record, step(record))
        assert await shown(outbox, record) == [record] * 2
        assert await outbox.get(bystander.message_id, DEFAULT_TENANT) == bystander
    assert (record.state, record.revision, len(record.attempts)) == (MessageState.SENT, 14, 4)


async def test_recipients_are_recorded_one_by_one(outbox: Outbox) -> None:
    new = await keep(outbox, content=build.email(*(f"{i}@example.com" for i in range(100))))
    each = tuple(RecipientResult(list(Outcome)[i % 5], f"code {i}") for i in range(100))
    after = build.ended(new.record, DispatchResult(Outcome.UNCERTAIN, recipients=each))
    assert await outbox.advance(new.record, after)
    kept = await outbox.get(new.record.message_id, DEFAULT_TENANT)
    assert kept == after
    assert kept is not None
    assert kept.recipients[99] == RecipientStatus(
        99, MessageState.QUEUED, Outcome.UNCERTAIN, "code 99", maybe_sent=True
    )


async def test_that_a_recipient_may_have_been_sent_to_is_never_forgotten(outbox: Outbox) -> None:
    new = await keep(outbox, content=build.email("a@example.com", "b@example.com"))
    each = (RecipientResult(Outcome.ERROR), RecipientResult(Outcome.UNCERTAIN))
    record = await change(
        outbox, new.record, build.ended(new.record, DispatchResult(Outcome.UNCERTAIN, recipients=each))
    )
    record = await take(outbox, record)
    record = await change(outbox, record, build.ended(record, ERROR))
    (kept,) = await look_at_due(outbox, "email", record.next_attempt_time or 0, 1)
    assert [one.maybe_sent for one in kept.record.recipients] == [False, True]
    # What was read out of the store is what decides.
    after = await change(outbox, kept.record, lifecycle.cancel(kept.record, now=kept.record.update_time))
    assert [one.state for one in after.recipients] == [MessageState.CANCELLED, MessageState.UNCERTAIN]
    assert await shown(outbox, after) == [after] * 2


# The fence.

PAIRS = [
    (sending, *pair)
    for sending, table in ((True, FROM_SENDING), (False, FROM_QUEUED))
    for pair in itertools.product(table, repeat=2)
]


@pytest.mark.parametrize(("sending", "first", "second"), PAIRS)
async def test_a_second_change_from_the_same_revision_changes_nothing(
    outbox: Outbox, sending: bool, first: str, second: str
) -> None:
    table = FROM_SENDING if sending else FROM_QUEUED
    # One after the other.
    before = (await keep(outbox) if sending else await queue_up(outbox)).record
    after = await change(outbox, before, table[first](before))
    assert await outbox.advance(before, table[second](before)) is False
    assert await shown(outbox, after) == [after] * 2
    # At once.
    before = (await keep(outbox) if sending else await queue_up(outbox)).record
    changes = [table[first](before), table[second](before)]
    applied = await asyncio.gather(*(outbox.advance(before, after) for after in changes))
    assert sorted(applied) == [False, True]
    kept = changes[applied.index(True)]
    assert await shown(outbox, kept) == [kept] * 2


@pytest.mark.parametrize("name", FROM_SENDING)
async def test_a_change_of_a_much_older_record_changes_nothing(outbox: Outbox, name: str) -> None:
    old = (await keep(outbox)).record
    record = await change(outbox, old, build.ended(old, ERROR))
    record = await take(outbox, record, "p-2")
    assert await outbox.advance(old, FROM_SENDING[name](old)) is False
    assert await shown(outbox, record) == [record] * 2


@pytest.mark.parametrize("revision", [0, 2])
async def test_a_change_from_another_revision_changes_nothing(outbox: Outbox, revision: int) -> None:
    new = await keep(outbox)
    after = build.ended(new.record)
    assert await outbox.advance(replace(new.record, revision=revision), after) is False
    assert await shown(outbox, new.record) == [new.record] * 2
    assert await outbox.advance(new.record, after), "and the fence has not shut out the true one"


async def test_a_change_of_an_unknown_message_changes_nothing(outbox: Outbox) -> None:
    new = await keep(outbox)
    unknown = build.accepted()
    for after in (build.ended(unknown), failed_over(unknown)):
        assert await outbox.advance(unknown, after) is False
    assert await shown(outbox, new.record) == [new.record] * 2


async def test_of_many_results_at_once_for_one_attempt_exactly_one_applies(outbox: Outbox) -> None:
    new = await keep(outbox)
    results = [build.ended(new.record, DispatchResult(Outcome.ERROR, error_code=str(i))) for i in range(32)]
    applied = await asyncio.gather(*(outbox.advance(new.record, result) for result in results))
    assert sum(applied) == 1
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == results[applied.index(True)]


@pytest.mark.parametrize("taker_first", [True, False])
async def test_of_cancel_and_take_at_once_one_wins_and_the_other_learns_that_it_lost(
    outbox: Outbox, taker_first: bool
) -> None:
    messages = [(await queue_up(outbox)).record for _ in range(20)]

    async def race(record: MessageRecord) -> None:
        both = [build.retried(record), lifecycle.cancel(record, now=record.update_time)]
        if not taker_first:
            both.reverse()
        applied = await asyncio.gather(*(outbox.advance(record, after) for after in both))
        assert sorted(applied) == [False, True]
        kept = await outbox.get(record.message_id, DEFAULT_TENANT)
        assert kept == both[applied.index(True)]
        assert kept is not None
        assert len(kept.attempts) == (kept.state is MessageState.SENDING), (
            "an attempt where it was taken, and only there"
        )

    await asyncio.gather(*(race(record) for record in messages))


async def test_a_late_result_in_a_batch_does_not_take_the_others_with_it(outbox: Outbox) -> None:
    new = [await keep(outbox) for _ in range(20)]
    ended = [build.ended(one.record) for one in new]
    for one, after in list(zip(new, ended, strict=True))[::3]:
        assert await outbox.advance(one.record, after)
    applied = await asyncio.gather(*(outbox.advance(one.record, after) for one, after in zip(new, ended, strict=True)))
    assert applied == [i % 3 != 0 for i in range(20)]
    for after in ended:
        assert await outbox.get(after.message_id, DEFAULT_TENANT) == after


# Together.


async def test_every_kind_of_change_shares_a_commit_with_every_other(outbox: Outbox) -> None:
    befores, afters = [], []
    for number in range(48):
        sending = number % 2 == 0
        record = (await keep(outbox) if sending else await queue_up(outbox)).record
        kinds = list((FROM_SENDING if sending else FROM_QUEUED).values())
        befores.append(record)
        afters.append(kinds[number // 2 % 4](record))
    applied = await asyncio.gather(*map(outbox.advance, befores, afters))
    assert applied == [True] * 48
    for after in afters:
        assert await shown(outbox, after) == [after] * 2


@pytest.mark.parametrize("between", [0, 3, 260])
async def test_changes_of_one_message_that_are_started_together_apply_in_their_order(
    outbox: Outbox, between: int
) -> None:
    record = (await queue_up(outbox)).record
    others = await asyncio.gather(*(keep(outbox) for _ in range(between)))
    taken = build.retried(record)
    sent = build.ended(taken)
    pairs = [(one.record, build.ended(one.record)) for one in others]
    pairs = [(record, taken), *pairs, (taken, sent)]
    applied = await asyncio.gather(*(outbox.advance(*pair) for pair in pairs))
    assert all(applied)
    assert await outbox.get(record.message_id, DEFAULT_TENANT) == sent


@pytest.mark.parametrize("repeat_first", [True, False])
async def test_a_repeat_in_the_same_turn_as_a_change_gives_one_moment_or_the_other(
    outbox: Outbox, repeat_first: bool
) -> None:
    new = await keep(outbox)
    after = failed_over(new.record)
    writes: list[Awaitable[object]] = [outbox.advance(new.record, after)]
    writes.insert(0 if repeat_first else 1, outbox.accept(build.repeated(new)))
    verdicts = await asyncio.gather(*writes)
    assert True in verdicts
    assert any(Accepted(record, created=False) in verdicts for record in (new.record, after))
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == after


async def test_a_reader_sees_a_message_before_a_change_or_after_it_and_never_half_of_it(outbox: Outbox) -> None:
    new = await keep(outbox, request_id="r", content=build.email("a@example.com", "b@example.com"))
    past = [new.record]
    done = False

    async def read() -> int:
        count = 0
        while not done:
            kept = await outbox.get(new.record.message_id, DEFAULT_TENANT)
            found = await outbox.find_by_request_id("r", DEFAULT_TENANT, new.payload_hash)
            page = await outbox.list(MessageFilter(), 1, None, DEFAULT_TENANT)
            assert all(one in past for one in (kept, found, *page.records))
            count += 1
        return count

    readers = [asyncio.ensure_future(read()) for _ in range(3)]
    for _ in range(30):
        for step in (failed_over, dropped, build.retried):
            past.append(step(past[-1]))
            assert await outbox.advance(past[-2], past[-1])
    done = True
    assert all(await asyncio.gather(*readers)), "or this shows nothing"


# Tried again.


async def test_a_change_that_is_tried_again_was_kept_or_is_now(outbox: Outbox) -> None:
    new = await keep(outbox)
    first, second = failed_over(new.record), build.ended(new.record)
    assert await outbox.advance(new.record, first, [first]), "it was not kept"
    assert not await outbox.advance(new.record, first)
    assert await outbox.advance(new.record, first, [first])
    assert await outbox.advance(new.record, second, [first]), "another that was tried before has been kept"
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == first
    third = await change(outbox, first, build.ended(first))
    assert not await outbox.advance(new.record, first, [first]), "it has gone on since"
    assert not await outbox.advance(new.record, second, [first])
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == third


async def test_what_somebody_else_has_made_of_it_is_no_try(outbox: Outbox) -> None:
    new = await queue_up(outbox)
    tried = build.retried(new.record)
    cancelled = await change(outbox, new.record, lifecycle.cancel(new.record, now=START))
    assert tried.revision == cancelled.revision
    assert not await outbox.advance(new.record, tried, [tried])
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == cancelled

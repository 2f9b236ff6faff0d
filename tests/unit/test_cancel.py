"""Taking back and resolving where it is less than plain: after attempts, with several recipients, and under races."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.streams import accept_frame, commands
from tests.support.waiting import within

from postwire.core.errors import MessageNotQueued, MessageNotUncertain
from postwire.core.message import DeliveryGuarantee, MessageRecord, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.core.principal import LOCAL
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
CANCELLED, UNCERTAIN, FAILED = MessageState.CANCELLED, MessageState.UNCERTAIN, MessageState.FAILED
ONCE = DeliveryGuarantee.AT_MOST_ONCE
TO = ("a@example.com", "b@example.com", "c@example.com")


def states_of(record: MessageRecord) -> list[MessageState]:
    return [one.state for one in record.recipients]


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ([Outcome.ERROR], CANCELLED),
        ([Outcome.RATE_LIMITED], CANCELLED),
        ([Outcome.UNCERTAIN], UNCERTAIN),
        ([Outcome.UNCERTAIN, Outcome.ERROR], UNCERTAIN),
        ([Outcome.ERROR, Outcome.RATE_LIMITED], CANCELLED),
    ],
    ids=str,
)
async def test_what_an_earlier_attempt_may_have_sent_is_not_said_to_be_cancelled(
    outbox: SqliteOutbox, ends: list[Outcome], state: MessageState
) -> None:
    harness = Harness(outbox, provider=FakeProvider())
    harness.provider.answers = [DispatchResult(end, retry_after=1.0) for end in ends]
    record = await harness.send()
    for count in range(2, len(ends) + 1):
        await harness.calm()
        harness.clock.advance(60.0)
        await within(harness.provider.calls(count))
        await harness.calm()
    before = await harness.kept(record.message_id)
    assert before.state is QUEUED
    after = await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert (after.state, after.next_attempt_time) == (state, None)
    assert after.attempts == before.attempts
    assert await harness.kept(record.message_id) == after
    harness.clock.advance(3600.0)
    await harness.calm()
    assert len(harness.provider.keys) == len(ends), "nothing follows"
    assert harness.left() == []


async def test_recipients_that_have_it_keep_it_when_the_rest_is_taken_back(outbox: SqliteOutbox) -> None:
    each = tuple(RecipientResult(outcome) for outcome in (Outcome.SUCCESS, Outcome.ERROR, Outcome.REJECTED))
    harness = Harness(outbox, provider=FakeProvider(answer=DispatchResult(Outcome.ERROR, recipients=each)))
    record = await harness.send(build.command(build.email(*TO)))
    assert states_of(record) == [SENT, QUEUED, FAILED]
    after = await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert (after.state, states_of(after)) == (CANCELLED, [SENT, CANCELLED, FAILED])
    assert await harness.kept(record.message_id) == after


async def test_the_state_of_a_message_that_was_taken_back_is_its_recipients_least_certain(outbox: SqliteOutbox) -> None:
    each = tuple(RecipientResult(outcome) for outcome in (Outcome.UNCERTAIN, Outcome.ERROR, Outcome.SUCCESS))
    harness = Harness(outbox, provider=FakeProvider(answer=DispatchResult(Outcome.UNCERTAIN, recipients=each)))
    record = await harness.send(build.command(build.email(*TO)))
    assert record.state is QUEUED
    after = await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert (after.state, states_of(after)) == (UNCERTAIN, [UNCERTAIN, CANCELLED, SENT])
    resolved = await harness.delivery.resolve(record.message_id, sent=True, by=LOCAL)
    assert states_of(resolved) == [SENT, CANCELLED, SENT]
    assert resolved.state is CANCELLED
    assert await harness.kept(record.message_id) == resolved


@pytest.mark.parametrize(("sent", "end"), [(True, SENT), (False, FAILED)])
async def test_only_recipients_that_are_uncertain_are_resolved(
    outbox: SqliteOutbox, sent: bool, end: MessageState
) -> None:
    each = tuple(RecipientResult(outcome) for outcome in (Outcome.SUCCESS, Outcome.UNCERTAIN, Outcome.REJECTED))
    harness = Harness(outbox, provider=FakeProvider(answer=DispatchResult(Outcome.UNCERTAIN, recipients=each)))
    record = await harness.send(build.command(build.email(*TO), delivery_guarantee=ONCE))
    assert (record.state, states_of(record)) == (UNCERTAIN, [SENT, UNCERTAIN, FAILED])
    after = await harness.delivery.resolve(record.message_id, sent=sent, by=LOCAL)
    assert states_of(after) == [SENT, end, FAILED]
    assert after.state is FAILED, "one of them has not got it, whatever became of the other"
    assert after.revision > record.revision
    assert after.attempts == record.attempts
    assert await harness.kept(record.message_id) == after
    with pytest.raises(MessageNotUncertain):
        await harness.delivery.resolve(record.message_id, sent=sent, by=LOCAL)


async def test_a_repeat_of_a_message_that_was_taken_back_gives_it_and_sends_nothing(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    command = build.command(request_id="r", send_time=START + build.HOUR)
    record = await harness.send(command)
    after = await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert await harness.send(command) == after
    assert (await accept_frame(harness, [command])).records == [after]
    harness.clock.advance(7200.0)
    assert await harness.send(command) == after
    assert harness.provider.keys == []


async def test_all_who_wait_are_told_at_once_calls_and_streams_alike(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", held=True)
    harness = Harness(
        outbox, provider=provider, registry=registry_of(provider, gates={"p": gate_of("p", max_concurrent=1)})
    )
    holder = harness.start()
    await within(provider.calls())
    (command,) = commands(1, wait_for=WaitFor.OUTCOME)
    caller = [await accept_frame(harness, [command]), await accept_frame(harness, [command])]
    calls = [harness.start(command) for _ in range(2)]
    await harness.calm()
    record = await harness.kept_of(command)
    assert record
    after = await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert await within(asyncio.gather(*calls)) == [after] * 2
    for one in caller:
        assert await one.until(1) == [(0, after)]
    provider.release()
    assert (await holder).state is SENT
    await harness.calm()
    assert (len(provider.keys), harness.left()) == (1, [])


@pytest.mark.parametrize("seed", range(6))
async def test_of_many_each_is_sent_once_or_taken_back_and_never_both(outbox: SqliteOutbox, seed: int) -> None:
    """While the queue takes them, their callers take them back: some at once, others once so many were sent."""
    order = random.Random(seed)
    harness = Harness(outbox)
    records = (await accept_frame(harness, commands(150, send_time=START + build.HOUR))).records
    await harness.calm()
    harness.clock.advance(3601.0)

    async def take_back(record: MessageRecord) -> str:
        await harness.provider.calls(order.randrange(50))  # at least as many are sent, since nobody takes those back
        try:
            return (await harness.delivery.cancel(record.message_id, by=LOCAL)).state.value
        except MessageNotQueued:
            return "too late"

    tried = records[::2] + records[::3]
    ends = await within(asyncio.gather(*map(take_back, tried)))
    cancelled = {record.message_id for record, end in zip(tried, ends, strict=True) if end == "cancelled"}
    assert 0 < len(cancelled) < len({record.message_id for record in tried}), "or they did not race"
    await within(harness.provider.calls(len(records) - len(cancelled)))
    await harness.completed()
    assert set(harness.provider.keys) == {record.message_id for record in records} - cancelled
    assert len(harness.provider.keys) == len(records) - len(cancelled)
    for record in records:
        kept = await harness.kept(record.message_id)
        assert kept.state is (CANCELLED if record.message_id in cancelled else SENT)
        assert len(kept.attempts) == (record.message_id not in cancelled)
    caller = Counter(harness.noted.events)
    assert caller["state", "cancelled"] == len(cancelled)
    assert caller["state", "sent"] == len(records) - len(cancelled)
    assert harness.delivery.backlog.total == 0
    assert harness.left() == []


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13])
async def test_expiring_and_taking_back_at_once_settle_it_once(outbox: SqliteOutbox, turns: int) -> None:
    harness = Harness(outbox)
    await harness.boot()
    record = await harness.send(build.command(send_time=START + 5_000_000, expire_time=START + 6_000_000))
    await harness.calm()
    harness.clock.step_wall(10.0)
    harness.clock.advance(60.0)
    for _ in range(turns):
        await asyncio.sleep(0)
    try:
        end = (await harness.delivery.cancel(record.message_id, by=LOCAL)).state
    except MessageNotQueued:
        end = MessageState.EXPIRED
    await harness.calm()
    assert (await harness.kept(record.message_id)).state is end
    assert harness.noted.events == [("state", "queued"), ("state", end.value)]
    assert harness.delivery.backlog.total == 0
    await harness.drain(0.0)

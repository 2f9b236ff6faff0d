"""Messages that people settle: taken back while they wait, or resolved where nobody knew whether they were sent."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.core.errors import MessageNotFound, MessageNotQueued, MessageNotUncertain
from postwire.core.message import DeliveryGuarantee, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
CANCELLED, UNCERTAIN, FAILED = MessageState.CANCELLED, MessageState.UNCERTAIN, MessageState.FAILED
LATER = START + 60_000_000
MAYBE = DispatchResult(Outcome.UNCERTAIN)


async def test_a_message_that_waits_is_taken_back_and_never_sent(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    record = await harness.send(build.command(send_time=LATER))
    taken_back = await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert (taken_back.state, taken_back.attempts, taken_back.next_attempt_time) == (CANCELLED, (), None)
    assert await harness.kept(record.message_id) == taken_back
    assert harness.noted.events == [("state", "queued"), ("state", "cancelled")]
    harness.clock.advance(3600.0)
    await harness.calm()
    assert harness.provider.keys == []
    assert harness.delivery.backlog.total == 0


async def test_taking_it_back_again_changes_nothing(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    record = await harness.send(build.command(send_time=LATER))
    once = await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert await harness.delivery.cancel(record.message_id, by=LOCAL) == once
    assert await asyncio.gather(*(harness.delivery.cancel(record.message_id, by=LOCAL) for _ in range(3))) == [once] * 3
    assert harness.noted.events.count(("state", "cancelled")) == 1
    assert harness.delivery.backlog.total == 0


async def test_of_many_who_take_it_back_at_once_one_does_and_all_are_told_so(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    record = await harness.send(build.command(send_time=LATER))
    results = await asyncio.gather(*(harness.delivery.cancel(record.message_id, by=LOCAL) for _ in range(10)))
    assert {one.state for one in results} == {CANCELLED}
    assert {one.revision for one in results} == {2}
    assert harness.noted.events.count(("state", "cancelled")) == 1


async def test_a_parked_message_is_taken_back_though_it_is_shown_with_another_time(outbox: SqliteOutbox) -> None:
    gate = gate_of("fake")
    gate.cool_down(0.0, 2000.0)
    harness = Harness(outbox, registry=registry_of(FakeProvider(), gates={"fake": gate}))
    record = await harness.send()
    assert record.next_attempt_time
    assert record.next_attempt_time > START
    assert (await harness.delivery.cancel(record.message_id, by=LOCAL)).state is CANCELLED


@pytest.mark.parametrize("answer", [None, build.SUCCESS, DispatchResult(Outcome.REJECTED)])
async def test_what_is_being_sent_or_settled_is_not_taken_back(
    outbox: SqliteOutbox, answer: DispatchResult | None
) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=answer is None, answer=answer or build.SUCCESS))
    call = harness.start()
    await harness.provider.calls()
    await harness.calm()
    with pytest.raises(MessageNotQueued):
        await harness.delivery.cancel(harness.provider.keys[0], by=LOCAL)
    harness.provider.release()
    await call


async def test_a_message_that_does_not_exist_can_be_neither_taken_back_nor_resolved(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    with pytest.raises(MessageNotFound):
        await harness.delivery.cancel(build.new_id(), by=LOCAL)
    with pytest.raises(MessageNotFound):
        await harness.delivery.resolve(build.new_id(), sent=True, by=LOCAL)


async def test_a_message_is_either_sent_or_taken_back(outbox: SqliteOutbox) -> None:
    """Both want it at the same moment: the store decides, and who comes second sees it."""
    paused = Paused(outbox, "advance", held=True)
    harness = Harness(paused)
    record = await harness.send(build.command(send_time=LATER))
    harness.clock.advance(60.0)
    await within(paused.reached.wait())
    taking_back = asyncio.ensure_future(harness.delivery.cancel(record.message_id, by=LOCAL))
    await harness.calm()
    paused.release()
    with pytest.raises(MessageNotQueued):
        await taking_back
    await harness.noted.reached(record.message_id, SENT)
    assert len(harness.provider.keys) == 1
    await harness.calm()
    assert harness.left() == []


async def test_what_is_uncertain_is_resolved_by_somebody_who_knows_and_only_once(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=MAYBE))
    once = DeliveryGuarantee.AT_MOST_ONCE
    sent, not_sent = [await harness.send(build.command(delivery_guarantee=once)) for _ in range(2)]
    assert (await harness.delivery.resolve(sent.message_id, sent=True, by=LOCAL)).state is SENT
    assert (await harness.delivery.resolve(not_sent.message_id, sent=False, by=LOCAL)).state is FAILED
    for record in (sent, not_sent):
        with pytest.raises(MessageNotUncertain):
            await harness.delivery.resolve(record.message_id, sent=True, by=LOCAL)
    assert harness.noted.states == {sent.message_id: SENT, not_sent.message_id: FAILED}
    assert harness.delivery.backlog.total == 0


@pytest.mark.parametrize("answer", [None, build.SUCCESS, DispatchResult(Outcome.ERROR), MAYBE])
async def test_what_is_not_uncertain_is_not_resolved(outbox: SqliteOutbox, answer: DispatchResult | None) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=answer is None, answer=answer or build.SUCCESS))
    call = harness.start()
    await harness.provider.calls()
    await harness.calm()
    with pytest.raises(MessageNotUncertain):
        await harness.delivery.resolve(harness.provider.keys[0], sent=True, by=LOCAL)
    harness.provider.release()
    await call


async def test_of_two_who_resolve_it_differently_at_once_one_is_told_that_it_is_too_late(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=MAYBE))
    record = await harness.send(build.command(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE))
    both = [harness.delivery.resolve(record.message_id, sent=sent, by=LOCAL) for sent in (True, False)]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [isinstance(one, MessageNotUncertain) for one in results] == [False, True]
    assert (await harness.kept(record.message_id)).state is SENT

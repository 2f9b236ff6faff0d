"""What was left behind in the name of a node that lives: what nobody sent waits again; all else may have been sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.outboxes import change, dropped, keep, take
from tests.support.postgres import new_database
from tests.support.providers import FakeProvider
from tests.support.sweeps import sweep_of
from tests.support.waiting import PATIENCE, within

from postwire.core.errors import StoreUnavailable
from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.delivery.wakeable_task import AFTER_A_FAULT
from postwire.nodes.strays import StraySweep
from postwire.outbox.postgres.store import PostgresOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
ONCE = DeliveryGuarantee.AT_MOST_ONCE


class Unsure(PostgresOutbox):
    """One that keeps everything, and says of some of it that it does not know."""

    url = ""
    is_unsure = False
    on_lost: Callable[[], Awaitable[object]] | None = None
    """Called where a take is lost, of which it does not know either: the next one."""
    answers: asyncio.Event | None = None
    """Nobody hears of a change that is kept before it is set."""
    gives: asyncio.Event | None = None
    """Nor of what is taken before this is."""
    is_away = False
    """Whether nothing is changed any more."""

    async def accept(self, new: Any) -> Any:
        return self._said(await super().accept(new))

    async def advance(self, *args: Any, **options: Any) -> bool:
        if self.is_away:
            raise StoreUnavailable
        is_kept = await super().advance(*args, **options)
        if self.answers:
            await self.answers.wait()
        return is_kept

    async def take(self, key: Any, due: int, limits: Any, decide: Any, *args: Any) -> Any:
        if self.on_lost is None:
            taken = await super().take(key, due, limits, decide, *args)
            if self.gives:
                await self.gives.wait()
            return self._said(taken)
        offered: list[Any] = []
        await super().take(key, due, limits, offered.append, *args)
        opened = [decide(one) for one in offered]
        if any(opened):
            on_lost, self.on_lost = self.on_lost, None
            await on_lost()
            raise StoreUnavailable
        return ()

    def _said(self, result: Any) -> Any:
        if self.is_unsure:
            raise StoreUnavailable
        return result


@pytest.fixture
async def outbox() -> AsyncIterator[Any]:
    url = await new_database()
    opened = await Unsure.open(url, name="node")
    opened.url = url
    yield opened
    await opened.close()


def node_of(outbox: Any, provider: FakeProvider) -> tuple[Harness, StraySweep]:
    harness = Harness(outbox, provider=provider, is_shared=True)
    return harness, sweep_of(harness)


@pytest.mark.parametrize("guarantee", DeliveryGuarantee)
async def test_what_was_accepted_after_all_and_sent_by_nobody_waits_again(
    outbox: Any, guarantee: DeliveryGuarantee
) -> None:
    harness, sweep = node_of(outbox, FakeProvider("sms-mms"))
    outbox.is_unsure = True
    with pytest.raises(StoreUnavailable):
        await harness.send(build.command(request_id="r", delivery_guarantee=guarantee))
    outbox.is_unsure = False
    left = await outbox.find_by_request_id("r", DEFAULT_TENANT)
    assert left.state is SENDING
    assert await sweep.look() == 1
    kept = await harness.kept(left.message_id)
    assert (kept.state, kept.attempts) == (QUEUED, ()), "no attempt was made"
    assert await sweep.look() == 0


@pytest.mark.parametrize("guarantee", DeliveryGuarantee)
async def test_what_some_task_has_left_may_have_been_sent(outbox: Any, guarantee: DeliveryGuarantee) -> None:
    harness, sweep = node_of(outbox, FakeProvider("sms-mms"))
    left = (await keep(outbox, at="sms-mms", delivery_guarantee=guarantee)).record
    assert await sweep.look() == 1
    kept = await harness.kept(left.message_id)
    assert kept.state is (MessageState.UNCERTAIN if guarantee is ONCE else QUEUED)
    assert [one.outcome for one in kept.attempts] == [Outcome.UNCERTAIN]


async def test_what_is_being_sent_is_no_stray(outbox: Any) -> None:
    provider = FakeProvider("sms-mms", held=True)
    harness, sweep = node_of(outbox, provider)
    call = harness.start(build.command())
    await provider.calls()
    assert await sweep.look() == 0
    assert harness.delivery.open_attempts.carried
    provider.release()
    assert (await call).state is SENT
    await harness.completed()
    assert harness.delivery.open_attempts.carried == []
    assert await sweep.look() == 0


@pytest.mark.parametrize("passes", [1, 2])
async def test_what_is_made_before_the_pass_before_knows_of_its_own_end_is_no_stray(outbox: Any, passes: int) -> None:
    """A message waits again as soon as that is kept, and may be taken before the one who kept it has an answer."""
    is_made, goes_on = asyncio.Event(), asyncio.Event()

    async def meanwhile(key: str) -> None:
        if len(provider.keys) == passes:
            outbox.answers = asyncio.Event()
        elif len(provider.keys) > passes:
            is_made.set()
            await goes_on.wait()

    provider = FakeProvider("sms-mms", answers=[DispatchResult(Outcome.ERROR)] * passes, meanwhile=meanwhile)
    harness, sweep = node_of(outbox, provider)
    await harness.boot()
    record = await harness.send(build.command(wait_for=WaitFor.ACCEPTANCE))
    async with asyncio.timeout(PATIENCE):
        while not is_made.is_set():
            await harness.calm()
            harness.clock.advance(1.0)
    outbox.answers.set()
    await harness.noted.reached(record.message_id, QUEUED)
    await harness.calm()
    assert await sweep.look() == 0
    goes_on.set()
    await harness.noted.reached(record.message_id, SENT)
    kept = await harness.kept(record.message_id)
    assert [one.outcome for one in kept.attempts] == [Outcome.ERROR] * passes + [Outcome.SUCCESS]
    await harness.completed()
    assert harness.delivery.open_attempts.carried == []


async def test_an_attempt_that_was_lost_and_taken_up_again_is_another(outbox: Any) -> None:
    harness, sweep = node_of(outbox, FakeProvider("sms-mms"))
    left = (await keep(outbox, at="sms-mms", delivery_guarantee=ONCE)).record
    harness.delivery.open_attempts.lose(left)
    waits = await change(outbox, left, dropped(left))
    await take(outbox, waits, "sms-mms")
    assert await sweep.look() == 1
    kept = await harness.kept(left.message_id)
    assert kept.state is MessageState.UNCERTAIN, "this one may have been sent"


async def test_an_attempt_that_was_taken_up_again_before_it_was_lost_is_another(outbox: Any) -> None:
    """Its commit was not answered for long, and meanwhile its message went to another queue, and was taken there."""
    harness, sweep = node_of(outbox, FakeProvider("sms-mms"))
    attempts = harness.delivery.open_attempts
    opened = (await keep(outbox, at="sms-mms", delivery_guarantee=ONCE)).record
    for _ in range(2):
        attempts.begin(opened.message_id)
    attempts.lose(opened)
    for _ in range(2):
        attempts.end(opened.message_id)
    await sweep.give_back()
    assert (await harness.kept(opened.message_id)).state is SENDING, "this one may have been sent"


async def test_what_another_node_has_opened_does_not_pass_for_what_was_lost(outbox: Any) -> None:
    """Both are attempt 1, of the same revision."""
    harness, sweep = node_of(outbox, FakeProvider("sms-mms"))
    other = await PostgresOutbox.open(outbox.url, name="other")
    waits = await harness.send(build.command(send_time=START + 1_000_000))
    theirs: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def be_late() -> None:
        theirs.set_result(await take(other, waits, "sms-mms"))

    outbox.on_lost = be_late
    harness.clock.advance(1.0)
    await within(theirs)
    await harness.calm()
    await sweep.give_back()
    assert await sweep.look() == 0
    assert await harness.kept(waits.message_id) == theirs.result()
    await other.close()


async def test_what_was_lost_and_is_opened_once_more_may_have_been_sent(outbox: Any) -> None:
    """A drain leaves it as it is."""
    harness, sweep = node_of(outbox, FakeProvider("sms-mms", held=True))
    is_lost = asyncio.Event()
    waits = await harness.send(build.command(send_time=START + 1_000_000))

    async def note() -> None:
        is_lost.set()

    outbox.on_lost = note
    harness.clock.advance(1.0)
    await within(is_lost.wait())
    harness.clock.advance(AFTER_A_FAULT)
    await harness.provider.calls()
    assert await harness.drain(0.0) == 1
    await sweep.give_back()
    kept = await harness.kept(waits.message_id)
    assert (kept.state, len(kept.attempts)) == (SENDING, 1)


async def test_what_a_drain_finds_lost_waits_again_before_the_node_leaves(outbox: Any) -> None:
    harness, sweep = node_of(outbox, FakeProvider("sms-mms"))
    lost = (await keep(outbox, at="sms-mms", delivery_guarantee=ONCE)).record
    cancelled = (await keep(outbox, at="sms-mms", delivery_guarantee=ONCE)).record
    await sweep.give_back()
    assert (await harness.kept(lost.message_id)).state is SENDING, "nothing says that it was not sent"
    harness.delivery.open_attempts.lose(lost)
    await sweep.give_back()
    assert (await harness.kept(lost.message_id)).state is QUEUED
    assert (await harness.kept(cancelled.message_id)).state is SENDING, "that is for who finds it as an orphan"


async def test_what_is_opened_as_a_drain_ends_and_cannot_be_taken_back_at_once_is_before_the_node_leaves(
    outbox: Any,
) -> None:
    harness, sweep = node_of(outbox, FakeProvider("sms-mms"))
    waits = await harness.send(build.command(send_time=START + 1_000_000, delivery_guarantee=ONCE))
    outbox.gives = asyncio.Event()
    harness.clock.advance(1.0)
    async with asyncio.timeout(PATIENCE):
        while (await harness.kept(waits.message_id)).state is not SENDING:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    assert await harness.drain(0.0) == 0
    outbox.is_away = True
    outbox.gives.set()
    await within(harness.delivery.close())
    outbox.is_away = False
    await sweep.give_back()
    kept = await harness.kept(waits.message_id)
    assert (kept.state, kept.attempts) == (QUEUED, ()), "no attempt was made"


# What is never handed over.


async def test_without_a_lease_nothing_is_handed_over_and_the_message_waits(outbox: Any) -> None:
    may_act = [False]
    provider = FakeProvider("sms-mms")
    harness = Harness(outbox, provider=provider, may_act=lambda: may_act[0])
    record = await harness.send(build.command(wait_for=WaitFor.ACCEPTANCE))
    await harness.noted.reached(record.message_id, QUEUED)
    kept = await harness.kept(record.message_id)
    assert kept.attempts == (), "none was made"
    assert provider.keys == []
    may_act[0] = True
    await harness.noted.reached(record.message_id, SENT)
    assert provider.keys == [record.message_id]
    await harness.drain(0.0)

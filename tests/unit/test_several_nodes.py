"""Messages that one node has taken and another sends: who waits for them hears of it, and none is left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.nodes import SHARED, Sharing, SharingNode, passes
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.core.message import DEFAULT_TENANT, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.delivery.queue_heads import BETWEEN_LOOKS, MOST
from postwire.delivery.queues import BATCH
from postwire.delivery.recount import BETWEEN_COUNTS

ACCEPTANCE = WaitFor.ACCEPTANCE
QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT


IN_BOTH = pytest.mark.parametrize("shared", SHARED, indirect=True)


@pytest.fixture
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Sharing]:
    async with SHARED[getattr(request, "param", "in memory")]() as stores:
        yield stores


class Pair:
    """Two nodes on one store, by one clock."""

    def __init__(self, shared: Sharing, **given: FakeProvider) -> None:
        self.clock = ManualClock()
        self.one = SharingNode(shared[0], 1, self.clock, provider=given.get("one"))
        self.other = SharingNode(shared[1], 2, self.clock, provider=given.get("other"))

    async def boot(self) -> Pair:
        for node in (self.one, self.other):
            await node.boot()
        return self

    async def end(self) -> None:
        for node in (self.one, self.other):
            node.provider.release()
            await node.drain(0.0)


@pytest.fixture
async def pair(shared: Sharing) -> AsyncIterator[Pair]:
    pair = await Pair(shared).boot()
    yield pair
    await pair.end()


@IN_BOTH
async def test_what_waits_at_a_node_without_a_share_is_sent_by_another_and_its_caller_hears_of_it(pair: Pair) -> None:
    pair.one.stop_sending()
    call = pair.one.start()
    took = await passes(pair.clock, call.done, pair.one, pair.other)
    record = await call
    assert record.state is SENT
    assert (len(pair.one.provider.keys), len(pair.other.provider.keys)) == (0, 1)
    assert took <= BETWEEN_LOOKS + 1.5, "a look at all queues, and one at what is waited for"


async def test_what_comes_to_wait_again_at_another_node_is_told_to_its_caller(shared: Sharing) -> None:
    pair = await Pair(shared, other=FakeProvider(answer=DispatchResult(Outcome.ERROR))).boot()
    pair.one.stop_sending()
    call = pair.one.start()
    await passes(pair.clock, call.done, pair.one, pair.other)
    record = await call
    assert record.state is QUEUED
    assert record.attempts[-1].outcome is Outcome.ERROR
    await pair.end()


@IN_BOTH
async def test_a_repeat_at_another_node_waits_for_who_carries_the_message(shared: Sharing) -> None:
    pair = await Pair(shared, one=FakeProvider(held=True)).boot()
    first = pair.one.start(build.command(request_id="r"))
    await pair.one.provider.calls()
    repeat = pair.other.start(build.command(request_id="r"))
    await pair.other.calm()
    pair.clock.advance(5.0)
    await pair.other.calm()
    assert not repeat.done()
    pair.one.provider.release()
    await within(first)
    await passes(pair.clock, repeat.done, pair.other)
    assert await repeat == await first
    assert not pair.other.provider.keys
    assert pair.other.left() == []
    await pair.end()


async def test_a_repeat_that_does_not_wait_is_answered_at_once(shared: Sharing) -> None:
    pair = await Pair(shared, one=FakeProvider(held=True)).boot()
    pair.one.start(build.command(request_id="r"))
    await pair.one.provider.calls()
    record = await pair.other.send(build.command(request_id="r", wait_for=ACCEPTANCE))
    assert record.state is SENDING
    assert (await pair.other.send(build.command(request_id="r"), time_left=0.0)).state is SENDING
    assert pair.other.left() == []
    await pair.end()


@IN_BOTH
async def test_what_another_node_takes_out_of_a_queue_is_not_sent_a_second_time(pair: Pair) -> None:
    for node in (pair.one, pair.other):
        node.stop_sending()
    records = [await node.send(build.command(wait_for=ACCEPTANCE)) for node in (pair.one, pair.other) * 8]
    for node in (pair.one, pair.other):
        node.send_again()
    ids = [record.message_id for record in records]

    def sent() -> bool:
        return len(pair.one.provider.keys) + len(pair.other.provider.keys) >= len(ids)

    await passes(pair.clock, sent, pair.one, pair.other)
    pair.clock.advance(3.0)
    for node in (pair.one, pair.other):
        await node.calm()
    keys = [*pair.one.provider.keys, *pair.other.provider.keys]
    assert len(keys) == len(set(keys)) == len(ids)
    kept = await pair.one.outbox.records(ids, DEFAULT_TENANT)
    assert {record.state for record in kept} == {SENT}


async def test_messages_at_hand_do_not_pass_those_of_other_nodes_for_long(shared: Sharing) -> None:
    """One node has more at hand than is counted, and takes one after the other without a look at the store."""
    clock = ManualClock()

    async def take_time(key: str) -> None:
        clock.advance(0.1)

    provider = FakeProvider(held=True, meanwhile=take_time)
    registry = registry_of(provider, gates={"fake": gate_of("fake", max_concurrent=1)})
    one = SharingNode(shared[0], 1, clock, provider=provider, registry=registry)
    other = SharingNode(shared[1], 2, clock)
    for node in (one, other):
        await node.boot()
    other.stop_sending()
    mine = await asyncio.gather(*(one.send(build.command(wait_for=ACCEPTANCE)) for _ in range(2 * MOST)))
    await provider.calls()
    theirs = await other.send(build.command(wait_for=ACCEPTANCE))
    more = await asyncio.gather(*(one.send(build.command(wait_for=ACCEPTANCE)) for _ in range(2 * MOST)))
    provider.release()
    await one.noted.reached(more[-1].message_id, SENT)
    order = [handover.message_id for handover in provider.handovers]
    assert order.index(mine[-1].message_id) < order.index(theirs.message_id) <= len(mine) + BATCH
    for node in (one, other):
        await node.drain(0.0)


async def test_what_another_node_has_wait_for_later_is_known_in_time(pair: Pair) -> None:
    pair.one.stop_sending()
    later = pair.clock.wall() + 10_000_000
    record = await pair.one.send(build.command(wait_for=ACCEPTANCE, send_time=later))
    took = await passes(pair.clock, lambda: bool(pair.other.provider.keys), pair.other)
    assert 10.0 <= took <= 10.5
    await pair.other.noted.reached(record.message_id, SENT)


async def test_a_message_that_is_cancelled_at_another_node_is_told_to_its_caller(pair: Pair) -> None:
    for node in (pair.one, pair.other):
        node.stop_sending()
    call = pair.one.start(build.command(request_id="r"))
    await pair.one.calm()
    record = await pair.other.delivery.get_by_request_id("r", DEFAULT_TENANT)
    await pair.other.delivery.cancel(record.message_id, by=LOCAL)
    await passes(pair.clock, call.done, pair.one)
    assert (await call).state is MessageState.CANCELLED


async def test_what_others_take_and_settle_is_counted_in_time(pair: Pair) -> None:
    one, other = pair.one, pair.other
    one.stop_sending()
    record = await one.send(build.command(wait_for=ACCEPTANCE))
    await passes(pair.clock, lambda: bool(other.provider.keys), one, other)
    await other.noted.reached(record.message_id, SENT)
    await other.calm()
    assert (one.delivery.backlog.total, other.delivery.backlog.total) == (1, -1)
    assert {count for node in (one, other) for count in node.delivery.queue_depths.values()} == {0, 1}
    took = await passes(
        pair.clock, lambda: one.delivery.backlog.total == other.delivery.backlog.total == 0, one, other, step=10.0
    )
    assert took <= BETWEEN_COUNTS

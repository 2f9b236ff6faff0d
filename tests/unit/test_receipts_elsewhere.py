"""Receipts that come in at one node, of messages that another carries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.nodes import SHARED, Sharing, SharingNode, passes
from tests.support.outboxes import keep
from tests.support.providers import FakeProvider, registry_of
from tests.support.receipts import REFERENCES, report_of
from tests.support.reported import came, receipt
from tests.support.waiting import within

from postwire.core.message import MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import Receipt, ReceiptState
from postwire.delivery.receipts import ReceiptAddresses, ReceiptTracker
from postwire.receipts import sweeps
from postwire.receipts.sweeps import BETWEEN_ALL, BETWEEN_OWN, LeftReceipts, OwnReceipts

SENT, DELIVERED = MessageState.SENT, MessageState.DELIVERED


class Reporting:
    """Two nodes that take receipts of the provider `one`, and the sweeps of each."""

    def __init__(self, shared: Sharing) -> None:
        self.clock = ManualClock()
        self.providers = [FakeProvider("one"), FakeProvider("one")]
        self.nodes = [
            SharingNode(shared[number - 1], number, self.clock, registry=registry_of(provider), receipts_of=["one"])
            for number, provider in enumerate(self.providers, 1)
        ]
        given = [(node, node.tracker) for node in self.nodes if node.tracker]
        self.own = [OwnReceipts(outbox=node.outbox, tracker=tracker, clock=self.clock) for node, tracker in given]
        self.left = [LeftReceipts(outbox=node.outbox, tracker=tracker, clock=self.clock) for node, tracker in given]

    async def boot(self) -> Reporting:
        for node, own in zip(self.nodes, self.own, strict=True):
            await node.boot()
            own.start()
        return self

    async def end(self) -> None:
        for provider in self.providers:
            provider.release()
        for own, left in zip(self.own, self.left, strict=True):
            await own.stop()
            await left.stop()
        for node in self.nodes:
            await node.drain(0.0)


IN_BOTH = pytest.mark.parametrize("shared", SHARED, indirect=True)


@pytest.fixture
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Sharing]:
    async with SHARED[getattr(request, "param", "in memory")]() as stores:
        yield stores


@pytest.fixture
async def reporting(shared: Sharing) -> AsyncIterator[Reporting]:
    reporting = await Reporting(shared).boot()
    yield reporting
    await reporting.end()


async def until(reporting: Reporting, message_id: str, state: MessageState) -> float:
    """Have time go by until a message has come to be so at either node."""
    nodes = reporting.nodes
    return await passes(
        reporting.clock, lambda: any(node.noted.states.get(message_id) is state for node in nodes), *nodes
    )


async def test_what_is_reported_of_a_message_on_its_way_is_applied_once_it_is_sent(shared: Sharing) -> None:
    reporting = Reporting(shared)
    one, other = reporting.nodes
    reporting.providers[0] = provider = FakeProvider("one", held=True)
    one = reporting.nodes[0] = SharingNode(
        shared[0], 1, reporting.clock, registry=registry_of(provider), receipts_of=["one"]
    )
    await reporting.boot()
    call = one.start()
    await provider.calls()
    message_id = provider.handovers[0].message_id
    await came(other, receipt(message_id))
    await other.calm()
    assert (await one.kept(message_id)).state is MessageState.SENDING
    provider.release()
    assert (await within(call)).state is SENT
    assert await until(reporting, message_id, DELIVERED) <= BETWEEN_OWN
    assert other.tracker
    assert not other.tracker.is_pending(message_id)
    await reporting.end()


@IN_BOTH
async def test_no_attempt_passes_a_receipt_that_came_in_at_another_node(shared: Sharing) -> None:
    """The one that carries the message does not know of it: the store refuses the attempt, and then it looks."""
    reporting = Reporting(shared)
    one, other = reporting.nodes
    reporting.providers[0] = provider = FakeProvider(
        "one", held=True, answers=[DispatchResult(Outcome.UNCERTAIN), DispatchResult(Outcome.UNCERTAIN)]
    )
    registry = registry_of(provider)
    one = reporting.nodes[0] = SharingNode(shared[0], 1, reporting.clock, registry=registry, receipts_of=["one"])
    await one.boot()
    call = one.start(build.command(wait_for=WaitFor.OUTCOME))
    await provider.calls()
    message_id = provider.handovers[0].message_id
    assert other.tracker
    await other.inbox.keep("one", [receipt(message_id)])  # and it is gone before anything else is done about it
    provider.release()
    assert (await within(call)).state is MessageState.QUEUED
    await until(reporting, message_id, DELIVERED)
    assert len(provider.keys) == 1
    await one.drain(0.0)


@IN_BOTH
async def test_what_is_held_is_found_once_another_node_knows_the_id(reporting: Reporting) -> None:
    one, other = reporting.nodes
    await came(other, Receipt(ReceiptState.DELIVERED, provider_message_id="v-1"))
    await other.calm()
    reporting.providers[0].answer = DispatchResult(Outcome.SUCCESS, provider_message_id="v-1")
    record = await one.send()
    assert await until(reporting, record.message_id, DELIVERED) <= BETWEEN_OWN


async def test_what_is_held_for_long_is_found_by_whoever_looks_at_all(reporting: Reporting) -> None:
    one, other = reporting.nodes
    await came(other, Receipt(ReceiptState.DELIVERED, provider_message_id="v-1"))
    for _ in range(12):
        reporting.clock.advance(BETWEEN_OWN)
        await other.calm()
    assert other.tracker
    assert not other.tracker.has_held, "it is not this node's any more"
    reporting.left[0].start()
    reporting.providers[0].answer = DispatchResult(Outcome.SUCCESS, provider_message_id="v-1")
    record = await one.send()
    assert await until(reporting, record.message_id, DELIVERED) <= BETWEEN_ALL


async def test_what_a_node_has_kept_that_is_gone_is_applied_by_whoever_looks_at_all(shared: Sharing) -> None:
    reporting = Reporting(shared)
    one, other = reporting.nodes
    await one.boot()
    record = await one.send()
    await other.inbox.keep("one", [receipt(record)])
    reporting.left[0].start()
    assert await until(reporting, record.message_id, DELIVERED) <= 2 * BETWEEN_ALL
    await reporting.left[0].stop()
    await one.drain(0.0)


async def test_who_looks_at_all_may_begin_again(reporting: Reporting) -> None:
    left = reporting.left[0]
    left.start()
    await reporting.nodes[0].calm()
    await left.stop()
    left.start()
    await reporting.nodes[0].calm()


@IN_BOTH
async def test_what_is_left_is_handed_over_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch, shared: Sharing) -> None:
    monkeypatch.setattr(sweeps, "PAGE", 3)
    store, clock, seen = shared[0], ManualClock(), Seen()
    left = LeftReceipts(outbox=store, tracker=seen, clock=clock)
    records = [(await keep(store)).record for _ in range(8)]
    await store.keep_receipts([report_of(one) for one in records], 99)
    assert [await left._look() for _ in range(4)] == [BETWEEN_ALL, BETWEEN_OWN, BETWEEN_OWN, BETWEEN_ALL]
    ids = [one.message_id for one in records]
    assert seen.batches == [[], ids[:3], ids[3:6], ids[6:]]
    late = (await keep(store)).record
    await store.keep_receipts([report_of(late)], 99)
    for is_handed_over in (False, True):  # whoever has kept it is given a round to apply it
        seen.batches.clear()
        while await left._look() < BETWEEN_ALL:
            pass
        assert any(late.message_id in batch for batch in seen.batches) is is_handed_over


class Seen(ReceiptTracker):
    """Notes what is handed over."""

    def __init__(self) -> None:
        super().__init__(ReceiptAddresses(REFERENCES, "", ()), is_shared=True)
        self.batches: list[list[str]] = []

    def kept(self, message_ids: Iterable[str]) -> None:
        self.batches.append(list(message_ids))

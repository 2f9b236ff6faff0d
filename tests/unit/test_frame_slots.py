"""Streams that wait for the slots of a provider: not to be queued where commits have them, and no longer than that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of, route
from tests.support.streams import FrameCaller, accept_frame, commands
from tests.support.waiting import within

from postwire.core.errors import ShuttingDown, StoreUnavailable
from postwire.core.message import Channel, DispatchCommand, MessageRecord, MessageState, Priority, WaitFor
from postwire.core.quotas import Quota
from postwire.core.splitmix import stream
from postwire.outbox.base import Outbox
from postwire.outbox.sqlite import SqliteOutbox

OUTCOME = WaitFor.OUTCOME
QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
STRAIGHT, BY_QUEUE = 2, 3
"""The revision of a message that was sent: accepted with its attempt open, or queued and taken out of its queue."""


def harness_of(outbox: Outbox, *providers: FakeProvider, slots: int) -> Harness:
    gates = {one.name: gate_of(one.name, max_concurrent=slots) for one in providers}
    return Harness(outbox, provider=providers[0], registry=registry_of(*providers, gates=gates))


def revisions(records: list[MessageRecord]) -> list[int]:
    assert {record.state for record in records} == {SENT}
    return [record.revision for record in records]


@pytest.mark.parametrize(("count", "slots"), [(5, 4), (20, 4), (7, 1), (100, 64)])
async def test_a_frame_with_more_messages_than_there_are_slots_is_not_queued(
    outbox: SqliteOutbox, count: int, slots: int
) -> None:
    harness = harness_of(outbox, FakeProvider("p"), slots=slots)
    caller = await accept_frame(harness, commands(count, wait_for=OUTCOME))
    await caller.until(count)
    assert revisions(caller.records) == [STRAIGHT] * count
    await harness.calm()
    assert harness.left() == []


async def test_streams_that_wait_have_the_slots_in_turn(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p")
    harness = harness_of(outbox, provider, slots=4)
    callers = [FrameCaller(harness, commands(12, wait_for=OUTCOME)) for _ in range(5)]
    await within(asyncio.gather(*(caller.frame.accept() for caller in callers)))
    for caller in callers:
        await caller.until(12)
        assert revisions(caller.records) == [STRAIGHT] * 12
    whose = {record.message_id: number for number, caller in enumerate(callers) for record in caller.records}
    assert {whose[key] for key in provider.keys[:20]} == {0, 1, 2, 3, 4}, "each has had four before any has eight"


async def test_where_attempts_have_the_slots_the_rest_is_queued_and_holds_nobody_up(outbox: SqliteOutbox) -> None:
    slow, other = FakeProvider("slow", [Channel.SMS], held=True), FakeProvider("other", [Channel.EMAIL])
    harness = harness_of(outbox, slow, other, slots=4)
    frame = commands(10, wait_for=OUTCOME)
    frame.append(build.command(build.email("a@example.com"), request_id=build.new_request_id(), wait_for=OUTCOME))
    caller = await accept_frame(harness, frame)
    await caller.until(1)
    assert caller.order == [10]
    assert harness.waited_for == 6
    slow.release()
    await caller.until(11)
    assert revisions(caller.records) == [STRAIGHT] * 4 + [BY_QUEUE] * 6 + [STRAIGHT]
    await harness.calm()
    assert harness.left() == []


async def test_what_waits_for_its_acceptance_is_accepted_at_once(outbox: SqliteOutbox) -> None:
    harness = harness_of(outbox, FakeProvider("p"), slots=4)
    caller = await accept_frame(harness, commands(12))
    assert [record.state for record in caller.records] == [SENDING] * 4 + [QUEUED] * 8
    await harness.calm()
    assert harness.left() == []


@pytest.mark.parametrize(("waiting", "revision"), [(3, STRAIGHT), (30, BY_QUEUE)])
async def test_a_stream_lets_queues_go_first_but_not_for_ever(
    outbox: SqliteOutbox, waiting: int, revision: int
) -> None:
    provider = FakeProvider("p", held=True)
    harness = harness_of(outbox, provider, slots=1)
    first = await accept_frame(harness, commands(1 + waiting))
    await within(provider.calls())
    before = [record.message_id for record in first.records]
    provider.release()
    await within(provider.calls(2))  # from now on, commits have the slot
    caller = await accept_frame(harness, commands(2, wait_for=OUTCOME))
    await caller.until(2)
    assert caller.records[0].revision == revision
    assert provider.keys[: len(before)] == before
    await harness.calm()
    assert harness.left() == []


async def test_who_hangs_up_while_it_waits_leaves_the_slot_to_the_next(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p")
    harness = harness_of(outbox, provider, slots=2)
    callers = [FrameCaller(harness, commands(2, wait_for=OUTCOME)) for _ in range(4)]
    accepting = [asyncio.ensure_future(caller.frame.accept()) for caller in callers]
    await asyncio.sleep(0)
    accepting[1].cancel()
    await within(asyncio.gather(*accepting, return_exceptions=True))
    for caller in (callers[0], *callers[2:]):
        await caller.until(2)
        assert revisions(caller.records) == [STRAIGHT] * 2
    assert callers[1].results == []
    await harness.calm()
    assert len(provider.keys) == 6
    assert harness.left() == []


async def test_streams_that_wait_for_a_slot_and_for_room_are_all_served(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p")
    gates = {"p": gate_of("p", max_concurrent=1)}
    harness = Harness(outbox, provider=provider, registry=registry_of(provider, gates=gates), max_in_flight=400)
    frames = [commands(1, wait_for=OUTCOME) + commands(230, send_time=START + build.HOUR) for _ in range(3)]
    callers = [FrameCaller(harness, frame) for frame in frames]
    await within(asyncio.gather(*(caller.frame.accept() for caller in callers)))
    for caller in callers:
        await caller.until(231)
        assert caller.refusals == {}
    await harness.calm()
    assert harness.left() == []


def email(**options: Any) -> DispatchCommand:
    return build.command(build.email("a@example.com"), request_id=build.new_request_id(), **options)


async def held_up(outbox: SqliteOutbox) -> tuple[Harness, Paused, FrameCaller, asyncio.Task[None]]:
    """A stream that waits for the only slot, which a commit has that is held; two queues have messages, too."""
    provider = FakeProvider("p", held=True)
    paused = Paused(outbox, "take")
    harness = harness_of(paused, provider, slots=1)
    await accept_frame(harness, commands(3))
    await accept_frame(harness, [email(wait_for=WaitFor.ACCEPTANCE) for _ in range(3)])
    paused.hold()
    provider.release()
    await within(paused.reached.wait())
    caller = FrameCaller(harness, commands(2, wait_for=OUTCOME))
    accepting = asyncio.ensure_future(caller.frame.accept())
    await harness.calm()
    assert not accepting.done()
    return harness, paused, caller, accepting


async def test_a_stream_that_waits_for_a_slot_is_told_when_the_server_shuts_down(outbox: SqliteOutbox) -> None:
    harness, paused, caller, accepting = await held_up(outbox)
    draining = asyncio.ensure_future(harness.drain(60.0))
    await within(accepting)
    assert caller.refusals == {0: ShuttingDown, 1: ShuttingDown}
    paused.release()
    await within(draining)
    assert harness.left() == []


async def test_a_stream_that_waits_for_a_slot_is_told_when_the_store_goes_away(outbox: SqliteOutbox) -> None:
    harness, paused, caller, accepting = await held_up(outbox)
    outbox._writer._set_available(False)
    await within(accepting)
    assert caller.refusals == {0: StoreUnavailable, 1: StoreUnavailable}
    outbox._writer._set_available(True)
    paused.release()
    await harness.calm()
    assert harness.left() == []
    assert len(harness.provider.keys) == 6


@pytest.mark.parametrize(
    ("weight", "priority", "latest"), [(1, Priority.NORMAL, 140), (3, Priority.NORMAL, 100), (1, Priority.HIGH, 95)]
)
async def test_streams_that_wait_take_turns_by_priority_and_the_weights_of_their_tenants(
    outbox: SqliteOutbox, weight: int, priority: Priority, latest: int
) -> None:
    provider = FakeProvider("p")
    registry = registry_of(provider, gates={"p": gate_of("p", max_concurrent=4)})
    harness = Harness(outbox, provider=provider, registry=registry, quotas={"small": Quota(weight=weight)})
    frames = [commands(60, wait_for=OUTCOME, tenant="bulk") for _ in range(10)]
    frames.append(commands(60, wait_for=OUTCOME, tenant="small", priority=priority))
    callers = [FrameCaller(harness, frame) for frame in frames]
    await within(asyncio.gather(*(caller.frame.accept() for caller in callers)))
    for caller in callers:
        await caller.until(60)
    small = {record.message_id for record in callers[-1].records}
    assert small <= {*provider.keys[:latest]}
    await harness.calm()
    assert harness.left() == []


@pytest.mark.parametrize("slots", [1, 4])
async def test_streams_that_wait_take_one_draw_a_message_where_weights_are_strict(
    outbox: SqliteOutbox, slots: int
) -> None:
    async def some_turns(key: str) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    slower, faster = FakeProvider("a", meanwhile=some_turns), FakeProvider("b")
    routes = {Channel.SMS: [route({"a": 1, "b": 1}, strict_weights=True)]}
    gates = {name: gate_of(name, max_concurrent=slots) for name in "ab"}
    registry = registry_of(slower, faster, routes=routes, gates=gates)
    harness = Harness(outbox, registry=registry, seed=1)
    callers = [FrameCaller(harness, commands(60, wait_for=OUTCOME)) for _ in range(6)]
    await within(asyncio.gather(*(caller.frame.accept() for caller in callers)))
    for caller in callers:
        await caller.until(60)
    draws = stream(1, "weights sms")
    assert len(slower.keys) == sum(draws.next_unit() < 1 / 2 for _ in range(360))
    await harness.calm()
    assert harness.left() == []

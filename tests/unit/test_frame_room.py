"""Frames where there is no room, where outcomes take long, and where nobody stays to hear of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.support import build
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.streams import Choosy, FrameCaller, accept_frame, commands
from tests.support.waiting import within

from postwire.core.admission import Share
from postwire.core.errors import Overloaded
from postwire.core.message import MessageState, WaitFor
from postwire.delivery import Frame
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT


@pytest.fixture
async def held(outbox: SqliteOutbox) -> Harness:
    """A harness whose provider answers when it is let go."""
    return Harness(outbox, provider=FakeProvider(held=True))


# Room.


async def test_what_there_is_no_room_for_waits_instead_of_being_refused(outbox: SqliteOutbox) -> None:
    provider = Choosy()
    harness = Harness(outbox, provider=provider, max_in_flight=3)
    caller = FrameCaller(harness, commands(8))
    accepting = asyncio.create_task(caller.frame.accept())
    for done in range(8):
        await within(provider.calls(min(done + 3, 8)))
        await harness.calm()
        assert len(provider.keys) == min(done + 3, 8), "no more than three at once"
        assert caller.order == list(range(min(done + 3, 8)))
        if done <= 5:
            with pytest.raises(Overloaded):
                await harness.send()  # it has no frame to wait in
        provider.free(str(done)).set()
    await within(accepting)
    assert caller.refusals == {}
    await harness.completed()
    assert (await outbox.stats()).unsettled == 0


async def test_a_message_larger_than_all_the_room_waits_until_it_is_alone(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True), max_in_flight_bytes=1_000)
    small, large = build.command(request_id="small"), build.command(request_id="large", size=5_000)
    small, large = (replace(one, wait_for=WaitFor.ACCEPTANCE) for one in (small, large))
    caller = FrameCaller(harness, [small, large])
    accepting = asyncio.create_task(caller.frame.accept())
    await caller.until(1)
    await harness.calm()
    assert caller.order == [0]
    harness.provider.release()
    await caller.until(2)
    await within(accepting)
    assert caller.refusals == {}


async def test_what_its_provider_has_no_slot_for_waits_in_its_queue_and_holds_no_room(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", held=True)
    registry = registry_of(provider, gates={"p": gate_of("p", max_concurrent=2)})
    harness = Harness(outbox, provider=provider, registry=registry, max_in_flight=10)
    caller = await accept_frame(harness, commands(10))
    assert [record.state for record in caller.records] == [SENDING] * 2 + [QUEUED] * 8
    assert (await accept_frame(harness, commands(8))).refusals == {}
    provider.release()
    await within(provider.calls(18))
    await harness.calm()
    assert harness.left() == []


# Nobody waits for long, and nobody has to stay.


async def test_who_waits_no_longer_is_told_how_each_stands(outbox: SqliteOutbox) -> None:
    provider = Choosy()
    harness = Harness(outbox, provider=provider)
    caller = await accept_frame(harness, commands(4, wait_for=WaitFor.OUTCOME))
    await within(provider.calls(4))
    provider.free("2").set()
    await caller.until(1)
    caller.frame.give_up()
    assert caller.order == [2, 0, 1, 3]
    assert [record.state for record in caller.records] == [SENDING, SENDING, SENT, SENDING]
    assert caller.frame.done
    for number in "013":
        provider.free(number).set()
    await harness.completed()
    assert len(caller.results) == 4, "each once"
    assert (await outbox.stats()).unsettled == 0


@pytest.mark.parametrize("leave", ["give_up", "close"])
async def test_who_has_left_is_not_kept_for_messages_that_wait_for_a_slot(outbox: SqliteOutbox, leave: str) -> None:
    """There may be a million of them, and they may wait for hours."""
    provider = FakeProvider("p", held=True)
    harness = Harness(
        outbox, provider=provider, registry=registry_of(provider, gates={"p": gate_of("p", max_concurrent=1)})
    )
    caller = await accept_frame(harness, commands(5, wait_for=WaitFor.OUTCOME))
    await within(provider.calls())
    assert caller.results == []
    getattr(caller.frame, leave)()
    waiters = harness.delivery._waiters
    assert list(waiters) == provider.keys, "the one that is on its way"
    assert not waiters.queued
    provider.release()
    await within(provider.calls(5))
    await harness.calm()
    assert harness.left() == []
    assert len(caller.results) == (5 if leave == "give_up" else 0)


async def test_whoever_hangs_up_loses_nothing(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True))
    frame = commands(20, wait_for=WaitFor.OUTCOME)
    caller = FrameCaller(harness, frame)
    accepting = asyncio.create_task(caller.frame.accept())
    await asyncio.sleep(0)  # it has begun, and waits for the commit
    accepting.cancel()
    caller.frame.close()
    await within(harness.provider.calls(20))
    harness.provider.release()
    await harness.completed()
    for command in frame:
        record = await harness.kept_of(command)
        assert record is not None
        assert record.state is SENT
    assert caller.results == []
    assert harness.left() == []


async def test_a_repeat_that_is_followed_is_let_go_with_its_frame(held: Harness) -> None:
    (one,) = commands(1)
    await accept_frame(held, [one])
    caller = await accept_frame(held, [replace(one, wait_for=WaitFor.OUTCOME)])
    assert not caller.frame.done
    caller.frame.close()
    await held.calm()
    assert caller.frame.done
    held.provider.release()
    await held.completed()
    assert (caller.results, held.left()) == ([], [])


# Several streams.


def in_streams(harness: Harness, *counts: int, **fields: Any) -> tuple[list[tuple[int, int]], list[asyncio.Task[None]]]:
    """A stream for each of `counts`, with a frame of so many messages; what is told, in order, and who accepts them."""
    order: list[tuple[int, int]] = []
    accepting: list[asyncio.Task[None]] = []
    for stream, count in enumerate(counts):

        def report_of(index: int, result: object, stream: int = stream) -> None:
            order.append((stream, index))

        frame = Frame(harness.delivery, commands(count, **fields), report_of, Share())
        accepting.append(asyncio.create_task(frame.accept()))
    return order, accepting


async def test_streams_that_wait_are_served_in_turn(outbox: SqliteOutbox) -> None:
    provider = Choosy()
    harness = Harness(outbox, provider=provider, max_in_flight=10)
    order, accepting = in_streams(harness, 8, 3, 3)
    await within(provider.calls(5))
    await harness.calm()
    assert order == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)], "four times what it leaves of six tenths"
    for number in range(5):  # one after the other: each lets one in
        provider.free(str(number)).set()
        await harness.calm()
    for number in range(5, 8):
        provider.free(str(number)).set()
    await within(asyncio.gather(*accepting))
    assert order[5:] == [(1, 0), (2, 0), (0, 5), (1, 1), (2, 1), (0, 6), (1, 2), (2, 2), (0, 7)]


async def test_a_turn_is_of_a_hundred_messages(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True))
    order, accepting = in_streams(harness, 480, 150, 150)
    await within(harness.provider.calls(480))
    await harness.calm()
    assert {stream for stream, _ in order} == {0}
    harness.provider.release()
    await within(asyncio.gather(*accepting))
    assert [stream for stream, _ in order[480:680]] == [1] * 100 + [2] * 100


async def test_a_turn_ends_with_the_message_that_makes_it_a_mebibyte(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True))
    order, accepting = in_streams(harness, 480, 20, 20, size=200_000)
    await within(harness.provider.calls(480))
    await harness.calm()
    harness.provider.release()
    await within(asyncio.gather(*accepting))
    assert [stream for stream, _ in order[480:492]] == [1] * 6 + [2] * 6


async def test_a_stream_that_hangs_up_while_it_waits_passes_its_turn_on(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True))
    order, accepting = in_streams(harness, 480, 10, 10, 10)
    await within(harness.provider.calls(480))
    await harness.calm()
    accepting[2].cancel()
    harness.provider.release()
    accepting[1].cancel()
    await within(accepting[3])
    await within(accepting[0])
    assert [stream for stream, _ in order[480:]] == [3] * 10
    assert not harness.delivery._acceptance._streams
    await harness.completed()

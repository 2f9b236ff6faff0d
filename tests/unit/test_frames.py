"""Frames of messages: accepted in one commit, and each message told of once, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of
from tests.support.streams import Choosy, Commits, accept_frame, commands
from tests.support.waiting import within

from postwire.core.errors import (
    InvalidMessage,
    InvalidProvider,
    InvalidRouting,
    RequestIdReused,
    ShuttingDown,
    StoreUnavailable,
)
from postwire.core.ids import MessageIds
from postwire.core.message import Channel, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Accepted, NewMessage, NotAccepted
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
LATER = START + build.HOUR


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    yield opened
    await opened.close()


@pytest.fixture
async def held(outbox: SqliteOutbox) -> Harness:
    """A harness whose provider answers when it is let go."""
    return Harness(outbox, provider=FakeProvider(held=True))


# One commit.


@pytest.mark.parametrize("count", [1, 2, 100, 256, 257, 1_000])
async def test_a_frame_is_one_commit(on_file: SqliteOutbox, count: int) -> None:
    harness, commits = Harness(on_file, max_in_flight=4_000), Commits(on_file)
    caller = await accept_frame(harness, commands(count, send_time=LATER))
    assert commits.count == 1
    assert caller.order == list(range(count))
    assert {record.state for record in caller.records} == {QUEUED}
    assert len({record.message_id for record in caller.records}) == count


async def test_a_frame_whose_messages_are_sent_at_once_is_accepted_in_one_commit(on_file: SqliteOutbox) -> None:
    harness, commits = Harness(on_file, provider=FakeProvider(held=True)), Commits(on_file)
    caller = await accept_frame(harness, commands(100))
    await within(harness.provider.calls(100))
    assert commits.count == 1
    assert {record.state for record in caller.records} == {SENDING}
    harness.provider.release()
    await harness.completed()
    assert commits.count < 20, "and their ends share commits"


async def test_refused_ones_and_repeats_cost_no_commit_of_their_own(on_file: SqliteOutbox) -> None:
    harness, commits = Harness(on_file), Commits(on_file)
    frame = commands(20, send_time=LATER)
    frame[3] = replace(frame[3], options=replace(frame[3].options, provider_name="nobody"))
    frame[5] = frame[4]
    frame[7] = build.command(build.sms("another"), request_id=frame[6].request_id, send_time=LATER)
    caller = await accept_frame(harness, frame)
    assert commits.count == 1
    assert caller.refusals == {3: InvalidProvider, 7: RequestIdReused}
    assert len({record.message_id for record in caller.records}) == 17


async def test_frames_of_many_callers_are_all_accepted(on_file: SqliteOutbox) -> None:
    harness, commits = Harness(on_file), Commits(on_file)
    frames = await asyncio.gather(*(accept_frame(harness, commands(50, send_time=LATER)) for _ in range(10)))
    assert len({record.message_id for caller in frames for record in caller.records}) == 500
    assert commits.count <= 10
    assert (await on_file.stats()).unsettled == 500


# In which order what is told.


async def test_what_waits_for_acceptance_is_told_in_order_and_is_durable(held: Harness) -> None:
    caller = await accept_frame(held, commands(50))
    assert caller.order == list(range(50))
    for record in caller.records:
        assert record.state is SENDING
        assert await held.kept(record.message_id) == record
    assert [message.content.body for message in held.provider.messages] == [str(number) for number in range(50)]  # type: ignore[union-attr]  # they are SMS
    held.provider.release()
    await held.completed()


async def test_what_waits_for_the_outcome_is_told_as_it_completes(outbox: SqliteOutbox) -> None:
    provider = Choosy()
    harness = Harness(outbox, provider=provider)
    caller = await accept_frame(harness, commands(5, wait_for=WaitFor.OUTCOME))
    await within(provider.calls(5))
    assert caller.results == []
    for count, number in enumerate((3, 0, 4, 2, 1), 1):
        provider.free(str(number)).set()
        await caller.until(count)
    assert caller.order == [3, 0, 4, 2, 1]
    assert {record.state for record in caller.records} == {SENT}
    assert caller.frame.done
    for record in caller.records:
        assert await harness.kept(record.message_id) == record


async def test_each_waits_for_what_it_asked_for(outbox: SqliteOutbox) -> None:
    provider = Choosy()
    harness = Harness(outbox, provider=provider)
    frame = commands(6)
    for number in (1, 3, 4):
        frame[number] = replace(frame[number], wait_for=WaitFor.OUTCOME)
    caller = await accept_frame(harness, frame)
    assert caller.order == [0, 2, 5]
    assert not caller.frame.done
    await within(provider.calls(6))
    for number in (4, 1, 3):
        provider.free(str(number)).set()
        await caller.until(len(caller.results) + 1)
    assert caller.order == [0, 2, 5, 4, 1, 3]
    for number in (0, 2, 5):
        provider.free(str(number)).set()
    await harness.completed()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (build.SUCCESS, SENT),
        (DispatchResult(Outcome.REJECTED), MessageState.FAILED),
        (DispatchResult(Outcome.ERROR), QUEUED),
        (DispatchResult(Outcome.RATE_LIMITED, retry_after=60.0), QUEUED),
        (DispatchResult(Outcome.UNCERTAIN), QUEUED),
        (ValueError("its code fails"), QUEUED),
    ],
    ids=str,
)
async def test_the_outcome_is_told_whatever_it_is(
    outbox: SqliteOutbox, answer: DispatchResult | BaseException, state: MessageState
) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=answer))
    caller = await accept_frame(harness, commands(3, wait_for=WaitFor.OUTCOME))
    await caller.until(3)
    assert [record.state for record in caller.records] == [state] * 3


async def test_what_is_not_due_yet_is_told_at_once_whatever_it_waits_for(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    caller = await accept_frame(harness, commands(3, wait_for=WaitFor.OUTCOME, send_time=LATER))
    assert [record.state for record in caller.records] == [QUEUED] * 3
    assert caller.frame.done
    await harness.calm()
    assert harness.left() == []


# Repeats.


@pytest.mark.parametrize("wait_for", WaitFor)
async def test_repeats_in_one_frame_are_one_message(outbox: SqliteOutbox, wait_for: WaitFor) -> None:
    harness = Harness(outbox)
    (one,) = commands(1, wait_for=wait_for)
    caller = await accept_frame(harness, [one, *commands(1, wait_for=wait_for), one, one])
    await caller.until(4)
    ids = [record.message_id for record in caller.records]
    assert ids[0] == ids[2] == ids[3] != ids[1]
    await harness.calm()
    assert len(harness.provider.keys) == 2
    if wait_for is WaitFor.OUTCOME:
        assert {record.state for record in caller.records} == {SENT}


async def test_repeats_over_frames_are_one_message(held: Harness) -> None:
    (one,) = commands(1)
    first = await accept_frame(held, [one])
    await within(held.provider.calls())
    waiting = await accept_frame(held, [replace(one, wait_for=WaitFor.OUTCOME)])
    again = await accept_frame(held, [one])
    assert again.results == first.results
    assert waiting.results == []
    held.provider.release()
    await waiting.until(1)
    settled = await accept_frame(held, [one, replace(one, wait_for=WaitFor.OUTCOME)])
    assert settled.records == waiting.records * 2
    assert settled.records[0].message_id == first.records[0].message_id
    assert settled.records[0].state is SENT
    assert len(held.provider.keys) == 1


async def test_a_repeat_of_a_call_is_its_message(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    (one,) = commands(1)
    record = await harness.send(replace(one, wait_for=WaitFor.OUTCOME))
    assert (await accept_frame(harness, [one])).records == [record]
    (other,) = commands(1, wait_for=WaitFor.OUTCOME)
    caller = await accept_frame(harness, [other])
    await caller.until(1)
    assert [await harness.send(other)] == caller.records
    assert len(harness.provider.keys) == 2


async def test_of_many_frames_that_race_on_one_request_id_one_message_comes(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    (one,) = commands(1, wait_for=WaitFor.OUTCOME)
    frames = await asyncio.gather(*(accept_frame(harness, [one]) for _ in range(20)))
    for caller in frames:
        await caller.until(1)
    assert len({record for caller in frames for record in [caller.records[0].message_id]}) == 1
    assert len(harness.provider.keys) == 1


# Refusals.


async def test_each_refusal_is_told_in_its_place_and_keeps_none_of_the_others(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(channels=[Channel.SMS]))
    frame = commands(7)
    frame[1] = build.command(build.email(), request_id="nobody carries it")
    frame[2] = replace(frame[2], options=replace(frame[2].options, provider_name="nobody"))
    frame[4] = build.command(request_id=frame[3].request_id)
    frame[5] = replace(frame[5], options=replace(frame[5].options, expire_time=START))
    caller = await accept_frame(harness, frame)
    assert caller.refusals == {1: InvalidRouting, 2: InvalidProvider, 4: RequestIdReused, 5: InvalidMessage}
    assert caller.order == list(range(7))
    assert len(caller.records) == 3
    await harness.calm()
    assert len(harness.provider.keys) == 3
    assert harness.noted.events.count(("routing", "email")) == 1
    assert harness.left() == []


async def test_a_repeat_is_told_of_whatever_has_changed_since(outbox: SqliteOutbox) -> None:
    frame = commands(3, expire_time=LATER)
    first = await accept_frame(Harness(outbox), frame)
    harness = Harness(outbox, registry=registry_of(routes={}))
    harness.clock.advance(7200)
    again = await accept_frame(harness, frame)
    assert [record.message_id for record in again.records] == [record.message_id for record in first.records]
    assert harness.noted.events == []
    frame[1] = build.command(build.sms("another"), request_id=frame[1].request_id)
    assert (await accept_frame(harness, frame)).refusals == {1: RequestIdReused}


async def test_a_draining_server_takes_nothing_new_but_knows_what_it_has(held: Harness) -> None:
    frame = commands(2)
    first = await accept_frame(held, frame)
    held.delivery.start_draining()
    caller = await accept_frame(held, [frame[1], *commands(1), frame[0]])
    assert caller.refusals == {1: ShuttingDown}
    assert caller.records == first.records[::-1]
    held.provider.release()
    await held.completed()


async def test_while_the_store_is_away_all_of_a_frame_are_unknown(outbox: SqliteOutbox) -> None:
    class Away(_Wrapped):
        async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | NotAccepted]:
            raise StoreUnavailable

    harness = Harness(Away(outbox))  # type: ignore[arg-type]  # the rest is the real one's
    caller = await accept_frame(harness, commands(3))
    assert caller.refusals == dict.fromkeys(range(3), StoreUnavailable)
    await harness.calm()
    assert harness.left() == []


class _Wrapped:
    def __init__(self, inner: SqliteOutbox) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


async def test_a_fault_of_ours_on_the_way_to_the_store_leaves_nobody_without_an_answer(outbox: SqliteOutbox) -> None:
    class Stuck(MessageIds):
        def next(self, now: int) -> str:
            return "018bcfe5-6800-7000-8000-000000000000"

    harness = Harness(outbox, ids=Stuck(lambda _: 0))
    caller = await accept_frame(harness, commands(3))
    assert caller.refusals == dict.fromkeys(range(3), StoreUnavailable), "not that nothing was accepted"
    await harness.calm()
    assert harness.left() == []

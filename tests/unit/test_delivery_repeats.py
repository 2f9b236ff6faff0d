"""The delivery path when calls repeat, there is no room, the store is away, or the server shuts down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of
from tests.support.waiting import within

from postwire.core.errors import (
    InvalidMessage,
    InvalidRouting,
    Overloaded,
    RequestIdReused,
    ShuttingDown,
    StoreUnavailable,
)
from postwire.core.ids import MessageIds
from postwire.core.message import MAX_TIME, Channel, Content, MessageRecord, MessageState, Priority, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Accepted, NewMessage
from postwire.outbox.sqlite import SqliteOutbox
from postwire.telemetry.base import Observers

SENT, SENDING = MessageState.SENT, MessageState.SENDING


@pytest.fixture
async def held(outbox: SqliteOutbox) -> Harness:
    """A harness whose provider answers when it is let go."""
    return Harness(outbox, provider=FakeProvider(held=True))


# One request id is one message.


async def test_a_repeat_of_a_settled_message_gives_it_and_sends_nothing(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    first = await harness.send(build.command(request_id="r"))
    for wait_for in WaitFor:
        assert await harness.send(build.command(request_id="r", wait_for=wait_for)) == first
    assert len(harness.provider.keys) == 1


async def test_a_repeat_of_a_message_on_its_way_waits_for_it(held: Harness) -> None:
    command = build.command(request_id="r")
    calls = [held.start(command)]
    await held.provider.calls()
    calls += [held.start(command), held.start(command)]
    accepted = await held.send(build.command(request_id="r", wait_for=WaitFor.ACCEPTANCE))
    assert accepted.state is SENDING
    assert not any(call.done() for call in calls)
    held.provider.release()
    records = await asyncio.gather(*calls)
    assert [record.state for record in records] == [SENT] * 3
    assert len({record.message_id for record in records}) == 1
    assert len(held.provider.keys) == 1


async def test_a_repeat_waits_no_longer_than_its_own_caller_can(held: Harness) -> None:
    held.start(build.command(request_id="r"))
    await held.provider.calls()
    assert (await held.send(build.command(request_id="r"), time_left=0.0)).state is SENDING


async def test_of_many_calls_at_once_one_is_sent_and_all_get_it(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    records = await asyncio.gather(*(harness.send(build.command(request_id="r")) for _ in range(64)))
    assert len({record.message_id for record in records}) == 1
    assert {record.state for record in records} == {SENT}
    assert len(harness.provider.keys) == 1


async def test_a_repeat_in_the_same_turn_is_shown_the_attempt(held: Harness) -> None:
    command = build.command(request_id="r", wait_for=WaitFor.ACCEPTANCE)
    one, other = await asyncio.gather(held.send(command), held.send(command))
    assert one == other
    assert len(other.attempts) == 1


class Late:
    """An outbox whose `accept` answers a repeat only when it is let go, as one with a slow network would."""

    def __init__(self, inner: SqliteOutbox) -> None:
        self._inner = inner
        self.answered = asyncio.Event()
        self.go_on = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def accept(self, new: NewMessage) -> Accepted:
        accepted = await self._inner.accept(new)
        if not accepted.created:
            self.answered.set()
            await self.go_on.wait()
        return accepted


async def test_a_repeat_whose_original_settles_meanwhile_gets_the_settled_record(outbox: SqliteOutbox) -> None:
    """The store has answered SENDING, and before the answer is looked at the original has come to its end."""
    late = Late(outbox)
    harness = Harness(late, provider=FakeProvider(held=True))  # type: ignore[arg-type]  # the rest is the real one's
    first = harness.start(build.command(request_id="r"))
    await harness.provider.calls()
    second = harness.start(build.command(request_id="r"))
    await within(late.answered.wait())
    harness.provider.release()
    settled = await first
    late.go_on.set()
    assert await second == settled


async def test_calls_without_a_request_id_are_messages_of_their_own(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    one, other = await harness.send(build.command()), await harness.send(build.command())
    assert one.message_id != other.message_id
    assert (one.request_id, other.request_id) == (one.message_id, other.message_id)
    # The id that the server assigned is one to repeat with.
    assert await harness.send(build.command(request_id=one.request_id)) == one


# Times.


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"expire_time": START}, "options.expire_time"),
        ({"expire_time": START - 1, "send_time": START - 2}, "options.expire_time"),
        ({"expire_time": START + 5, "send_time": START + 5}, "options.send_time"),
        ({"expire_time": START + 5, "send_time": START + 6}, "options.send_time"),
    ],
)
async def test_what_is_too_late_is_refused_by_field(outbox: SqliteOutbox, times: dict[str, Any], field: str) -> None:
    harness = Harness(outbox)
    with pytest.raises(InvalidMessage) as caught:
        await harness.send(build.command(request_id="r", **times))
    assert [one.field for one in caught.value.violations] == [field]
    assert await harness.kept_of(build.command(request_id="r", **times)) is None
    assert harness.provider.keys == []
    assert harness.left() == []


@pytest.mark.parametrize(("content", "hours"), [(build.sms(), 1), (build.email(), 2)], ids=["sms", "email"])
async def test_a_send_time_leaves_room_for_the_expiry_that_follows_it(
    outbox: SqliteOutbox, content: Content, hours: int
) -> None:
    expire_after = {Channel.SMS: build.HOUR, Channel.MMS: build.HOUR, Channel.EMAIL: 2 * build.HOUR}
    harness = Harness(outbox, expire_after=expire_after)
    last = MAX_TIME - hours * build.HOUR
    assert (await harness.send(build.command(content, send_time=last))).expire_time == MAX_TIME
    for send_time in (last + 1, MAX_TIME):
        with pytest.raises(InvalidMessage) as caught:
            await harness.send(build.command(content, send_time=send_time))
        (violation,) = caught.value.violations
        assert violation.field == "options.send_time"
        assert violation.description == f"must be {hours}h before the year 10000, or have an expire_time"
    record = await harness.send(build.command(content, send_time=MAX_TIME - 1, expire_time=MAX_TIME))
    assert (record.next_attempt_time, record.expire_time) == (MAX_TIME - 1, MAX_TIME)


async def test_times_that_have_just_come_and_not_yet_gone_are_fine(outbox: SqliteOutbox) -> None:
    record = await Harness(outbox, provider=FakeProvider()).send(
        build.command(expire_time=START + 1_000_000, send_time=START)
    )
    assert record.state is SENT


async def test_a_repeat_is_fine_however_late_it_comes(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    command = build.command(request_id="r", expire_time=START + 1_000_000, send_time=START - 1)
    first = await harness.send(command)
    harness.clock.advance(3600)
    assert await harness.send(command) == first
    harness.clock.step_wall(-7200)
    assert await harness.send(command) == first


async def test_a_repeat_is_fine_though_its_route_is_gone(outbox: SqliteOutbox) -> None:
    command = build.command(request_id="r")
    first = await Harness(outbox).send(command)
    without = Harness(outbox, registry=registry_of(FakeProvider(), routes={}))
    assert await without.send(command) == first
    with pytest.raises(RequestIdReused):
        await without.send(build.command(build.sms("another"), request_id="r"))
    with pytest.raises(InvalidRouting):
        await without.send(build.command(request_id="new"))


# No room.


async def test_over_the_count_new_ones_are_refused_and_repeats_are_not(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True), max_in_flight=2)
    command = build.command(request_id="r")
    calls = [harness.start(command), harness.start()]
    await harness.provider.calls(2)
    with pytest.raises(Overloaded):
        await harness.send(build.command(request_id="new"))
    with pytest.raises(RequestIdReused):
        await harness.send(build.command(build.sms("another"), request_id="r"))
    repeat = harness.start(command)
    harness.provider.release()
    records = await asyncio.gather(*calls)
    assert await repeat == records[0]
    assert (await harness.send(build.command(request_id="new"))).state is SENT, "there is room again"
    await harness.calm()
    assert harness.left() == []


async def test_over_the_bytes_new_ones_are_refused(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True), max_in_flight_bytes=1000)
    first = harness.start(build.command(size=700))
    await harness.provider.calls()
    with pytest.raises(Overloaded):
        await harness.send(build.command(size=201))
    second = harness.start(build.command(size=200))
    await harness.provider.calls(2)
    with pytest.raises(Overloaded):
        await harness.send(build.command(build.email(), size=1))
    urgent = harness.start(build.command(build.email(), size=100, priority=Priority.HIGH))
    await harness.provider.calls(3)
    harness.provider.release()
    await asyncio.gather(first, second, urgent)
    assert (await harness.send(build.command(size=5000))).state is SENT, "alone, any size gets in"


async def test_every_end_gives_the_room_back(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_in_flight=1)
    await harness.send(build.command(request_id="r"))
    await harness.calm()
    await harness.send(build.command(request_id="r"))
    await harness.calm()
    with pytest.raises(RequestIdReused):
        await harness.send(build.command(build.sms("another"), request_id="r"))
    await harness.calm()
    for answer in (ValueError("its code fails"), DispatchResult(Outcome.ERROR), DispatchResult(Outcome.RATE_LIMITED)):
        harness.provider.answer = answer
        assert (await harness.send()).state is MessageState.QUEUED
        await harness.calm()
    with pytest.raises(InvalidMessage):
        await harness.send(build.command(expire_time=1))
    await harness.send(build.command(send_time=START + build.HOUR))
    await harness.calm()
    harness.provider.answer = build.SUCCESS
    assert (await harness.send(build.command(build.email()))).state is SENT
    await harness.calm()
    assert harness.left() == []


async def test_a_message_that_cannot_be_kept_is_refused_as_unknown_and_gives_its_room_back(
    outbox: SqliteOutbox,
) -> None:
    """A fault of ours on the way to the store: the caller must get an answer, and may not be told that it was kept."""
    harness = Harness(outbox, ids=_Stuck())
    await harness.send(build.command(request_id="first"))
    with pytest.raises(StoreUnavailable):
        await harness.send(build.command(request_id="second"))
    await harness.calm()
    assert harness.left() == []


class _Stuck(MessageIds):
    def __init__(self) -> None:
        super().__init__(lambda _: 0)

    def next(self, now: int) -> str:
        return "018bcfe5-6800-7000-8000-000000000000"


# Shutting down.


async def test_a_draining_server_takes_nothing_new_but_knows_what_it_has(held: Harness) -> None:
    command = build.command(request_id="r")
    call = held.start(command)
    await held.provider.calls()
    held.delivery.start_draining()
    with pytest.raises(ShuttingDown):
        await held.send(build.command(request_id="new"))
    with pytest.raises(RequestIdReused):
        await held.send(build.command(build.sms("another"), request_id="r"))
    repeat = held.start(command)
    held.provider.release()
    record = await call
    assert record.state is SENT
    assert await repeat == record
    assert await held.send(command) == record


async def test_draining_waits_for_what_is_in_flight(held: Harness) -> None:
    calls = [held.start() for _ in range(3)]
    await held.provider.calls(3)
    draining = asyncio.create_task(held.drain(3600.0))
    await asyncio.sleep(0)  # it has begun
    with pytest.raises(ShuttingDown):
        await held.send()
    assert not draining.done()
    held.provider.release()
    assert await draining == 0
    assert [record.state for record in await asyncio.gather(*calls)] == [SENT] * 3


async def test_after_the_grace_what_is_in_flight_is_let_go_with_its_attempt_open(held: Harness) -> None:
    calls = [held.start() for _ in range(3)]
    await held.provider.calls(3)
    assert await held.drain(0.0) == 3
    assert held.provider.cancelled == 3
    assert held.delivery.in_flight == 0
    for record in await asyncio.gather(*calls):
        assert record.state is SENDING
        kept = await held.kept(record.message_id)
        assert kept == record
        assert kept.attempts[0].outcome is None


async def test_draining_an_idle_server_is_done_at_once(outbox: SqliteOutbox) -> None:
    assert await Harness(outbox).delivery.drain(0.0) == 0


async def test_a_call_cut_short_before_its_commit_is_told_that_it_is_not_known(outbox: SqliteOutbox) -> None:
    class Stuck(Late):
        async def accept(self, new: NewMessage) -> Accepted:
            self.answered.set()
            await self.go_on.wait()
            raise AssertionError("nobody lets it go on")

    stuck = Stuck(outbox)
    harness = Harness(stuck)  # type: ignore[arg-type]  # the rest is the real one's
    call = harness.start()
    await within(stuck.answered.wait())
    assert await harness.drain(0.0) == 1
    with pytest.raises(StoreUnavailable):
        await call


# Telemetry that fails.


class Failing:
    """An observer that cannot do anything right."""

    def traceparent(self) -> str:
        raise ValueError("no trace")

    def delivery_started(self, accept_trace: str) -> object:
        raise ValueError("no delivery")

    def delivery_ended(self, started: object, record: MessageRecord) -> None:
        raise ValueError("no end of a delivery")

    def passed_over(self, record: MessageRecord, passed_over: object) -> None:
        raise ValueError("nobody passed over")

    def breaker_changed(self, provider_name: str, transition: object) -> None:
        raise ValueError("no breaker")

    def state_reached(self, record: MessageRecord) -> None:
        raise ValueError("no state")

    def attempt_ended(self, record: MessageRecord) -> None:
        raise ValueError("no attempt")

    def result_refused(self, record: MessageRecord) -> None:
        raise ValueError("no result")

    def routing_invalid(self, channel: object) -> None:
        raise ValueError("no routing")

    def receipt_applied(self, record: object, receipt: object) -> None:
        raise ValueError("no receipt")

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        raise ValueError("no refusal")


async def test_an_observer_that_fails_harms_no_message(outbox: SqliteOutbox) -> None:
    faults: list[Exception] = []
    first, second = FakeProvider("first", answer=DispatchResult(Outcome.ERROR)), FakeProvider("second")
    harness = Harness(
        outbox, registry=registry_of(first, second), observer=Observers(Failing(), on_fault=faults.append)
    )
    record = await harness.send()
    assert record.state is SENT
    assert await harness.kept(record.message_id) == record
    second.answers = [DispatchResult(Outcome.RATE_LIMITED, retry_after=0.0)]
    assert (await harness.send()).state is MessageState.QUEUED
    harness.clock.advance(60.0)
    await second.calls(3)
    await harness.calm()
    assert harness.left() == []
    assert faults


async def test_an_observer_that_fails_changes_no_refusal(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, registry=registry_of(routes={}), observer=Observers(Failing(), on_fault=lambda _: None))
    with pytest.raises(InvalidRouting):
        await harness.send()

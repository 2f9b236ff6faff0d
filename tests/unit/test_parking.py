"""Messages whose every door is closed: they cost nothing while they wait, and come out when a door opens."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.gates import fail
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of

from postwire.core.breaker import BreakerSettings, BreakerState
from postwire.core.listing import MessageFilter
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.delivery import Control
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
ERROR = DispatchResult(Outcome.ERROR)
SECOND = 1_000_000


class Parking:
    """A harness with the providers `first` and `second`, whose breakers open with one failure, for 5 s and for 3 s."""

    def __init__(self, outbox: SqliteOutbox, **first: object) -> None:
        self.clock = ManualClock()
        self.first, self.second = FakeProvider("first", **first), FakeProvider("second")  # type: ignore[arg-type]  # the test's
        self.gates = {
            "first": gate_of("first", breaker=BreakerSettings(minimum_calls=1, open_for=5.0), max_concurrent=10_000),
            "second": gate_of("second", breaker=BreakerSettings(minimum_calls=1, open_for=3.0)),
        }
        self.harness = Harness(
            outbox, registry=registry_of(self.first, self.second, gates=self.gates), clock=self.clock
        )

    def block(self, *names: str) -> None:
        for name in names:
            fail(self.gates[name], 1, self.clock.monotonic())

    @property
    def asked(self) -> tuple[int, int]:
        return len(self.first.keys), len(self.second.keys)


@pytest.fixture
async def parking(outbox: SqliteOutbox) -> Parking:
    return Parking(outbox)


@pytest.mark.parametrize("wait_for", WaitFor)
async def test_while_every_breaker_is_open_a_message_is_accepted_and_answered_at_once(
    parking: Parking, wait_for: WaitFor
) -> None:
    parking.block("first", "second")
    record = await parking.harness.send(build.command(wait_for=wait_for))
    assert (record.state, record.attempts, record.revision) == (QUEUED, (), 1)
    assert record.next_attempt_time == START + 3 * SECOND, "when the first of them may open"
    assert parking.harness.noted.events == [
        ("state", "queued"),
        ("passed over", "first open"),
        ("passed over", "second open"),
    ]
    await parking.harness.calm()
    assert parking.asked == (0, 0)
    assert parking.harness.left() == []


async def test_everybody_who_looks_is_shown_when_it_will_be_tried(parking: Parking) -> None:
    parking.block("first", "second")
    record = await parking.harness.send(build.command(request_id="r"))
    parking.clock.advance(1.0)
    shown = await parking.harness.delivery.get(record.message_id, tenant=DEFAULT_TENANT)
    page = await parking.harness.delivery.list(MessageFilter(), 10, None, tenant=DEFAULT_TENANT)
    again = await parking.harness.send(build.command(request_id="r", wait_for=WaitFor.ACCEPTANCE))
    assert shown == page.records[0] == again == record


async def test_nothing_is_written_while_a_message_is_parked(parking: Parking) -> None:
    parking.block("first", "second")
    record = await parking.harness.send()
    kept = await parking.harness.kept(record.message_id)
    assert kept.next_attempt_time == START, "what is shown is found out when it is read"
    for _ in range(10):  # each change of a door has the queue look
        parking.gates["first"].changed()
        await parking.harness.calm()
    parking.clock.advance(2.9)
    await parking.harness.calm()
    assert await parking.harness.kept(record.message_id) == kept
    assert parking.asked == (0, 0)


async def test_it_comes_out_when_the_first_breaker_lets_a_probe_in(parking: Parking) -> None:
    parking.block("first", "second")
    record = await parking.harness.send()
    parking.clock.advance(3.0)
    await parking.harness.noted.reached(record.message_id, SENT)
    kept = await parking.harness.kept(record.message_id)
    assert [(one.number, one.provider_name, one.start_time) for one in kept.attempts] == [
        (1, "second", START + 3 * SECOND)
    ]
    assert parking.gates["second"].breaker.state is BreakerState.CLOSED
    assert parking.asked == (0, 1)
    await parking.harness.calm()
    assert parking.harness.left() == []


async def test_it_comes_out_when_an_operator_resets_a_breaker(parking: Parking, outbox: SqliteOutbox) -> None:
    parking.block("first", "second")
    record = await parking.harness.send()
    await Control(registry=parking.harness.registry, outbox=outbox, clock=parking.clock).reset("first", by=LOCAL)
    await parking.harness.noted.reached(record.message_id, SENT)
    assert parking.asked == (1, 0)


async def test_it_comes_out_when_an_operator_resumes_a_provider(parking: Parking, outbox: SqliteOutbox) -> None:
    control = Control(registry=parking.harness.registry, outbox=outbox, clock=parking.clock)
    await control.drain("first", by=LOCAL)
    await control.drain("second", by=LOCAL)
    record = await parking.harness.send()
    assert (record.state, record.next_attempt_time) == (QUEUED, None), "nobody can tell when"
    parking.clock.advance(1000.0)
    await parking.harness.calm()
    assert parking.asked == (0, 0)
    await control.resume("second", by=LOCAL)
    await parking.harness.noted.reached(record.message_id, SENT)
    assert parking.asked == (0, 1)


async def test_a_provider_that_throttles_is_left_alone_for_as_long_as_it_asks(outbox: SqliteOutbox) -> None:
    parking = Parking(outbox, answers=[DispatchResult(Outcome.RATE_LIMITED, retry_after=30.0)])
    parking.gates["second"].breaker.force_open(0.0)
    throttled = await parking.harness.send()
    other = await parking.harness.send()
    assert (throttled.state, other.state) == (QUEUED, QUEUED)
    assert throttled.next_attempt_time == other.next_attempt_time == START + 30 * SECOND
    parking.clock.advance(29.9)
    await parking.harness.calm()
    assert parking.asked == (1, 0)
    parking.clock.advance(0.1)
    await parking.harness.noted.reached(throttled.message_id, SENT)
    await parking.harness.noted.reached(other.message_id, SENT)
    assert parking.asked == (3, 0)
    assert parking.gates["first"].breaker.snapshot(parking.clock.monotonic()).failures == 0


async def test_of_many_that_are_parked_one_probes_and_the_rest_follow_when_it_succeeds(outbox: SqliteOutbox) -> None:
    parking = Parking(outbox, held=True)
    parking.gates["second"].breaker.force_open(0.0)
    parking.block("first")
    records = [await parking.harness.send() for _ in range(100)]
    parking.clock.advance(5.0)
    await parking.first.calls()
    await parking.harness.calm()
    assert parking.first.keys == [records[0].message_id], "the one that waited longest"
    parking.first.release()
    for record in records:
        await parking.harness.noted.reached(record.message_id, SENT)
    assert parking.first.keys == [record.message_id for record in records]
    await parking.harness.calm()
    assert parking.harness.left() == []


async def test_a_probe_that_fails_costs_the_others_nothing(outbox: SqliteOutbox) -> None:
    parking = Parking(outbox, answers=[ERROR])
    parking.gates["second"].breaker.force_open(0.0)
    parking.block("first")
    records = [await parking.harness.send() for _ in range(3)]
    parking.clock.advance(5.0)
    await parking.first.calls()
    await parking.harness.calm()
    kept = [await parking.harness.kept(record.message_id) for record in records]
    assert [(one.state, one.revision, len(one.attempts)) for one in kept] == [
        (QUEUED, 4, 1),
        (QUEUED, 1, 0),
        (QUEUED, 1, 0),
    ]
    shown = await parking.harness.delivery.get(records[1].message_id, tenant=DEFAULT_TENANT)
    assert shown.next_attempt_time == START + 15 * SECOND, "it is open for twice as long now"
    parking.clock.advance(10.0)
    for record in records:
        await parking.harness.noted.reached(record.message_id, SENT)


@pytest.mark.parametrize("probe_calls", [1, 3])
async def test_of_a_thousand_callers_at_once_no_more_than_the_probes_reach_a_half_open_breaker(
    outbox: SqliteOutbox, probe_calls: int
) -> None:
    clock, provider = ManualClock(), FakeProvider("first", held=True)
    settings = BreakerSettings(minimum_calls=1, open_for=5.0, probe_calls=probe_calls, close_after=probe_calls)
    gate = gate_of("first", breaker=settings, max_concurrent=10_000)
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate}), clock=clock, max_in_flight=2_000)
    fail(gate, 1, clock.monotonic())
    clock.advance(5.0)
    calls = [harness.start() for _ in range(1000)]
    answered: list[MessageRecord] = []
    for call in asyncio.as_completed(calls):
        answered.append(await call)
        if len(answered) == 1000 - probe_calls:
            break
    assert {(record.state, len(record.attempts)) for record in answered} == {(QUEUED, 0)}
    assert {record.next_attempt_time for record in answered} == {START + 25 * SECOND}, "when a probe's lease ends"
    await provider.calls(probe_calls)
    await harness.calm()
    assert len(provider.keys) == probe_calls
    assert gate.breaker.state is BreakerState.HALF_OPEN
    provider.release()
    records = await asyncio.gather(*calls)
    for record in records:
        await harness.noted.reached(record.message_id, SENT)
    assert len(provider.keys) == len(set(provider.keys)) == 1000
    await harness.calm()
    assert harness.left() == []


async def test_who_waits_for_one_that_is_busy_is_answered_when_it_turns_out_to_be_down(outbox: SqliteOutbox) -> None:
    clock, provider = ManualClock(), FakeProvider("first", held=True, answer=ERROR)
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1, open_for=5.0), max_concurrent=1)
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate}), clock=clock)
    sending = harness.start()
    await provider.calls()
    waiting = harness.start()
    await harness.calm()
    assert not waiting.done()
    provider.release()
    assert (await sending).state is QUEUED
    record = await waiting
    assert (record.state, record.attempts) == (QUEUED, ())
    assert record.next_attempt_time == START + 5 * SECOND
    await harness.calm()
    assert harness.left() == []


async def test_a_probe_that_says_nothing_lets_the_next_in(outbox: SqliteOutbox) -> None:
    """A throttled probe: the provider is healthy, and the breaker has learnt nothing yet."""
    parking = Parking(outbox, answers=[DispatchResult(Outcome.RATE_LIMITED)])
    parking.gates["second"].breaker.force_open(0.0)
    parking.block("first")
    records = [await parking.harness.send() for _ in range(2)]
    parking.clock.advance(5.0)
    await parking.harness.noted.reached(records[1].message_id, SENT)
    assert parking.gates["first"].breaker.state is BreakerState.CLOSED
    parking.clock.advance(1.0)
    await parking.harness.noted.reached(records[0].message_id, SENT)

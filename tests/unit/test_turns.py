"""Messages that wait for a provider that is busy: whose turn it is, and who waits for whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.gates import fail
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of, route
from tests.support.waiting import within

from postwire.core.breaker import BreakerSettings
from postwire.core.message import Channel, MessageRecord, MessageState, Priority, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.core.routing import Match, Route
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
SECOND = 1_000_000


def sms_harness(
    outbox: SqliteOutbox, *providers: FakeProvider, to: Route | None = None, **limits: dict[str, Any]
) -> Harness:
    """A harness with one route for SMS; `limits` are those of gates, by provider."""
    gates = {name: gate_of(name, **fields) for name, fields in limits.items()}
    routes = {Channel.SMS: [to or route(*(one.name for one in providers))]}
    return Harness(outbox, registry=registry_of(*providers, routes=routes, gates=gates))


async def queue_up(harness: Harness, **options: Any) -> MessageRecord:
    """Have a message accepted that has to wait."""
    record = await harness.send(build.command(wait_for=WaitFor.ACCEPTANCE, **options))
    assert record.state is QUEUED
    return record


async def sent(harness: Harness, *records: MessageRecord) -> None:
    for record in records:
        await harness.noted.reached(record.message_id, SENT)


# At a limit.


async def test_at_a_concurrency_limit_a_message_waits_for_its_turn_and_its_caller_for_the_outcome(
    outbox: SqliteOutbox,
) -> None:
    provider = FakeProvider("first", held=True)
    harness = sms_harness(outbox, provider, first={"max_concurrent": 2})
    calls = [harness.start() for _ in range(5)]
    await provider.calls(2)
    await harness.calm()
    assert len(provider.keys) == 2
    assert harness.delivery.in_flight == 2, "those that wait hold no room"
    assert not any(call.done() for call in calls)
    provider.release()
    records = await asyncio.gather(*calls)
    assert {(record.state, len(record.attempts)) for record in records} == {(SENT, 1)}
    assert provider.keys == [record.message_id for record in records], "in the order in which they came"
    await harness.calm()
    assert harness.left() == []


async def test_at_a_rate_limit_a_message_waits_for_the_next_token(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first")
    harness = sms_harness(outbox, provider, first={"rate": 2.0, "burst": 3})
    calls = [harness.start() for _ in range(6)]
    await provider.calls(3)
    for count in (3, 4, 5):
        await harness.calm()
        assert len(provider.keys) == count
        assert sum(call.done() for call in calls) == count
        harness.clock.advance(0.5)
    records = await asyncio.gather(*calls)
    assert [record.attempts[0].start_time for record in records] == [
        START + half * SECOND // 2 for half in (0, 0, 0, 1, 2, 3)
    ]
    await harness.calm()
    assert harness.left() == []


async def test_a_message_that_waits_for_its_turn_says_what_it_knows(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    harness = sms_harness(outbox, provider, first={"max_concurrent": 1})
    harness.start()
    await provider.calls()
    record = await queue_up(harness)
    assert (record.next_attempt_time, record.attempts, record.revision) == (START, (), 1)
    provider.release()
    await sent(harness, record)


@pytest.mark.parametrize(
    ("tiers", "overflow", "then"),
    [
        (("first", "second"), False, "first"),
        (("first", "second"), True, "second"),
        (({"first": 1, "second": 1}, "third"), False, "second"),
    ],
    ids=["tiers", "overflow", "one tier"],
)
async def test_one_that_is_busy_is_waited_for_unless_another_of_its_tier_is_free_or_the_route_overflows(
    outbox: SqliteOutbox, tiers: tuple[Any, ...], overflow: bool, then: str
) -> None:
    first, second, third = FakeProvider("first", held=True), FakeProvider("second"), FakeProvider("third")
    to = route(*tiers, overflow=overflow)
    harness = sms_harness(outbox, first, second, third, to=to, first={"max_concurrent": 1})
    busy = harness.start(build.command(provider_name="first"))
    await first.calls()
    call = harness.start()
    await harness.calm()
    assert call.done() == (then != "first")
    first.release()
    assert (await call).attempts[0].provider_name == then
    assert (await busy).state is SENT
    assert third.keys == []


async def test_what_overflows_waits_for_whoever_is_free_first(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", held=True), FakeProvider("second", held=True)
    to = route("first", "second", overflow=True)
    harness = sms_harness(outbox, first, second, to=to, first={"max_concurrent": 1}, second={"max_concurrent": 1})
    calls = [harness.start() for _ in range(3)]
    await first.calls()
    await second.calls()
    second.release()
    assert (await calls[2]).attempts[0].provider_name == "second"
    first.release()
    assert [one.attempts[0].provider_name for one in await asyncio.gather(*calls)] == ["first", "second", "second"]


# Whose turn it is.


async def test_priority_decides_and_then_who_has_been_due_for_longest(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    harness = sms_harness(outbox, provider, first={"max_concurrent": 1})
    busy = harness.start()
    await provider.calls()
    order = [
        ("low", Priority.LOW, 0),
        ("later", Priority.NORMAL, 2),
        ("sooner", Priority.NORMAL, 1),
        ("now", Priority.NORMAL, 0),
        ("also now", Priority.NORMAL, 0),
        ("high, later", Priority.HIGH, 2),
        ("high", Priority.HIGH, 0),
    ]
    names = {
        (
            await queue_up(harness, priority=priority, send_time=START + after * SECOND if after else None)
        ).message_id: name
        for name, priority, after in order
    }
    harness.clock.advance(2.0)
    provider.release()
    await busy
    await provider.calls(1 + len(order))
    assert [names[key] for key in provider.keys[1:]] == [
        "high",
        "high, later",
        "now",
        "also now",
        "sooner",
        "later",
        "low",
    ]


async def test_a_long_queue_keeps_its_order(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first")
    harness = sms_harness(outbox, provider, first={"max_concurrent": 10_000})
    (entry,) = harness.registry
    entry.gate.breaker.force_open(0.0)
    records = [await queue_up(harness) for _ in range(200)]
    entry.gate.breaker.resume(0.0)
    await sent(harness, *records)
    assert provider.keys == [record.message_id for record in records]


async def test_who_comes_the_moment_that_a_slot_is_free_goes_to_the_end(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    harness = sms_harness(outbox, provider, first={"max_concurrent": 1})
    first = harness.start()
    await provider.calls()
    second = await queue_up(harness)
    await harness.calm()
    provider.release()
    third = harness.start()  # its step comes after the first's, in which the slot is given back, and before the queue's
    await first
    await sent(harness, second, await third)
    assert provider.keys[1:] == [second.message_id, (await third).message_id]


async def test_who_comes_while_the_queue_is_at_work_goes_to_the_end(outbox: SqliteOutbox) -> None:
    """More is due than the rate lets through, and the one that it did is on its way to the disk."""
    paused = Paused(outbox, "take")
    provider = FakeProvider("first")
    harness = sms_harness(paused, provider, first={"rate": 1.0, "burst": 1})  # type: ignore[arg-type]  # the rest is the real one's
    await harness.send()
    second, third = await queue_up(harness), await queue_up(harness)
    await harness.calm()
    paused.hold()
    harness.clock.advance(1.0)
    await within(paused.reached.wait())
    harness.clock.advance(1.0)
    fourth = await queue_up(harness)
    paused.release()
    await sent(harness, second, third)
    harness.clock.advance(1.0)
    await sent(harness, fourth)
    assert provider.keys[1:] == [second.message_id, third.message_id, fourth.message_id]


async def test_when_the_queue_is_through_messages_are_sent_at_once_again(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    harness = sms_harness(outbox, provider, first={"max_concurrent": 1})
    calls = [harness.start() for _ in range(3)]
    await provider.calls()
    provider.release()
    await asyncio.gather(*calls)
    await harness.calm()
    harness.noted.events.clear()
    await harness.send()
    assert harness.noted.events[0] == ("state", "sending")


# Who waits for whom.


async def test_a_provider_that_hangs_holds_its_own_slots_and_nothing_else(outbox: SqliteOutbox) -> None:
    phone, post = FakeProvider("phone", held=True), FakeProvider("post")
    gates = {"phone": gate_of("phone", max_concurrent=3), "post": gate_of("post", max_concurrent=3)}
    routes = {Channel.SMS: [route("phone")], Channel.EMAIL: [route("post", key="email")]}
    harness = Harness(outbox, registry=registry_of(phone, post, routes=routes, gates=gates), max_in_flight=10)
    texts = [harness.start() for _ in range(4)]
    await phone.calls(3)
    await harness.calm()
    texts += [await queue_up(harness) for _ in range(20)]  # type: ignore[misc]  # what is left of them does not matter
    emails = [await harness.send(build.command(build.email())) for _ in range(20)]
    assert {record.state for record in emails} == {SENT}
    assert (gates["phone"].in_flight, gates["post"].in_flight) == (3, 0)
    assert len(phone.keys) == 3
    assert post.keys == [record.message_id for record in emails]


async def test_a_blocked_rule_does_not_delay_another_of_its_channel(outbox: SqliteOutbox) -> None:
    clock = ManualClock()
    down, up = FakeProvider("down"), FakeProvider("up")
    gates = {"down": gate_of("down", breaker=BreakerSettings(minimum_calls=1))}
    rules = [route("down", key="sms#1", match=Match(labels={"to": "down"})), route("up", key="sms#2")]
    harness = Harness(outbox, registry=registry_of(down, up, routes={Channel.SMS: rules}, gates=gates), clock=clock)
    fail(gates["down"], 1, clock.monotonic())
    parked = [await queue_up(harness, labels={"to": "down"}) for _ in range(100)]
    assert {record.queue for record in parked} == {"sms#1"}
    passing = [await harness.send() for _ in range(10)]
    assert {record.state for record in passing} == {SENT}
    # And what waits in the other's queue comes out of it.
    up.answer = DispatchResult(Outcome.ERROR)
    retried = await harness.send()
    up.answer = build.SUCCESS
    clock.advance(1.0)
    await sent(harness, retried)
    assert down.keys == []


async def test_a_pinned_provider_that_is_blocked_does_not_delay_its_channel(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", held=True), FakeProvider("second")
    harness = sms_harness(outbox, second, first, to=route("second"), first={"max_concurrent": 1})
    harness.start(build.command(provider_name="first"))
    await first.calls()
    waiting = [await queue_up(harness, provider_name="first") for _ in range(3)]
    assert {record.queue for record in waiting} == {"@first"}
    assert (await harness.send()).state is SENT
    first.release()
    await sent(harness, *waiting)


async def test_two_routes_share_the_slots_of_a_provider_that_is_on_both(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    gates = {"first": gate_of("first", max_concurrent=1)}
    harness = Harness(outbox, registry=registry_of(provider, gates=gates))
    calls = [harness.start(build.command(content)) for content in (build.sms(), build.mms(), build.email()) * 5]
    await provider.calls()
    await harness.calm()
    assert len(provider.keys) == 1
    provider.release()
    assert {record.state for record in await asyncio.gather(*calls)} == {SENT}
    await harness.calm()
    assert harness.left() == []


# Who goes first where several queues share a provider.


def shared_harness(outbox: SqliteOutbox, **limits: Any) -> tuple[Harness, FakeProvider]:
    """One provider for all channels, which is drained at first."""
    provider = FakeProvider("first", held=True)
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate_of("first", **limits)}))
    harness.registry.entry("first").gate.breaker.force_open(0.0)
    return harness, provider


async def order_after_resume(harness: Harness, provider: FakeProvider, names: dict[str, str]) -> list[str]:
    await harness.calm()
    assert provider.keys == []
    harness.registry.entry("first").gate.breaker.resume(0.0)
    provider.release()
    await provider.calls(len(names))
    await harness.calm()
    return [names[key] for key in provider.keys]


async def test_queues_that_share_a_provider_are_served_by_priority_and_then_in_turn(outbox: SqliteOutbox) -> None:
    harness, provider = shared_harness(outbox, max_concurrent=1)
    names: dict[str, str] = {}
    for content, priority, name, count in (
        (build.sms(), Priority.LOW, "low sms", 20),
        (build.email(), Priority.LOW, "low email", 2),
        (build.sms(), Priority.NORMAL, "sms", 2),
        (build.mms(), Priority.NORMAL, "mms", 3),
        (build.mms(), Priority.HIGH, "high mms", 1),
    ):
        for _ in range(count):
            record = await harness.send(build.command(content, wait_for=WaitFor.ACCEPTANCE, priority=priority))
            names[record.message_id] = name
    found = await order_after_resume(harness, provider, names)
    assert found[:6] == ["high mms", "sms", "mms", "sms", "mms", "mms"]
    assert found[6:10] == ["low sms", "low email"] * 2
    assert found[10:] == ["low sms"] * 18


async def test_lower_priorities_are_passed_over_for_so_long_and_no_longer(outbox: SqliteOutbox) -> None:
    harness, provider = shared_harness(outbox, max_concurrent=1)
    names: dict[str, str] = {}
    for content, priority, count in (
        (build.email(), Priority.LOW, 2),
        (build.sms(), Priority.NORMAL, 4),
        (build.mms(), Priority.HIGH, 30),
    ):
        for _ in range(count):
            record = await harness.send(build.command(content, wait_for=WaitFor.ACCEPTANCE, priority=priority))
            names[record.message_id] = priority.value
    found = await order_after_resume(harness, provider, names)
    assert [index for index, name in enumerate(found) if name == "normal"] == [4, 9, 14, 20]
    assert found.index("low") == 16


async def test_who_comes_passes_a_backlog_of_lower_priority_and_none_of_its_own(outbox: SqliteOutbox) -> None:
    harness, provider = shared_harness(outbox, max_concurrent=1)
    waits = [await queue_up(harness, priority=Priority.LOW) for _ in range(3)]
    harness.registry.entry("first").gate.breaker.resume(0.0)
    await provider.calls()
    urgent = harness.start(build.command(build.email(), priority=Priority.HIGH))
    equal = harness.start(build.command(build.mms(), priority=Priority.LOW))
    await harness.calm()
    assert len(provider.keys) == 1
    provider.release()
    await asyncio.gather(urgent, equal)
    await sent(harness, *waits)
    assert provider.keys[1] == urgent.result().message_id
    assert provider.keys.index(equal.result().message_id) > 1


async def test_a_grant_that_is_not_used_goes_to_the_next(outbox: SqliteOutbox) -> None:
    """What was to have it was taken back; nobody waits for longer because of that."""
    harness, provider = shared_harness(outbox, max_concurrent=1)
    gone = await harness.send(build.command(wait_for=WaitFor.ACCEPTANCE, priority=Priority.HIGH))
    stays = await harness.send(build.command(build.email(), wait_for=WaitFor.ACCEPTANCE, priority=Priority.LOW))
    await harness.delivery.cancel(gone.message_id, by=LOCAL)
    harness.registry.entry("first").gate.breaker.resume(0.0)
    provider.release()
    await sent(harness, stays)
    await harness.calm()
    assert provider.keys == [stays.message_id]
    assert harness.left() == []
    assert harness.delivery._router._gates["first"]._arbiter.granted == 0


async def test_at_a_rate_limit_the_next_token_is_for_the_highest_that_waits(outbox: SqliteOutbox) -> None:
    harness, provider = shared_harness(outbox, rate=1.0, burst=1)
    low = [await queue_up(harness, priority=Priority.LOW) for _ in range(3)]
    harness.registry.entry("first").gate.breaker.resume(0.0)
    provider.release()
    await provider.calls(1)
    urgent = harness.start(build.command(build.email(), priority=Priority.HIGH))
    await harness.calm()
    assert len(provider.keys) == 1
    for count in (2, 3, 4):
        harness.clock.advance(1.0)
        await provider.calls(count)
        await harness.calm()
        assert len(provider.keys) == count
    assert provider.keys == [low[0].message_id, (await urgent).message_id, low[1].message_id, low[2].message_id]


async def test_a_queue_that_no_provider_is_left_for_goes_over_to_the_next_tier(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", held=True), FakeProvider("second")
    harness = sms_harness(outbox, first, second, first={"max_concurrent": 1})
    busy = harness.start()
    await first.calls()
    waits = await queue_up(harness)
    await harness.calm()
    assert second.keys == []
    harness.registry.entry("first").gate.breaker.force_open(0.0)
    await sent(harness, waits)
    assert second.keys == [waits.message_id]
    first.release()
    await busy


@pytest.mark.parametrize("strict", [False, True])
async def test_with_strict_weights_who_cannot_keep_up_is_waited_for(outbox: SqliteOutbox, strict: bool) -> None:
    slow, quick = FakeProvider("slow"), FakeProvider("quick")
    to = route({"slow": 3, "quick": 1}, strict_weights=strict)
    harness = sms_harness(outbox, slow, quick, to=to, slow={"rate": 2.0, "burst": 1})
    calls = [harness.start(build.command(wait_for=WaitFor.ACCEPTANCE)) for _ in range(200)]
    await asyncio.gather(*calls)
    while len(slow.keys) + len(quick.keys) < 200:
        await harness.calm()
        harness.clock.advance(0.5)
    await harness.calm()
    share = len(slow.keys) / 200
    assert (0.65 < share < 0.85) is strict, share
    assert harness.left() == []


async def test_with_strict_weights_who_is_out_of_service_is_passed_over(outbox: SqliteOutbox) -> None:
    slow, quick = FakeProvider("slow"), FakeProvider("quick")
    harness = sms_harness(outbox, slow, quick, to=route({"slow": 3, "quick": 1}, strict_weights=True))
    harness.registry.entry("slow").gate.breaker.force_open(0.0)
    records = [await harness.send() for _ in range(10)]
    assert {record.attempts[0].provider_name for record in records} == {"quick"}

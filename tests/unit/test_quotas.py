"""What each tenant may have of the server, and that nobody else is in it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.support import build
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of, route
from tests.support.streams import accept_frame, commands

from postwire.core.errors import Overloaded, QuotaExceeded, RequestIdReused
from postwire.core.ids import MessageIds
from postwire.core.message import Channel, DispatchOptions, MessageState, Priority, WaitFor
from postwire.core.quotas import NO_QUOTA, Quota, Quotas
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT = MessageState.QUEUED, MessageState.SENT


# By itself.


def let_through(quotas: Quotas, tenant: str, now: float, most: int = 1_000) -> int:
    for count in range(most):
        try:
            quotas.check(tenant, 0, now)
        except QuotaExceeded:
            return count
        quotas.take(tenant, now)
    return most


@pytest.mark.parametrize(
    ("quota", "burst"), [(Quota(rate=2.5), 3), (Quota(rate=0.5), 1), (Quota(rate=2.0, burst=7), 7)]
)
def test_a_rate_lets_a_burst_through_and_then_so_many_a_second(quota: Quota, burst: int) -> None:
    quotas = Quotas({"a": quota})
    assert quota.rate is not None
    assert let_through(quotas, "a", 100.0) == burst
    assert let_through(quotas, "b", 100.0) == 1_000
    with pytest.raises(QuotaExceeded, match=r"tenants\.a\.rate") as refused:
        quotas.check("a", 0, 100.0)
    assert refused.value.retry_delay >= min(1 / quota.rate, 0.5)
    assert let_through(quotas, "a", 100.0 + 1 / quota.rate) == 1


def test_who_is_told_to_wait_is_told_for_how_long_at_the_least_and_not_all_alike() -> None:
    quotas = Quotas({"a": Quota(rate=0.1)})
    let_through(quotas, "a", 0.0)
    assert quotas.exceeded("a", "rate", 7.5).retry_delay == 7.5
    delays = {quotas.exceeded("a", "rate", 0.1).retry_delay for _ in range(50)}
    assert len(delays) == 50
    assert all(0.5 <= delay <= 1.5 for delay in delays)


def test_what_was_not_taken_does_not_count_against_a_rate() -> None:
    quotas = Quotas({"a": Quota(rate=1.0)})
    give_back = quotas.take("a", 5.0)
    assert give_back is not None
    assert let_through(quotas, "a", 5.0) == 0
    give_back()
    assert let_through(quotas, "a", 5.0) == 1
    assert quotas.take("b", 5.0) is None


def test_quotas_may_change_and_whose_rate_stays_has_no_new_burst() -> None:
    quotas = Quotas({"a": Quota(rate=1.0, burst=3), "b": Quota(rate=1.0, max_in_flight=5)})
    limits = quotas.max_in_flight
    let_through(quotas, "a", 0.0)
    let_through(quotas, "b", 0.0)
    quotas.replace({"a": Quota(rate=1.0, burst=3, weight=7), "c": Quota(max_in_flight=2)})
    assert let_through(quotas, "a", 0.0) == 0
    assert let_through(quotas, "b", 0.0) == 1_000
    assert quotas.max_in_flight is limits
    assert limits == {"c": 2}
    assert quotas.of("a").weight == 7
    assert quotas.of("b") == NO_QUOTA
    quotas.replace({"a": Quota(rate=2.0, burst=3)})
    assert let_through(quotas, "a", 0.0) == 3


@pytest.mark.parametrize("highest", Priority)
@pytest.mark.parametrize("asked", Priority)
def test_what_is_higher_than_a_tenant_may_have_counts_as_that(highest: Priority, asked: Priority) -> None:
    order = list(Priority)
    options = Quotas({"a": Quota(max_priority=highest)}).limited("a", DispatchOptions(priority=asked, max_attempts=3))
    assert options.priority is order[max(order.index(highest), order.index(asked))]
    assert options.max_attempts == 3


# In the path of messages.


def harness_of(outbox: SqliteOutbox, quotas: dict[str, Quota], *providers: FakeProvider, **limits: Any) -> Harness:
    made = providers or (FakeProvider("first"),)
    routes = {Channel.SMS: [route(*(one.name for one in made))], Channel.EMAIL: [route(made[0].name, key="email")]}
    return Harness(outbox, registry=registry_of(*made, routes=routes), quotas=quotas, **limits)


def command(tenant: str, **options: Any) -> Any:
    options.setdefault("wait_for", WaitFor.ACCEPTANCE)
    return build.command(tenant=tenant, **options)


async def test_over_its_rate_a_tenant_is_refused_and_no_other(outbox: SqliteOutbox) -> None:
    harness = harness_of(outbox, {"a": Quota(rate=2.0, burst=3)})
    for _ in range(3):
        await harness.send(command("a"))
    with pytest.raises(QuotaExceeded, match=r"tenants\.a\.rate"):
        await harness.send(command("a"))
    for _ in range(10):
        await harness.send(command("b"))
    harness.clock.advance(0.5)
    await harness.send(command("a"))
    with pytest.raises(QuotaExceeded):
        await harness.send(command("a"))


async def test_a_repeat_is_answered_whatever_the_quota_and_counts_against_none(outbox: SqliteOutbox) -> None:
    harness = harness_of(outbox, {"a": Quota(rate=1.0, burst=2, max_unsettled=50)})
    first = await harness.send(command("a", request_id="r"))
    for _ in range(5):  # one more is left, which none of these takes
        assert (await harness.send(command("a", request_id="r"))).message_id == first.message_id
    with pytest.raises(RequestIdReused):
        await harness.send(command("a", content=build.sms("other"), request_id="r"))
    second = await harness.send(command("a", request_id="s"))
    assert second.message_id != first.message_id
    for _ in range(5):  # and now there is none
        assert (await harness.send(command("a", request_id="r"))).message_id == first.message_id
    with pytest.raises(RequestIdReused):
        await harness.send(command("a", content=build.sms("other"), request_id="r"))
    with pytest.raises(QuotaExceeded):
        await harness.send(command("a", request_id="t"))
    assert (await harness.send(command("b", request_id="r"))).message_id != first.message_id


async def test_no_more_of_a_tenants_messages_wait_than_may_and_a_boot_counts_them(outbox: SqliteOutbox) -> None:
    quotas = {"a": Quota(max_unsettled=4)}
    harness = harness_of(outbox, quotas)
    harness.registry.entry("first").gate.breaker.force_open(0.0)
    waits = [await harness.send(command("a")) for _ in range(3)]
    await harness.send(command("a", content=build.email()))
    with pytest.raises(QuotaExceeded, match=r"tenants\.a\.max_unsettled"):
        await harness.send(command("a", content=build.email()))
    for _ in range(6):
        await harness.send(command("b"))
    await harness.drain(0.0)
    again = harness_of(outbox, quotas, ids=MessageIds(random.Random(2).getrandbits))
    again.registry.entry("first").gate.breaker.force_open(0.0)
    await again.boot()
    with pytest.raises(QuotaExceeded, match=r"tenants\.a\.max_unsettled"):
        await again.send(command("a"))
    await again.send(command("b"))
    again.registry.entry("first").gate.breaker.resume(again.clock.monotonic())
    for one in waits:
        await again.noted.reached(one.message_id, SENT)
    await again.calm()
    await again.send(command("a"))


async def test_a_call_over_the_tenants_share_of_what_is_in_flight_is_refused(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    harness = harness_of(outbox, {"a": Quota(max_in_flight=3)}, provider)
    calls = [harness.start(command("a", wait_for=WaitFor.OUTCOME)) for _ in range(3)]
    await provider.calls(3)
    with pytest.raises(QuotaExceeded, match=r"tenants\.a\.max_in_flight"):
        await harness.send(command("a"))
    others = [harness.start(command("b", wait_for=WaitFor.OUTCOME)) for _ in range(5)]
    await provider.calls(8)
    provider.release()
    await asyncio.gather(*calls, *others)
    await harness.calm()
    await harness.send(command("a"))


async def test_a_tenant_that_fills_a_route_leaves_the_same_route_to_others(outbox: SqliteOutbox) -> None:
    harness = harness_of(outbox, {"a": Quota(), "b": Quota()}, max_unsettled=500)
    harness.registry.entry("first").gate.breaker.force_open(0.0)
    for _ in range(400):
        await harness.send(command("a"))
    with pytest.raises(Overloaded, match="for the providers of this one"):
        await harness.send(command("a"))
    assert (await harness.send(command("b"))).state is QUEUED


async def test_in_a_stream_a_request_over_the_rate_is_rejected_and_for_room_it_waits(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    harness = harness_of(outbox, {"a": Quota(max_in_flight=2), "b": Quota(rate=1.0, burst=3)}, provider)
    waits = asyncio.ensure_future(accept_frame(harness, commands(5, tenant="a")))
    await provider.calls(2)
    await harness.calm()
    assert not waits.done(), "it waits for its own tenant's room"
    limited = await accept_frame(harness, commands(10, tenant="b"))
    assert set(limited.refusals) == set(range(3, 10))
    assert set(limited.refusals.values()) == {QuotaExceeded}
    free = await accept_frame(harness, commands(50, tenant="c"))
    assert not free.refusals
    provider.release()
    assert not (await waits).refusals


async def test_a_stream_that_waits_goes_on_once_its_tenant_may_have_more(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    harness = harness_of(outbox, {"a": Quota(max_in_flight=2)}, provider)
    waits = asyncio.ensure_future(accept_frame(harness, commands(5, tenant="a")))
    await provider.calls(2)
    await harness.calm()
    harness.delivery.take_quotas({"a": Quota(max_in_flight=5)})
    await harness.calm()
    assert waits.done(), "though nothing has made room"
    provider.release()


async def test_the_priority_that_a_tenant_may_have_decides_and_its_repeat_is_the_same(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    gates = {"first": gate_of("first", max_concurrent=1)}
    harness = Harness(
        outbox,
        registry=registry_of(provider, routes={Channel.SMS: [route("first")]}, gates=gates),
        quotas={"a": Quota(max_priority=Priority.LOW)},
    )
    busy = harness.start()
    await provider.calls()
    urgent = await harness.send(command("a", priority=Priority.HIGH, request_id="r"))
    normal = await harness.send(command("b", priority=Priority.NORMAL))
    harness.delivery.take_quotas({})
    again = await harness.send(command("a", priority=Priority.HIGH, request_id="r"))
    assert again.message_id == urgent.message_id
    provider.release()
    await busy
    await provider.calls(3)
    assert provider.keys[1:] == [normal.message_id, urgent.message_id]


async def test_tenants_go_in_turn_by_weight_within_a_route(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", held=True)
    gates = {"first": gate_of("first", max_concurrent=1)}
    harness = Harness(
        outbox,
        registry=registry_of(provider, routes={Channel.SMS: [route("first")]}, gates=gates),
        quotas={"heavy": Quota(weight=3)},
    )
    busy = harness.start()
    await provider.calls()
    names = {}
    for tenant, count in (("bulk", 150), ("heavy", 30), ("small", 10)):
        for _ in range(count):
            names[(await harness.send(command(tenant))).message_id] = tenant
    provider.release()
    await busy
    await provider.calls(191)
    order = [names[key] for key in provider.keys[1:]]
    first = order[:50]
    assert {name: first.count(name) for name in ("bulk", "heavy", "small")} == {"bulk": 10, "heavy": 30, "small": 10}
    assert order[50:] == ["bulk"] * 140

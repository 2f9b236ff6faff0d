"""One tenant with very many messages waiting, and others with a few: who goes first, by the order of the attempts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.support import build
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of, route

from postwire.core.message import Channel, Priority, WaitFor
from postwire.core.quotas import Quota
from postwire.outbox.sqlite import SqliteOutbox

STEP = 1 / 128
"""Seconds from one token of the provider's rate to the next: exact in binary."""


async def left_waiting(outbox: SqliteOutbox, tenant: str, count: int, **options: Any) -> set[str]:
    """Have so many messages in the store that wait, as an earlier boot has left them; returns their ids."""
    ids: set[str] = set()
    for start in range(0, count, 1_000):
        made = [build.command(tenant=tenant, **options) for _ in range(min(1_000, count - start))]
        news = [build.new_message(one, record=build.accepted(one, provider_name="")) for one in made]
        await outbox.accept_all(news)
        ids |= {new.record.message_id for new in news}
    return ids


class Shared:
    """A provider at a little more than a hundred a second, which everybody shares."""

    def __init__(self, outbox: SqliteOutbox, **quotas: Quota) -> None:
        self.provider = FakeProvider("first")
        routes = {Channel.SMS: [route("first")], Channel.EMAIL: [route("first", key="email")]}
        gates = {"first": gate_of("first", rate=1 / STEP, burst=1, max_concurrent=1_000)}
        registry = registry_of(self.provider, routes=routes, gates=gates)
        self.harness = Harness(outbox, registry=registry, quotas=quotas)

    async def start(self) -> None:
        """Begin with what waits."""
        await self.harness.boot()
        await self.provider.calls(1)  # the burst

    async def send(self, tenant: str, count: int, **options: Any) -> list[str]:
        options = {"wait_for": WaitFor.ACCEPTANCE} | options
        return [(await self.harness.send(build.command(tenant=tenant, **options))).message_id for _ in range(count)]

    async def until_sent(self, ids: set[str], most: int) -> list[str]:
        """Go on token by token, for so many at the most, until all of these are sent; returns what was since then."""
        before = len(self.provider.keys)
        for _ in range(most):
            if ids <= set(self.provider.keys):
                break
            self.harness.clock.advance(STEP)
            await self.provider.calls(len(self.provider.keys) + 1)
        await self.harness.calm()
        return self.provider.keys[before:]


@pytest.mark.parametrize("waiting", [1_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_ten_messages_do_not_wait_for_those_of_another_tenant(outbox: SqliteOutbox, waiting: int) -> None:
    bulk = await left_waiting(outbox, "bulk", waiting)
    shared = Shared(outbox)
    await shared.start()
    await shared.until_sent({"none"}, 5)
    ids = await shared.send("small", 10)
    order = await shared.until_sent(set(ids), 150)
    assert set(ids) <= set(order), "within one and a half seconds"
    assert len(order) <= 22, "a turn of the one, a turn of the other"
    assert [one for one in order if one in ids] == ids, "and in their own order"
    assert set(order) <= set(ids) | bulk
    await shared.harness.drain(0.0)


async def test_however_many_routes_and_priorities_one_has_another_has_its_turn(outbox: SqliteOutbox) -> None:
    for content in (build.sms(), build.email()):
        await left_waiting(outbox, "bulk", 300, content=content)
    few = await left_waiting(outbox, "few", 20)
    shared = Shared(outbox)
    await shared.start()
    order = await shared.until_sent(few, 200)
    assert len(order) <= 42
    await shared.harness.drain(0.0)


async def test_low_is_never_left_waiting_for_what_others_have_that_is_high(outbox: SqliteOutbox) -> None:
    await left_waiting(outbox, "a", 400, priority=Priority.HIGH)
    await left_waiting(outbox, "b", 400, priority=Priority.NORMAL)
    low = await left_waiting(outbox, "c", 4, priority=Priority.LOW)
    shared = Shared(outbox)
    await shared.start()
    order = await shared.until_sent(low, 21 * 4 + 1)
    assert low <= set(order), "one of twenty-one at the least"
    await shared.harness.drain(0.0)


async def test_weights_are_shares_of_a_provider(outbox: SqliteOutbox) -> None:
    whose: dict[str, str] = {}
    for tenant in ("one", "three", "six"):
        whose |= dict.fromkeys(await left_waiting(outbox, tenant, 200), tenant)
    shared = Shared(outbox, three=Quota(weight=3), six=Quota(weight=6))
    await shared.start()
    order = await shared.until_sent({"none"}, 100)
    assert Counter(whose[one] for one in order) == pytest.approx({"one": 10, "three": 30, "six": 60}, abs=1)
    shared.harness.delivery.take_quotas({"one": Quota(weight=6), "three": Quota(weight=3)})
    order = await shared.until_sent({"none"}, 100)
    assert Counter(whose[one] for one in order) == pytest.approx({"one": 60, "three": 30, "six": 10}, abs=2)
    await shared.harness.drain(0.0)

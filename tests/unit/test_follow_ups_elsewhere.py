"""Further attempts of messages that were sent, where several nodes look for them: one of these makes each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.clock import ManualClock
from tests.support.follow_ups import SENT, WITHIN, Setting
from tests.support.nodes import Sharing, in_memory, in_postgres

from postwire.maintenance.service import OVERDUE_INTERVAL


@asynccontextmanager
async def nodes(shared: Sharing) -> AsyncIterator[tuple[Setting, Setting]]:
    clock = ManualClock()
    one, other = [await Setting(outbox, clock=clock, is_shared=True).start() for outbox in shared]
    yield one, other
    await one.harness.drain(0.0)
    await other.harness.drain(0.0)


async def test_each_further_attempt_is_made_by_one_of_them() -> None:
    async with in_memory() as shared, nodes(shared) as (one, other):
        record = await one.send()
        for _ in range(3):
            await one.pass_time(WITHIN / 2)
            await other.harness.calm()
        assert len(one.b.keys) + len(other.b.keys) == 1
        kept = await one.kept(record)
    assert kept.state is SENT
    assert [attempt.provider_name for attempt in kept.attempts] == ["a", "b"]


async def test_what_a_node_has_sent_that_is_gone_is_followed_up_by_another() -> None:
    async with in_postgres() as shared, nodes(shared) as (one, other):
        record = await one.send()
        await one.harness.drain(0.0)
        await other.pass_time(WITHIN)
        await other.pass_time(OVERDUE_INTERVAL)
        assert [attempt.provider_name for attempt in (await other.kept(record)).attempts] == ["a", "b"]
        assert other.b.keys

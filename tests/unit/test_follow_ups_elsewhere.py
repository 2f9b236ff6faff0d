"""Further attempts of messages that were sent, where several nodes look for them: one of these makes each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.support.clock import ManualClock
from tests.support.follow_ups import SENT, WITHIN, Setting
from tests.support.nodes import Sharing, in_memory, in_postgres
from tests.support.outboxes import KEYS
from tests.support.postgres import new_database
from tests.support.sweeps import sweep_of

from postwire.core import follow_up
from postwire.maintenance.service import OVERDUE_INTERVAL
from postwire.outbox.base import Announcement
from postwire.outbox.postgres import PostgresOutbox


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


async def test_one_that_a_drain_cuts_off_before_its_first_step_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_postgres() as shared, nodes(shared) as (one, other):
        record = await one.send()
        harness, tasks = one.harness, one.harness.delivery._tasks
        launch = tasks.launch

        def cut_off(work: Any, done: Any, **options: Any) -> None:
            before = set(tasks._tasks)
            launch(work, done, **options)
            tasks.is_drained = True
            for task in tasks._tasks - before:
                task.cancel()

        monkeypatch.setattr(tasks, "launch", cut_off)
        await other.harness.drain(0.0)
        await one.pass_time(WITHIN)
        await harness.drain(0.0)
        assert follow_up.is_under_way(await one.kept(record))
        await sweep_of(harness).give_back()
        kept = await one.kept(record)
        assert follow_up.is_waiting(kept)
        assert [attempt.provider_name for attempt in kept.attempts] == ["a"]
        assert one.b.keys == []


async def test_one_whose_content_a_node_has_not_the_key_of_is_left_to_those_who_have() -> None:
    url, clock = await new_database(), ManualClock()
    first, second, _ = KEYS
    outboxes = [await PostgresOutbox.open(url, name=f"node-{number}", keys=[first]) for number in range(2)]
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE nodes SET lease_until = lease_since WHERE node = $1", outboxes[1].number)
    await connection.close()
    await outboxes[0].use_keys([second, first])
    await outboxes[1].heartbeat(Announcement(), 0)
    one, other = [await Setting(outbox, clock=clock, is_shared=True).start() for outbox in outboxes]
    record = await one.send()
    await one.harness.drain(0.0)
    await other.pass_time(WITHIN)
    assert follow_up.is_waiting(await other.kept(record))
    assert await other.names(record) == ["a"]
    await outboxes[1].use_keys([first, second])
    await other.pass_time(OVERDUE_INTERVAL)
    assert await other.names(record) == ["a", "b"]
    await other.harness.drain(0.0)
    for outbox in outboxes:
        await outbox.close()

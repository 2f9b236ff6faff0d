"""The wall clock is set while messages wait: none waits for longer than it should, or is passed by those behind it.

What callers have said in the time of day is due when that has come, whoever sets the clock.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of

from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.delivery import Control
from postwire.delivery.executor import Retries
from postwire.maintenance import clock_steps
from postwire.maintenance.retention import BETWEEN_STEPS, BETWEEN_WALKS
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT, EXPIRED = MessageState.QUEUED, MessageState.SENT, MessageState.EXPIRED
ERROR = DispatchResult(Outcome.ERROR)
HOUR = 3600.0
DAY = 24 * HOUR
SECOND = 1_000_000
PATIENT = Retries(max_attempts=5, backoff_base=100.0, backoff_max=100.0)


async def started(outbox: SqliteOutbox, *answers: DispatchResult, **fields: Any) -> Harness:
    harness = Harness(outbox, provider=FakeProvider(answers=answers), **fields)
    await harness.boot()
    await harness.calm()
    return harness


async def later(harness: Harness, seconds: float) -> None:
    """Let time pass; then a second more, in which whoever looks at the clocks has looked."""
    for part in (seconds, clock_steps.INTERVAL):
        harness.clock.advance(part)
        await harness.calm()


async def states(harness: Harness, *records: MessageRecord) -> list[MessageState]:
    return [(await harness.kept(record.message_id)).state for record in records]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What is logged of them."""

    class Log:
        logged: list[tuple[str, float]] = []  # noqa: RUF012  # one test's

        def warning(self, event: str, *, seconds: float) -> None:
            self.logged.append((event, seconds))

    log = Log()
    monkeypatch.setattr(clock_steps, "_log", log)
    return log.logged


# What waits.


@pytest.mark.parametrize("step", [-HOUR, HOUR, -30 * DAY, 30 * DAY, 0.0])
async def test_a_backoff_lasts_as_long_whatever_the_clock_is_set_to(outbox: SqliteOutbox, step: float) -> None:
    harness = await started(outbox, ERROR, retries=PATIENT)
    record = await harness.send()
    wait = ((record.next_attempt_time or 0) - START) / 1e6
    assert 4 < wait < 100, "it is what the seed draws"
    harness.clock.step_wall(step)
    await later(harness, wait - 3)
    assert await states(harness, record) == [QUEUED]
    await later(harness, 1.0)
    await later(harness, 0.0)
    assert await states(harness, record) == [SENT]


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_who_came_first_goes_first_though_the_clock_was_set_between(outbox: SqliteOutbox, step: float) -> None:
    gates = {"fake": gate_of("fake", max_concurrent=1)}
    provider = FakeProvider()
    harness = Harness(outbox, provider=provider, registry=registry_of(provider, gates=gates))
    await harness.boot()
    control = Control(registry=harness.registry, outbox=outbox, clock=harness.clock)
    await control.drain("fake", by=LOCAL)
    ids = []
    for _ in range(3):
        ids.append((await harness.send()).message_id)
        harness.clock.step_wall(step)
        harness.clock.advance(1.0)
        await harness.calm()
    await control.resume("fake", by=LOCAL)
    await provider.calls(3)
    assert provider.keys == ids


@pytest.mark.parametrize("step", [-HOUR, 5 * HOUR])
async def test_time_to_wait_runs_out_when_it_is_used_up(outbox: SqliteOutbox, step: float) -> None:
    """The default, of four hours."""
    harness = await started(outbox)
    control = Control(registry=harness.registry, outbox=outbox, clock=harness.clock)
    await control.drain("fake", by=LOCAL)
    record = await harness.send()
    harness.clock.step_wall(step)
    await later(harness, 4 * HOUR - 10)
    assert await states(harness, record) == [QUEUED]
    await later(harness, 10.0)
    await later(harness, 0.0)
    assert await states(harness, record) == [EXPIRED]


async def test_a_message_that_waited_through_a_step_can_still_be_sent(outbox: SqliteOutbox) -> None:
    """Its attempt has the time that is left by the due clock, not none."""
    harness = await started(outbox)
    control = Control(registry=harness.registry, outbox=outbox, clock=harness.clock)
    await control.drain("fake", by=LOCAL)
    record = await harness.send()
    harness.clock.step_wall(5 * HOUR)
    await later(harness, 0.0)
    await control.resume("fake", by=LOCAL)
    await harness.calm()
    assert await states(harness, record) == [SENT]


# What the caller has said.


async def test_what_is_scheduled_goes_when_the_wall_clock_says_so(outbox: SqliteOutbox) -> None:
    harness = await started(outbox)
    ahead, back = [await harness.send(build.command(send_time=START + t * SECOND)) for t in (3600, 7200)]
    harness.clock.step_wall(HOUR + 1)
    await later(harness, 0.0)
    assert await states(harness, ahead, back) == [SENT, QUEUED]
    harness.clock.step_wall(-2 * HOUR)
    await later(harness, 3 * HOUR - 10)
    assert await states(harness, back) == [QUEUED]
    await later(harness, 10.0)
    assert await states(harness, back) == [SENT]


async def test_an_expire_time_is_by_the_wall_clock(outbox: SqliteOutbox) -> None:
    harness = await started(outbox)
    control = Control(registry=harness.registry, outbox=outbox, clock=harness.clock)
    await control.drain("fake", by=LOCAL)
    record = await harness.send(build.command(expire_time=START + 7200 * SECOND))
    harness.clock.step_wall(-HOUR)
    await later(harness, 2.5 * HOUR)
    assert await states(harness, record) == [QUEUED]
    harness.clock.step_wall(HOUR)
    await later(harness, 0.0)
    assert await states(harness, record) == [EXPIRED]


async def test_a_message_that_is_scheduled_and_one_that_is_not_go_by_how_long_they_are_due(
    outbox: SqliteOutbox,
) -> None:
    gates = {"fake": gate_of("fake", max_concurrent=1)}
    provider = FakeProvider()
    harness = Harness(outbox, provider=provider, registry=registry_of(provider, gates=gates))
    await harness.boot()
    control = Control(registry=harness.registry, outbox=outbox, clock=harness.clock)
    await control.drain("fake", by=LOCAL)
    harness.clock.step_wall(-HOUR)
    await later(harness, 0.0)
    now = harness.clock.wall()
    second = await harness.send(build.command(send_time=now + 10 * SECOND))
    first = await harness.send()
    await later(harness, 20.0)
    third = await harness.send()
    await control.resume("fake", by=LOCAL)
    await provider.calls(3)
    assert provider.keys == [one.message_id for one in (first, second, third)]


# A machine that was suspended.


async def test_what_came_due_while_the_machine_was_suspended_goes_at_once(
    outbox: SqliteOutbox, steps: list[tuple[str, float]]
) -> None:
    harness = await started(outbox, ERROR, retries=PATIENT)
    retried = await harness.send()
    scheduled = await harness.send(build.command(send_time=START + 600 * SECOND))
    harness.clock.suspend(HOUR)
    await later(harness, 0.0)
    assert await states(harness, retried, scheduled) == [SENT, SENT]
    assert steps == []


# What is told.


async def test_a_step_is_logged_once(outbox: SqliteOutbox, steps: list[tuple[str, float]]) -> None:
    harness = await started(outbox)
    harness.clock.step_wall(-HOUR)
    await later(harness, 5.0)
    harness.clock.step_wall(0.5)
    await later(harness, 5.0)
    harness.clock.step_wall(2 * HOUR)
    await later(harness, 0.0)
    assert steps == [("clock_stepped", -HOUR), ("clock_stepped", 2 * HOUR + 0.5)]


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_times_are_shown_by_the_wall_clock_as_it_is(outbox: SqliteOutbox, step: float) -> None:
    harness = await started(outbox, ERROR, retries=PATIENT)
    before = await harness.send()
    scheduled = await harness.send(build.command(send_time=START + DAY * SECOND, expire_time=START + 2 * DAY * SECOND))
    harness.clock.step_wall(step)
    await later(harness, 0.0)
    shown = await harness.delivery.get(before.message_id, tenant=DEFAULT_TENANT)
    by = int(step * 1e6)
    assert shown.next_attempt_time == (before.next_attempt_time or 0) + by
    assert shown.expire_time == before.expire_time + by
    assert shown.create_time == before.create_time
    same = await harness.delivery.get(scheduled.message_id, tenant=DEFAULT_TENANT)
    assert (same.next_attempt_time, same.expire_time) == (scheduled.next_attempt_time, scheduled.expire_time)
    new = await harness.send()
    assert (new.create_time, new.expire_time) == (harness.clock.wall(), harness.clock.wall() + 4 * build.HOUR)


# What is kept.


async def walk(harness: Harness) -> None:
    """Let retention look at all there is."""
    harness.clock.advance(BETWEEN_WALKS)
    for _ in range(3):
        await harness.calm()
        harness.clock.advance(BETWEEN_STEPS)
    await harness.calm()


@pytest.mark.parametrize("moves", [(30 * DAY,), (-2 * HOUR, 30 * DAY), (30 * DAY, -31 * DAY, DAY)])
async def test_no_request_id_is_forgotten_because_the_clock_was_set(
    outbox: SqliteOutbox, moves: tuple[float, ...]
) -> None:
    harness = await started(outbox, retention=24 * build.HOUR)
    sent = []
    for step in (*moves, 0.0):
        sent.append(await harness.send())
        harness.clock.step_wall(step)
        await later(harness, 0.0)
    await walk(harness)
    assert await states(harness, *sent) == [SENT] * len(sent)
    await later(harness, DAY - 2 * BETWEEN_WALKS)
    assert await states(harness, *sent) == [SENT] * len(sent)


async def test_what_is_old_goes_though_the_clock_was_set_forward(outbox: SqliteOutbox) -> None:
    harness = await started(outbox, retention=24 * build.HOUR)
    record = await harness.send()
    harness.clock.step_wall(HOUR)
    await later(harness, 0.0)
    await later(harness, DAY)
    await walk(harness)
    assert await outbox.get(record.message_id, DEFAULT_TENANT) is None


# The next boot.


async def rebooted(harness: Harness, wall: int) -> Harness:
    """The same store, under a server whose clocks begin at `wall`. Nobody is drained any more."""
    await harness.drain(0.0)
    outbox = harness.outbox
    assert isinstance(outbox, SqliteOutbox)
    return await started(outbox, clock=ManualClock(wall), retries=PATIENT)


@pytest.mark.parametrize("step", [-HOUR, 5 * HOUR])
async def test_what_waits_is_due_at_the_same_moment_after_a_step_and_a_restart(
    outbox: SqliteOutbox, step: float
) -> None:
    harness = await started(outbox, ERROR, retries=PATIENT)
    record = await harness.send()
    scheduled = await harness.send(build.command(send_time=START + int((DAY + step) * 1e6)))
    wait = ((record.next_attempt_time or 0) - START) / 1e6
    harness.clock.step_wall(step)
    await later(harness, 0.0)
    again = await rebooted(harness, harness.clock.wall())
    await later(again, wait - 4)
    assert await states(again, record, scheduled) == [QUEUED, QUEUED]
    await later(again, 3.0)
    assert await states(again, record, scheduled) == [SENT, QUEUED]
    await later(again, DAY - 200)
    assert await states(again, scheduled) == [QUEUED]
    await later(again, 200)
    assert await states(again, scheduled) == [SENT]


async def test_a_step_is_made_up_for_at_one_boot_alone(outbox: SqliteOutbox) -> None:
    harness = await started(outbox, ERROR, retries=PATIENT)
    record = await harness.send()
    harness.clock.step_wall(5 * HOUR)
    await later(harness, 0.0)
    for _ in range(2):
        harness = await rebooted(harness, harness.clock.wall())
        shown = await harness.delivery.get(record.message_id, tenant=DEFAULT_TENANT)
        assert shown.state is QUEUED
        assert shown.next_attempt_time == (record.next_attempt_time or 0) + 5 * build.HOUR
        assert shown.expire_time == START + 9 * build.HOUR


async def test_a_clock_set_back_between_two_boots_makes_nobody_wait_for_longer_than_a_backoff(
    outbox: SqliteOutbox,
) -> None:
    harness = await started(outbox, ERROR, retries=PATIENT)
    retried = await harness.send()
    control = Control(registry=harness.registry, outbox=outbox, clock=harness.clock)
    await control.drain("fake", by=LOCAL)
    parked = await harness.send()
    scheduled = await harness.send(build.command(send_time=START + 60 * SECOND))
    again = await rebooted(harness, START - build.HOUR)
    assert await states(again, parked, retried, scheduled) == [SENT, QUEUED, QUEUED]
    await later(again, 100.0)
    assert await states(again, retried, scheduled) == [SENT, QUEUED]
    await later(again, HOUR)
    assert await states(again, scheduled) == [SENT]

"""The wall clock is set while messages wait: none waits for longer than it should, or is passed by those behind it.

What callers have said in the time of day is due when that has come, whoever sets the clock.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.providers import Puppet, gate_of, registry_of
from tests.support.rig import Rig

from postwire.core.message import MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
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


async def started(outbox: SqliteOutbox, *answers: DispatchResult, **fields: Any) -> Rig:
    rig = Rig(outbox, provider=Puppet(answers=answers), **fields)
    await rig.boot()
    await rig.calm()
    return rig


async def later(rig: Rig, seconds: float) -> None:
    """Let time pass; then a second more, in which whoever looks at the clocks has looked."""
    for part in (seconds, clock_steps.INTERVAL):
        rig.clock.advance(part)
        await rig.calm()


async def states(rig: Rig, *records: MessageRecord) -> list[MessageState]:
    return [(await rig.kept(record.message_id)).state for record in records]


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
    rig = await started(outbox, ERROR, retries=PATIENT)
    record = await rig.send()
    wait = ((record.next_attempt_time or 0) - START) / 1e6
    assert 4 < wait < 100, "it is what the seed draws"
    rig.clock.step_wall(step)
    await later(rig, wait - 3)
    assert await states(rig, record) == [QUEUED]
    await later(rig, 1.0)
    await later(rig, 0.0)
    assert await states(rig, record) == [SENT]


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_who_came_first_goes_first_though_the_clock_was_set_between(outbox: SqliteOutbox, step: float) -> None:
    gates = {"puppet": gate_of("puppet", max_concurrent=1)}
    puppet = Puppet()
    rig = Rig(outbox, provider=puppet, registry=registry_of(puppet, gates=gates))
    await rig.boot()
    control = Control(registry=rig.registry, outbox=outbox, clock=rig.clock)
    await control.drain("puppet")
    ids = []
    for _ in range(3):
        ids.append((await rig.send()).message_id)
        rig.clock.step_wall(step)
        rig.clock.advance(1.0)
        await rig.calm()
    await control.resume("puppet")
    await puppet.calls(3)
    assert puppet.keys == ids


@pytest.mark.parametrize("step", [-HOUR, 5 * HOUR])
async def test_time_to_wait_runs_out_when_it_is_used_up(outbox: SqliteOutbox, step: float) -> None:
    """The default, of four hours."""
    rig = await started(outbox)
    control = Control(registry=rig.registry, outbox=outbox, clock=rig.clock)
    await control.drain("puppet")
    record = await rig.send()
    rig.clock.step_wall(step)
    await later(rig, 4 * HOUR - 10)
    assert await states(rig, record) == [QUEUED]
    await later(rig, 10.0)
    await later(rig, 0.0)
    assert await states(rig, record) == [EXPIRED]


async def test_a_message_that_waited_through_a_step_can_still_be_sent(outbox: SqliteOutbox) -> None:
    """Its attempt has the time that is left by the due clock, not none."""
    rig = await started(outbox)
    control = Control(registry=rig.registry, outbox=outbox, clock=rig.clock)
    await control.drain("puppet")
    record = await rig.send()
    rig.clock.step_wall(5 * HOUR)
    await later(rig, 0.0)
    await control.resume("puppet")
    await rig.calm()
    assert await states(rig, record) == [SENT]


# What the caller has said.


async def test_what_is_scheduled_goes_when_the_wall_clock_says_so(outbox: SqliteOutbox) -> None:
    rig = await started(outbox)
    ahead, back = [await rig.send(build.command(send_time=START + t * SECOND)) for t in (3600, 7200)]
    rig.clock.step_wall(HOUR + 1)
    await later(rig, 0.0)
    assert await states(rig, ahead, back) == [SENT, QUEUED]
    rig.clock.step_wall(-2 * HOUR)
    await later(rig, 3 * HOUR - 10)
    assert await states(rig, back) == [QUEUED]
    await later(rig, 10.0)
    assert await states(rig, back) == [SENT]


async def test_an_expire_time_is_by_the_wall_clock(outbox: SqliteOutbox) -> None:
    rig = await started(outbox)
    control = Control(registry=rig.registry, outbox=outbox, clock=rig.clock)
    await control.drain("puppet")
    record = await rig.send(build.command(expire_time=START + 7200 * SECOND))
    rig.clock.step_wall(-HOUR)
    await later(rig, 2.5 * HOUR)
    assert await states(rig, record) == [QUEUED]
    rig.clock.step_wall(HOUR)
    await later(rig, 0.0)
    assert await states(rig, record) == [EXPIRED]


async def test_a_message_that_is_scheduled_and_one_that_is_not_go_by_how_long_they_are_due(
    outbox: SqliteOutbox,
) -> None:
    gates = {"puppet": gate_of("puppet", max_concurrent=1)}
    puppet = Puppet()
    rig = Rig(outbox, provider=puppet, registry=registry_of(puppet, gates=gates))
    await rig.boot()
    control = Control(registry=rig.registry, outbox=outbox, clock=rig.clock)
    await control.drain("puppet")
    rig.clock.step_wall(-HOUR)
    await later(rig, 0.0)
    now = rig.clock.wall()
    second = await rig.send(build.command(send_time=now + 10 * SECOND))
    first = await rig.send()
    await later(rig, 20.0)
    third = await rig.send()
    await control.resume("puppet")
    await puppet.calls(3)
    assert puppet.keys == [one.message_id for one in (first, second, third)]


# A machine that was suspended.


async def test_what_came_due_while_the_machine_was_suspended_goes_at_once(
    outbox: SqliteOutbox, steps: list[tuple[str, float]]
) -> None:
    rig = await started(outbox, ERROR, retries=PATIENT)
    retried = await rig.send()
    scheduled = await rig.send(build.command(send_time=START + 600 * SECOND))
    rig.clock.suspend(HOUR)
    await later(rig, 0.0)
    assert await states(rig, retried, scheduled) == [SENT, SENT]
    assert steps == []


# What is told.


async def test_a_step_is_logged_once(outbox: SqliteOutbox, steps: list[tuple[str, float]]) -> None:
    rig = await started(outbox)
    rig.clock.step_wall(-HOUR)
    await later(rig, 5.0)
    rig.clock.step_wall(0.5)
    await later(rig, 5.0)
    rig.clock.step_wall(2 * HOUR)
    await later(rig, 0.0)
    assert steps == [("clock_stepped", -HOUR), ("clock_stepped", 2 * HOUR + 0.5)]


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_times_are_shown_by_the_wall_clock_as_it_is(outbox: SqliteOutbox, step: float) -> None:
    rig = await started(outbox, ERROR, retries=PATIENT)
    before = await rig.send()
    scheduled = await rig.send(build.command(send_time=START + DAY * SECOND, expire_time=START + 2 * DAY * SECOND))
    rig.clock.step_wall(step)
    await later(rig, 0.0)
    shown = await rig.delivery.get(before.message_id)
    by = int(step * 1e6)
    assert shown.next_attempt_time == (before.next_attempt_time or 0) + by
    assert shown.expire_time == before.expire_time + by
    assert shown.create_time == before.create_time
    same = await rig.delivery.get(scheduled.message_id)
    assert (same.next_attempt_time, same.expire_time) == (scheduled.next_attempt_time, scheduled.expire_time)
    new = await rig.send()
    assert (new.create_time, new.expire_time) == (rig.clock.wall(), rig.clock.wall() + 4 * build.HOUR)


# What is kept.


async def walk(rig: Rig) -> None:
    """Let retention look at all there is."""
    rig.clock.advance(BETWEEN_WALKS)
    for _ in range(3):
        await rig.calm()
        rig.clock.advance(BETWEEN_STEPS)
    await rig.calm()


@pytest.mark.parametrize("moves", [(30 * DAY,), (-2 * HOUR, 30 * DAY), (30 * DAY, -31 * DAY, DAY)])
async def test_no_request_id_is_forgotten_because_the_clock_was_set(
    outbox: SqliteOutbox, moves: tuple[float, ...]
) -> None:
    rig = await started(outbox, retention=24 * build.HOUR)
    sent = []
    for step in (*moves, 0.0):
        sent.append(await rig.send())
        rig.clock.step_wall(step)
        await later(rig, 0.0)
    await walk(rig)
    assert await states(rig, *sent) == [SENT] * len(sent)
    await later(rig, DAY - 2 * BETWEEN_WALKS)
    assert await states(rig, *sent) == [SENT] * len(sent)


async def test_what_is_old_goes_though_the_clock_was_set_forward(outbox: SqliteOutbox) -> None:
    rig = await started(outbox, retention=24 * build.HOUR)
    record = await rig.send()
    rig.clock.step_wall(HOUR)
    await later(rig, 0.0)
    await later(rig, DAY)
    await walk(rig)
    assert await outbox.get(record.message_id) is None


# The next boot.


async def rebooted(rig: Rig, wall: int) -> Rig:
    """The same store, under a server whose clocks begin at `wall`. Nobody is drained any more."""
    await rig.drain(0.0)
    outbox = rig.outbox
    assert isinstance(outbox, SqliteOutbox)
    return await started(outbox, clock=ManualClock(wall), retries=PATIENT)


@pytest.mark.parametrize("step", [-HOUR, 5 * HOUR])
async def test_what_waits_is_due_at_the_same_moment_after_a_step_and_a_restart(
    outbox: SqliteOutbox, step: float
) -> None:
    rig = await started(outbox, ERROR, retries=PATIENT)
    record = await rig.send()
    scheduled = await rig.send(build.command(send_time=START + int((DAY + step) * 1e6)))
    wait = ((record.next_attempt_time or 0) - START) / 1e6
    rig.clock.step_wall(step)
    await later(rig, 0.0)
    again = await rebooted(rig, rig.clock.wall())
    await later(again, wait - 4)
    assert await states(again, record, scheduled) == [QUEUED, QUEUED]
    await later(again, 3.0)
    assert await states(again, record, scheduled) == [SENT, QUEUED]
    await later(again, DAY - 200)
    assert await states(again, scheduled) == [QUEUED]
    await later(again, 200)
    assert await states(again, scheduled) == [SENT]


async def test_a_step_is_made_up_for_at_one_boot_alone(outbox: SqliteOutbox) -> None:
    rig = await started(outbox, ERROR, retries=PATIENT)
    record = await rig.send()
    rig.clock.step_wall(5 * HOUR)
    await later(rig, 0.0)
    for _ in range(2):
        rig = await rebooted(rig, rig.clock.wall())
        shown = await rig.delivery.get(record.message_id)
        assert shown.state is QUEUED
        assert shown.next_attempt_time == (record.next_attempt_time or 0) + 5 * build.HOUR
        assert shown.expire_time == START + 9 * build.HOUR


async def test_a_clock_set_back_between_two_boots_makes_nobody_wait_for_longer_than_a_backoff(
    outbox: SqliteOutbox,
) -> None:
    rig = await started(outbox, ERROR, retries=PATIENT)
    retried = await rig.send()
    control = Control(registry=rig.registry, outbox=outbox, clock=rig.clock)
    await control.drain("puppet")
    parked = await rig.send()
    scheduled = await rig.send(build.command(send_time=START + 60 * SECOND))
    again = await rebooted(rig, START - build.HOUR)
    assert await states(again, parked, retried, scheduled) == [SENT, QUEUED, QUEUED]
    await later(again, 100.0)
    assert await states(again, retried, scheduled) == [SENT, QUEUED]
    await later(again, HOUR)
    assert await states(again, scheduled) == [SENT]

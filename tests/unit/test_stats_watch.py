"""What those see who watch how much is sent, and what waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.waiting import within

from postwire.core.clock_steps import StepDetector
from postwire.core.errors import StoreUnavailable
from postwire.core.message import Channel, DeliveryGuarantee, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.core.stats import INTERVAL, ChannelCounts
from postwire.delivery import Stats
from postwire.delivery.stats import MOST_READING, WATCH_INTERVAL, StatsChange
from postwire.delivery.watch import HEARTBEAT_INTERVAL
from postwire.outbox.base import Outbox, OutboxStats, StoreLoad
from postwire.outbox.sqlite import SqliteOutbox

Watch = AsyncGenerator[StatsChange, None]


class Counted:
    """A harness whose messages are counted."""

    def __init__(self, outbox: Outbox) -> None:
        self.clock = ManualClock()
        self.steps = StepDetector()
        self.stats = Stats(outbox, self.clock, self.steps, max_unsettled=1_000)
        self.harness = Harness(outbox, clock=self.clock, observer=self.stats)

    async def looked(self, seconds: float = WATCH_INTERVAL) -> None:
        """Let those who watch have a look."""
        await self.harness.calm()
        self.clock.advance(seconds)
        await self.harness.calm()

    def counts(self) -> Mapping[Channel, ChannelCounts]:
        """Those of the only interval in which anything happened."""
        (interval,) = self.stats._recent.since(None)
        return interval.counts


@pytest.fixture
async def counted(outbox: SqliteOutbox) -> Counted:
    return Counted(outbox)


async def begun(watch: Watch) -> StatsChange:
    """What is shown first."""
    return await within(anext(watch))


# What is counted.


async def test_a_message_counts_as_accepted_and_as_what_becomes_of_it(counted: Counted) -> None:
    await counted.harness.send()
    await counted.harness.send(build.command(build.email()))
    counted.harness.provider.answers = [DispatchResult(Outcome.REJECTED)]
    assert (await counted.harness.send()).state is MessageState.FAILED
    assert counted.counts() == {
        Channel.SMS: ChannelCounts(accepted=2, sent=1, failed=1),
        Channel.EMAIL: ChannelCounts(accepted=1, sent=1),
    }


async def test_a_message_that_is_tried_again_is_accepted_once(counted: Counted) -> None:
    counted.harness.provider.answers = [DispatchResult(Outcome.ERROR), DispatchResult(Outcome.SUCCESS)]
    record = await counted.harness.send()
    assert record.state is MessageState.QUEUED
    assert counted.counts() == {Channel.SMS: ChannelCounts(accepted=1)}


async def test_a_message_that_nobody_can_send_and_that_is_cancelled_is_accepted_and_no_more(counted: Counted) -> None:
    later = START + build.HOUR
    record = await counted.harness.send(build.command(send_time=later, wait_for=WaitFor.ACCEPTANCE))
    await counted.harness.delivery.cancel(record.message_id, by=LOCAL)
    assert counted.counts() == {Channel.SMS: ChannelCounts(accepted=1)}


async def test_a_repeat_counts_once(counted: Counted) -> None:
    command = build.command(request_id="again")
    assert (await counted.harness.send(command)) == (await counted.harness.send(command))
    assert counted.counts() == {Channel.SMS: ChannelCounts(accepted=1, sent=1)}


async def test_what_is_resolved_comes_to_another_state(counted: Counted) -> None:
    counted.harness.provider.answers = [DispatchResult(Outcome.UNCERTAIN)]
    record = await counted.harness.send(build.command(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE))
    assert record.state is MessageState.UNCERTAIN
    assert counted.counts() == {Channel.SMS: ChannelCounts(accepted=1, uncertain=1)}
    await counted.harness.delivery.resolve(record.message_id, sent=False, by=LOCAL)
    assert counted.counts() == {Channel.SMS: ChannelCounts(accepted=1, failed=1, uncertain=1)}


async def test_what_expires_has_failed(counted: Counted) -> None:
    counted.harness.provider.answers = [DispatchResult(Outcome.ERROR)]
    await counted.harness.boot()
    await counted.harness.send(build.command(expire_time=START + 500_000))
    await counted.looked(0.6)
    assert counted.counts() == {Channel.SMS: ChannelCounts(accepted=1, failed=1)}
    await counted.harness.drain(0.0)


# What is shown.


async def test_who_watches_sees_what_there_is_and_then_what_changes(counted: Counted) -> None:
    await counted.harness.send()
    watch = counted.stats.watch()
    first = await begun(watch)
    assert [one.start_time for one in first.intervals] == [START]
    assert first.time == START
    assert first.backlog is not None
    assert (first.backlog.max_unsettled, first.backlog.unsettled, first.backlog.due) == (1_000, 0, 0)
    assert first.backlog.is_available
    assert first.backlog.size > 0
    upcoming = asyncio.ensure_future(anext(watch))
    await counted.looked()
    assert not upcoming.done(), "nothing has changed"
    await counted.harness.send()
    await counted.harness.send()
    await counted.looked()
    (interval,) = (await upcoming).intervals
    assert interval.counts == {Channel.SMS: ChannelCounts(accepted=3, sent=3)}
    await watch.aclose()


async def test_nobody_sees_more_than_one_change_a_second(counted: Counted) -> None:
    watch = counted.stats.watch()
    await begun(watch)
    upcoming = asyncio.ensure_future(anext(watch))
    await counted.harness.send()
    await counted.looked(0.9)
    assert not upcoming.done()
    await counted.looked(0.1)
    assert (await upcoming).intervals
    await watch.aclose()


async def test_who_is_slow_has_all_that_has_happened_meanwhile_as_one(counted: Counted) -> None:
    slow, quick = counted.stats.watch(), counted.stats.watch()
    await begun(slow)
    seen = {one.start_time: one for one in (await begun(quick)).intervals}
    for _ in range(30):
        upcoming = asyncio.ensure_future(anext(quick))
        await counted.harness.send()
        await counted.looked(INTERVAL / 2e6)
        seen |= {one.start_time: one for one in (await upcoming).intervals}
    upcoming = asyncio.ensure_future(anext(slow))
    await counted.looked()
    assert list((await upcoming).intervals) == [*seen.values()]
    await slow.aclose()
    await quick.aclose()


async def test_silence_is_broken_by_a_sign_of_life_again_and_again(counted: Counted) -> None:
    watch = counted.stats.watch()
    time = (await begun(watch)).time
    for _ in range(2):
        upcoming = asyncio.ensure_future(anext(watch))
        for _ in range(int(HEARTBEAT_INTERVAL / WATCH_INTERVAL) - 1):
            await counted.looked()
        assert not upcoming.done()
        await counted.looked()
        beat = await upcoming
        assert (beat.intervals, beat.backlog) == ([], None)
        assert beat.time == (time := time + int(HEARTBEAT_INTERVAL * 1e6))
    await watch.aclose()


async def test_to_set_the_clock_moves_nothing(counted: Counted) -> None:
    await counted.harness.send()
    watch = counted.stats.watch()
    first = await begun(watch)
    for seconds in (-86_400.0, 2 * 86_400.0):
        counted.clock.step_wall(seconds)
        upcoming = asyncio.ensure_future(anext(watch))
        await counted.harness.send()
        await counted.looked()
        change = await upcoming
        assert [one.start_time for one in change.intervals] == [one.start_time for one in first.intervals]
        assert change.time - first.time < 5_000_000
    await watch.aclose()


async def test_time_in_which_the_machine_was_suspended_has_passed(counted: Counted) -> None:
    await counted.harness.send()
    watch = counted.stats.watch()
    first = await begun(watch)
    counted.clock.suspend(60.0)
    upcoming = asyncio.ensure_future(anext(watch))
    await counted.looked()  # whoever looks closes what is over
    await counted.harness.send()
    await counted.looked()
    change = await upcoming
    assert change.intervals[-1].start_time == first.intervals[0].start_time + 60_000_000
    await watch.aclose()


async def test_at_the_end_of_the_server_all_who_watch_are_let_go(counted: Counted) -> None:
    watches = [counted.stats.watch() for _ in range(3)]
    for watch in watches:
        await begun(watch)
    upcoming = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await counted.harness.calm()
    counted.stats.end_watches()
    for one in (*upcoming, anext(counted.stats.watch())):
        with pytest.raises(StopAsyncIteration):
            await within(one)


async def test_who_is_slow_is_let_go_as_soon_as_he_asks_for_more(counted: Counted) -> None:
    watch = counted.stats.watch()
    await begun(watch)
    counted.stats.end_watches()
    with pytest.raises(StopAsyncIteration):
        await within(anext(watch))


# What waits.


async def test_what_waits_is_shown_with_how_long_the_longest_of_it_is_due(counted: Counted) -> None:
    watch = counted.stats.watch()
    await begun(watch)
    due = START + 400_000
    await counted.harness.send(build.command(send_time=START + build.HOUR, wait_for=WaitFor.ACCEPTANCE))
    await counted.harness.send(build.command(send_time=due, wait_for=WaitFor.ACCEPTANCE))
    backlog = None
    while backlog is None:  # the store may be looked at right after
        upcoming = asyncio.ensure_future(anext(watch))
        await counted.looked()  # nobody takes anything out, since this harness has not booted
        backlog = (await upcoming).backlog
    assert (backlog.unsettled, backlog.due, backlog.oldest_due_time) == (2, 1, due)
    await watch.aclose()


async def test_the_store_is_asked_once_for_all_and_only_while_somebody_watches(outbox: SqliteOutbox) -> None:
    paused = Paused(outbox, "load")
    counted = Counted(paused)
    await counted.looked(60.0)
    assert paused.counts["load"] == 0
    watches = [counted.stats.watch() for _ in range(5)]
    for watch in watches:
        await begun(watch)
    assert paused.counts["load"] == 1
    upcoming = [asyncio.ensure_future(anext(watch)) for watch in watches]
    for _ in range(3):
        await counted.looked()
    assert paused.counts["load"] == 4
    for one in upcoming:
        one.cancel()
    await asyncio.wait(upcoming)
    for watch in watches:
        await watch.aclose()
    await counted.looked(60.0)
    assert paused.counts["load"] == 4
    await begun(again := counted.stats.watch())
    assert paused.counts["load"] == 5
    await again.aclose()


async def test_a_store_that_hangs_holds_no_figures_up(outbox: SqliteOutbox) -> None:
    paused = Paused(outbox, "load", held=True)
    counted = Counted(paused)
    await counted.harness.send()
    watch = counted.stats.watch()
    upcoming = asyncio.ensure_future(anext(watch))
    await within(paused.reached.wait())
    await counted.looked()
    first = await upcoming
    assert (len(first.intervals), first.backlog) == (1, None)
    paused.release()
    upcoming = asyncio.ensure_future(anext(watch))
    await counted.looked()
    assert (await upcoming).backlog
    await watch.aclose()


class Slow(Paused):
    """Takes as long for a look as `takes` says."""

    takes = 0.0
    clock: ManualClock

    async def stats(self) -> OutboxStats:
        self.clock.reading_takes = self.takes
        self.clock.monotonic()
        self.clock.reading_takes = 0.0
        return await self._inner.stats()


async def test_a_store_that_takes_long_to_look_at_has_rest(outbox: SqliteOutbox) -> None:
    slow = Slow(outbox, "load")
    counted = Counted(slow)
    slow.clock, slow.takes = counted.clock, 0.5
    watch = counted.stats.watch()
    await begun(watch)
    slow.takes = 0.0  # no other look is timed
    pause = MOST_READING * 0.5
    for _ in range(int(pause) - 1):
        await counted.looked()
    assert slow.counts["load"] == 1
    await counted.looked()
    assert slow.counts["load"] == 2
    await watch.aclose()


class Away:
    """An outbox that cannot be read, once it is `away`."""

    def __init__(self, inner: SqliteOutbox) -> None:
        self._inner = inner
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def available(self) -> bool:
        return not self.away

    async def load(self, now: int, ahead: int = 0) -> StoreLoad:
        if self.away:
            raise StoreUnavailable
        return await self._inner.load(now, ahead)


async def test_while_the_store_is_away_what_was_there_is_shown_with_that(outbox: SqliteOutbox) -> None:
    away = Away(outbox)
    counted = Counted(away)
    await counted.harness.send(build.command(send_time=START + build.HOUR, wait_for=WaitFor.ACCEPTANCE))
    watch = counted.stats.watch()
    before = (await begun(watch)).backlog
    assert before is not None
    away.away = True
    upcoming = asyncio.ensure_future(anext(watch))
    for _ in range(2):
        await counted.looked()
    now = (await upcoming).backlog
    assert now is not None
    assert (before.is_available, now.is_available, now.unsettled, now.size) == (True, False, 1, before.size)
    await watch.aclose()
    first = (await begun(again := counted.stats.watch())).backlog
    assert first is not None
    assert (first.max_unsettled, first.unsettled, first.is_available) == (1_000, 0, False)
    await again.aclose()

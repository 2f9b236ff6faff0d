"""Time: when a message is tried again, when it is tried first, and when its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of

from postwire.core import backoff
from postwire.core.message import MessageRecord, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.splitmix import stream
from postwire.delivery.executor import Retries
from postwire.delivery.wakeable_task import AFTER_A_FAULT, MAX_IDLE_DELAY
from postwire.outbox.base import NewMessage, TakenMessage
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT, EXPIRED = MessageState.QUEUED, MessageState.SENT, MessageState.EXPIRED
ERROR, LIMITED = DispatchResult(Outcome.ERROR), DispatchResult(Outcome.RATE_LIMITED)
MAYBE = DispatchResult(Outcome.UNCERTAIN)
SECOND = 1_000_000


async def retried(seed: int, count: int = 4) -> list[int]:
    """For how many µs a message waits after each of its attempts, so many of which are throttled."""
    outbox = await SqliteOutbox.open(":memory:")
    harness = Harness(outbox, provider=FakeProvider(answers=[LIMITED] * count), seed=seed)
    record = await harness.send()
    waits = []
    while record.state is QUEUED:
        assert record.next_attempt_time is not None
        waits.append(record.next_attempt_time - harness.clock.wall())
        harness.clock.advance(waits[-1] / 1e6 + 0.001)
        await harness.provider.calls(len(waits) + 1)
        await harness.calm()
        record = await harness.kept(record.message_id)
    await harness.completed()
    await outbox.close()
    return waits


async def test_retries_wait_by_exponential_backoff_with_full_jitter_that_the_seed_decides() -> None:
    draws = stream(5, "backoff")
    expected = [
        int(backoff.delay(attempt, base=1.0, most=300.0, draw=draws.next_unit()) * 1e6) for attempt in (1, 2, 3, 4)
    ]
    assert await retried(5) == expected
    assert await retried(5) == expected
    assert await retried(6) != expected


async def test_the_configuration_says_how_long_they_wait(outbox: SqliteOutbox) -> None:
    retries = Retries(max_attempts=3, backoff_base=40.0, backoff_max=50.0)
    harness = Harness(outbox, provider=FakeProvider(answer=ERROR), retries=retries)
    draws = stream(1, "backoff")
    record = await harness.send()
    assert record.next_attempt_time == START + int(40e6 * draws.next_unit())
    harness.clock.advance(40.0)
    await harness.provider.calls(2)
    await harness.calm()
    record = await harness.kept(record.message_id)
    assert record.next_attempt_time == START + 40 * SECOND + int(50e6 * draws.next_unit())


@pytest.mark.parametrize("answer", [ERROR, LIMITED, MAYBE], ids=["error", "rate_limited", "uncertain"])
async def test_nothing_is_tried_again_before_its_time(outbox: SqliteOutbox, answer: DispatchResult) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[answer]))
    record = await harness.send()
    assert record.next_attempt_time is not None
    wait = (record.next_attempt_time - START) / 1e6
    assert wait > 0.01
    harness.clock.advance(wait - 0.001)
    await harness.calm()
    assert len(harness.provider.keys) == 1
    harness.clock.advance(0.002)
    await harness.noted.reached(record.message_id, SENT)


async def test_a_failover_takes_no_draw(outbox: SqliteOutbox) -> None:
    """So that what one message does shifts nothing for the others."""
    first, second = FakeProvider("first", answer=ERROR), FakeProvider("second", answers=[build.SUCCESS])
    harness = Harness(outbox, registry=registry_of(first, second))
    assert (await harness.send()).state is SENT
    second.answer = ERROR
    record = await harness.send()
    draw = stream(1, "backoff").next_unit()
    assert record.next_attempt_time == START + int(backoff.delay(2, base=1.0, most=300.0, draw=draw) * 1e6)


# Sent later.


@pytest.mark.parametrize("wait_for", WaitFor)
async def test_a_message_for_later_is_accepted_now_and_sent_then(outbox: SqliteOutbox, wait_for: WaitFor) -> None:
    harness = Harness(outbox)
    later = START + 7200 * SECOND
    record = await harness.send(build.command(send_time=later, wait_for=wait_for))
    assert (record.state, record.attempts, record.next_attempt_time) == (QUEUED, (), later)
    assert record.expire_time == later + 4 * build.HOUR, "all of its time is from then on"
    harness.clock.advance(7199.9)
    await harness.calm()
    assert harness.provider.keys == []
    harness.clock.advance(0.1)
    await harness.noted.reached(record.message_id, SENT)
    assert (await harness.kept(record.message_id)).attempts[0].start_time == later


async def test_messages_for_later_come_in_the_order_of_their_times(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    times = [30, 10, 20, 40, 15]
    names = {(await harness.send(build.command(send_time=START + at * SECOND))).message_id: at for at in times}
    for count, at in enumerate(sorted(times), 1):
        harness.clock.advance(at - (harness.clock.wall() - START) / SECOND)
        await harness.provider.calls(count)
        await harness.calm()
        assert [names[key] for key in harness.provider.keys] == sorted(times)[:count]


async def test_what_is_due_before_all_that_waits_is_not_kept_waiting(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    for at in (30, 10):
        record = await harness.send(build.command(send_time=START + at * SECOND))
        await harness.calm()
    harness.clock.advance(10.0)
    await harness.noted.reached(record.message_id, SENT)


async def test_a_queue_that_has_run_empty_takes_what_comes_next(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    for _ in range(3):
        record = await harness.send(build.command(send_time=harness.clock.wall() + SECOND))
        await harness.calm()
        harness.clock.advance(1.0)
        await harness.noted.reached(record.message_id, SENT)
        await harness.calm()


async def test_a_clock_that_is_set_forward_is_noticed_within_a_minute(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    await harness.boot()
    due = await harness.send(build.command(send_time=START + 3600 * SECOND))
    over = await harness.send(build.command(send_time=START + 7200 * SECOND, expire_time=START + 7201 * SECOND))
    await harness.calm()
    harness.clock.step_wall(3600.0)
    harness.clock.advance(MAX_IDLE_DELAY)
    await harness.noted.reached(due.message_id, SENT)
    harness.clock.step_wall(3600.0)
    harness.clock.step_wall(1.0)
    harness.clock.advance(MAX_IDLE_DELAY)
    await harness.noted.reached(over.message_id, EXPIRED)


# Over.


async def test_a_message_expires_at_its_time_and_not_before(outbox: SqliteOutbox) -> None:
    gate = gate_of("fake")
    harness = Harness(outbox, registry=registry_of(FakeProvider(), gates={"fake": gate}))
    gate.breaker.force_open(0.0)
    await harness.boot()
    ends = [START + seconds * SECOND for seconds in (20, 10, 30)]
    records = [await harness.send(build.command(expire_time=end)) for end in ends]
    harness.clock.advance(9.9)
    await harness.calm()
    assert harness.noted.states == {record.message_id: QUEUED for record in records}
    for index in (1, 0, 2):
        harness.clock.advance((ends[index] - harness.clock.wall()) / 1e6)
        await harness.noted.reached(records[index].message_id, EXPIRED)
        await harness.calm()
        kept = await harness.kept(records[index].message_id)
        assert (kept.update_time, kept.attempts, kept.next_attempt_time) == (ends[index], (), None)
    assert harness.delivery.backlog.total == 0


async def test_one_deadline_spans_waiting_retries_and_failover(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=ERROR), retries=Retries(100, 1.0, 4.0))
    await harness.boot()
    record = await harness.send(build.command(expire_time=START + 30 * SECOND))
    for _ in range(300):
        harness.clock.advance(0.125)
        await harness.outbox.stats()
    await harness.noted.reached(record.message_id, EXPIRED)
    kept = await harness.kept(record.message_id)
    assert kept.update_time >= START + 30 * SECOND
    assert all(one.start_time < START + 30 * SECOND for one in kept.attempts)
    assert 10 < len(kept.attempts) < 60
    assert len(harness.provider.keys) == len(kept.attempts)


async def test_when_both_its_turn_and_its_end_have_come_it_is_not_sent(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    await harness.boot()
    record = await harness.send(build.command(send_time=START + 1 * SECOND, expire_time=START + 2 * SECOND))
    harness.clock.advance(3.0)
    await harness.noted.reached(record.message_id, EXPIRED)
    await harness.calm()
    assert harness.provider.keys == []
    assert harness.noted.events == [("state", "queued"), ("state", "expired")]


async def test_many_expire_at_once(outbox: SqliteOutbox) -> None:
    gate = gate_of("fake")
    harness = Harness(outbox, registry=registry_of(FakeProvider(), gates={"fake": gate}))
    gate.breaker.force_open(0.0)
    await harness.boot()
    records = [await harness.send(build.command(expire_time=START + SECOND)) for _ in range(600)]
    harness.clock.advance(1.0)
    for record in records:
        await harness.noted.reached(record.message_id, EXPIRED)
    await harness.calm()
    assert len(harness.noted.events) == 3 * 600, "queued, passed over and expired, each once"
    assert harness.delivery.backlog.total == 0


# What goes wrong.


async def test_what_this_version_cannot_read_does_not_hold_up_what_is_behind_it(outbox: SqliteOutbox) -> None:
    unreadable = build.accepted(provider_name="", now=START - SECOND)
    await outbox.accept(NewMessage(unreadable, b"\xff", b"", build.command().options))
    readable = build.new_message(record=build.accepted(provider_name=""))
    await outbox.accept(readable)
    harness = Harness(outbox)
    await harness.boot()
    await harness.noted.reached(readable.record.message_id, SENT)
    await harness.calm()
    kept = await harness.kept(unreadable.message_id)
    assert (kept.state, kept.attempts) == (QUEUED, ())
    harness.clock.advance(4 * 3600.0)
    await harness.noted.reached(unreadable.message_id, EXPIRED)


async def test_a_fault_of_ours_does_not_strand_a_queue(outbox: SqliteOutbox) -> None:
    class Faulty(Paused):
        faults = 2

        async def take(self, *arguments: Any) -> Sequence[TakenMessage]:
            if self.faults:
                self.faults -= 1
                raise RuntimeError("a fault of ours")
            return await outbox.take(*arguments)

    harness = Harness(Faulty(outbox), provider=FakeProvider(answers=[ERROR]))
    record = await harness.send()
    for _ in range(4):
        harness.clock.advance(AFTER_A_FAULT)
        await harness.calm()
    assert harness.noted.states[record.message_id] is SENT


# Repeats at a provider that is in trouble.


async def in_trouble(outbox: SqliteOutbox, **fields: Any) -> tuple[Harness, list[MessageRecord]]:
    """A harness whose provider's failure ratio is exceeded, though its breaker is closed, and what waits for it."""
    harness = Harness(
        outbox, registry=registry_of(FakeProvider(answer=ERROR), gates={"fake": gate_of("fake", **fields)})
    )
    records = [await harness.send(build.command(max_attempts=100)) for _ in range(5)]
    assert {record.state for record in records} == {QUEUED}
    return harness, records


async def test_a_provider_in_trouble_is_repeated_at_once_a_second_and_the_others_wait_for_longer(
    outbox: SqliteOutbox,
) -> None:
    harness, records = await in_trouble(outbox)
    provider = next(iter(harness.registry)).provider
    assert isinstance(provider, FakeProvider)
    harness.clock.advance(1.0)
    await provider.calls(6)
    await harness.calm()
    assert len(provider.keys) == 6, "of five that were due"
    kept = [await harness.kept(record.message_id) for record in records]
    assert sum(len(record.attempts) == 2 for record in kept) == 1
    assert all(record.next_attempt_time and record.next_attempt_time > harness.clock.wall() for record in kept)


async def test_those_that_wait_for_longer_keep_no_newcomer_waiting(outbox: SqliteOutbox) -> None:
    harness, _ = await in_trouble(outbox)
    provider = next(iter(harness.registry)).provider
    assert isinstance(provider, FakeProvider)
    harness.clock.advance(1.0)
    await provider.calls(6)
    await harness.calm()
    provider.answer = build.SUCCESS
    assert (await harness.send()).state is SENT

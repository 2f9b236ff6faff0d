"""What follows an attempt of which nobody knows whether it sent the message: no silent double send, and no lie."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of

from postwire.core import lifecycle
from postwire.core.breaker import BreakerSettings
from postwire.core.message import DeliveryGuarantee, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.core.principal import LOCAL
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT, FAILED = MessageState.QUEUED, MessageState.SENT, MessageState.FAILED
UNCERTAIN, EXPIRED = MessageState.UNCERTAIN, MessageState.EXPIRED
SUCCESS, ERROR, REJECTED = (DispatchResult(one) for one in (Outcome.SUCCESS, Outcome.ERROR, Outcome.REJECTED))
LIMITED, MAYBE = DispatchResult(Outcome.RATE_LIMITED), DispatchResult(Outcome.UNCERTAIN)
ONCE = DeliveryGuarantee.AT_MOST_ONCE


def outcomes(record: MessageRecord) -> list[str]:
    return [one.outcome.value if one.outcome else "open" for one in record.attempts]


def apart(*outcomes: Outcome) -> DispatchResult:
    """A result that tells recipients apart."""
    return DispatchResult(worst(outcomes), recipients=tuple(map(RecipientResult, outcomes)))


async def through(harness: Harness, record: MessageRecord, *states: MessageState) -> MessageRecord:
    """The record once it is in one of `states`, after one backoff of any length."""
    harness.clock.advance(300.0)
    await harness.noted.reached(record.message_id, *states)
    return await harness.kept(record.message_id)


@pytest.mark.parametrize(
    ("then", "state"),
    [
        ([SUCCESS], SENT),
        ([REJECTED], UNCERTAIN),
        ([ERROR], UNCERTAIN),
        ([MAYBE], UNCERTAIN),
        ([LIMITED, REJECTED], UNCERTAIN),
    ],
    ids=["success", "rejected", "error", "uncertain", "throttled and rejected"],
)
async def test_an_end_that_denies_sending_would_be_a_lie(
    outbox: SqliteOutbox, then: list[DispatchResult], state: MessageState
) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[MAYBE, *then]))
    record = await harness.send(build.command(max_attempts=2))
    assert (record.state, outcomes(record)) == (QUEUED, ["uncertain"])
    for count in range(2, len(then) + 2):
        harness.clock.advance(300.0)
        await harness.provider.calls(count)
        await harness.calm()
    record = await harness.kept(record.message_id)
    assert record.state is state
    assert outcomes(record) == ["uncertain", *(one.outcome.value for one in then)]
    await harness.calm()
    assert harness.left() == []


async def test_time_that_runs_out_leaves_it_uncertain_and_expires_what_was_surely_not_sent(
    outbox: SqliteOutbox,
) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[MAYBE, ERROR], answer=ERROR))
    await harness.boot()
    maybe, surely_not = [await harness.send(build.command(expire_time=START + 300_000_000)) for _ in range(2)]
    assert (await through(harness, maybe, UNCERTAIN)).state is UNCERTAIN
    assert (await through(harness, surely_not, EXPIRED)).state is EXPIRED
    assert len(harness.provider.keys) == 2


async def test_a_caller_who_takes_it_back_is_not_told_that_it_was_not_sent(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[MAYBE, ERROR]))
    maybe, surely_not = await harness.send(), await harness.send()
    assert (await harness.delivery.cancel(maybe.message_id, by=LOCAL)).state is UNCERTAIN
    assert (await harness.delivery.cancel(surely_not.message_id, by=LOCAL)).state is MessageState.CANCELLED
    harness.clock.advance(300.0)
    await harness.calm()
    assert len(harness.provider.keys) == 2, "nothing is left to send"


async def test_what_may_be_sent_at_most_once_is_not_tried_again(outbox: SqliteOutbox) -> None:
    deduplicating, second = FakeProvider("first", answer=MAYBE, dedup_window=3600.0), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(deduplicating, second))
    record = await harness.send(build.command(delivery_guarantee=ONCE))
    assert (record.state, outcomes(record)) == (UNCERTAIN, ["uncertain"])
    harness.clock.advance(300.0)
    await harness.calm()
    assert (len(deduplicating.keys), len(second.keys)) == (1, 0)


async def test_what_may_be_sent_at_most_once_is_tried_again_while_it_surely_was_not(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answer=ERROR), FakeProvider("second", answers=[LIMITED, MAYBE])
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send(build.command(delivery_guarantee=ONCE))
    assert record.state is QUEUED
    record = await through(harness, record, UNCERTAIN)
    assert outcomes(record) == ["error", "rate_limited", "error", "uncertain"]


# Providers that deduplicate.


@pytest.mark.parametrize(
    ("answer", "state"), [(SUCCESS, SENT), (REJECTED, UNCERTAIN), (MAYBE, QUEUED), (ERROR, QUEUED), (LIMITED, QUEUED)]
)
async def test_one_that_deduplicates_is_asked_again_at_once_and_once_by_the_same_key(
    outbox: SqliteOutbox, answer: DispatchResult, state: MessageState
) -> None:
    first, second = FakeProvider("first", answers=[MAYBE, answer], dedup_window=3600.0), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send()
    assert (record.state, outcomes(record)) == (state, ["uncertain", answer.outcome.value])
    await harness.calm()
    assert first.keys == [record.message_id] * 2
    assert second.keys == [], "nobody else in the pass in which it may have been sent"
    assert harness.left() == []


async def test_one_that_deduplicates_is_asked_again_once_a_pass_however_healthy_it_is(outbox: SqliteOutbox) -> None:
    provider = FakeProvider(answers=[SUCCESS] * 10 + [MAYBE] * 3, dedup_window=3600.0)
    harness = Harness(outbox, provider=provider)
    for _ in range(10):
        await harness.send()
    record = await harness.send()
    assert (record.state, outcomes(record)) == (QUEUED, ["uncertain"] * 2)


async def test_in_the_next_pass_it_may_be_asked_twice_again(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[MAYBE, MAYBE, MAYBE], dedup_window=3600.0))
    record = await harness.send()
    record = await through(harness, record, SENT)
    assert outcomes(record) == ["uncertain", "uncertain", "uncertain", "success"]


async def test_the_second_time_counts_as_an_attempt(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=MAYBE, dedup_window=3600.0))
    assert outcomes(await harness.send(build.command(max_attempts=1))) == ["uncertain"]
    record = await harness.send(build.command(max_attempts=2))
    assert (record.state, outcomes(record)) == (UNCERTAIN, ["uncertain"] * 2)


async def test_one_that_deduplicates_is_not_asked_again_past_its_breaker(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("first", answer=MAYBE, dedup_window=3600.0)
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1))
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate}))
    record = await harness.send()
    assert (record.state, outcomes(record)) == (QUEUED, ["uncertain"])
    await harness.calm()
    assert harness.left() == []


async def test_repeats_at_one_in_trouble_are_within_its_budget(outbox: SqliteOutbox) -> None:
    """One a second here, and a tenth of the first attempts: the eleventh first attempt has the second repeat."""
    provider = FakeProvider("first", answer=MAYBE, dedup_window=3600.0)
    gate = gate_of("first", breaker=BreakerSettings(minimum_calls=1000))
    harness = Harness(outbox, registry=registry_of(provider, gates={"first": gate}))
    repeated = [len((await harness.send()).attempts) == 2 for _ in range(20)]
    assert sum(repeated) == 3
    assert repeated[0], "the one a second"


# Emails, whose recipients fare apart.


def recipients(record: MessageRecord) -> list[tuple[str, bool]]:
    return [(one.state.value, one.maybe_sent) for one in record.recipients]


def email(count: int, **options: Any) -> Any:
    return build.command(build.email(*(f"{i}@example.com" for i in range(count))), **options)


async def test_the_next_provider_authenticates_those_recipients_only_who_have_no_end_yet(outbox: SqliteOutbox) -> None:
    success, error, rejected, limited = Outcome.SUCCESS, Outcome.ERROR, Outcome.REJECTED, Outcome.RATE_LIMITED
    first = FakeProvider("first", answer=apart(success, error, rejected, limited, error))
    second = FakeProvider("second", answer=apart(rejected, error, success))
    third = FakeProvider("third")
    harness = Harness(outbox, registry=registry_of(first, second, third))
    record = await harness.send(email(5))
    assert (first.positions, second.positions, third.positions) == ([None], [(1, 3, 4)], [(3,)])
    assert [one.state for one in record.recipients] == [SENT, FAILED, FAILED, SENT, SENT]
    assert record.state is FAILED
    assert await harness.kept(record.message_id) == record
    some, one = (str(uuid5(UUID(record.message_id), text)) for text in ("1,3,4", "3"))
    assert (first.keys, second.keys, third.keys) == ([record.message_id], [some], [one])


async def test_each_recipient_keeps_whether_it_may_have_got_it(outbox: SqliteOutbox) -> None:
    maybe, error, success, rejected = Outcome.UNCERTAIN, Outcome.ERROR, Outcome.SUCCESS, Outcome.REJECTED
    provider = FakeProvider(answers=[apart(maybe, error, success), apart(rejected, rejected)])
    harness = Harness(outbox, provider=provider)
    record = await harness.send(email(3))
    assert recipients(record) == [("queued", True), ("queued", False), ("sent", False)]
    record = await through(harness, record, UNCERTAIN)
    assert recipients(record) == [("uncertain", True), ("failed", False), ("sent", False)]
    assert provider.positions == [None, (0, 1)]
    assert record.state is UNCERTAIN


async def test_at_most_once_is_a_promise_to_each_recipient(outbox: SqliteOutbox) -> None:
    maybe, error, success = Outcome.UNCERTAIN, Outcome.ERROR, Outcome.SUCCESS
    first, second = FakeProvider("first", answer=apart(maybe, error, success)), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send(email(3, delivery_guarantee=ONCE))
    assert recipients(record) == [("uncertain", True), ("sent", False), ("sent", False)]
    assert second.positions == [(1,)], "who may have got it is not sent to again"
    assert record.state is UNCERTAIN


async def test_an_email_of_which_anybody_may_have_got_it_goes_to_nobody_else_in_this_pass(
    outbox: SqliteOutbox,
) -> None:
    maybe, error = Outcome.UNCERTAIN, Outcome.ERROR
    first, second = FakeProvider("first", answer=apart(maybe, error)), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    assert (await harness.send(email(2))).state is QUEUED
    assert second.keys == []


async def test_one_that_deduplicates_is_asked_again_at_once_only_for_the_same_recipients(outbox: SqliteOutbox) -> None:
    """To the vendor, other recipients are another message: it would send to those whom it may have sent to already."""
    maybe, error, success = Outcome.UNCERTAIN, Outcome.ERROR, Outcome.SUCCESS
    provider = FakeProvider(answers=[apart(maybe, success, error), apart(maybe, error)], dedup_window=3600.0)
    harness = Harness(outbox, provider=provider)
    record = await harness.send(email(3))
    assert (record.state, provider.positions) == (QUEUED, [None])
    record = await through(harness, record, SENT)
    assert provider.positions == [None, (0, 2), (0, 2)]
    some = str(uuid5(UUID(record.message_id), "0,2"))
    assert provider.keys == [record.message_id, some, some]


@pytest.mark.parametrize(("latency", "attempts"), [(2.0, 2), (10.0, 1)])
async def test_one_that_deduplicates_is_asked_again_at_once_only_within_its_window(
    outbox: SqliteOutbox, latency: float, attempts: int
) -> None:
    async def wait(key: str) -> None:
        harness.clock.advance(latency)

    provider = FakeProvider(answer=MAYBE, dedup_window=10.0, meanwhile=wait)
    harness = Harness(outbox, provider=provider)
    assert len((await harness.send()).attempts) == attempts


@pytest.mark.parametrize("step", [-3600.0, -5.0, 3600.0])
@pytest.mark.parametrize(("latency", "attempts"), [(9.0, 2), (10.0, 1)])
async def test_a_clock_that_is_set_in_mid_attempt_does_not_move_the_window(
    outbox: SqliteOutbox, step: float, latency: float, attempts: int
) -> None:
    async def wait(key: str) -> None:
        harness.clock.advance(latency)
        harness.clock.step_wall(step)

    provider = FakeProvider(answer=MAYBE, dedup_window=10.0, meanwhile=wait)
    harness = Harness(outbox, provider=provider)
    assert len((await harness.send()).attempts) == attempts


STEPS = {
    "not at all": ([], True),
    "back": ([-7200.0], False),
    "forth and back": ([1800.0, -1800.0], True),
    "back and forth": ([-7200.0, 7200.0], True),
    "by a little": ([-10.0], True),
}


@pytest.mark.parametrize("observed", [True, False], ids=["observed", "not yet observed"])
@pytest.mark.parametrize(("passing", "is_early"), [(3599.0, True), (3600.0, False)])
@pytest.mark.parametrize("steps", STEPS)
async def test_a_clock_that_is_set_between_passes_never_makes_the_window_longer(
    outbox: SqliteOutbox, steps: str, passing: float, is_early: bool, observed: bool
) -> None:
    sequence, is_known = STEPS[steps]
    provider = FakeProvider(answer=MAYBE, dedup_window=3600.0)
    harness = Harness(outbox, provider=provider)
    clock = harness.clock
    assert outcomes(await harness.send()) == ["uncertain"] * 2
    for step in sequence:
        clock.step_wall(step)
        if observed:
            harness.delivery.clock_steps.observe(clock.due(), clock.wall(), clock.due())
    clock.advance(passing)
    await provider.calls(3)
    await harness.calm()
    assert len(provider.keys) == (4 if is_early and is_known else 3)


async def test_a_first_attempt_at_a_time_that_is_taken_back_may_only_shorten_the_window(outbox: SqliteOutbox) -> None:
    """The clock is an hour ahead for the first attempt alone: by it, that was only a while ago an hour later."""
    provider = FakeProvider(answer=MAYBE, dedup_window=3000.0)
    harness = Harness(outbox, provider=provider)
    harness.clock.step_wall(3600.0)
    record = await harness.send(build.command(max_attempts=9))
    assert outcomes(record) == ["uncertain"] * 2
    harness.clock.step_wall(-3600.0)
    for count in (3, 4, 5):
        harness.clock.advance(1800.0)
        await provider.calls(count)
        await harness.calm()
        assert len(provider.keys) == count, "once, and not again at once"


@pytest.mark.parametrize(("hours", "again"), [(-1.0, 1), (0.0, 2), (0.5, 2), (1.0, 1)])
async def test_after_a_restart_the_window_is_by_the_wall_clock_and_over_before_its_beginning(
    outbox: SqliteOutbox, hours: float, again: int
) -> None:
    provider = FakeProvider(answer=MAYBE, dedup_window=3600.0)
    before = Harness(outbox, provider=provider)
    record = await before.send()
    await before.drain(0.0)
    assert len(provider.keys) == 2
    after = Harness(outbox, provider=provider, clock=ManualClock(START + int(hours * build.HOUR)))
    await after.boot()
    after.clock.advance(300.0)
    await provider.calls(3)
    await after.calm()
    assert len(provider.keys) == 2 + again
    assert (await after.kept(record.message_id)).state is QUEUED


@pytest.mark.parametrize("count", [1, 3])
async def test_a_result_that_speaks_of_others_leaves_those_it_was_for_uncertain(
    outbox: SqliteOutbox, count: int
) -> None:
    first = FakeProvider("first", answer=apart(Outcome.SUCCESS, Outcome.ERROR, Outcome.ERROR))
    second = FakeProvider("second", answer=apart(*[Outcome.SUCCESS] * count))
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send(email(3, delivery_guarantee=ONCE))
    assert recipients(record) == [("sent", False), ("uncertain", True), ("uncertain", True)]
    assert record.attempts[1].error_code == "internal"


async def test_time_that_runs_out_is_told_of_each_recipient_as_it_is(outbox: SqliteOutbox) -> None:
    maybe, error, success = Outcome.UNCERTAIN, Outcome.ERROR, Outcome.SUCCESS
    harness = Harness(outbox, provider=FakeProvider(answer=apart(maybe, error, success)))
    await harness.boot()
    record = await harness.send(email(3, expire_time=START + 300_000_000))
    record = await through(harness, record, UNCERTAIN)
    assert recipients(record) == [("uncertain", True), ("expired", False), ("sent", False)]


# An operator who knows.


@pytest.mark.parametrize(("sent", "state"), [(True, SENT), (False, FAILED)])
async def test_what_is_uncertain_is_resolved_once(outbox: SqliteOutbox, sent: bool, state: MessageState) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=MAYBE))
    record = await harness.send(build.command(delivery_guarantee=ONCE))
    assert (await harness.delivery.resolve(record.message_id, sent=sent, by=LOCAL)).state is state
    kept = await harness.kept(record.message_id)
    assert kept == lifecycle.resolve(record, sent=sent, now=START)
    assert harness.noted.states[record.message_id] is state


async def test_a_message_sent_late_keeps_the_times_it_was_tried_at(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answers=[MAYBE]), clock=ManualClock())
    record = await harness.send()
    record = await through(harness, record, SENT)
    assert [one.start_time for one in record.attempts] == [START, START + 300_000_000]

"""The one path of a message: accepted, sent, recorded, answered, whatever its caller and its provider do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.harness import Harness, Noted
from tests.support.providers import FakeProvider, registry_of

from postwire.config.schema import load
from postwire.core import canonical
from postwire.core.errors import InvalidProvider, InvalidRouting, MessageNotFound, RequestIdReused
from postwire.core.gate import Gate
from postwire.core.message import (
    DEFAULT_TENANT,
    Channel,
    DeliveryGuarantee,
    DispatchCommand,
    MessageRecord,
    MessageState,
    WaitFor,
)
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.delivery import Limits
from postwire.delivery.executor import Retries
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.builtin import KINDS
from postwire.telemetry.base import SilentObserver

SECRET = "Zq9canary7"
STATE_AFTER = {
    Outcome.SUCCESS: MessageState.SENT,
    Outcome.REJECTED: MessageState.FAILED,
    Outcome.ERROR: MessageState.QUEUED,
    Outcome.RATE_LIMITED: MessageState.QUEUED,
    Outcome.UNCERTAIN: MessageState.QUEUED,
    Outcome.DEFERRED: MessageState.QUEUED,
    Outcome.MISCONFIGURED: MessageState.QUEUED,
}
ONCE = DeliveryGuarantee.AT_MOST_ONCE
"""So that what is uncertain settles."""


@pytest.fixture
async def held(outbox: SqliteOutbox) -> Harness:
    """A harness whose provider answers when it is let go."""
    return Harness(outbox, provider=FakeProvider(held=True))


def gate_in(harness: Harness) -> Gate:
    (entry,) = harness.registry
    return entry.gate


# What an answer waits for.


async def test_a_call_that_waits_for_the_outcome_gets_it(held: Harness) -> None:
    call = held.start()
    await held.provider.calls()
    assert not call.done()
    assert held.delivery.in_flight == 1
    held.provider.release()
    record = await call
    assert record.state is MessageState.SENT
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.SUCCESS]
    assert await held.kept(record.message_id) == record
    await held.completed()
    assert held.delivery.in_flight == 0


async def test_a_call_that_waits_for_acceptance_gets_it_before_the_provider_is_done(held: Harness) -> None:
    record = await held.send(build.command(wait_for=WaitFor.ACCEPTANCE))
    assert record.state is MessageState.SENDING
    assert await held.kept(record.message_id) == record, "it is durable"
    held.provider.release()
    await held.completed()
    assert (await held.kept(record.message_id)).state is MessageState.SENT


async def test_the_provider_sees_a_message_only_once_its_attempt_is_on_disk(outbox: SqliteOutbox) -> None:
    kept: list[object] = []

    async def look(key: str) -> None:
        kept.append(await outbox.get(key, DEFAULT_TENANT))
        assert await outbox.content(key, DEFAULT_TENANT) == canonical.encode_message(command.message)

    harness = Harness(outbox, provider=FakeProvider("looking", meanwhile=look))
    command = build.command(build.sms("a body"), request_id="r-1", labels={"team": "auth"})
    record = await harness.send(command)
    opened = build.accepted(command)
    (seen,) = kept
    assert isinstance(seen, type(opened))
    assert (seen.message_id, seen.state, seen.request_id) == (record.message_id, MessageState.SENDING, "r-1")
    assert [(one.number, one.provider_name, one.outcome) for one in seen.attempts] == [(1, "looking", None)]
    assert harness.provider.messages == [command.message]


@pytest.mark.parametrize("time_left", [0.0, 0.05, 0.1, -1.0])
async def test_a_caller_without_time_gets_what_is_durable_and_the_message_goes_its_way(
    held: Harness, time_left: float
) -> None:
    record = await held.send(time_left=time_left)
    assert record.state is MessageState.SENDING
    held.provider.release()
    await held.completed()
    assert (await held.kept(record.message_id)).state is MessageState.SENT


async def test_a_provider_slower_than_the_callers_deadline_is_not_waited_for(held: Harness) -> None:
    assert (await held.send(time_left=0.11)).state is MessageState.SENDING


async def test_a_provider_slower_than_the_longest_wait_is_not_waited_for(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True), max_wait=0.01)
    assert (await harness.send()).state is MessageState.SENDING
    assert (await harness.send(time_left=3600.0)).state is MessageState.SENDING


async def hang_up_at_once(held: Harness, call: asyncio.Task[object]) -> None:
    await asyncio.sleep(0)  # it has begun, and waits for the commit


async def hang_up_later(held: Harness, call: asyncio.Task[object]) -> None:
    await held.provider.calls()


@pytest.mark.parametrize("moment", [hang_up_at_once, hang_up_later])
async def test_a_caller_that_hangs_up_changes_nothing(held: Harness, moment: Callable[..., object]) -> None:
    command = build.command(request_id="r")
    call = held.start(command)
    await moment(held, call)  # type: ignore[misc]  # one of the two above
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    held.provider.release()
    await held.completed()
    record = await held.kept_of(command)
    assert record is not None
    assert record.state is MessageState.SENT
    assert held.provider.keys == [record.message_id]
    assert held.provider.cancelled == 0


# What comes of the attempt.


@pytest.mark.parametrize("outcome", Outcome)
async def test_the_providers_result_is_the_attempts(outbox: SqliteOutbox, outcome: Outcome) -> None:
    answer = DispatchResult(outcome, provider_message_id="v-1", error_code="c-1", detail="d-1")
    harness = Harness(outbox, provider=FakeProvider("p-1", answer=answer))
    record = await harness.send()
    (attempt,) = record.attempts
    assert (attempt.provider_name, attempt.outcome) == ("p-1", outcome)
    assert (attempt.provider_message_id, attempt.error_code, attempt.detail) == ("v-1", "c-1", "d-1")
    assert record.state is STATE_AFTER[outcome]
    kept = await harness.kept(record.message_id)
    if outcome is Outcome.MISCONFIGURED:  # it is shown as waiting for the provider to be tried again
        record = replace(record, next_attempt_time=kept.next_attempt_time)
    assert kept == record
    assert harness.provider.keys == [record.message_id], "the idempotency key is the message's id"


async def test_recipients_of_an_email_have_their_own_ends(outbox: SqliteOutbox) -> None:
    each = (RecipientResult(Outcome.SUCCESS), RecipientResult(Outcome.REJECTED, "550"))
    harness = Harness(outbox, provider=FakeProvider(answer=DispatchResult(Outcome.REJECTED, recipients=each)))
    record = await harness.send(build.command(build.email("a@example.com", "b@example.com")))
    assert [one.state for one in record.recipients] == [MessageState.SENT, MessageState.FAILED]
    assert await harness.kept(record.message_id) == record


@pytest.mark.parametrize("error", [ValueError(SECRET), TimeoutError(SECRET), OSError(SECRET)], ids=repr)
async def test_a_provider_whose_code_fails_leaves_the_end_uncertain(outbox: SqliteOutbox, error: Exception) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=error))
    record = await harness.send(build.command(delivery_guarantee=ONCE))
    assert record.state is MessageState.UNCERTAIN
    assert record.attempts[0].outcome is Outcome.UNCERTAIN
    assert record.attempts[0].error_code == ("timeout" if isinstance(error, TimeoutError) else "internal")
    assert SECRET not in repr(record)
    assert await harness.kept(record.message_id) == record


async def test_a_provider_that_cancels_itself_leaves_the_end_uncertain(outbox: SqliteOutbox) -> None:
    """As code does that awaits something of its own which was cancelled: nobody has cancelled the attempt."""
    harness = Harness(outbox, provider=FakeProvider(answer=asyncio.CancelledError()))
    record = await harness.send(build.command(delivery_guarantee=ONCE))
    assert record.state is MessageState.UNCERTAIN
    assert await harness.kept(record.message_id) == record


NO_RESULTS = {
    "recipients of an SMS": DispatchResult(Outcome.SUCCESS, recipients=(RecipientResult(Outcome.SUCCESS),) * 2),
    "a time that is none": DispatchResult(Outcome.RATE_LIMITED, retry_after="soon"),  # type: ignore[arg-type]  # on purpose
    "an id that is no text": DispatchResult(Outcome.SUCCESS, provider_message_id=7),  # type: ignore[arg-type]  # on purpose
    "an outcome that is none": DispatchResult("success"),  # type: ignore[arg-type]  # on purpose
    "nothing": None,
}


@pytest.mark.parametrize("answer", NO_RESULTS)
async def test_what_is_no_result_leaves_the_end_uncertain(outbox: SqliteOutbox, answer: str) -> None:
    """Else the attempt would stay open until the next boot, with nobody working on it."""
    harness = Harness(outbox, provider=FakeProvider(answer=NO_RESULTS[answer]))  # type: ignore[arg-type]  # on purpose
    record = await harness.send(build.command(delivery_guarantee=ONCE))
    assert record.state is MessageState.UNCERTAIN
    assert record.attempts[0].error_code == "internal"
    assert await harness.kept(record.message_id) == record
    assert harness.left() == []


async def test_what_a_vendor_says_in_broken_text_is_kept_as_far_as_it_goes(outbox: SqliteOutbox) -> None:
    answer = DispatchResult(Outcome.SUCCESS, provider_message_id="id-\udcff", detail="x" * 100_000)
    harness = Harness(outbox, provider=FakeProvider(answer=answer))
    record = await harness.send()
    assert record.state is MessageState.SENT
    assert record.attempts[0].provider_message_id == "id-?"
    assert len(record.attempts[0].detail) == 512
    assert await harness.kept(record.message_id) == record


async def test_a_provider_that_does_not_answer_in_time_is_given_up(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True), attempt_timeout=0.01)
    record = await harness.send()
    assert record.state is MessageState.QUEUED
    assert (record.attempts[0].outcome, record.attempts[0].error_code) == (Outcome.UNCERTAIN, "timeout")
    assert harness.provider.cancelled == 1
    assert gate_in(harness).breaker.snapshot(harness.clock.monotonic()).failures == 1


async def test_an_attempt_is_given_up_when_the_message_expires(outbox: SqliteOutbox) -> None:
    """Which says nothing of the provider: it may not have had all of its own time."""
    clock = ManualClock()

    async def slow(_: str) -> None:
        clock.advance(0.01)

    harness = Harness(outbox, provider=FakeProvider(held=True, meanwhile=slow), clock=clock)
    record = await harness.send(build.command(expire_time=START + 10_000))
    assert record.state is MessageState.UNCERTAIN
    assert record.attempts[0].error_code == "timeout"
    assert harness.provider.cancelled == 1
    assert gate_in(harness).breaker.snapshot(clock.monotonic()).calls == 0


async def test_a_message_that_expired_before_it_could_be_sent_reaches_no_provider(outbox: SqliteOutbox) -> None:
    """The accept commit took longer than the message had: no attempt starts after `expire_time`."""

    class Slow(Noted):
        def state_reached(self, record: MessageRecord) -> None:
            super().state_reached(record)
            if record.state is MessageState.SENDING:
                clock.advance(60.0)

    clock, noted = ManualClock(), Slow()
    harness = Harness(outbox, observer=noted, clock=clock)
    await harness.boot()
    record = await harness.send(build.command(expire_time=START + 1_000_000))
    await noted.reached(record.message_id, MessageState.EXPIRED)
    kept = await harness.kept(record.message_id)
    assert (kept.state, kept.attempts) == (MessageState.EXPIRED, ()), "its attempt was never made"
    assert harness.provider.keys == []
    assert noted.events == [("state", "sending"), ("state", "queued"), ("state", "expired")]
    assert harness.left() == []


async def test_times_are_of_the_right_clock(held: Harness) -> None:
    call = held.start()
    await held.provider.calls()
    held.clock.advance(1.5)
    held.clock.step_wall(-3600)
    held.provider.release()
    record = await call
    assert record.attempts[0].duration == 1_500_000
    assert (record.create_time, record.update_time) == (START, START)


async def test_calls_under_way_are_counted_for_their_provider(outbox: SqliteOutbox) -> None:
    provider = FakeProvider(held=True)
    harness = Harness(outbox, provider=provider)
    calls = [harness.start() for _ in range(3)]
    await provider.calls(3)
    assert gate_in(harness).in_flight == 3
    provider.answer = ValueError("at the end of them all")
    provider.release()
    await asyncio.gather(*calls)
    assert gate_in(harness).in_flight == 0


# Where it goes.


async def test_the_first_of_the_route_sends_or_the_one_that_is_pinned(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first"), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    assert (await harness.send()).attempts[0].provider_name == "first"
    assert (await harness.send(build.command(provider_name="second"))).attempts[0].provider_name == "second"
    assert (len(first.keys), len(second.keys)) == (1, 1)


async def test_a_channel_that_nobody_carries_is_refused_and_told_each_time(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(channels=[Channel.EMAIL]))
    command = build.command(request_id="r")
    for _ in range(2):
        with pytest.raises(InvalidRouting):
            await harness.send(command)
    assert harness.noted.events == [("routing", "sms")] * 2
    assert await harness.kept_of(command) is None
    assert harness.delivery.in_flight == 0


async def test_a_pin_that_cannot_be_kept_is_refused(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    with pytest.raises(InvalidProvider):
        await harness.send(build.command(provider_name="nobody"))
    assert harness.delivery.in_flight == 0


# What is told.


async def test_states_are_told_once_they_are_durable_and_the_attempt_once_it_has_ended(held: Harness) -> None:
    call = held.start()
    await held.provider.calls()
    assert held.noted.events == [("state", "sending")]
    held.provider.release()
    await call
    assert held.noted.events == [("state", "sending"), ("attempt", "success"), ("state", "sent")]


async def test_a_repeat_is_told_to_nobody(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    await harness.send(build.command(request_id="r"))
    reported = list(harness.noted.events)
    await harness.send(build.command(request_id="r"))
    assert harness.noted.events == reported


async def test_the_attempt_keeps_the_trace_it_is_shown_in(outbox: SqliteOutbox) -> None:
    class Tracing(SilentObserver):
        def traceparent(self) -> str:
            return f"00-{'ab' * 16}-{'cd' * 8}-01"

    harness = Harness(outbox, observer=Tracing())
    record = await harness.send()
    assert record.attempts[0].trace_id == "ab" * 16
    assert await harness.kept(record.message_id) == record


# Reading, and limits.


async def test_a_message_is_read_by_its_id(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    record = await harness.send()
    assert await harness.delivery.get(record.message_id, tenant=DEFAULT_TENANT) == record
    with pytest.raises(MessageNotFound):
        await harness.delivery.get(build.new_id(), tenant=DEFAULT_TENANT)


async def test_a_request_id_used_for_another_payload_is_refused(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    await harness.send(build.command(build.sms("one"), request_id="r"))
    others: list[DispatchCommand] = [
        build.command(build.sms("two"), request_id="r"),
        build.command(build.sms("one"), request_id="r", labels={"a": "b"}),
        build.command(build.sms("one"), request_id="r", max_attempts=5),
    ]
    for other in others:
        with pytest.raises(RequestIdReused):
            await harness.send(other)
    assert len(harness.provider.keys) == 1


def test_the_limits_are_those_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "postwire.toml"
    file.write_text(
        '[server]\nmax_wait = "7s"\nmax_in_flight = 3\nmax_message_bytes = 1000\n'
        "[store]\nmax_unsettled = 9\nmax_unsettled_per_queue = 8\nmax_scheduled = 7\n"
        'retention = "2d"\ncontent_retention = "1h"\n'
        '[audit]\nretention = "3d"\n'
        '[delivery]\nmax_attempts = 3\nbackoff_base = "2s"\nbackoff_max = "1m"\n'
        '[delivery.expire_after]\nsms = "1h"\nmms = "2h"\nemail = "1.5s"\n'
    )
    config = load(path=file, environ={}, kinds=KINDS)
    assert Limits.from_config(config) == Limits(
        max_wait=7.0,
        max_in_flight=3,
        max_in_flight_bytes=8000,
        expire_after={Channel.SMS: build.HOUR, Channel.MMS: 2 * build.HOUR, Channel.EMAIL: 1_500_000},
        retries=Retries(max_attempts=3, backoff_base=2.0, backoff_max=60.0),
        max_unsettled=9,
        max_unsettled_per_queue=8,
        max_scheduled=7,
        retention=48 * build.HOUR,
        content_retention=build.HOUR,
        audit_retention=72 * build.HOUR,
    )


async def test_a_message_expires_as_its_channel_does_unless_it_says_otherwise(outbox: SqliteOutbox) -> None:
    expire_after = {Channel.SMS: 10_000_000, Channel.MMS: 20_000_000, Channel.EMAIL: 30_000_000}
    harness = Harness(outbox, expire_after=expire_after)
    assert (await harness.send()).expire_time == START + 10_000_000
    assert (await harness.send(build.command(build.email()))).expire_time == START + 30_000_000
    assert (await harness.send(build.command(expire_time=START + 5_000_000))).expire_time == START + 5_000_000

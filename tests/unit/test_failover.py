"""A pass of a message along its route: who is tried, in what order, and what is on disk meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.gates import fail
from tests.support.harness import Harness, Noted
from tests.support.providers import FakeProvider, gate_of, registry_of, route

from postwire.core.breaker import BreakerSettings
from postwire.core.message import Channel, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
ERROR, LIMITED = DispatchResult(Outcome.ERROR, error_code="500"), DispatchResult(Outcome.RATE_LIMITED)
REJECTED, MAYBE = DispatchResult(Outcome.REJECTED), DispatchResult(Outcome.UNCERTAIN)


def tried(record: MessageRecord) -> list[tuple[int, str, str]]:
    """Each attempt's number, provider and outcome."""
    return [(one.number, one.provider_name, one.outcome.value if one.outcome else "open") for one in record.attempts]


@pytest.mark.parametrize("answer", [ERROR, LIMITED], ids=lambda answer: str(answer.outcome.value))
async def test_where_one_surely_has_not_sent_it_the_next_does_within_the_same_call(
    outbox: SqliteOutbox, answer: DispatchResult
) -> None:
    first, second = FakeProvider("first", answer=answer), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send()
    assert record.state is SENT
    assert tried(record) == [(1, "first", answer.outcome.value), (2, "second", "success")]
    assert first.keys == second.keys == [record.message_id], "each by the same key"
    assert await harness.kept(record.message_id) == record
    await harness.calm()
    assert harness.left() == []


@pytest.mark.parametrize(
    "answer", [MAYBE, ValueError("its code fails"), REJECTED], ids=["uncertain", "fault", "rejected"]
)
async def test_where_it_may_have_been_sent_or_never_will_be_nobody_else_is_asked(
    outbox: SqliteOutbox, answer: DispatchResult | Exception
) -> None:
    first, second = FakeProvider("first", answer=answer), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send()
    assert record.state is (MessageState.FAILED if answer is REJECTED else QUEUED)
    await harness.calm()
    assert (len(first.keys), len(second.keys)) == (1, 0)
    assert harness.left() == []


async def test_what_is_uncertain_may_go_elsewhere_only_in_a_later_pass(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answers=[MAYBE, ERROR]), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send()
    assert second.keys == []
    harness.clock.advance(1.0)
    await harness.noted.reached(record.message_id, SENT)
    kept = await harness.kept(record.message_id)
    assert tried(kept) == [(1, "first", "uncertain"), (2, "first", "error"), (3, "second", "success")]


class Counting:
    """An outbox that keeps all changes it was asked for."""

    def __init__(self, inner: SqliteOutbox) -> None:
        self._inner = inner
        self.changes: list[tuple[MessageRecord, MessageRecord]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def advance(self, before: MessageRecord, after: MessageRecord, *tried: Any, **reported: Any) -> Any:
        self.changes.append((before, after))
        return self._inner.advance(before, after, *tried, **reported)


async def test_one_attempt_is_closed_and_the_next_opened_in_one_commit_before_its_provider_is_asked(
    outbox: SqliteOutbox,
) -> None:
    seen: list[MessageRecord] = []

    async def look(key: str) -> None:
        seen.append(await harness.kept(key))

    counting = Counting(outbox)
    first, second = FakeProvider("first", answer=ERROR), FakeProvider("second", meanwhile=look)
    harness = Harness(counting, registry=registry_of(first, second))  # type: ignore[arg-type]  # the rest is the real one's
    await harness.send()
    (found,) = seen
    assert found.state is SENDING
    assert tried(found) == [(1, "first", "error"), (2, "second", "open")]
    assert found.attempts[0].error_code == "500"
    failover, end = counting.changes
    assert tried(failover[0]) == [(1, "first", "open")]
    assert tried(failover[1]) == tried(found)
    assert end[1].state is SENT


async def test_nobody_is_tried_twice_in_a_pass_and_everybody_again_in_the_next(outbox: SqliteOutbox) -> None:
    providers = [FakeProvider(name, answer=ERROR) for name in ("a", "b", "c")]
    harness = Harness(outbox, registry=registry_of(*providers))
    record = await harness.send(build.command(max_attempts=6))
    assert record.state is QUEUED
    assert tried(record) == [(1, "a", "error"), (2, "b", "error"), (3, "c", "error")]
    await harness.calm()
    assert [len(one.keys) for one in providers] == [1, 1, 1]
    harness.clock.advance(4.0)
    await harness.noted.reached(record.message_id, MessageState.FAILED)
    kept = await harness.kept(record.message_id)
    assert [name for _, name, _ in tried(kept)] == ["a", "b", "c"] * 2


@pytest.mark.parametrize(("allowed", "outcomes"), [
    (1, ["rate_limited", "error"]),
    (2, ["rate_limited", "error", "error"]),
    (3, ["rate_limited", "error", "error", "success"]),
])  # fmt: skip
async def test_attempts_are_counted_over_providers_but_for_those_that_were_throttled(
    outbox: SqliteOutbox, allowed: int, outcomes: list[str]
) -> None:
    answers = [LIMITED, ERROR, ERROR, build.SUCCESS]
    providers = [FakeProvider(name, answer=answer) for name, answer in zip("abcd", answers, strict=True)]
    harness = Harness(outbox, registry=registry_of(*providers))
    record = await harness.send(build.command(max_attempts=allowed))
    assert [outcome for _, _, outcome in tried(record)] == outcomes
    assert record.state is (SENT if allowed == 3 else MessageState.FAILED)


async def test_the_servers_limit_holds_where_the_caller_has_none(outbox: SqliteOutbox) -> None:
    providers = [FakeProvider(name, answer=ERROR) for name in "abcdefg"]
    record = await Harness(outbox, registry=registry_of(*providers)).send()
    assert record.state is MessageState.FAILED
    assert len(record.attempts) == 5


async def test_doors_that_are_closed_are_passed_over(outbox: SqliteOutbox) -> None:
    clock = ManualClock()
    gates = {name: gate_of(name, breaker=BreakerSettings(minimum_calls=1)) for name in "abcd"}
    fail(gates["b"], 1, clock.monotonic())
    gates["c"].cool_down(clock.monotonic(), 60.0)
    providers = [FakeProvider("a", answer=LIMITED), FakeProvider("b"), FakeProvider("c"), FakeProvider("d")]
    harness = Harness(outbox, registry=registry_of(*providers, gates=gates), clock=clock)
    record = await harness.send()
    assert tried(record) == [(1, "a", "rate_limited"), (2, "d", "success")]
    assert [what for event, what in harness.noted.events if event == "passed over"] == ["b open", "c cooling_down"]


async def test_one_at_its_limit_is_not_waited_for_in_the_middle_of_a_pass(outbox: SqliteOutbox) -> None:
    """Else a message would hold room for as long as that takes. It comes again after backoff."""
    first = FakeProvider("first", answers=[ERROR])
    second = FakeProvider("second", held=True)
    harness = Harness(
        outbox, registry=registry_of(first, second, gates={"second": gate_of("second", max_concurrent=1)})
    )
    busy = harness.start(build.command(provider_name="second"))
    await second.calls()
    record = await harness.send()
    assert record.state is QUEUED
    assert record.next_attempt_time is not None
    assert START < record.next_attempt_time <= START + 1_000_000
    harness.clock.advance(1.0)
    await harness.noted.reached(record.message_id, SENT)
    second.release()
    assert (await busy).state is SENT


async def test_past_its_time_it_is_offered_to_nobody_else(outbox: SqliteOutbox) -> None:
    clock = ManualClock()

    async def slow(_: str) -> None:
        clock.advance(2.0)

    first, second = FakeProvider("first", answer=ERROR, meanwhile=slow), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second), clock=clock)
    await harness.boot()
    record = await harness.send(build.command(expire_time=START + 1_000_000))
    await harness.noted.reached(record.message_id, MessageState.EXPIRED)
    kept = await harness.kept(record.message_id)
    assert tried(kept) == [(1, "first", "error")]
    assert second.keys == []
    states = [what for event, what in harness.noted.events if event == "state"]
    assert states == ["sending", "queued", "expired"], "nor is an attempt opened"
    assert kept.update_time == START + 2_000_000
    await harness.calm()
    assert harness.left() == []


async def test_a_pinned_provider_is_the_only_one(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answer=ERROR), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send(build.command(provider_name="first"))
    assert (record.state, record.queue) == (QUEUED, "@first")
    first.answer = build.SUCCESS
    harness.clock.advance(1.0)
    await harness.noted.reached(record.message_id, SENT)
    assert second.keys == []


async def test_each_channel_has_a_route_of_its_own(outbox: SqliteOutbox) -> None:
    phone, post = FakeProvider("phone", answer=ERROR), FakeProvider("post")
    routes = {Channel.SMS: [route("phone")], Channel.EMAIL: [route("phone", "post", key="email")]}
    harness = Harness(outbox, registry=registry_of(phone, post, routes=routes))
    assert (await harness.send()).state is QUEUED
    assert (await harness.send(build.command(build.email()))).attempts[-1].provider_name == "post"


async def test_those_who_watch_are_told_in_order(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answers=[ERROR]), FakeProvider("second", answer=LIMITED)
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send()
    assert harness.noted.events == [
        ("state", "sending"),
        ("attempt", "error"),
        ("state", "sending"),
        ("attempt", "rate_limited"),
        ("state", "queued"),
    ]
    harness.noted.events.clear()
    harness.clock.advance(2.0)
    await harness.noted.reached(record.message_id, SENT)
    await harness.calm()
    assert harness.noted.events == [
        ("delivery", "started"),
        ("state", "sending"),
        ("attempt", "success"),
        ("state", "sent"),
        ("delivery", "ended"),
    ]


async def test_those_who_watch_hear_of_an_attempts_end_at_once_and_of_states_when_they_are_durable(
    outbox: SqliteOutbox,
) -> None:
    first, second = FakeProvider("first", answer=ERROR), FakeProvider("second", held=True)
    harness = Harness(outbox, registry=registry_of(first, second))
    call = harness.start()
    await second.calls()
    assert harness.noted.events == [("state", "sending"), ("attempt", "error"), ("state", "sending")]
    second.release()
    await call
    assert harness.noted.events[3:] == [("attempt", "success"), ("state", "sent")]


async def test_every_attempt_of_a_pass_is_shown_in_the_same_trace(outbox: SqliteOutbox) -> None:
    class Tracing(Noted):
        count = 0

        def traceparent(self) -> str:
            return f"00-{self.count:032x}-{'cd' * 8}-01"

        def delivery_started(self, accept_trace: str) -> None:
            self.count += 1

    first, second = FakeProvider("first", answers=[ERROR]), FakeProvider("second", answer=ERROR)
    noted = Tracing()
    harness = Harness(outbox, registry=registry_of(first, second), observer=noted)
    record = await harness.send()
    harness.clock.advance(2.0)
    await noted.reached(record.message_id, SENT)
    kept = await harness.kept(record.message_id)
    assert [int(one.trace_id, 16) for one in kept.attempts] == [0, 0, 1]
    handed_over = [*first.traceparents[:1], *second.traceparents, *first.traceparents[1:]]
    assert [one[3:35] for one in handed_over] == [one.trace_id for one in kept.attempts]


async def test_many_at_once_all_fail_over(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answer=LIMITED), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    records = await asyncio.gather(*(harness.send() for _ in range(200)))
    assert {record.state for record in records} == {SENT}
    assert len(set(second.keys)) == len(second.keys) == 200
    await harness.calm()
    assert harness.left() == []

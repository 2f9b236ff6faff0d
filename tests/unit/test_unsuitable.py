"""Messages that some of their route's providers cannot carry, at all or to some recipients alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import build
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, Unsuitable, gate_of, registry_of

from postwire.core.errors import InvalidMessage
from postwire.core.message import DEFAULT_TENANT, Email, MessageState, OutboundMessage
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT, FAILED = MessageState.QUEUED, MessageState.SENT, MessageState.FAILED
UNCERTAIN = MessageState.UNCERTAIN


def apart(*outcomes: Outcome) -> DispatchResult:
    return DispatchResult(worst(outcomes), recipients=tuple(map(RecipientResult, outcomes)))


def email(count: int, **options: Any) -> Any:
    return build.command(build.email(*(f"{i}@example.com" for i in range(count))), **options)


def whole_only(*names: str) -> Unsuitable:
    """These cannot send to some of the recipients alone."""
    return lambda message, positions: () if positions is None else names


def at_most(count: int, *names: str) -> Unsuitable:
    def unsuitable(message: OutboundMessage, positions: tuple[int, ...] | None) -> tuple[str, ...]:
        assert isinstance(message.content, Email)
        left = len(message.content.recipients) if positions is None else len(positions)
        return names if left > count else ()

    return unsuitable


async def test_who_cannot_carry_a_message_is_left_out_and_no_attempt_is_made_at_it(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first"), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second, unsuitable=at_most(2, "first")))
    assert (await harness.send(email(3))).attempts[0].provider_name == "second"
    assert (await harness.send(email(2))).attempts[0].provider_name == "first"
    one, other = harness.delivery.explain(email(3)).candidates
    assert (one.provider_name, one.tier, one.obstacle) == ("first", 1, Obstacle.UNSUITABLE)
    assert (other.provider_name, other.tier, other.obstacle) == ("second", 2, None)


async def test_what_nobody_can_carry_is_refused_unless_it_was_accepted_before(outbox: SqliteOutbox) -> None:
    whom: list[str] = []
    registry = registry_of(FakeProvider("first"), FakeProvider("second"), unsuitable=lambda message, positions: whom)
    harness = Harness(outbox, registry=registry)
    command = email(3, request_id="r-1")
    record = await harness.send(command)
    whom += ["first", "second"]
    with pytest.raises(InvalidMessage) as caught:
        await harness.send(email(3))
    assert [one.field for one in caught.value.violations] == ["message"]
    assert await harness.send(command) == record


async def test_where_nobody_can_carry_it_a_route_is_explained_all_the_same(outbox: SqliteOutbox) -> None:
    harness = Harness(
        outbox, registry=registry_of(FakeProvider("first"), unsuitable=lambda message, positions: ["first"])
    )
    explained = harness.delivery.explain(email(3))
    assert [(one.provider_name, one.obstacle) for one in explained.candidates] == [("first", Obstacle.UNSUITABLE)]
    assert explained.route.key == "email"
    pinned = replace(email(3), options=replace(email(3).options, provider_name="first"))
    assert harness.delivery.explain(pinned).candidates[0].obstacle is Obstacle.UNSUITABLE


async def test_what_waits_for_others_does_so_apart_from_what_anybody_carries(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first"), FakeProvider("second")
    gates = {name: gate_of(name) for name in ("first", "second")}
    harness = Harness(outbox, registry=registry_of(first, second, gates=gates, unsuitable=at_most(2, "first")))
    for gate in gates.values():
        gate.breaker.force_open(0.0)
    large, small = await harness.send(email(3)), await harness.send(email(2))
    assert (large.state, small.state) == (QUEUED, QUEUED)
    gates["first"].breaker.resume(0.0)
    await harness.noted.reached(small.message_id, SENT)
    await harness.calm()
    assert first.keys == [small.message_id]
    gates["second"].breaker.resume(0.0)
    await harness.noted.reached(large.message_id, SENT)
    assert second.keys == [large.message_id]
    await harness.calm()
    assert harness.left() == []


async def test_those_who_are_left_go_to_one_that_can_send_to_them_alone(outbox: SqliteOutbox) -> None:
    success, error = Outcome.SUCCESS, Outcome.ERROR
    first, second = FakeProvider("first", answer=apart(success, error, error)), FakeProvider("second")
    third = FakeProvider("third")
    harness = Harness(outbox, registry=registry_of(first, second, third, unsuitable=whole_only("first", "second")))
    record = await harness.send(email(3))
    assert record.state is SENT
    assert (second.keys, third.positions) == ([], [(1, 2)])


async def test_who_cannot_carry_all_may_carry_those_who_are_left(outbox: SqliteOutbox) -> None:
    success, error = Outcome.SUCCESS, Outcome.ERROR
    small, large = FakeProvider("small"), FakeProvider("large", answer=apart(success, error, error))
    harness = Harness(outbox, registry=registry_of(small, large, unsuitable=at_most(2, "small")))
    record = await harness.send(email(3))
    assert [one.provider_name for one in record.attempts] == ["large", "small"]
    assert record.state is SENT


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.UNCERTAIN, Outcome.DEFERRED])
async def test_where_nobody_can_send_to_those_who_are_left_that_is_the_end_for_them(
    outbox: SqliteOutbox, outcome: Outcome
) -> None:
    only = FakeProvider("only", answer=apart(Outcome.SUCCESS, outcome))
    harness = Harness(outbox, registry=registry_of(only, unsuitable=whole_only("only")))
    record = await harness.send(email(2))
    state = UNCERTAIN if outcome is Outcome.UNCERTAIN else FAILED
    assert (record.state, [one.state for one in record.recipients]) == (state, [SENT, state])
    assert [one.error_code for one in record.recipients] == ["", "unsuitable"]
    assert len(only.keys) == 1


async def test_whoever_is_granted_a_message_that_it_cannot_carry_any_more_passes_it_on(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answer=apart(Outcome.SUCCESS, Outcome.ERROR)), FakeProvider("second")
    gates = {name: gate_of(name) for name in ("first", "second")}
    harness = Harness(outbox, registry=registry_of(first, second, gates=gates, unsuitable=whole_only("first")))
    gates["second"].breaker.force_open(0.0)
    record = await harness.send(email(2))
    assert (record.state, [one.state for one in record.recipients]) == (QUEUED, [SENT, QUEUED])
    gates["second"].breaker.resume(0.0)
    harness.clock.advance(300.0)
    await harness.noted.reached(record.message_id, SENT)
    kept = await harness.kept(record.message_id)
    assert [(one.number, one.provider_name) for one in kept.attempts] == [(1, "first"), (2, "second")]
    assert (len(first.keys), second.positions) == (1, [(1,)])
    await harness.calm()
    assert harness.left() == []


async def test_those_who_are_left_wait_for_whoever_can_send_to_them(outbox: SqliteOutbox) -> None:
    first, second = FakeProvider("first", answer=apart(Outcome.SUCCESS, Outcome.ERROR)), FakeProvider("second")
    gates = {name: gate_of(name) for name in ("first", "second")}
    harness = Harness(outbox, registry=registry_of(first, second, gates=gates, unsuitable=whole_only("first")))
    gates["second"].breaker.force_open(0.0)
    record = await harness.send(email(2))
    kept = await harness.kept(record.message_id)
    assert (kept.state, kept.queue) != (QUEUED, "email")
    assert harness.delivery.queue_depths["email"] == 1
    gates["first"].breaker.force_open(0.0)  # which is none of its business any more
    harness.clock.advance(300.0)
    await harness.calm()
    gates["second"].breaker.resume(0.0)
    await harness.noted.reached(record.message_id, SENT)
    await harness.calm()
    assert harness.left() == []
    assert harness.delivery.queue_depths["email"] == 0


async def test_code_that_fails_at_those_who_are_left_strands_nobody(outbox: SqliteOutbox) -> None:
    def fails(message: OutboundMessage, positions: tuple[int, ...] | None) -> tuple[str, ...]:
        if positions is not None:
            raise ValueError("of its own")
        return ()

    provider = FakeProvider("first", answers=[apart(Outcome.SUCCESS, Outcome.ERROR)])
    harness = Harness(outbox, registry=registry_of(provider, unsuitable=fails))
    record = await harness.send(email(2))
    harness.clock.advance(300.0)
    await harness.noted.reached(record.message_id, SENT)


async def test_code_that_fails_leaves_nobody_out(outbox: SqliteOutbox) -> None:
    def fails(message: OutboundMessage, positions: tuple[int, ...] | None) -> tuple[str, ...]:
        raise ValueError("of its own")

    faults: list[Exception] = []
    registry = registry_of(FakeProvider("first"), unsuitable=fails)
    registry._on_fault = faults.append
    harness = Harness(outbox, registry=registry)
    assert (await harness.send()).state is SENT
    assert [type(fault) for fault in faults] == [ValueError]


@pytest.mark.parametrize("pinned", [None, "first"])
async def test_what_nobody_can_carry_after_a_boot_waits_until_somebody_can(
    outbox: SqliteOutbox, pinned: str | None
) -> None:
    def boot(unsuitable: Unsuitable) -> Harness:
        gates = {name: gate_of(name) for name in ("first", "second")}
        providers = FakeProvider("first"), FakeProvider("second")
        harness = Harness(outbox, registry=registry_of(*providers, gates=gates, unsuitable=unsuitable))
        for gate in gates.values():
            gate.breaker.force_open(0.0)
        return harness

    before = boot(at_most(3))
    if pinned is None:  # in a queue that the next boot does not know
        before = boot(at_most(2, "second"))
    await before.boot()
    record = await before.send(email(3, provider_name=pinned))
    await before.drain(0.0)
    if pinned:  # its queue is known: it is looked at where providers have changed as well
        await outbox.keep_metadata("routes", "")

    for _ in range(2):
        none = boot(at_most(2, "first", "second"))
        await none.boot()
        kept = await none.kept(record.message_id)
        assert (kept.state, kept.queue, kept.revision) == (QUEUED, f"{'@first' if pinned else 'email'}/unsuitable", 1)
        assert (await none.delivery.get(record.message_id, tenant=DEFAULT_TENANT)).next_attempt_time is None
        await none.drain(0.0)

    after = boot(at_most(3))
    await after.boot()
    for name in ("first", "second"):
        after.registry.entry(name).gate.breaker.resume(0.0)
    await after.noted.reached(record.message_id, SENT)
    assert (await after.kept(record.message_id)).attempts[0].provider_name == "first"

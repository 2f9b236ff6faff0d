"""What is kept of changes that operators make: in the commit of each, or before it where it is in memory only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.gates import fail
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of

from postwire.core import lifecycle
from postwire.core.audit import AuditEvent, AuditFilter
from postwire.core.breaker import BreakerState
from postwire.core.errors import MessageNotFound, ProviderDrained, StoreUnavailable
from postwire.core.message import Channel, DeliveryGuarantee, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL, Principal, Role
from postwire.delivery import Control
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.base import Context
from postwire.providers.mock import MockProvider, MockSettings

OPERATOR = Principal("acme", "ops", frozenset({Role.OPERATE}))
HOUR = 3_600_000_000


async def events_of(outbox: SqliteOutbox) -> Sequence[AuditEvent]:
    """Oldest first."""
    return (await outbox.events(AuditFilter(), 100, None)).events[::-1]


def steering(outbox: SqliteOutbox) -> tuple[MockProvider, Control, BreakerState]:
    """A mock `m` whose breaker is open, and its control."""
    mock = MockProvider(Context("m", (Channel.SMS,), lambda: 7), MockSettings())
    registry, clock = registry_of(mock), ManualClock()
    fail(registry.entry("m").gate, 10, clock.monotonic())
    return mock, Control(registry=registry, outbox=outbox, clock=clock), BreakerState.OPEN


async def test_a_message_that_is_taken_back_has_its_event_once(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider())
    record = await harness.send(build.command(send_time=START + HOUR, wait_for=WaitFor.ACCEPTANCE))
    for reason in ("wrong list of ada@example.com", "again"):
        await harness.delivery.cancel(record.message_id, reason, by=LOCAL)
    with pytest.raises(MessageNotFound):
        await harness.delivery.cancel(record.message_id, by=OPERATOR)
    (event,) = await events_of(outbox)
    method = "postwire.v1.DispatchService/CancelMessage"
    assert event == AuditEvent(START, "default", "local", method, record.message_id, "OK", "wrong list of (address)")


async def test_so_has_one_that_is_resolved(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider())
    harness.provider.answers = [DispatchResult(Outcome.UNCERTAIN)]
    record = await harness.send(build.command(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE))
    assert record.state is MessageState.UNCERTAIN
    await harness.delivery.resolve(record.message_id, sent=True, reason="in their log", by=LOCAL)
    (event,) = await events_of(outbox)
    assert (event.method, event.target) == ("postwire.v1.DispatchService/ResolveMessage", record.message_id)
    assert event.reason == "in their log"


async def test_what_was_done_to_a_provider_is_kept_and_what_was_not_leaves_no_trace(outbox: SqliteOutbox) -> None:
    _, control, _ = steering(outbox)
    await control.drain("m", "ticket 1", by=OPERATOR)
    await control.drain("m", by=OPERATOR)
    with pytest.raises(ProviderDrained):
        await control.reset("m", by=OPERATOR)
    await control.resume("m", by=OPERATOR)
    await control.resume("m", by=OPERATOR)
    await control.reset("m", "they are back", by=LOCAL)
    with pytest.raises(ValueError, match="at most 1"):
        await control.update_mock("m", {"error_ratio": 0.9, "rejected_ratio": 0.9}, by=OPERATOR)
    await control.update_mock("m", {"error_ratio": 0.9}, by=OPERATOR)
    events = await events_of(outbox)
    assert {(one.time, one.tenant, one.target, one.result) for one in events} == {(START, "", "m", "OK")}
    assert [(one.method.rpartition("/")[2], one.principal, one.reason) for one in events] == [
        ("DrainProvider", "acme/ops", "ticket 1"),
        ("ResumeProvider", "acme/ops", ""),
        ("ResetBreaker", "local", "they are back"),
        ("UpdateMockProvider", "acme/ops", ""),
    ]


async def test_neither_a_change_nor_its_event_is_kept_without_the_other(outbox: SqliteOutbox) -> None:
    """They are of one transaction: an event that the store does not take undoes what it is about, and
    nothing else."""
    harness = Harness(outbox, provider=FakeProvider())
    of = [build.command(send_time=START + HOUR, wait_for=WaitFor.ACCEPTANCE) for _ in range(2)]
    first, second = [await harness.kept((await harness.send(one)).message_id) for one in of]
    bad: Any = AuditEvent(START, "default", "local", "m", reason=None)  # type: ignore[arg-type]  # which no row takes
    good = AuditEvent(START, "default", "local", "m", second.message_id)
    writes = (
        outbox.advance(first, lifecycle.cancel(first, now=START), event=bad),
        outbox.advance(second, lifecycle.cancel(second, now=START), event=good),
        outbox.set_drained("m", True, None, bad),
        outbox.erase([], "default", good),
    )
    done = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(one, Exception) for one in done] == [True, False, True, False]
    assert await harness.kept(first.message_id) == first
    assert (await harness.kept(second.message_id)).state is MessageState.CANCELLED
    assert await outbox.provider_states() == {}
    assert await events_of(outbox) == (good,)


Act = Callable[[Control], Coroutine[Any, Any, object]]
RESET: Act = lambda control: control.reset("m", by=LOCAL)  # noqa: E731  as those below
UPDATE: Act = lambda control: control.update_mock("m", {"latency": 1.0}, by=LOCAL)  # noqa: E731


@pytest.mark.parametrize("act", [RESET, UPDATE], ids=["reset", "update"])
async def test_what_is_in_memory_only_is_not_done_if_it_cannot_be_kept(outbox: SqliteOutbox, act: Act) -> None:
    mock, control, state = steering(outbox)
    await outbox.close()
    with pytest.raises(StoreUnavailable):
        await act(control)
    assert (control.get("m").breaker.state, mock.settings.latency) == (state, 0.0)


@pytest.mark.parametrize("act", [RESET, UPDATE], ids=["reset", "update"])
async def test_what_was_begun_is_done_though_the_caller_hangs_up(outbox: SqliteOutbox, act: Act) -> None:
    mock, control, state = steering(outbox)
    call = asyncio.create_task(act(control))
    await asyncio.sleep(0)  # it has begun
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.gather(*control.under_way)
    assert len(await events_of(outbox)) == 1
    assert (control.get("m").breaker.state, mock.settings.latency) != (state, 0.0)


async def test_two_updates_at_once_are_checked_one_after_the_other(outbox: SqliteOutbox) -> None:
    mock, control, _ = steering(outbox)
    done = await asyncio.gather(
        *(control.update_mock("m", {name: 0.9}, by=LOCAL) for name in ("error_ratio", "rejected_ratio")),
        return_exceptions=True,
    )
    assert [isinstance(one, ValueError) for one in done] == [False, True]
    assert (mock.settings.error_ratio, mock.settings.rejected_ratio) == (0.9, 0.0)
    assert len(await events_of(outbox)) == 1


async def test_a_reset_leaves_alone_what_was_drained_meanwhile(outbox: SqliteOutbox) -> None:
    _, control, _ = steering(outbox)
    await asyncio.gather(control.reset("m", by=LOCAL), control.drain("m", by=LOCAL))
    assert control.get("m").breaker.state is BreakerState.FORCED_OPEN

"""What a boot makes of what the one before has left: open attempts, and providers that are drained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of

from postwire.core import backoff
from postwire.core.breaker import BreakerState
from postwire.core.message import (
    DEFAULT_TENANT,
    DeliveryGuarantee,
    DispatchCommand,
    MessageState,
    RecipientStatus,
    WaitFor,
)
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.core.splitmix import stream
from postwire.delivery import Control
from postwire.maintenance import orphans
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT
UNCERTAIN, EXPIRED = MessageState.UNCERTAIN, MessageState.EXPIRED
ONCE = DeliveryGuarantee.AT_MOST_ONCE


async def leave(
    outbox: SqliteOutbox,
    command: DispatchCommand | None = None,
    provider_name: str = "sms-mms",
    tenant: str = DEFAULT_TENANT,
) -> str:
    """Have a message in the store that no task of this process carries, with an attempt open or waiting; its id."""
    command = command or build.command()
    record = replace(build.accepted(command, provider_name=provider_name), tenant=tenant)
    await outbox.accept(build.new_message(command, record=record))
    return record.message_id


async def boot(harness: Harness) -> None:
    await harness.boot()


# Attempts that were open.


async def test_an_attempt_that_was_open_is_uncertain_and_its_message_waits(outbox: SqliteOutbox) -> None:
    left = await leave(outbox)
    harness = Harness(outbox, provider=FakeProvider("sms-mms"), seed=9)
    await boot(harness)
    kept = await harness.kept(left)
    assert (kept.state, len(kept.attempts)) == (QUEUED, 1)
    attempt = kept.attempts[0]
    assert (attempt.outcome, attempt.error_code, attempt.duration) == (Outcome.UNCERTAIN, "orphaned", None)
    assert harness.noted.events[0] == ("state", "queued"), "and who counts states is told"
    draw = stream(9, "backoff").next_unit()
    assert kept.next_attempt_time == START + int(backoff.delay(1, base=1.0, most=300.0, draw=draw) * 1e6)
    (entry,) = harness.registry
    assert entry.gate.breaker.snapshot(harness.clock.monotonic()).calls == 0, "it says nothing of the provider"
    harness.clock.advance(1.0)
    await harness.noted.reached(left, SENT)
    assert harness.provider.keys == [left]


@pytest.mark.parametrize(
    "options",
    [{"delivery_guarantee": ONCE}, {"max_attempts": 1}, {"expire_time": START + 1}],
    ids=["at most once", "no attempt left", "no time left"],
)
async def test_an_attempt_that_was_open_leaves_the_message_uncertain_where_none_may_follow(
    outbox: SqliteOutbox, options: Mapping[str, object]
) -> None:
    left = await leave(outbox, build.command(**options))  # type: ignore[arg-type]  # they fit
    harness = Harness(outbox, provider=FakeProvider("sms-mms"))
    harness.clock.advance(1.0)
    await boot(harness)
    assert (await harness.kept(left)).state is UNCERTAIN
    harness.clock.advance(1000.0)
    await harness.calm()
    assert harness.provider.keys == []


async def test_recipients_keep_what_they_had(outbox: SqliteOutbox) -> None:
    command = build.command(build.email("a@a.test", "b@a.test"))
    record = build.accepted(command)
    recipients = (RecipientStatus(0, SENT, Outcome.SUCCESS), RecipientStatus(1, SENDING))
    new = build.new_message(command, record=record)
    await outbox.accept(new)
    after = build.retried(build.ended(record, DispatchResult(Outcome.ERROR)))
    assert await outbox.advance(record, replace(after, recipients=recipients))
    harness = Harness(outbox, provider=FakeProvider("sms-mms"))
    await boot(harness)
    kept = await harness.kept(record.message_id)
    assert kept.recipients == (
        RecipientStatus(0, SENT, Outcome.SUCCESS),
        RecipientStatus(1, QUEUED, Outcome.UNCERTAIN, "orphaned", maybe_sent=True),
    )
    harness.clock.advance(2.0)
    await harness.noted.reached(record.message_id, SENT)
    assert harness.provider.positions == [(1,)]


@pytest.mark.parametrize("wall", [START - 3600_000_000, START, START + 3600_000_000])
async def test_no_clock_is_needed_to_tell_whose_boot_is_over(outbox: SqliteOutbox, wall: int) -> None:
    left = await leave(outbox)
    harness = Harness(outbox, provider=FakeProvider("sms-mms"), clock=ManualClock(wall))
    await boot(harness)
    assert (await harness.kept(left)).attempts[0].outcome is Outcome.UNCERTAIN


async def test_all_of_them_are_let_go_before_the_first_comes_out(outbox: SqliteOutbox) -> None:
    count = 2 * orphans.STEP + 1
    left = [await leave(outbox) for _ in range(count)]
    harness = Harness(outbox, provider=FakeProvider("sms-mms"))
    await boot(harness)
    assert await outbox.orphans(1) == []
    kept = [await harness.kept(one) for one in left]
    assert {record.state for record in kept} == {QUEUED}
    assert len({record.next_attempt_time for record in kept}) > count / 2, "they do not all come back at once"
    assert harness.provider.keys == []


async def test_a_server_that_is_killed_in_mid_send_sends_again_when_it_is_back(tmp_path: Path) -> None:
    path = str(tmp_path / "postwire.db")
    command = build.command(request_id="r")
    first = await SqliteOutbox.open(path)
    before = Harness(first, provider=FakeProvider("sms-mms", held=True))
    await boot(before)
    call = before.start(command)
    await before.provider.calls()
    assert await before.drain(0.0) == 1, "its grace is over"
    assert (await call).state is SENDING
    await first.close()

    second = await SqliteOutbox.open(path)
    after = Harness(second, provider=FakeProvider("sms-mms"))
    await boot(after)
    record = await after.send(build.command(request_id="r", wait_for=WaitFor.ACCEPTANCE))
    assert record.state is QUEUED
    after.clock.advance(1.0)
    await after.noted.reached(record.message_id, SENT)
    kept = await after.kept(record.message_id)
    assert [(one.number, one.outcome) for one in kept.attempts] == [(1, Outcome.UNCERTAIN), (2, Outcome.SUCCESS)]
    assert after.provider.keys == before.provider.keys == [record.message_id], "the vendor can tell that it is the same"
    await after.drain(60.0)
    await second.close()


async def test_what_waits_in_the_store_comes_out_after_a_boot(outbox: SqliteOutbox) -> None:
    command = build.command(send_time=START + 5_000_000)
    waiting = [await leave(outbox, one, provider_name="") for one in (None, command)]
    harness = Harness(outbox)
    await boot(harness)
    await harness.noted.reached(waiting[0], SENT)
    await harness.calm()
    assert harness.provider.keys == waiting[:1]
    harness.clock.advance(5.0)
    await harness.noted.reached(waiting[1], SENT)


async def test_what_has_expired_meanwhile_is_not_sent(outbox: SqliteOutbox) -> None:
    waiting = [await leave(outbox, provider_name="") for _ in range(300)]
    harness = Harness(outbox, clock=ManualClock(START + 5 * build.HOUR))
    await boot(harness)
    for one in waiting:
        await harness.noted.reached(one, EXPIRED)
    assert harness.provider.keys == []
    assert harness.noted.events == [("state", "expired")] * 300, "no attempt was begun"
    assert harness.delivery.backlog.total == 0


async def test_what_was_deferred_waits_for_as_long_after_a_restart(outbox: SqliteOutbox) -> None:
    provider = FakeProvider(answers=[DispatchResult(Outcome.DEFERRED, retry_after=3600.0)])
    before = Harness(outbox, provider=provider)
    record = await before.send()
    await before.drain(0.0)
    assert record.next_attempt_time is not None
    assert record.next_attempt_time >= START + build.HOUR

    after = Harness(outbox, provider=provider, clock=before.clock)
    await boot(after)
    assert (await after.kept(record.message_id)).next_attempt_time == record.next_attempt_time
    after.clock.advance((record.next_attempt_time - START) / 1e6 - 1)
    await after.calm()
    assert len(provider.keys) == 1
    after.clock.advance(1)
    await after.noted.reached(record.message_id, SENT)


async def test_what_any_tenant_has_left_is_gone_on_with(outbox: SqliteOutbox) -> None:
    tenants = ("a", DEFAULT_TENANT, "b")
    later = build.command(send_time=START + 5_000_000)
    orphans = [await leave(outbox, tenant=tenant) for tenant in tenants]
    waiting = [await leave(outbox, provider_name="", tenant=tenant) for tenant in tenants]
    scheduled = [await leave(outbox, later, provider_name="", tenant=tenant) for tenant in tenants]
    expiring = build.command(expire_time=START + 1_000, send_time=START + 500)
    expired = [await leave(outbox, expiring, provider_name="", tenant=tenant) for tenant in tenants]
    harness = Harness(outbox)
    await boot(harness)
    for one in waiting:
        await harness.noted.reached(one, SENT)
    harness.clock.advance(0.002)
    for one in expired:
        await harness.noted.reached(one, EXPIRED)
    for tenant, one in zip(tenants, orphans, strict=True):
        kept = await outbox.get(one, tenant)
        assert kept
        assert [attempt.error_code for attempt in kept.attempts] == ["orphaned"]
    harness.clock.advance(5.0)
    for one in (*scheduled, *orphans):
        await harness.noted.reached(one, SENT)
    await harness.calm()
    assert sorted(harness.provider.keys) == sorted((*orphans, *waiting, *scheduled))
    assert harness.delivery.backlog.total == 0
    for tenant, one in zip(tenants, waiting, strict=True):
        assert [kept.message_id for kept in await outbox.records(waiting, tenant)] == [one]


# Providers that were drained.


async def test_a_provider_that_was_drained_is_so_after_a_restart(outbox: SqliteOutbox) -> None:
    def made() -> tuple[Harness, Control]:
        harness = Harness(outbox, registry=registry_of(FakeProvider("a"), FakeProvider("b")))
        return harness, Control(registry=harness.registry, outbox=outbox, clock=harness.clock)

    before, control = made()
    await control.drain("a", by=LOCAL)
    await before.drain(0.0)

    after, control = made()
    await control.restore()
    await boot(after)
    assert control.get("a").breaker.state is BreakerState.FORCED_OPEN
    assert (await after.send()).attempts[0].provider_name == "b"
    await control.resume("a", by=LOCAL)
    assert (await after.send()).attempts[0].provider_name == "a"

    last, control = made()
    await control.restore()
    assert control.get("a").breaker.state is BreakerState.CLOSED
    await last.drain(0.0)

"""Before every attempt, whoever is suppressed is left out; nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.core.errors import InvalidMessage, StoreUnavailable
from postwire.core.message import DispatchCommand, MessageRecord, MessageState, OutboundMessage, Sms
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.core.principal import LOCAL
from postwire.core.suppression import Suppression, SuppressionReason
from postwire.delivery import NewSuppression
from postwire.delivery.suppressions import Looks
from postwire.outbox.base import Accepted, NewMessage
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENDING, SENT, FAILED, UNCERTAIN = (
    MessageState.QUEUED,
    MessageState.SENDING,
    MessageState.SENT,
    MessageState.FAILED,
    MessageState.UNCERTAIN,
)
NUMBER = build.sms().to


def email(count: int, **options: Any) -> DispatchCommand:
    return build.command(build.email(*(f"{i}@example.com" for i in range(count))), **options)


async def suppress(harness: Harness, *addresses: str, **fields: Any) -> None:
    await harness.suppressions.add([NewSuppression(one, **fields) for one in addresses], LOCAL)


def is_suppressed(record: MessageRecord, state: MessageState = FAILED, attempts: int = 0) -> bool:
    return (record.state, len(record.attempts), record.error_code) == (state, attempts, "suppressed")


async def test_nothing_is_sent_to_somebody_suppressed(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    await suppress(harness, NUMBER)
    assert is_suppressed(await harness.send(build.command()))
    assert harness.provider.keys == []
    assert harness.noted.events == [("state", "failed")]
    assert harness.delivery.queue_depths["sms"] == 0
    await harness.suppressions.remove([NUMBER], LOCAL)
    assert (await harness.send(build.command())).state is SENT


async def test_the_slot_that_was_taken_for_it_is_given_back(outbox: SqliteOutbox) -> None:
    provider, gate = FakeProvider("p"), gate_of("p", max_concurrent=1)
    harness = Harness(outbox, registry=registry_of(provider, gates={"p": gate}))
    await suppress(harness, NUMBER)
    for _ in range(3):
        assert is_suppressed(await harness.send(build.command()))
    await harness.suppressions.remove([NUMBER], LOCAL)
    assert (await harness.send(build.command())).state is SENT
    assert gate.in_flight == 0
    assert gate.breaker.snapshot(harness.clock.monotonic()).calls == 1, "no verdict, either"


async def test_of_an_email_the_others_have_theirs(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    await suppress(harness, "1@example.com")
    record = await harness.send(email(3))
    assert [one.state for one in record.recipients] == [SENT, FAILED, SENT]
    assert (record.state, len(record.attempts)) == (FAILED, 1)
    assert harness.provider.positions == [(0, 2)]
    await suppress(harness, "0@example.com", "2@EXAMPLE.com")
    assert is_suppressed(await harness.send(email(3)))


async def test_the_sender_counts(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    await suppress(harness, NUMBER, sender=harness.provider.name)
    assert is_suppressed(await harness.send(build.command()))
    other = build.command(Sms(NUMBER, "Hi", sender="+15005550009"))
    assert (await harness.send(other)).state is SENT
    await suppress(harness, NUMBER, sender="+15005550009", reason=SuppressionReason.OPT_OUT)
    assert is_suppressed(await harness.send(other))


async def test_whoever_is_suppressed_before_a_retry_gets_none(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=DispatchResult(Outcome.ERROR)))
    await harness.boot()
    record = await harness.send(build.command())
    assert (record.state, len(record.attempts)) == (QUEUED, 1)
    await suppress(harness, NUMBER)
    harness.clock.advance(600)
    harness.delivery.wake()
    await harness.noted.reached(record.message_id, FAILED)
    kept = await harness.delivery.get(record.message_id, record.tenant)
    assert is_suppressed(kept, attempts=1)
    assert len(harness.provider.keys) == 1
    assert kept.attempts[-1].outcome is Outcome.ERROR
    await harness.calm()
    assert harness.delivery.queue_depths["sms"] == 0


async def test_what_may_have_been_sent_is_uncertain(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider(answer=DispatchResult(Outcome.UNCERTAIN)))
    await harness.boot()
    record = await harness.send(build.command())
    assert record.state is QUEUED
    await suppress(harness, NUMBER)
    harness.clock.advance(600)
    harness.delivery.wake()
    await harness.noted.reached(record.message_id, UNCERTAIN)
    assert is_suppressed(await harness.delivery.get(record.message_id, record.tenant), UNCERTAIN, attempts=1)


async def test_the_first_of_all_counts_for_what_is_about_to_be_accepted(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(outbox)
    accept = outbox.accept

    async def accept_late(new: NewMessage) -> Accepted:
        await suppress(harness, NUMBER)
        return await accept(new)

    monkeypatch.setattr(outbox, "accept", accept_late)
    assert is_suppressed(await harness.send(build.command()))
    assert harness.provider.keys == []


async def test_the_next_provider_is_not_asked_either(outbox: SqliteOutbox) -> None:
    async def meanwhile(_: str) -> None:
        await suppress(harness, NUMBER)

    first = FakeProvider("first", answer=DispatchResult(Outcome.ERROR), meanwhile=meanwhile)
    second = FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    assert is_suppressed(await harness.send(build.command()), attempts=1)
    assert second.keys == []


async def test_of_an_email_those_who_are_left_go_on(outbox: SqliteOutbox) -> None:
    async def meanwhile(_: str) -> None:
        await suppress(harness, "0@example.com", "2@example.com")

    outcomes = (Outcome.SUCCESS, Outcome.ERROR, Outcome.ERROR)
    result = DispatchResult(worst(outcomes), recipients=tuple(map(RecipientResult, outcomes)))
    first, second = FakeProvider("first", answer=result, meanwhile=meanwhile), FakeProvider("second")
    harness = Harness(outbox, registry=registry_of(first, second))
    record = await harness.send(email(3))
    assert [one.state for one in record.recipients] == [SENT, SENT, FAILED]
    assert second.positions == [(1,)]
    assert [one.number for one in record.attempts] == [1, 2]
    assert record.attempts[-1].provider_name == "second"


async def test_whoever_may_ignore_it_does(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, allow_ignore_suppression=True)
    await suppress(harness, NUMBER)
    assert (await harness.send(build.command(ignore_suppression=True))).state is SENT
    assert is_suppressed(await harness.send(build.command()))


async def test_it_can_be_ignored_only_where_that_is_allowed(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    with pytest.raises(InvalidMessage) as caught:
        await harness.send(build.command(ignore_suppression=True))
    with pytest.raises(InvalidMessage) as explained:
        harness.delivery.explain(build.command(ignore_suppression=True))
    for refused in (caught.value, explained.value):
        assert [one.field for one in refused.violations] == ["options.ignore_suppression"]


async def test_where_it_cannot_be_found_out_nothing_is_sent_and_the_message_waits(outbox: SqliteOutbox) -> None:
    provider, gate = FakeProvider("p", answer=DispatchResult(Outcome.ERROR)), gate_of("p", max_concurrent=1)
    harness = Harness(outbox, registry=registry_of(provider, gates={"p": gate}))
    await harness.boot()
    record = await harness.send(build.command())
    await suppress(harness, "+15005550199")
    find, asked = harness.suppressions.positions, 0

    async def unreadable(record: MessageRecord, message: OutboundMessage) -> frozenset[int]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise StoreUnavailable
        return await find(record, message)

    harness.suppressions.positions = unreadable  # type: ignore[method-assign]
    provider.answer = build.SUCCESS
    harness.clock.advance(600)
    harness.delivery.wake()
    while asked < 1:
        await harness.calm()
    await harness.noted.reached(record.message_id, QUEUED)
    await harness.calm()
    assert len(provider.keys) == 1
    assert gate.in_flight == 0
    assert len((await harness.kept(record.message_id)).attempts) == 1
    harness.clock.advance(600)
    harness.delivery.wake()
    await harness.noted.reached(record.message_id, SENT)
    assert len(provider.keys) == 2


async def test_a_shutdown_while_it_is_looked_up_takes_the_attempt_back(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", answer=DispatchResult(Outcome.ERROR))
    harness = Harness(outbox, provider=provider)
    await harness.boot()
    record = await harness.send(build.command())
    await suppress(harness, "+15005550199")
    looking = asyncio.Event()

    async def hangs(record: MessageRecord, message: OutboundMessage) -> frozenset[int]:
        looking.set()
        await asyncio.Event().wait()
        raise AssertionError

    harness.suppressions.positions = hangs  # type: ignore[method-assign]
    harness.clock.advance(600)
    harness.delivery.wake()
    await within(looking.wait())
    await harness.drain(0.0)
    kept = await harness.kept(record.message_id)
    assert (kept.state, len(kept.attempts), len(provider.keys)) == (QUEUED, 1, 1)


async def test_many_attempts_are_looked_up_at_once(outbox: SqliteOutbox) -> None:
    gate = gate_of("p", max_concurrent=64)
    harness = Harness(outbox, registry=registry_of(FakeProvider("p"), gates={"p": gate}))
    await harness.boot()
    await suppress(harness, "+15005550199")
    find, looks = outbox.suppressions, 0

    async def counted(hashes: Sequence[bytes], tenant: str, now: int) -> Sequence[Suppression]:
        nonlocal looks
        looks += 1
        return await find(hashes, tenant, now)

    outbox.suppressions = counted  # type: ignore[method-assign]
    gate.breaker.force_open(0.0)
    numbers = [f"+1500555{index:04}" for index in range(1000, 1064)]
    records = [await harness.send(build.command(Sms(number, "Hi"))) for number in numbers]
    assert {one.state for one in records} == {QUEUED}
    await suppress(harness, *numbers[::2])
    gate.breaker.resume(0.0)
    harness.delivery.wake()
    for index, one in enumerate(records):
        await harness.noted.reached(one.message_id, SENT if index % 2 else FAILED)
    assert looks <= 8


async def test_what_fails_of_a_look_that_nobody_waits_for_is_nobodys(outbox: SqliteOutbox) -> None:
    looks, failed = Looks(outbox, ManualClock()), asyncio.Event()

    async def fails(hashes: Sequence[bytes], tenant: str, now: int) -> Sequence[Suppression]:
        failed.set()
        raise StoreUnavailable

    outbox.suppressions = fails  # type: ignore[method-assign]
    waiting = asyncio.create_task(looks.look([b"h" * 32], "default"))
    await asyncio.sleep(0)
    waiting.cancel()
    await within(failed.wait())
    with pytest.raises(StoreUnavailable):
        await looks.look([b"h" * 32], "default")

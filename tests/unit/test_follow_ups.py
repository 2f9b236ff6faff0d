"""The next provider is asked where no receipt comes: the delivery path with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import build
from tests.support.follow_ups import DELIVERED, ERROR, LIMITED, MAYBE, REJECTED, SENT, TICK, WITHIN, Setting
from tests.support.providers import gate_of, route

from postwire.core import follow_up
from postwire.core.audit import AuditEvent
from postwire.core.message import (
    DEFAULT_TENANT,
    Channel,
    Content,
    DeliveryGuarantee,
)
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.core.receipts import ReceiptState
from postwire.delivery.suppressions import NewSuppression
from postwire.outbox.sqlite import SqliteOutbox


@pytest.fixture
async def outbox() -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(":memory:")
    yield opened
    await opened.close()


@pytest.mark.parametrize("content", [build.sms(), build.mms(), build.email("a@b.test")], ids=["sms", "mms", "email"])
async def test_the_next_providers_are_asked_one_after_the_other(outbox: SqliteOutbox, content: Content) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send(content)
    await setting.pass_time(WITHIN - TICK)
    assert await setting.names(record) == ["a"]
    await setting.pass_time(TICK)
    assert await setting.names(record) == ["a", "b"]
    await setting.pass_time(WITHIN - TICK)
    assert await setting.names(record) == ["a", "b"], "the second has as long as the first"
    await setting.pass_time(TICK)
    assert await setting.names(record) == ["a", "b", "c"]
    kept = await setting.kept(record)
    assert (kept.state, kept.follow_up_time) == (SENT, None)
    assert [one.receipt_overdue for one in kept.attempts] == [False, True, True]
    assert [one.outcome for one in kept.attempts] == [Outcome.SUCCESS] * 3
    assert await setting.content(record) is None, "the route is used up"
    assert setting.b.messages == setting.a.messages
    assert setting.b.positions == [None]
    await setting.end()


async def test_it_is_sent_all_along_and_counted_once(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b._free.clear()
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.b.calls(1)
    kept = await setting.kept(record)
    assert (kept.state, kept.attempts[-1].outcome, kept.settled) == (SENT, None, True)
    assert setting.harness.delivery.queue_depths == {"sms": 0, "mms": 0, "email": 0}
    setting.b.release()
    await setting.harness.calm()
    assert setting.harness.noted.events.count(("state", "sent")) == 1
    assert setting.harness.noted.events.count(("attempt", "success")) == 2
    await setting.end()


@pytest.mark.parametrize("state", [ReceiptState.DELIVERED, ReceiptState.UNDELIVERED])
async def test_a_receipt_in_time_ends_it(outbox: SqliteOutbox, state: ReceiptState) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    assert await setting.content(record)
    await setting.receipt(record, state)
    assert (await setting.kept(record)).state.value == state.value
    assert await setting.content(record) is None
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a"]
    await setting.end()


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (None, {"delivery_guarantee": DeliveryGuarantee.AT_MOST_ONCE}),
        (None, {"max_attempts": 1}),
        (None, {"provider_name": "a"}),
        (build.email("a@b.test", "c@d.test"), {}),
    ],
    ids=["at most once", "one attempt", "pinned", "several recipients"],
)
async def test_who_does_not_ask_for_it_does_not_get_it(
    outbox: SqliteOutbox, content: Content | None, options: dict[str, Any]
) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send(content, **options)
    assert await setting.content(record) is None
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a"]
    await setting.end()


async def test_nothing_is_kept_where_no_route_asks_for_it(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox, within=None).start()
    record = await setting.send()
    assert ((await setting.kept(record)).follow_up_time, await setting.content(record)) == (None, None)
    assert await outbox.next_follow_up() is None
    await setting.end()


@pytest.mark.parametrize("state", [ReceiptState.ACCEPTED, ReceiptState.COMPLAINED])
async def test_a_receipt_that_says_neither_changes_nothing(outbox: SqliteOutbox, state: ReceiptState) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    await setting.receipt(record, state)
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a", "b"]
    await setting.end()


async def test_a_receipt_that_comes_while_it_is_under_way_counts_once_it_is_over(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b._free.clear()
    setting.b.answer = ERROR
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.b.calls(1)
    await setting.receipt(record, ReceiptState.DELIVERED)
    assert (await setting.kept(record)).state is SENT
    setting.b.release()
    await setting.harness.calm()
    kept = await setting.kept(record)
    assert (kept.state, [one.outcome for one in kept.attempts]) == (DELIVERED, [Outcome.SUCCESS, Outcome.ERROR])
    assert setting.c.keys == [], "nobody else is asked"
    assert await setting.content(record) is None
    assert setting.harness.noted.events.count(("state", "delivered")) == 1
    await setting.end()


async def test_one_that_fails_goes_on_though_a_receipt_was_listed_meanwhile(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b._free.clear()
    setting.b.answer = ERROR
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.b.calls(1)
    await setting.receipt(record, ReceiptState.ACCEPTED)
    setting.b.release()
    await setting.harness.calm()
    kept = await setting.kept(record)
    assert (await setting.names(record), kept.state) == (["a", "b", "c"], SENT)
    assert [one.state for one in kept.receipts] == [ReceiptState.ACCEPTED]
    await setting.end()


async def test_what_the_first_did_not_deliver_is_left_to_the_second(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.receipt(record, ReceiptState.UNDELIVERED)
    kept = await setting.kept(record)
    assert (kept.state, follow_up.is_waiting(kept)) == (SENT, True)
    await setting.receipt(record, ReceiptState.DELIVERED, attempt=2)
    await setting.pass_time(WITHIN)
    assert ((await setting.kept(record)).state, await setting.names(record)) == (DELIVERED, ["a", "b"])
    await setting.end()


async def test_nobody_has_it_once_more_who_is_suppressed_meanwhile(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    await setting.harness.suppressions.add([NewSuppression("+15005550100")], LOCAL)
    await setting.pass_time(WITHIN)
    assert (setting.b.keys, await setting.names(record)) == ([], ["a"])
    assert ((await setting.kept(record)).state, await setting.content(record)) == (SENT, None)
    await setting.end()


async def test_of_a_provider_without_receipts_none_is_missing(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox, reporting=["a", "c"]).start()
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a", "b"]
    assert await setting.content(record) is None
    await setting.end()


async def test_it_ends_with_the_time_of_the_message(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send(expire_time=setting.harness.clock.wall() + 60_000_000)
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a", "b"]
    assert await setting.content(record) is None, "a third would come too late"
    early = await setting.send(expire_time=setting.harness.clock.wall() + 40_000_000)
    assert await setting.content(early) is None
    await setting.end()


@pytest.mark.parametrize(
    "result", [ERROR, LIMITED, DispatchResult(Outcome.DEFERRED), DispatchResult(Outcome.MISCONFIGURED)]
)
async def test_one_that_fails_goes_on_to_the_next_provider_at_once(
    outbox: SqliteOutbox, result: DispatchResult
) -> None:
    setting = await Setting(outbox).start()
    setting.b.answer = result
    record = await setting.send()
    await setting.pass_time(WITHIN)
    kept = await setting.kept(record)
    assert [(one.provider_name, one.receipt_overdue) for one in kept.attempts] == [
        ("a", False),
        ("b", True),
        ("c", True),
    ]
    assert (kept.state, kept.follow_up_time) == (SENT, None)
    await setting.end()


async def test_where_all_fail_it_is_sent_and_nobody_is_asked_again(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b.answer = setting.c.answer = ERROR
    record = await setting.send()
    await setting.pass_time(WITHIN)
    for _ in range(5):
        await setting.pass_time(600.0)
    kept = await setting.kept(record)
    assert (kept.state, len(kept.attempts), kept.next_attempt_time) == (SENT, 3, None)
    assert await setting.content(record) is None
    await setting.end()


async def test_one_that_is_rejected_is_the_last(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b.answer = REJECTED
    record = await setting.send()
    await setting.pass_time(WITHIN)
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a", "b"]
    assert (await setting.kept(record)).state is SENT
    await setting.end()


async def test_one_that_may_have_been_sent_has_its_time(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.b.answer = MAYBE
    record = await setting.send()
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a", "b"]
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a", "b", "c"]
    assert (await setting.kept(record)).state is SENT
    await setting.end()


async def test_no_provider_is_asked_that_has_had_it_before_it_was_sent(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    setting.a.answer = ERROR
    record = await setting.send()
    setting.a.answer = build.SUCCESS
    assert await setting.names(record) == ["a", "b"]
    await setting.pass_time(WITHIN)
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a", "b", "c"]
    await setting.end()


async def test_a_provider_that_is_busy_is_waited_for(outbox: SqliteOutbox) -> None:
    gates = {"b": gate_of("b", max_concurrent=1)}
    setting = await Setting(outbox, gates=gates).start()
    setting.b._free.clear()
    busy = setting.harness.start(build.command(provider_name="b"))
    await setting.b.calls(1)
    record = await setting.send()
    for seconds in (WITHIN, 5.0, 5.0):
        await setting.pass_time(seconds)
    assert await setting.names(record) == ["a"], "c is not asked as long as b is only busy"
    setting.b.release()
    await busy
    await setting.pass_time(5.0)
    assert await setting.names(record) == ["a", "b"]
    await setting.end()


async def test_where_all_are_drained_it_is_tried_until_the_time_of_the_message_is_over(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    position = (await setting.kept(record)).revision
    for name in ("b", "c"):
        setting.harness.registry.entry(name).gate.breaker.force_open(0.0)
    await setting.pass_time(WITHIN)
    for _ in range(20):
        await setting.pass_time(30.0)
    assert (await setting.kept(record)).revision == position, "nobody who watches hears of a pause"
    assert await setting.content(record)
    await setting.pass_time(4 * 3600.0)
    assert (await setting.kept(record)).follow_up_time is None
    assert await setting.content(record) is None
    await setting.end()


async def test_those_of_a_blocked_route_hold_up_no_other(outbox: SqliteOutbox) -> None:
    """More of them are overdue than are looked at at once."""
    setting = await Setting(outbox).start()
    channels = {Channel.SMS: ["a", "b"], Channel.MMS: ["a", "c"], Channel.EMAIL: ["a"]}
    for channel, names in channels.items():
        made = route(*names, key=channel.value, delivered_within=WITHIN)
        setting.harness.registry._routes[channel] = (made,)
        setting.harness.registry._by_queue_key[channel.value] = made
    setting.harness.registry.entry("b").gate.breaker.force_open(0.0)
    for _ in range(150):
        await setting.send()
    record = await setting.send(build.mms())
    await setting.pass_time(WITHIN)
    for _ in range(4):
        await setting.pass_time(0.1)
    assert await setting.names(record) == ["a", "c"]
    await setting.end()


async def test_an_erasure_ends_it(outbox: SqliteOutbox) -> None:
    setting = await Setting(outbox).start()
    record = await setting.send()
    event = AuditEvent(0, DEFAULT_TENANT, "ops", "postwire.v1.DispatchService/EraseMessages")
    assert (await outbox.erase([record.message_id], DEFAULT_TENANT, event)).erased == 1
    await setting.pass_time(WITHIN)
    assert await setting.names(record) == ["a"]
    await setting.end()

"""What every outbox keeps to about tenants: what is asked for one never shows or changes anything of another,
and what goes through the whole store leaves nobody out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, KEEPING, PLACES, Reopen, change, each, keep, queue_up, stored

from postwire.core import lifecycle
from postwire.core.listing import MessageFilter
from postwire.core.message import MessageState, Priority
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import BEGINNING, Outbox, QueuedMessage, QueueKey

A, B = "a", "b"


async def test_the_message_of_another_tenant_is_not_there(outbox: Outbox) -> None:
    new = await keep(outbox, tenant=A, request_id="r")
    message_id = new.record.message_id
    assert new.record.tenant == A
    assert await outbox.get(message_id, A) == new.record
    assert await outbox.content(message_id, A) == new.content
    assert list(await outbox.records([message_id], A)) == [new.record]
    assert await outbox.find_by_request_id("r", tenant=A) == new.record
    for other in (B, "default", ""):
        assert await outbox.get(message_id, other) is None
        assert await outbox.content(message_id, other) is None
        assert list(await outbox.records([message_id], other)) == []
        assert await outbox.find_by_request_id("r", tenant=other) is None


async def test_changes_are_told_of_one_tenants_messages(outbox: Outbox) -> None:
    start = await outbox.last_position()
    news = [await keep(outbox, tenant=tenant) for tenant in (A, B, A)]
    last = await outbox.last_position()
    for tenant, wanted in ((A, [news[0], news[2]]), (B, [news[1]]), ("default", [])):
        found = await outbox.changes(start, 9, tenant)
        assert [record for _, record in found.entries] == [new.record for new in wanted]
        assert found.last == last


async def test_a_change_in_the_name_of_another_tenant_is_none(outbox: Outbox) -> None:
    new = await queue_up(outbox, tenant=A)
    stolen = replace(new.record, tenant=B)
    assert not await outbox.advance(stolen, lifecycle.cancel(stolen, now=START))
    assert await outbox.reassign([(stolen, "other")]) == 0
    assert await outbox.get(new.record.message_id, A) == new.record
    assert await outbox.advance(new.record, cancelled := lifecycle.cancel(new.record, now=START))
    assert await outbox.get(new.record.message_id, A) == cancelled


async def test_a_queue_is_taken_from_for_one_tenant(outbox: Outbox) -> None:
    news = {tenant: await queue_up(outbox, tenant=tenant, send_time=START) for tenant in (A, B)}
    for tenant, new in news.items():
        key = QueueKey(tenant, "q")
        assert {key: dict(head.due) for key, head in (await outbox.heads([key], EVER, 9)).items()} == {
            key: {Priority.NORMAL: 1}
        }
        found: list[QueuedMessage] = []
        await outbox.take(key, EVER, each(9), found.append)
        assert [one.record for one in found] == [new.record]
    nobodys = [QueueKey("nobody", "q"), QueueKey("q", A), QueueKey("", "q")]
    assert await outbox.heads(nobodys, EVER, 9) == {}
    for nobody in nobodys:
        assert await outbox.heads([nobody], EVER, 9) == {}
        assert not await outbox.take(nobody, EVER, each(9), lambda one: build.retried(one.record))
    (taken,) = await outbox.take(QueueKey(A, "q"), EVER, each(9), lambda one: build.retried(one.record))
    assert taken.record.tenant == A
    assert list(await outbox.heads(None, EVER, 9)) == [QueueKey(B, "q")]


async def test_of_one_tenant_a_page_is_listed_however_much_others_have(outbox: Outbox) -> None:
    news = [await keep(outbox, tenant=tenant) for tenant in (A, B, B, A)]
    for tenant, wanted in ((A, [news[3], news[0]]), (B, [news[2], news[1]]), ("default", [])):
        page = await outbox.list(MessageFilter(), 9, None, tenant)
        assert list(page.records) == [new.record for new in wanted]


# What goes through the whole store.


async def test_a_boot_finds_the_queues_of_every_tenant(outbox: Outbox) -> None:
    keys = {QueueKey(tenant, name) for tenant in (A, B, "default") for name in ("q", "r")} - {QueueKey(A, "r")}
    for key in sorted(keys) * 2:
        await queue_up(outbox, tenant=key.tenant, queue=key.name)
    await keep(outbox, tenant="c")
    heads = await outbox.heads(None, EVER, 9)
    assert {key: dict(head.due) for key, head in heads.items()} == {key: {Priority.NORMAL: 2} for key in keys}
    assert await outbox.heads(keys, EVER, 9) == heads
    counts = await outbox.unsettled_counts(START)
    assert counts.queues == dict.fromkeys(keys, 2) | {QueueKey("c", "sms"): 1}


async def test_what_is_for_later_is_counted_by_tenant(outbox: Outbox) -> None:
    for tenant in (A, B, B):
        await queue_up(outbox, tenant=tenant, send_time=START + 7_000_000)
    second = START // 1_000_000 + 7
    assert (await outbox.unsettled_counts(START)).scheduled == {(A, second): 1, (B, second): 2}


async def test_a_boot_finds_the_orphans_of_every_tenant(reopen: Reopen) -> None:
    outbox = await reopen()
    news = [await keep(outbox, tenant=tenant, now=START + number) for number, tenant in enumerate((B, "default", A))]
    outbox = await reopen()
    orphans = await outbox.orphans(9)
    assert list(orphans) == [stored(new) for new in news]
    for one in orphans:
        assert await outbox.advance(one.record, build.ended(one.record, lifecycle.ORPHANED))
    assert await outbox.orphans(9) == []
    assert {key.tenant for key in await outbox.heads(None, EVER, 9)} == {A, B, "default"}


async def test_what_waits_of_every_tenant_is_found_and_put_into_other_queues(outbox: Outbox) -> None:
    news = [await queue_up(outbox, tenant=tenant) for tenant in (A, B)]
    found, _ = await outbox.scan_queued(BEGINNING, 9, ["q"])
    assert list(found) == [stored(new) for new in news]
    assert await outbox.reassign([(one.record, "r") for one in found]) == 2
    assert set(await outbox.heads(None, EVER, 9)) == {QueueKey(A, "r"), QueueKey(B, "r")}


async def test_a_boot_brings_what_waits_of_every_tenant_onto_its_clock(outbox: Outbox) -> None:
    news = [await queue_up(outbox, tenant=tenant) for tenant in (A, B)]
    late = [await keep(outbox, tenant=tenant, queue="q") for tenant in (A, B)]
    for new in late:
        await change(outbox, new.record, build.ended(new.record, DispatchResult(Outcome.ERROR), retry_after=build.HOUR))
    await outbox.keep_ahead(-7)
    await outbox.realign(START, START + 9, START + 9)
    for tenant, waits, tried in zip((A, B), news, late, strict=True):
        for new, time in ((waits, START - 7), (tried, START + 9)):
            record = await outbox.get(new.record.message_id, tenant)
            assert record
            assert (record.next_attempt_time, record.deadline) == (time, (new.record.deadline or 0) - 7)


async def test_time_runs_out_for_every_tenant(outbox: Outbox) -> None:
    news = [
        await queue_up(outbox, tenant=tenant, expire_time=START + number)
        for number, tenant in enumerate((B, A, "default"), 1)
    ]
    assert await outbox.next_expiry() == START + 1
    expired = await outbox.expired(EVER, 9)
    assert list(expired) == [new.record for new in news]
    for record in expired:
        assert await outbox.advance(record, lifecycle.expire(record, now=START + 9))
        kept = await outbox.get(record.message_id, record.tenant)
        assert kept
        assert kept.state is MessageState.EXPIRED


@pytest.mark.parametrize("keeps", [True, False])
async def test_retention_and_erasure_are_for_every_tenant(tmp_path: Path, keeps: bool) -> None:
    for opening in (KEEPING if keeps else PLACES).values():
        outbox = await opening(tmp_path)
        news = [await keep(outbox, tenant=tenant) for tenant in (A, B, "default")]
        for new in news:
            await change(outbox, new.record, build.ended(new.record))
        before = START + build.HOUR
        if keeps:
            assert [await outbox.content(one.record.message_id, one.record.tenant) for one in news] == [
                one.content for one in news
            ]
            assert await outbox.erase_contents(BEGINNING, before, 99) is not None
        for new in news:
            assert await outbox.content(new.record.message_id, new.record.tenant) is None
        assert (await outbox.stats()).unsettled == 0
        assert await outbox.remove_settled(BEGINNING, before, 99) is not None
        assert [await outbox.get(new.record.message_id, new.record.tenant) for new in news] == [None] * 3
        await outbox.close()


async def test_contents_of_tenants_are_erased_before_times_of_their_own(tmp_path: Path) -> None:
    for opening in KEEPING.values():
        outbox = await opening(tmp_path)
        keys = [(tenant, at) for at in (0, 100) for tenant in (A, B, "c")]
        news = {key: await keep(outbox, tenant=key[0], now=START + key[1]) for key in keys}
        ends = [await change(outbox, new.record, build.ended(new.record, after=10)) for new in news.values()]
        first, second = ends[0].update_time, ends[3].update_time
        assert await outbox.erase_contents(BEGINNING, first + 1, 99, {A: second + 1, B: 0}) is not None
        left = [key for key, new in news.items() if await outbox.content(new.record.message_id, new.record.tenant)]
        assert left == [(B, 0), (B, 100), ("c", 100)]
        assert await outbox.erase_contents(BEGINNING, 0, 99, {B: START}) is None
        await outbox.close()

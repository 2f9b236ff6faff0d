"""What every outbox keeps to about tenants: what is asked for one never shows or changes anything of another."""

from __future__ import annotations

from dataclasses import replace

from tests.support.clock import START
from tests.support.outboxes import keep, queue_up

from postwire.core import lifecycle
from postwire.outbox.base import Outbox

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

"""What every outbox keeps to where somebody has messages erased: contents and labels go, records stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, KEEPING, but_at_length, change, queue_up

from postwire.core import lifecycle
from postwire.core.audit import AuditEvent, AuditFilter
from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter
from postwire.core.message import DEFAULT_TENANT, EMPTY, DeliveryGuarantee, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import BEGINNING, Accepted, ErasureCounts, NewMessage, Outbox

EVENT = AuditEvent(START, DEFAULT_TENANT, "ops", "postwire.v1.DispatchService/EraseMessages", reason="asked for")
LABELS = {"customer": "4711"}
ONCE = lifecycle.Policy(max_attempts=5, delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)


@pytest.fixture(params=but_at_length(KEEPING, "memory"))
async def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    """One that keeps contents."""
    opened = await KEEPING[request.param](tmp_path)
    yield opened
    await opened.close()


async def labelled(outbox: Outbox, tenant: str = DEFAULT_TENANT, request_id: str = "") -> NewMessage:
    """A message with labels, being sent."""
    of = build.command(labels=LABELS, request_id=request_id or build.new_request_id())
    new = build.new_message(of, record=replace(build.accepted(of), tenant=tenant))
    assert (await outbox.accept(new)).created
    return new


async def settled(outbox: Outbox, **given: str) -> tuple[NewMessage, MessageRecord]:
    new = await labelled(outbox, **given)
    return new, await change(outbox, new.record, build.ended(new.record))


async def targets(outbox: Outbox) -> Sequence[str]:
    return [one.target for one in (await outbox.events(AuditFilter(), 100, None)).events]


async def test_contents_and_labels_go_and_the_record_stays(keeping: Outbox) -> None:
    new, record = await settled(keeping, request_id="r")
    _, other = await settled(keeping)
    ids = [record.message_id]
    assert await keeping.erasable(ids, DEFAULT_TENANT) == ErasureCounts(1, 0)
    assert await keeping.get(record.message_id, DEFAULT_TENANT) == record, "that only counts"
    assert await keeping.erase(ids, DEFAULT_TENANT, EVENT) == ErasureCounts(1, 0)
    erased = replace(record, labels=EMPTY, revision=record.revision + 1)
    assert await keeping.get(record.message_id, DEFAULT_TENANT) == erased
    assert await keeping.content(record.message_id, DEFAULT_TENANT) is None
    assert (await keeping.list(MessageFilter(labels=LABELS), 9, None, DEFAULT_TENANT)).records == (other,)
    assert (await keeping.events(AuditFilter(), 9, None)).events == (replace(EVENT, target=record.message_id),)
    # Its request id is still held to what it said.
    assert await keeping.accept(build.repeated(new)) == Accepted(erased, created=False)
    with pytest.raises(RequestIdReused):
        await keeping.find_by_request_id("r", DEFAULT_TENANT, b"h" * 32)


async def test_again_changes_nothing(outbox: Outbox) -> None:
    _, record = await settled(outbox)
    ids = [record.message_id, record.message_id]
    assert await outbox.erase(ids, DEFAULT_TENANT, EVENT) == ErasureCounts(1, 0)
    erased = await outbox.get(record.message_id, DEFAULT_TENANT)
    assert await outbox.erase(ids, DEFAULT_TENANT, EVENT) == ErasureCounts(0, 0)
    assert await outbox.get(record.message_id, DEFAULT_TENANT) == erased
    assert await targets(outbox) == [record.message_id]


async def test_what_is_not_settled_is_skipped_and_what_is_anothers_is_not_there(keeping: Outbox) -> None:
    sending, waiting = await labelled(keeping), await queue_up(keeping)
    foreign, of_foreign = await settled(keeping, tenant="acme")
    ids = [sending.record.message_id, waiting.record.message_id, foreign.record.message_id, build.new_id()]
    assert await keeping.erase(ids, DEFAULT_TENANT, EVENT) == ErasureCounts(0, 2)
    assert await keeping.get(sending.record.message_id, DEFAULT_TENANT) == sending.record
    assert await keeping.content(sending.record.message_id, DEFAULT_TENANT) == sending.content
    assert await keeping.get(foreign.record.message_id, "acme") == of_foreign
    assert await targets(keeping) == []
    assert await keeping.erase(ids, "acme", EVENT) == ErasureCounts(1, 0)


async def test_who_watches_learns_of_it(outbox: Outbox) -> None:
    _, record = await settled(outbox)
    seen = await outbox.last_position()
    await outbox.erase([record.message_id], DEFAULT_TENANT, EVENT)
    await asyncio.wait_for(outbox.wait_changes(seen), 60)
    ((_, erased),) = (await outbox.changes(seen, 9, DEFAULT_TENANT)).entries
    assert (erased.message_id, erased.labels, erased.revision) == (record.message_id, {}, record.revision + 1)


async def test_nobody_who_has_read_a_record_before_brings_its_labels_back(outbox: Outbox) -> None:
    new = await labelled(outbox)
    end = build.ended(new.record, DispatchResult(Outcome.UNCERTAIN), policy=ONCE)
    uncertain = await change(outbox, new.record, end)
    assert uncertain.state is MessageState.UNCERTAIN
    await outbox.erase([uncertain.message_id], DEFAULT_TENANT, EVENT)
    resolved = lifecycle.resolve(uncertain, sent=True, now=START + 9)
    assert not await outbox.advance(uncertain, resolved), "it has changed since"
    erased = await outbox.get(uncertain.message_id, DEFAULT_TENANT)
    assert erased is not None
    sent = await change(outbox, erased, lifecycle.resolve(erased, sent=True, now=START + 9))
    assert await outbox.get(sent.message_id, DEFAULT_TENANT) == sent
    assert not sent.labels


async def test_many_are_erased_at_once(keeping: Outbox) -> None:
    records = [(await settled(keeping))[1] for _ in range(300)]
    ids = [one.message_id for one in records]
    assert await keeping.erase(ids[:299], DEFAULT_TENANT, EVENT) == ErasureCounts(299, 0)
    page = await keeping.list(MessageFilter(labels=LABELS), 300, None, DEFAULT_TENANT)
    assert [one.message_id for one in page.records] == ids[299:]
    assert (await keeping.events(AuditFilter(), 1_000, None)).events.__len__() == 299


async def test_what_is_erased_goes_with_its_record_in_the_end(outbox: Outbox) -> None:
    _, record = await settled(outbox)
    await outbox.erase([record.message_id], DEFAULT_TENANT, EVENT)
    assert await outbox.remove_settled((), record.update_time + 1, 9) is not None
    assert await outbox.get(record.message_id, DEFAULT_TENANT) is None


async def test_others_get_their_turn_while_what_is_large_is_erased(keeping: Outbox) -> None:
    records = [await settled_large(keeping) for _ in range(10)]
    erasing = asyncio.ensure_future(keeping.erase([one.message_id for one in records], DEFAULT_TENANT, EVENT))
    await asyncio.sleep(0)
    await labelled(keeping)
    assert not erasing.done()
    assert await erasing == ErasureCounts(10, 0)
    assert sorted(await targets(keeping)) == [one.message_id for one in records]
    assert {await keeping.content(one.message_id, DEFAULT_TENANT) for one in records} == {None}


async def test_a_step_erases_few_that_are_large(keeping: Outbox) -> None:
    records = [await settled_large(keeping) for _ in range(10)]

    async def left() -> int:
        return sum([bool(await keeping.content(one.message_id, DEFAULT_TENANT)) for one in records])

    seen, position = [await left()], await keeping.erase_contents(BEGINNING, EVER, 500)
    while position is not None:
        seen.append(await left())
        position = await keeping.erase_contents(position, EVER, 500)
    assert seen == [10, 8, 6, 4, 2, 0]


async def settled_large(outbox: Outbox) -> MessageRecord:
    of = build.command(build.email(text="x" * 2_000_000))
    new = build.new_message(of, record=build.accepted(of))
    await outbox.accept(new)
    return await change(outbox, new.record, build.ended(new.record))

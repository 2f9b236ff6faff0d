"""What every outbox keeps to about events: each is there with its change, and stays until it is old."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import Reopen, keep, queue_up

from postwire.core import lifecycle, listing
from postwire.core.audit import AuditEvent, AuditFilter, AuditPosition
from postwire.core.message import DEFAULT_TENANT, Note, NoteAction
from postwire.outbox.base import Outbox

ALL = AuditFilter()


def event(number: int = 0, **fields: Any) -> AuditEvent:
    made = AuditEvent(START + number, "acme", "ops", "postwire.v1.S/Change", f"target-{number}", reason="ü \U0001f600")
    return replace(made, **fields)


async def kept(outbox: Outbox, chosen: AuditFilter = ALL) -> list[AuditEvent]:
    """Newest first, a page at a time."""
    found: list[AuditEvent] = []
    after: AuditPosition | None = None
    while True:
        page = await outbox.events(chosen, 2, after)
        assert len(page.events) <= 2
        found += page.events
        if page.next_after is None:
            return found
        assert after is None or page.next_after < after
        after = page.next_after


async def test_events_come_newest_first_as_they_were_kept(outbox: Outbox) -> None:
    events = [event(number // 2, target=f"t-{number}") for number in range(7)]
    for one in events:
        await outbox.add_event(one)
    assert await kept(outbox) == events[::-1]


async def test_a_clock_that_was_set_back_does_not_hide_events(outbox: Outbox) -> None:
    events = [event(number) for number in (5, 3, 4, 3, 9)]
    for one in events:
        await outbox.add_event(one)
    assert sorted(await kept(outbox), key=lambda one: -one.time) == await kept(outbox)
    assert len(await kept(outbox)) == 5


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        (AuditFilter(tenant="acme"), [4, 3, 1, 0]),
        (AuditFilter(tenant="beta"), [2]),
        (AuditFilter(method="m"), [3]),
        (AuditFilter(time_from=START + 1, time_to=START + 3), [2, 1]),
        (AuditFilter(time_to=START), []),
        (AuditFilter(tenant="acme", time_from=START + 4), [4]),
        (AuditFilter(tenant="nobody"), []),
    ],
)
async def test_a_filter_narrows_the_choice(outbox: Outbox, chosen: AuditFilter, numbers: list[int]) -> None:
    events = [event(number) for number in range(5)]
    events[2], events[3] = replace(events[2], tenant="beta"), replace(events[3], method="m")
    for one in events:
        await outbox.add_event(one)
    assert await kept(outbox, chosen) == [events[number] for number in numbers]


async def test_a_page_looks_at_a_bounded_number_of_events(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SCAN_LIMIT", 3)
    for number in range(8):
        await outbox.add_event(event(number))
    first = await outbox.events(AuditFilter(method="none"), 2, None)
    assert (first.events, first.next_after is None) == ((), False)
    assert await kept(outbox, AuditFilter(method="none")) == []


async def test_an_event_is_kept_with_the_change_that_it_is_about(outbox: Outbox) -> None:
    new = await queue_up(outbox)
    after = lifecycle.cancel(new.record, now=START + 1)
    assert await outbox.advance(new.record, after, event=event(1))
    assert await kept(outbox) == [event(1)]
    assert not await outbox.advance(new.record, after, event=event(2)), "it comes too late"
    assert await kept(outbox) == [event(1)], "and nothing is said of it"


async def test_among_many_changes_of_one_commit_only_those_in_time_have_their_events(outbox: Outbox) -> None:
    news = [await queue_up(outbox) for _ in range(10)]
    others = [await keep(outbox) for _ in range(10)]
    cancelled = [lifecycle.cancel(new.record, now=START + 1) for new in news]
    for new, after in list(zip(news, cancelled, strict=True))[::2]:
        assert await outbox.advance(new.record, after)
    done = await asyncio.gather(
        *(
            outbox.advance(new.record, after, event=event(number))
            for number, (new, after) in enumerate(zip(news, cancelled, strict=True))
        ),
        *(outbox.advance(other.record, build.ended(other.record)) for other in others),
    )
    assert done == [False, True] * 5 + [True] * 10
    assert sorted(await kept(outbox), key=lambda one: one.time) == [event(number) for number in range(1, 10, 2)]


async def test_what_was_done_to_a_provider_has_its_event(outbox: Outbox) -> None:
    note = Note(NoteAction.DRAIN, "", START)
    await outbox.set_drained("p", True, note, event(1))
    await outbox.set_drained("p", False, event=event(2))
    await outbox.add_reset("p", note, event(3))
    await outbox.set_drained("q", True)
    assert await kept(outbox) == [event(3), event(2), event(1)]


async def test_only_the_oldest_are_removed_and_a_few_at_a_time(outbox: Outbox) -> None:
    assert await outbox.remove_events(START, 10) == 0
    for number in range(6):
        await outbox.add_event(event(number))
    assert await outbox.remove_events(START + 4, 3) == 3
    assert await kept(outbox) == [event(number) for number in (5, 4, 3)]
    assert await outbox.remove_events(START + 4, 3) == 1
    assert await outbox.remove_events(START + 4, 3) == 0
    assert await kept(outbox) == [event(5), event(4)]


async def test_they_outlive_their_messages_and_the_process(reopen: Reopen) -> None:
    outbox = await reopen()
    new = await queue_up(outbox)
    await outbox.advance(new.record, lifecycle.cancel(new.record, now=START + 1), event=event(1))
    assert await outbox.remove_settled((), START + 100, 10) is not None
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) is None
    assert await kept(await reopen()) == [event(1)]

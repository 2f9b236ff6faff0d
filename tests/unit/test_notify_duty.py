"""Hooks that begin and end as the duty to post comes and goes."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.waiting import within

from postwire.core.errors import StoreUnavailable
from postwire.notify import duty
from postwire.notify.duty import GRACE, NotifyDuty
from postwire.outbox.sqlite import SqliteOutbox


class Noting:
    """Hooks that cannot begin while the store `is_away`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.is_away = False
        self.happened = asyncio.Event()

    async def start(self) -> None:
        self.note("fails" if self.is_away else "begins")
        if self.is_away:
            raise StoreUnavailable

    async def stop(self, grace: float) -> None:
        self.note(f"ends in {grace:g} s")

    def note(self, event: str) -> None:
        self.events.append(event)
        self.happened.set()

    async def until(self, event: str, times: int = 1) -> None:
        while self.events.count(event) < times:
            self.happened.clear()
            await within(self.happened.wait())


async def test_they_begin_and_end_with_the_duty_as_often_as_it_comes(outbox: SqliteOutbox) -> None:
    hooks = Noting()
    posting = NotifyDuty(hooks, store=outbox)
    for times in (1, 2):
        posting.start()
        await hooks.until("begins", times)
        await posting.stop()
    assert hooks.events == ["begins", f"ends in {GRACE:g} s"] * 2


async def test_where_the_store_is_away_they_are_tried_again(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "AFTER_A_FAULT", 0.0)
    hooks = Noting()
    hooks.is_away = True
    posting = NotifyDuty(hooks, store=outbox)
    posting.start()
    await hooks.until("fails")
    hooks.is_away = False
    await hooks.until("begins")
    assert hooks.events[:2] == ["fails", "ends in 0 s"], "those that had begun begin anew"
    await posting.stop()

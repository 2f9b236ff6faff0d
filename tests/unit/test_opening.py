"""Opening providers beside the boot."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.support.providers import FakeProvider, gate_of
from tests.support.waiting import within

from postwire.core.availability import Availability, probe_pause
from postwire.core.obstacles import Obstacle
from postwire.providers import opening
from postwire.providers.base import ProviderHealth
from postwire.providers.opening import ProviderOpening
from postwire.providers.registry import ProviderEntry

REFUSED = ProviderHealth(ok=False, detail="it refused the key", misconfigured=True)
AWAY = ProviderHealth(ok=False, detail="nobody there")


class Opens(FakeProvider):
    """Opens with one answer after the other, and at last with none; `held` once it has given them."""

    def __init__(self, name: str, *answers: ProviderHealth | Exception, held: bool = False) -> None:
        super().__init__(name)
        self.opens = list(answers)
        self._hangs = held

    async def open(self) -> ProviderHealth | None:  # type: ignore[override]  # a fake provider's gives nothing
        if self.opens:
            answer = self.opens.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self._hangs:
            await asyncio.Event().wait()
        return None


class Noted:
    """What gates and providers report, and those that can be waited for."""

    def __init__(self) -> None:
        self.states: list[tuple[str, Obstacle | None, str]] = []
        self.faults: list[BaseException] = []
        self._news = asyncio.Event()

    def entry(self, provider: FakeProvider) -> ProviderEntry:
        gate = gate_of(provider.name)

        def note(state: Obstacle | None, detail: str) -> None:
            self.states.append((provider.name, state, detail))
            self._news.set()

        gate.on_availability = note
        return ProviderEntry(provider, gate, attempt_timeout=1.0)

    async def until(self, count: int) -> None:
        while len(self.states) < count:
            self._news.clear()
            await within(self._news.wait())


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    monkeypatch.setattr(opening, "RETRY_BASE", 0.0)
    monkeypatch.setattr(opening, "probe_pause", lambda refusals: 0.0)
    return Noted()


async def start(noted: Noted, *providers: FakeProvider) -> tuple[ProviderOpening, list[ProviderEntry]]:
    entries = [noted.entry(provider) for provider in providers]
    found = ProviderOpening(entries, jitter=lambda: 0.0, on_fault=noted.faults.append)
    await found.start()
    return found, entries


async def test_who_has_nothing_to_open_can_be_used_at_once_and_nothing_is_said(noted: Noted) -> None:
    plain = FakeProvider("plain")
    plain.open = None  # type: ignore[assignment,method-assign]  # as one that has no such method
    found, entries = await start(noted, Opens("quick"), plain)
    assert [entry.gate.obstacle(0.0) for entry in entries] == [None, None]
    assert noted.states == []
    await found.stop()


async def test_one_that_hangs_holds_up_neither_the_boot_nor_the_others(noted: Noted) -> None:
    found, (hangs, quick) = await start(noted, Opens("hangs", held=True), Opens("quick"))
    assert hangs.gate.obstacle(0.0) is Obstacle.UNAVAILABLE
    assert quick.gate.obstacle(0.0) is None
    assert noted.states == [("hangs", Obstacle.UNAVAILABLE, "it is being opened")]
    await found.stop()


async def test_it_is_tried_again_until_it_succeeds_and_each_change_is_told_once(noted: Noted) -> None:
    refused, away = REFUSED, AWAY
    answers = (away, OSError("+15005550006"), refused, refused, ValueError("x"))
    found, (entry,) = await start(noted, Opens("late", *answers))
    await noted.until(4)
    assert noted.states == [
        ("late", Obstacle.UNAVAILABLE, "nobody there"),
        ("late", Obstacle.MISCONFIGURED, "it refused the key"),
        ("late", Obstacle.UNAVAILABLE, "it could not be opened: ValueError"),
        ("late", None, ""),
    ]
    assert entry.gate.obstacle(0.0) is None
    assert [type(fault) for fault in noted.faults] == [ValueError], "that a network fails is no fault"
    await found.stop()


async def test_one_that_is_opened_has_whoever_waits_look_again(noted: Noted) -> None:
    provider = Opens("late", AWAY, held=True)
    entry = noted.entry(provider)
    looked = asyncio.Event()

    def look() -> None:
        if entry.gate.obstacle(0.0) is None:
            looked.set()

    entry.gate.on_free = look
    found = ProviderOpening([entry], jitter=lambda: 0.0, on_fault=noted.faults.append)
    await found.start()
    assert not looked.is_set()
    entry.gate.note_opened()
    assert looked.is_set()
    await found.stop()


@pytest.mark.parametrize("answer", ["ready", True, False])
async def test_an_answer_that_is_none_is_a_fault_and_it_is_tried_again(noted: Noted, answer: Any) -> None:
    found, (entry,) = await start(noted, Opens("odd", answer))
    await noted.until(2)
    assert noted.states[0] == ("odd", Obstacle.UNAVAILABLE, "it could not be opened: TypeError")
    assert entry.gate.obstacle(0.0) is None
    await found.stop()


async def test_one_that_does_not_let_go_is_not_opened_beside_itself(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "OPEN_TIMEOUT", 0.01)
    ended = asyncio.Event()
    opens = []

    class Stubborn(FakeProvider):
        async def open(self) -> None:
            opens.append(1)
            if len(opens) > 1:
                return
            while not ended.is_set():
                with suppress(asyncio.CancelledError):
                    await ended.wait()

    found, (entry,) = await start(noted, Stubborn("stubborn"))
    await noted.until(1)
    assert (len(opens), entry.gate.obstacle(0.0)) == (1, Obstacle.UNAVAILABLE)
    ended.set()
    await noted.until(2)
    assert (len(opens), entry.gate.obstacle(0.0)) == (2, None)
    await found.stop()


async def test_who_has_mended_the_account_need_not_wait(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "probe_pause", lambda refusals: 3600.0)
    found, (entry,) = await start(noted, Opens("refused", REFUSED))
    await noted.until(1)
    entry.gate.note_configured()
    await noted.until(2)
    assert entry.gate.obstacle(0.0) is None
    await found.stop()


def test_pauses_double_up_to_five_minutes() -> None:
    assert [probe_pause(count) for count in (1, 2, 3, 4, 5, 1000)] == [30, 60, 120, 240, 300, 300]


def test_what_was_sent_before_a_refusal_is_no_further_step() -> None:
    found = Availability()
    found.note_misconfigured(10.0)
    found.note_misconfigured(11.0)
    assert found.until(12.0) == 40.0
    assert found.enter()
    found.note_misconfigured(40.0)
    found.leave(40.0)
    assert found.until(41.0) == 100.0

"""The receipts of a mock: which ones come, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support import build
from tests.support.providers import FakeProvider
from tests.unit.test_mock import MIXED, PREDICTED

from postwire.core.errors import StoreUnavailable
from postwire.core.message import Channel, Content, OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers import capabilities, pending_receipts
from postwire.providers.base import Context
from postwire.providers.handover import Handover
from postwire.providers.mock import MockProvider, MockSettings

DELIVERED, UNDELIVERED = ReceiptState.DELIVERED, ReceiptState.UNDELIVERED
RATIOS: dict[str, Any] = {"delivered_ratio": 0.5, "undelivered_ratio": 0.25, "doubled_receipt_ratio": 0.3}
LIMIT = 30.0
"""Seconds after which a test gives up."""


class Inbox:
    """Keeps what is reported, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.kept: list[Receipt] = []
        self.failures: list[Exception] = []
        self.calls = 0
        self._called = asyncio.Event()
        self._changed = asyncio.Condition()

    async def report(self, reported: Sequence[Receipt | Inbound]) -> None:
        self.calls += 1
        self._called.set()
        if self.failures:
            raise self.failures.pop(0)
        async with self._changed:
            self.kept += [one for one in reported if isinstance(one, Receipt)]
            self._changed.notify_all()

    async def until_called(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self._called.wait()

    async def until(self, count: int) -> list[Receipt]:
        async with asyncio.timeout(LIMIT), self._changed:
            await self._changed.wait_for(lambda: len(self.kept) >= count)
        return self.kept


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def mock(inbox: Inbox, **settings: Any) -> MockProvider:
    context = Context("mock", tuple(Channel), lambda: 7, report=inbox.report)
    return MockProvider(context, MockSettings(**settings))


async def send(provider: MockProvider, key: str, content: Content | None = None, **given: Any) -> Outcome:
    handover = Handover(key, reference=f"r-{key}", **given)
    return (await provider.send(OutboundMessage(content or build.sms()), handover)).outcome


def predicted(seed: int, count: int) -> list[tuple[str, ReceiptState]]:
    """What comes of the first messages, by the generator as its paper has it."""
    state = seed ^ int.from_bytes(hashlib.sha256(b"receipts").digest()[:8], "little")
    mask, found = 2**64 - 1, []

    def draw() -> float:
        nonlocal state
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return ((z ^ (z >> 31)) >> 11) / 2.0**53

    for key in range(count):
        u, v = draw(), draw()
        if u < 0.75:
            found += [(f"r-{key}", DELIVERED if u < 0.5 else UNDELIVERED)] * (2 if v < 0.3 else 1)
    return found


async def test_the_same_seed_gives_the_same_receipts(inbox: Inbox) -> None:
    provider = mock(inbox, seed=42, **RATIOS)
    for key in range(200):
        await send(provider, str(key))
    expected = predicted(42, 200)
    assert [(one.reference, one.state) for one in await inbox.until(len(expected))] == expected
    assert 130 < len({reference for reference, _ in expected}) < 170, "a quarter never comes"
    assert len(expected) > len(set(expected)), "some come twice"
    assert inbox.calls < 20, "those that are due go together"
    await provider.close()


async def test_whatever_the_timing(inbox: Inbox) -> None:
    provider = mock(inbox, seed=42, latency=0.001, receipt_delay=0.01, **RATIOS)
    await asyncio.gather(*(send(provider, str(key)) for key in range(50)))
    expected = predicted(42, 50)
    assert [(one.reference, one.state) for one in await inbox.until(len(expected))] == expected
    await provider.close()


async def test_outcomes_are_drawn_as_without_receipts(inbox: Inbox) -> None:
    provider = mock(inbox, seed=42, **MIXED, **RATIOS)
    assert tuple([await send(provider, str(key)) for key in range(20)]) == PREDICTED
    await provider.close()


async def test_a_seed_begins_anew_with_both(inbox: Inbox) -> None:
    provider = mock(inbox, seed=1, **RATIOS)
    await send(provider, "x")
    provider.prepare_update({"seed": 42})()
    inbox.kept.clear()
    for key in range(20):
        await send(provider, str(key))
    expected = predicted(42, 20)
    kept = await inbox.until(len(expected))
    assert [(one.reference, one.state) for one in kept if one.reference != "r-x"] == expected
    await provider.close()


async def test_what_a_receipt_says(inbox: Inbox) -> None:
    provider = mock(inbox, undelivered_ratio=1.0)
    await send(provider, "k")
    assert await inbox.until(1) == [
        Receipt(
            UNDELIVERED,
            reference="r-k",
            provider_message_id="mock-k",
            code="mock_undelivered",
            event_id="r-k#0",
        )
    ]
    await provider.close()


async def test_each_recipient_of_an_email_that_may_have_been_taken_has_its_own(inbox: Inbox) -> None:
    provider = mock(inbox, delivered_ratio=1.0)
    content = build.email(
        "ada@example.com",
        cc=("rejected@simulator.postwire.test", "uncertain@simulator.postwire.test"),
        bcc=("bob@example.com",),
    )
    await send(provider, "k", content)
    kept = await inbox.until(3)
    assert [(one.recipient, one.event_id) for one in kept] == [
        ("ada@example.com", "r-k#0"),
        ("uncertain@simulator.postwire.test", "r-k#2"),
        ("bob@example.com", "r-k#3"),
    ]
    assert "example.com" not in repr(kept)
    inbox.kept.clear()
    await send(provider, "l", content, positions=(3,))
    assert [(one.recipient, one.event_id) for one in await inbox.until(1)] == [("bob@example.com", "r-l#3")]
    await provider.close()


@pytest.mark.parametrize(
    ("to", "count"),
    [
        ("+15005550001", 0),
        ("+15005550002", 0),
        ("+15005550003", 0),
        ("+15005550004", 1),
        ("+15005550006", 1),
    ],
)
async def test_what_was_not_taken_is_not_reported(inbox: Inbox, to: str, count: int) -> None:
    provider = mock(inbox, delivered_ratio=1.0)
    await send(provider, "k", Sms(to, "Hi"))
    await send(provider, "last")
    assert len(await inbox.until(count + 1)) == count + 1
    await provider.close()


async def test_an_attempt_that_is_given_up_is_reported_all_the_same(inbox: Inbox) -> None:
    """As it is where a vendor has taken a message and its answer is late."""
    provider = mock(inbox, delivered_ratio=1.0, latency=0.02)
    attempt = asyncio.create_task(send(provider, "k"))
    await asyncio.sleep(0)
    attempt.cancel()
    assert [one.reference for one in await inbox.until(1)] == ["r-k"]
    await provider.close()


async def test_a_sooner_one_does_not_wait_for_a_later_one(inbox: Inbox) -> None:
    provider = mock(inbox, delivered_ratio=1.0, receipt_delay=3600.0)
    await send(provider, "late")
    provider.prepare_update({"receipt_delay": 0.0})()
    await send(provider, "soon")
    assert [one.reference for one in await inbox.until(1)] == ["r-soon"]
    await provider.close()
    assert len(inbox.kept) == 1


async def test_what_cannot_be_kept_is_reported_again(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_receipts, "FIRST_PAUSE", 0.0)
    inbox.failures = [StoreUnavailable(), StoreUnavailable(), StoreUnavailable()]
    provider = mock(inbox, delivered_ratio=1.0)
    await send(provider, "k")
    assert [one.reference for one in await inbox.until(1)] == ["r-k"]
    assert inbox.calls == 4
    await provider.close()


async def test_an_inbox_that_fails_spoils_nothing_for_what_comes_later(inbox: Inbox) -> None:
    broken = RuntimeError("broken")
    inbox.failures = [broken]
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault["exception"]))
    provider = mock(inbox, delivered_ratio=1.0)
    await send(provider, "first")
    await inbox.until_called()
    await send(provider, "second")
    assert [one.reference for one in await inbox.until(1)] == ["r-second"]
    assert faults == [broken]
    await provider.close()


async def test_neither_sending_nor_closing_waits_for_an_inbox() -> None:
    asked = asyncio.Event()

    async def report(_: Sequence[Receipt | Inbound]) -> None:
        asked.set()
        await asyncio.Event().wait()

    context = Context("mock", tuple(Channel), lambda: 7, report=report)
    provider = MockProvider(context, MockSettings(delivered_ratio=1.0))
    async with asyncio.timeout(LIMIT):
        await send(provider, "a")
        await asked.wait()
        await send(provider, "b")
        await provider.close()


async def test_there_is_an_end_to_what_is_still_to_come(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_receipts, "MAX_PENDING", 3)
    provider = mock(inbox, delivered_ratio=1.0, receipt_delay=0.01)
    for key in range(10):
        await send(provider, str(key))
    assert len(await inbox.until(3)) == 3
    await send(provider, "later")
    assert (await inbox.until(4))[3].reference == "r-later"
    await provider.close()


async def test_without_ratios_nothing_is_drawn_and_nothing_runs(inbox: Inbox) -> None:
    provider = mock(inbox, seed=42, doubled_receipt_ratio=1.0)
    assert not capabilities.reports_of(provider)
    before = len(asyncio.all_tasks())
    await send(provider, "k")
    assert len(asyncio.all_tasks()) == before
    provider.prepare_update(RATIOS)()
    assert capabilities.reports_of(provider)
    for key in range(20):
        await send(provider, str(key))
    expected = predicted(42, 20)
    assert [(one.reference, one.state) for one in await inbox.until(len(expected))] == expected
    await provider.close()


def test_ratios_leave_room_for_each_other() -> None:
    MockSettings(delivered_ratio=0.7, undelivered_ratio=0.3, error_ratio=1.0).check()
    with pytest.raises(ValueError, match=r"^delivered_ratio: together with undelivered_ratio it is 1\.1, and must"):
        MockSettings(delivered_ratio=0.6, undelivered_ratio=0.5).check()


def test_a_provider_that_brings_nothing_says_so_by_saying_nothing() -> None:
    assert not capabilities.reports_of(FakeProvider("fake"))

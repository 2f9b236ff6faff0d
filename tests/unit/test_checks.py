"""The checks of the providers at boot: side by side, in limited time, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.providers import FakeProvider
from tests.support.waiting import within

from postwire.providers.base import Provider, ProviderHealth
from postwire.providers.checks import ProviderChecks

WELL = ProviderHealth(ok=True)
LONG = 3600.0
AT_ONCE = 0.0


class Checked(FakeProvider):
    """A provider whose check is whatever a test makes of it. `asked` is set once it has been called."""

    def __init__(self, name: str, check: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(name)
        self._check = check
        self.asked = asyncio.Event()

    async def check(self) -> ProviderHealth:
        self.asked.set()
        health: ProviderHealth = await self._check()
        return health


class Reports:
    """What was reported, by the provider's name; and the faults."""

    def __init__(self) -> None:
        self.found: dict[str, ProviderHealth] = {}
        self.faults: list[BaseException] = []
        self._news = asyncio.Event()

    def __call__(self, provider: Provider, health: ProviderHealth) -> None:
        assert provider.name not in self.found, "each is reported once"
        self.found[provider.name] = health
        self._news.set()

    async def until(self, count: int) -> None:
        while len(self.found) < count:
            self._news.clear()
            await within(self._news.wait())


def checks_of(reports: Reports, *providers: Provider, timeout: float = LONG) -> ProviderChecks:
    return ProviderChecks(providers, reports, on_fault=reports.faults.append, timeout=timeout)


async def forever() -> ProviderHealth:
    await asyncio.Event().wait()
    raise AssertionError


async def well() -> ProviderHealth:
    return WELL


async def test_one_that_hangs_holds_up_neither_the_caller_nor_the_others() -> None:
    reports = Reports()
    hanging = Checked("hanging", forever)
    checks = checks_of(reports, hanging, Checked("first", well), Checked("second", well))
    checks.start()
    assert not reports.found, "nothing has been waited for"
    await reports.until(2)
    assert reports.found == {"first": WELL, "second": WELL}
    await within(checks.stop())


async def test_they_run_side_by_side() -> None:
    reports = Reports()
    both = asyncio.Barrier(2)

    async def meet() -> ProviderHealth:
        await both.wait()
        return WELL

    checks_of(reports, Checked("one", meet), Checked("other", meet)).start()
    await reports.until(2)
    assert reports.found == {"one": WELL, "other": WELL}


async def test_one_that_does_not_answer_in_time_is_cancelled_and_reported() -> None:
    reports = Reports()
    checks_of(reports, Checked("hanging", forever), timeout=AT_ONCE).start()
    await reports.until(1)
    assert reports.found == {"hanging": ProviderHealth(ok=False, detail="it did not answer within 0 s")}
    assert not reports.faults


async def test_what_a_vendor_says_is_reported_as_it_is() -> None:
    reports, ill = Reports(), ProviderHealth(ok=False, detail="the vendor refuses the credentials")

    async def answer() -> ProviderHealth:
        return ill

    checks_of(reports, Checked("ill", answer)).start()
    await reports.until(1)
    assert reports.found == {"ill": ill}


async def test_a_check_that_fails_is_reported_without_its_text() -> None:
    reports, error = Reports(), ValueError("s3cret")

    async def fail() -> ProviderHealth:
        raise error

    checks_of(reports, Checked("failing", fail)).start()
    await reports.until(1)
    assert reports.found == {"failing": ProviderHealth(ok=False, detail="its check failed with ValueError")}
    assert reports.faults == [error]


async def test_a_check_that_cancels_itself_is_reported_as_well() -> None:
    reports = Reports()

    async def cancel() -> ProviderHealth:
        raise asyncio.CancelledError

    checks_of(reports, Checked("odd", cancel)).start()
    await reports.until(1)
    assert reports.found["odd"].detail == "its check failed with CancelledError"


async def test_a_check_that_gives_no_result_is_reported_as_well() -> None:
    reports = Reports()

    async def nothing() -> None:
        return None

    checks_of(reports, Checked("odd", nothing)).start()
    await reports.until(1)
    assert reports.found["odd"].detail == "its check failed with TypeError"


async def test_what_has_not_ended_is_cancelled_when_the_server_stops() -> None:
    reports, ended = Reports(), asyncio.Event()

    async def hang() -> ProviderHealth:
        try:
            return await forever()
        finally:
            ended.set()

    hanging = Checked("hanging", hang)
    checks = checks_of(reports, hanging)
    checks.start()
    await within(hanging.asked.wait())
    await within(checks.stop())
    assert ended.is_set()
    assert not reports.found
    assert not reports.faults


async def test_one_that_will_not_be_cancelled_does_not_hold_up_the_stop() -> None:
    reports, released = Reports(), asyncio.Event()

    async def stubborn() -> ProviderHealth:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return WELL

    hanging = Checked("stubborn", stubborn)
    checks = checks_of(reports, hanging)
    checks.start()
    await within(hanging.asked.wait())
    await within(checks.stop())
    released.set()
    await reports.until(1)


async def test_one_that_swallows_its_cancellation_is_reported_in_time_all_the_same() -> None:
    reports, released = Reports(), asyncio.Event()
    ended: list[str] = []

    async def stubborn() -> ProviderHealth:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        ended.append("stubborn")
        raise ValueError("too late for anybody")

    checks = checks_of(reports, Checked("stubborn", stubborn), timeout=AT_ONCE)
    checks.start()
    await within(checks.wait())
    assert reports.found == {"stubborn": ProviderHealth(ok=False, detail="it did not answer within 0 s")}
    assert not ended
    released.set()
    await within(checks.stop())
    assert ended, "once it could end, it has"
    assert reports.faults == []


async def test_who_waits_is_told_of_all() -> None:
    reports = Reports()
    checks = checks_of(reports, Checked("one", well), Checked("other", well))
    await within(checks.wait())
    assert not reports.found, "none has been started"
    checks.start()
    await within(checks.wait())
    assert list(reports.found) == ["one", "other"]


async def test_stopping_what_was_never_started_does_nothing() -> None:
    await within(checks_of(Reports(), Checked("one", well)).stop())

"""Keys that are fetched: how often, for how long they are good, and who waits."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.clock import ManualClock
from tests.support.tokens import key_set, public_jwk

from postwire.auth.fetched_keys import GOOD_FOR, LEAST_INTERVAL, MOST_WAITING, REFRESH, FetchedKeys

OLD, NEW = key_set(public_jwk()), key_set(public_jwk(kid="new"))


class Issuer:
    """Counts how often it is asked, and answers once it is let."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.answer: str | OSError = OLD
        self.asked = 0
        self.reported: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.keys = FetchedKeys(self._fetch, self.clock, self.reported.append)

    async def _fetch(self) -> str:
        self.asked += 1
        await self.open.wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer

    def known(self) -> list[str]:
        return [key_id for key_id, _ in self.keys.keys.keys]


async def turns() -> None:
    """Let everything go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_they_are_fetched_beside_everything_else_and_anew_from_time_to_time() -> None:
    issuer = Issuer()
    issuer.keys.fetch_now()
    assert issuer.known() == []
    await turns()
    assert issuer.known() == ["es256"]
    issuer.answer = NEW
    issuer.clock.advance(REFRESH)
    await turns()
    assert issuer.known() == ["new"], "and what was taken back is gone"


async def test_those_who_name_an_unknown_key_wait_for_one_fetch() -> None:
    issuer = Issuer()
    issuer.open.clear()
    waiting = [asyncio.create_task(issuer.keys.look_again()) for _ in range(100)]
    await turns()
    assert not any(one.done() for one in waiting)
    waiting[0].cancel()
    issuer.open.set()
    await asyncio.gather(*waiting[1:])
    assert issuer.asked == 1
    assert issuer.known() == ["es256"]


async def test_only_so_many_wait() -> None:
    issuer = Issuer()
    issuer.open.clear()
    waiting = [asyncio.create_task(issuer.keys.look_again()) for _ in range(MOST_WAITING)]
    await turns()
    await issuer.keys.look_again()
    assert not any(one.done() for one in waiting)
    issuer.open.set()
    await asyncio.gather(*waiting)
    assert issuer.asked == 1


async def test_a_start_waits_for_them_whatever_comes_of_it() -> None:
    for answer in (OLD, OSError("away")):
        issuer = Issuer()
        issuer.answer = answer
        await issuer.keys.until_fetched()
        assert issuer.asked == 0
        issuer.keys.fetch_now()
        await issuer.keys.until_fetched()
        assert issuer.asked == 1


async def test_however_many_there_are_it_is_fetched_once_a_minute() -> None:
    issuer = Issuer()
    issuer.keys.fetch_now()
    await turns()
    for _ in range(1_000):
        await issuer.keys.look_again()
    assert issuer.asked == 1
    issuer.clock.advance(LEAST_INTERVAL)
    issuer.answer = NEW
    for _ in range(1_000):
        await issuer.keys.look_again()
    assert issuer.asked == 2
    assert issuer.known() == ["new"]


@pytest.mark.parametrize("answer", [OSError("away"), "", OLD[:-5], '{"keys": []}'])
async def test_what_is_of_no_use_leaves_the_old_ones_good_for_a_day(answer: str | OSError) -> None:
    issuer = Issuer()
    issuer.keys.fetch_now()
    await turns()
    issuer.answer = answer
    for _ in range(int(GOOD_FOR / LEAST_INTERVAL) - 1):
        issuer.clock.advance(LEAST_INTERVAL)
        await turns()
    assert issuer.known() == ["es256"]
    issuer.clock.advance(LEAST_INTERVAL)
    assert issuer.known() == []
    await turns()
    issuer.answer = OLD
    issuer.clock.advance(LEAST_INTERVAL)
    await turns()
    assert issuer.known() == ["es256"]
    assert [bool(one) for one in issuer.reported] == [True, False], "told once, and once when it is over"


async def test_it_stops() -> None:
    issuer = Issuer()
    issuer.open.clear()
    issuer.keys.fetch_now()
    await turns()
    await issuer.keys.stop()
    assert not issuer.clock.awaited
    issuer.open.set()
    issuer.keys.fetch_now()
    await turns()
    await issuer.keys.stop()
    assert not issuer.clock.awaited

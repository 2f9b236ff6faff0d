"""How a store is opened to be served, where it is a database that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.postgres import new_database
from tests.support.waiting import within

from postwire.config.schema import Config, load
from postwire.core.errors import StoreUnavailable
from postwire.outbox.base import OutboxError
from postwire.providers.builtin import KINDS
from postwire.stores import Interrupted, OpenedStore, open_store


def config_of(**settings: str) -> Config:
    environ = {f"POSTWIRE_STORE__{name.upper()}": value for name, value in settings.items()}
    return load(path=None, environ=environ, kinds=KINDS)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no file of settings at hand."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def stop() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


@pytest.fixture
async def store(stop: asyncio.Future[str]) -> AsyncIterator[OpenedStore]:
    opened = await open_store(config_of(url=await new_database()), (), stop)
    yield opened
    await opened.close()


class Work:
    """Fails once for the store's sake."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> str:
        self.times += 1
        if self.times == 1:
            raise StoreUnavailable
        return "done"


async def test_what_a_boot_does_is_done_again_where_the_database_was_away(
    store: OpenedStore, stop: asyncio.Future[str]
) -> None:
    work = Work()
    assert await within(store.patiently(work, stop)) == "done"
    assert work.times == 2


async def test_a_boot_that_waits_for_the_database_can_be_ended(store: OpenedStore, stop: asyncio.Future[str]) -> None:
    async def away() -> None:
        raise StoreUnavailable

    waiting = asyncio.ensure_future(store.patiently(away, stop))
    stop.set_result("SIGTERM")
    with pytest.raises(Interrupted):
        await within(waiting)


async def test_a_file_that_cannot_be_used_is_not_waited_for(tmp_path: Path, stop: asyncio.Future[str]) -> None:
    opened = await open_store(config_of(path=str(tmp_path / "postwire.db")), (), stop)
    with pytest.raises(StoreUnavailable):
        await opened.patiently(Work(), stop)
    await opened.close()


async def test_opening_one_that_is_away_can_be_ended(stop: asyncio.Future[str]) -> None:
    url = "postgresql://postgres@127.0.0.1:1/nowhere"
    opening = asyncio.ensure_future(open_store(config_of(url=url), (), stop))
    stop.set_result("SIGTERM")
    with pytest.raises(Interrupted):
        await within(opening)


async def test_a_database_that_is_none_of_ours_is_no_matter_of_time(stop: asyncio.Future[str]) -> None:
    with pytest.raises(OutboxError, match="no such database"):
        await open_store(config_of(url=await new_database() + "_and_more"), (), stop)

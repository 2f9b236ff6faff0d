"""Work on threads that nothing waits for."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest
from tests.support.waiting import PATIENCE

from postwire.daemon import leaves_work_behind, run_in_daemon


async def test_it_gives_what_the_function_returns_or_raises() -> None:
    def fail() -> None:
        raise ValueError("no")

    assert await run_in_daemon(lambda: threading.current_thread().name, "mine") == "mine"
    with pytest.raises(ValueError, match="no"):
        await run_in_daemon(fail, "mine")


def test_the_event_loop_does_not_wait_for_it_at_its_end() -> None:
    over, ended = threading.Event(), threading.Event()

    def work() -> None:
        over.wait()
        ended.set()

    async def give_up() -> None:
        future = run_in_daemon(work, "mine")
        future.cancel()

    asyncio.run(give_up())
    assert not ended.is_set()
    over.set()
    assert ended.wait(20), "and its end harms nobody"


async def test_who_has_given_up_is_told_nothing() -> None:
    over = threading.Event()
    future = run_in_daemon(over.wait, "mine")
    future.cancel()
    over.set()
    assert await run_in_daemon(lambda: "next", "mine") == "next"
    assert future.cancelled()


async def test_what_can_be_cancelled_is_not_left_behind() -> None:
    honest = asyncio.create_task(asyncio.Event().wait())
    await asyncio.to_thread(int)  # an executor that has nothing to do
    assert not await leaves_work_behind(PATIENCE)
    assert honest.cancelled()


async def test_a_task_that_swallows_its_cancellation_is_left_behind() -> None:
    over = asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)  # a turn of the loop, in which it begins
    assert await leaves_work_behind(0.01)
    over.set()
    await task


async def test_a_thread_of_the_executor_is_left_behind() -> None:
    over = threading.Event()
    waiting = asyncio.get_running_loop().run_in_executor(None, over.wait)
    assert await leaves_work_behind(0.01)
    over.set()
    await waiting

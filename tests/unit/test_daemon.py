"""Work on threads that nothing waits for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from postwire.daemon import run_in_daemon


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

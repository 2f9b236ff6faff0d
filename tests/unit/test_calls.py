"""When a server that stops may stop listening: calls that are under way, and those that go on coming."""

from __future__ import annotations

import asyncio

from postwire.api.guard import Calls


async def test_it_is_quiet_once_no_call_has_come_for_so_long() -> None:
    calls = Calls()
    quiet = asyncio.create_task(calls.wait_quiet(0))  # for as long as one turn of the loop
    for _ in range(20):
        with calls:  # one that is answered at once, in every turn: each is told, and none is cut off
            pass
        await asyncio.sleep(0)
        assert not quiet.done()
    await asyncio.wait_for(quiet, 100)


async def test_it_is_not_quiet_while_a_call_is_under_way() -> None:
    calls = Calls()
    with calls:
        quiet = asyncio.create_task(calls.wait_quiet(0))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not quiet.done()
    await asyncio.wait_for(quiet, 100)

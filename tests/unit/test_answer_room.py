"""How many large answers one connection may have under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from postwire.api.answer_room import MAX_ANSWERS, AnswerRoom


class Call:
    """As much of gRPC's context as it takes."""

    def __init__(self, peer: str = "ipv4:127.0.0.1:1") -> None:
        self._peer = peer
        self._callbacks: list[Callable[[Any], None]] = []

    def peer(self) -> str:
        return self._peer

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        for callback in self._callbacks:
            callback(self)


async def entered(room: AnswerRoom, call: Call) -> asyncio.Task[None]:
    """It is in, unless the task is not done."""
    task = asyncio.create_task(room.enter(call))  # type: ignore[arg-type]  # it is no real context
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_one_too_many_waits_for_those_of_its_own_connection() -> None:
    room = AnswerRoom()
    calls = [Call() for _ in range(MAX_ANSWERS)]
    for call in calls:
        assert (await entered(room, call)).done()
    waiting = await entered(room, Call())
    assert not waiting.done()
    assert (await entered(room, Call("ipv4:127.0.0.1:2"))).done(), "another connection has its own room"
    calls[3].end()
    await waiting


async def test_who_gives_up_while_waiting_takes_no_place() -> None:
    room = AnswerRoom()
    calls = [Call() for _ in range(MAX_ANSWERS)]
    for call in calls:
        await entered(room, call)
    given_up, next_one = await entered(room, Call()), await entered(room, Call())
    given_up.cancel()
    calls[0].end()
    await next_one
    assert given_up.cancelled()


async def test_nothing_is_kept_of_connections_without_a_call() -> None:
    room = AnswerRoom()
    call = Call()
    await entered(room, call)
    call.end()
    assert not vars(room)["_connections"]


async def test_at_a_unix_socket_nobody_waits_for_others() -> None:
    room = AnswerRoom()
    for _ in range(2 * MAX_ANSWERS):
        assert (await entered(room, Call("unix:"))).done()

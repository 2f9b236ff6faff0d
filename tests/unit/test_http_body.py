"""Bodies of requests: how much of them is held at once, and what becomes of those that are too large or too slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from postwire import http_body
from postwire.http_body import BodyRoom, BodyTooLarge, BodyTooSlow, Disconnected, NoRoom

Receive = Callable[[], Awaitable[dict[str, Any]]]


def chunks(*data: bytes) -> Receive:
    """A body that is all there."""
    left = [*data]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return receive


async def read(room: BodyRoom, receive: Receive, most: int = 100, length: str = "") -> bytes:
    with room.reserve("a") as body:
        return await body.read([(b"content-length", length.encode())] if length else [], receive, most)


async def test_a_body_is_all_of_its_parts() -> None:
    room = BodyRoom(100)
    assert await read(room, chunks(b"ab", b"", b"c")) == b"abc"
    assert await read(room, chunks(b"")) == b""
    assert await read(room, chunks(bytes(100)), length="100") == bytes(100)


@pytest.mark.parametrize(
    ("parts", "length"),
    [([bytes(101)], ""), ([bytes(60), bytes(41)], ""), ([b""], "101"), ([b""], "9" * 30), ([bytes(101)], "5")],
)
async def test_one_that_is_too_large_is_not_read(parts: Sequence[bytes], length: str) -> None:
    room = BodyRoom(1000)
    with pytest.raises(BodyTooLarge):
        await read(room, chunks(*parts), length=length)
    assert await read(room, chunks(bytes(100))), "and holds nothing any more"


async def test_a_length_that_is_none_says_nothing() -> None:
    assert await read(BodyRoom(100), chunks(b"a"), length="-1") == b"a"


async def test_whoever_hangs_up_is_gone() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Disconnected):
        await read(BodyRoom(100), receive)


async def test_there_is_room_for_small_ones_when_large_ones_have_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_body, "SMALL_BODY", 10)
    room = BodyRoom(100)
    with room.reserve("a") as large:
        await large.read([], chunks(bytes(95)), 100)
        with pytest.raises(NoRoom):
            await read(room, chunks(bytes(11)))
        assert await read(room, chunks(bytes(10)))
        with room.reserve("b") as other:
            assert await other.read([], chunks(bytes(100)), 100), "that of another is its own"
        large.release()
        assert await read(room, chunks(bytes(100))), "once it is released"
    assert await read(room, chunks(bytes(100))), "which it is not twice"


async def test_one_tenant_leaves_room_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_body, "SMALL_BODY", 0)
    room = BodyRoom(100)
    with room.reserve(True, "acme") as large, room.reserve(True, "acme") as more, room.reserve(True, "beta") as other:
        await large.read([], chunks(bytes(80)), 100)
        with pytest.raises(NoRoom):
            await more.read([], chunks(b"a"), 100)
        more.release()
        assert await other.read([], chunks(bytes(16)), 100)
        large.release()
    with room.reserve(True, "beta") as other:
        assert await other.read([], chunks(bytes(80)), 100), "nothing is held any more"


async def test_one_that_does_not_come_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_body, "BODY_TIME", 0.01)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(BodyTooSlow):
        await read(BodyRoom(100), receive)


async def test_one_that_is_large_has_the_time_that_its_bytes_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_body, "BODY_TIME", 0.01)
    monkeypatch.setattr(http_body, "LEAST_RATE", 1)
    left = [bytes(3600), b"end"]

    async def receive() -> dict[str, Any]:
        if len(left) == 1:
            await asyncio.sleep(0.05)  # longer than one that is small may take
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    assert len(await read(BodyRoom(10_000), receive, 5_000)) == 3603

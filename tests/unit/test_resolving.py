"""Names are looked up without holding up anybody."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any
from unittest import mock

import pytest
from tests.support.waiting import within

from postwire.providers.resolving import NameResolver

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


class Names:
    """A name server that answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.failure: Exception | None = None

    def __call__(self, host: str, *_: Any) -> Any:
        self.asked.append(host)
        assert self.may_answer.wait(30)
        if self.failure:
            raise self.failure
        return FOUND


@pytest.fixture
def names() -> Any:
    found = Names()
    with mock.patch("socket.getaddrinfo", found):
        yield found
        found.may_answer.set()


async def test_calls_for_one_name_share_a_look_up_and_others_have_their_own(names: Names) -> None:
    resolver = NameResolver()
    calls = [asyncio.ensure_future(resolver.resolve(host, 80)) for host in ("a", "a", "b")]
    await asyncio.sleep(0)
    names.may_answer.set()
    assert await within(asyncio.gather(*calls)) == [FOUND] * 3
    assert sorted(names.asked) == ["a", "b"]
    assert await within(resolver.resolve("a", 80)) == FOUND
    assert sorted(names.asked) == ["a", "a", "b"]


async def test_a_call_that_is_cancelled_leaves_the_others_what_they_wait_for(names: Names) -> None:
    resolver = NameResolver()
    one, other = (asyncio.ensure_future(resolver.resolve("a", 80)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    names.may_answer.set()
    assert await within(other) == FOUND
    assert one.cancelled()


@pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_NONAME, "no"), UnicodeError("label too long")])
async def test_a_name_that_there_is_not_is_an_error_of_the_network(names: Names, failure: Exception) -> None:
    names.failure = failure
    names.may_answer.set()
    with pytest.raises(OSError):  # noqa: PT011  # as `getaddrinfo` raises
        await within(NameResolver().resolve("a" * 70, 80))


def test_a_look_up_that_never_ends_holds_up_neither_the_loop_nor_its_end(names: Names) -> None:
    async def given_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(NameResolver().resolve("a", 80), 0.01)

    asyncio.run(given_up())
    assert not names.may_answer.is_set()


async def test_no_thread_of_the_loops_executor_is_taken(names: Names) -> None:
    resolver = NameResolver()
    waiting = [asyncio.ensure_future(resolver.resolve(f"name-{at}", 80)) for at in range(64)]
    await asyncio.sleep(0)
    assert await within(asyncio.to_thread(lambda: 17)) == 17
    for call in waiting:
        call.cancel()

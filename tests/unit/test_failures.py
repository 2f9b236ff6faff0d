"""Callers who fail again and again: told of now and then, and slowed down, each by himself."""

from __future__ import annotations

import asyncio

from tests.support.clock import ManualClock

from postwire.auth.failures import BURST, DELAY, LOG_INTERVAL, LOGGED_AT_ONCE, MOST_KNOWN, MOST_WAITING, Failures
from postwire.http_connections import MAX_CONNECTIONS

PEER = "ipv4:192.0.2.1:4711"


class Harness:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.reported: list[tuple[str, str, int]] = []
        self.failures = Failures(self.clock, lambda *one: self.reported.append(one))

    async def fail(self, key_id: str = "a", peer: str = PEER) -> asyncio.Task[None]:
        """One failure. Done: it is answered."""
        task = asyncio.create_task(self.failures.note(key_id, peer))
        for _ in range(3):
            await asyncio.sleep(0)
        return task


async def test_many_are_answered_at_once_and_then_they_wait() -> None:
    it = Harness()
    assert all([(await it.fail()).done() for _ in range(BURST)])
    held = await it.fail()
    assert not held.done()
    it.clock.advance(DELAY)
    await held


async def test_another_key_and_another_address_are_not_slowed_down() -> None:
    it = Harness()
    for _ in range(BURST):
        await it.fail()
    assert not (await it.fail(peer="ipv4:192.0.2.1:9")).done(), "the port is another for each connection"
    assert (await it.fail("b")).done()
    assert (await it.fail(peer="ipv4:192.0.2.2:4711")).done()
    it.clock.advance(DELAY)


async def test_only_so_many_are_kept_waiting() -> None:
    it = Harness()
    for _ in range(BURST):
        await it.fail()
    held = [await it.fail() for _ in range(MOST_WAITING)]
    assert not any(one.done() for one in held)
    assert (await it.fail()).done()
    held[0].cancel()
    await asyncio.wait(held[:1])
    assert not (await it.fail()).done(), "who hangs up makes room"
    it.clock.advance(DELAY)
    await asyncio.gather(*held[1:])


async def test_some_are_told_and_the_rest_are_counted() -> None:
    it = Harness()
    for _ in range(10):
        await it.fail()
    assert it.reported == [("a", "192.0.2.1", 1)] * LOGGED_AT_ONCE
    it.clock.advance(LOG_INTERVAL)
    await it.fail()
    assert it.reported[-1] == ("a", "192.0.2.1", 10 - LOGGED_AT_ONCE + 1)


async def test_addresses_are_told_without_ports() -> None:
    it = Harness()
    for peer in ("ipv6:%5B::1%5D:50051", "unix:", "unix:/run/a.sock", "ipv4:192.0.2.7:1"):
        await it.fail(peer=peer)
    assert [address for _, address, _ in it.reported] == ["%5B::1%5D", "unix", "unix", "192.0.2.7"]


async def test_no_more_than_so_many_are_known() -> None:
    it = Harness()
    for number in range(MOST_KNOWN + 10):
        await it.failures.note("", f"ipv4:10.0.{number // 256}.{number % 256}:1")
    assert len(it.failures._answered._limited) == MOST_KNOWN


def test_those_who_wait_leave_most_connections_to_others() -> None:
    assert MOST_WAITING <= MAX_CONNECTIONS / 4

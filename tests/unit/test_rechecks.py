"""Streams whose caller may not go on: they end at the next look, and nobody else's do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from tests.support.access import bearer, declared, keys_of, made_key, table_of
from tests.support.clock import START, ManualClock
from tests.support.guarded import PATH, guarded

from postwire.api.access import Access
from postwire.api.guard import Calls, Guard
from postwire.api.rechecks import INTERVAL
from postwire.auth.authenticator import Authenticator
from postwire.core.principal import Role

PATIENCE = 60


class Harness:
    """A method that answers with what comes, and two keys for it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.stays, self.goes = made_key(), made_key()
        self.both = declared(self.stays, "acme", "read") + declared(self.goes, "acme", "read")
        self.authenticator = Authenticator(table_of(self.both), keys_of())
        self.access = Access(self.authenticator, self.clock, lambda *_: None)
        self.left = asyncio.Event()

    async def echo(self, requests: AsyncIterator[bytes], call: Any) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                yield request
        finally:
            self.left.set()

    def forget(self) -> None:
        self.authenticator.table = table_of(declared(self.stays, "acme", "read"))


async def begun(channel: grpc.aio.Channel, metadata: Any) -> Any:
    """A stream that has had its first response."""
    call: Any = channel.stream_stream(f"/{PATH}")(metadata=metadata, timeout=PATIENCE)
    await call.write(b"1")
    assert await call.read() == b"1"
    return call


async def test_a_stream_ends_at_the_next_look_once_its_key_is_gone_and_others_go_on() -> None:
    it = Harness()
    async with (
        guarded(it.access, it.echo, (Role.READ,), streams=True) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        going, staying = await begun(channel, bearer(it.goes)), await begun(channel, bearer(it.stays))
        it.forget()
        it.clock.advance(INTERVAL - 1)
        await going.write(b"2")
        assert await going.read() == b"2", "it is not time yet"
        it.clock.advance(1)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await going.read()
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert ended.value.details() == "these credentials are not valid, or not any more"
        await asyncio.wait_for(it.left.wait(), PATIENCE)
        for _ in range(3):
            await staying.write(b"3")
            assert await staying.read() == b"3"
            it.clock.advance(INTERVAL)
        await staying.done_writing()
        assert await staying.read() is grpc.aio.EOF


async def test_it_ends_once_its_key_expires_or_loses_the_role() -> None:
    for change, code in (
        ("expires = 2023-11-14T22:14:00Z", grpc.StatusCode.UNAUTHENTICATED),  # 40 s after the clock begins
        ('roles = ["send"]', grpc.StatusCode.PERMISSION_DENIED),
    ):
        it = Harness()
        async with (
            guarded(it.access, it.echo, (Role.READ,), streams=True) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            call = await begun(channel, bearer(it.goes))
            key = declared(it.goes, "acme", "read")
            it.authenticator.table = table_of(
                key.replace("roles = ['read']", change) if "roles" in change else f"{key}{change}\n"
            )
            it.clock.advance(INTERVAL)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call.read()
            assert ended.value.code() is code
    assert it.clock.wall() == START + 60_000_000


async def test_whoever_hangs_up_is_not_looked_at_any_more() -> None:
    it = Harness()
    async with (
        guarded(it.access, it.echo, (Role.READ,), streams=True) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = await begun(channel, bearer(it.goes))
        call.cancel()
        await asyncio.wait_for(it.left.wait(), PATIENCE)
    assert not it.clock.awaited


class Aborted(Exception):
    pass


class Context:
    """What gRPC knows of a call, here of one that has a key."""

    def __init__(self, metadata: Any) -> None:
        self.metadata = metadata
        self.aborted: grpc.StatusCode | None = None

    def invocation_metadata(self) -> Any:
        return self.metadata

    def time_remaining(self) -> None:
        pass

    def peer(self) -> str:
        return "unix:"

    async def abort(self, code: grpc.StatusCode, text: str, trailers: Any = ()) -> None:
        self.aborted = code
        raise Aborted


async def test_while_a_response_waits_to_be_taken_nothing_is_cancelled_and_then_it_ends() -> None:
    """gRPC has the task then: cancelled there, the call would end as one that its caller has left."""
    it = Harness()
    context = Context(bearer(it.goes))

    async def count(request: Any, call: Any) -> AsyncIterator[bytes]:
        for number in range(9):
            yield bytes((number,))

    handler: Any = Guard(Calls(), [], it.access).stream_handler(PATH, count, (Role.READ,))  # type: ignore[arg-type]
    async with aclosing(handler(None, context)) as responses:
        assert await anext(responses) == b"\0"
        it.forget()
        it.clock.advance(INTERVAL)
        for _ in range(10):
            await asyncio.sleep(0)  # the look is a task of its own
        assert context.aborted is None
        with pytest.raises(Aborted):
            await anext(responses)
    assert context.aborted is grpc.StatusCode.UNAUTHENTICATED

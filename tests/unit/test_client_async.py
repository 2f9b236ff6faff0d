"""What is the asynchronous client's own: cancelled tasks, asynchronous iterables, event loops."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from tests.support.scripted import Refuse, ScriptedServer, accept, ending, serving, silent
from tests.support.waiting import PATIENCE, within

from postwire.v1.dispatch_service_pb2 import DispatchResponse, WatchMessagesResponse
from postwire.v1.provider_service_pb2 import ListProvidersResponse
from postwire_client import AsyncClient, ClientClosed, DispatchRequest, OutboundMessage, Sms, reopening

HELLO = OutboundMessage(sms=Sms(to="+15005550006", body="Hello"))


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reopening, "FIRST_PAUSE", 0.001)


class Source:
    """Requests that come one by one, each after a turn of the loop; it notes how it ends."""

    def __init__(self, number: int, first: int = 0) -> None:
        self.taken = first
        self.ended_with: BaseException | None = None
        self._number = number

    async def requests(self) -> AsyncIterator[DispatchRequest]:
        try:
            while self.taken < self._number:
                await asyncio.sleep(0)
                self.taken += 1
                yield DispatchRequest(message=HELLO, request_id=str(self.taken))
            await asyncio.get_running_loop().create_future()  # there may be more some time
        except BaseException as error:
            self.ended_with = error
            raise


class Hanging:
    """Answers when its caller has gone."""

    def __init__(self, *responses: Any) -> None:
        self.over = threading.Event()
        self._responses = responses

    def unary(self, context: Any) -> DispatchResponse:
        context.add_callback(self.over.set)
        self.over.wait(PATIENCE)
        return DispatchResponse()

    def watch(self, context: Any) -> Iterator[Any]:
        context.add_callback(self.over.set)
        yield from self._responses
        self.over.wait(PATIENCE)

    def stream(self, scripted: ScriptedServer, frames: Any, context: Any) -> Iterator[Any]:
        context.add_callback(self.over.set)
        yield from silent(scripted, frames, context)

    async def until_over(self) -> None:
        assert await asyncio.to_thread(self.over.wait, PATIENCE)


async def until(scripted: ScriptedServer, is_so: Any) -> None:
    await asyncio.to_thread(scripted.until, is_so)


async def until_idle() -> None:
    """Return once no task is left but this."""
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        await within(asyncio.wait(left))


# Cancelled.


async def test_a_task_that_is_cancelled_sees_that_and_the_server_hears_of_it(
    target: str, scripted: ScriptedServer
) -> None:
    hanging = Hanging()
    scripted.answers = [hanging.unary]
    async with AsyncClient(target) as client:
        calling = asyncio.ensure_future(client.dispatch(HELLO))
        await until(scripted, lambda: scripted.asked)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await hanging.until_over()
    assert len(scripted.asked) == 1, "it is not repeated"


async def test_a_time_limit_of_the_callers_own_is_that(target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [Hanging().unary]
    async with AsyncClient(target) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.dispatch(HELLO)


async def test_many_that_are_cancelled_leave_nothing(target: str, scripted: ScriptedServer) -> None:
    hanging, source = Hanging(), Source(5)
    scripted.scripts = [hanging.stream]
    async with AsyncClient(target) as client:

        async def send() -> None:
            async for _ in client.dispatch_many(source.requests()):
                raise AssertionError("nothing was answered")

        sending = asyncio.create_task(send())
        await until(scripted, lambda: len(scripted.sent) == 5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await hanging.until_over()
        await until_idle()
    assert isinstance(source.ended_with, asyncio.CancelledError)


@pytest.mark.parametrize("way", ["closed", "left"])
async def test_who_stops_early_leaves_nothing(target: str, scripted: ScriptedServer, way: str) -> None:
    source = Source(5)
    async with AsyncClient(target) as client:
        results = client.dispatch_many(source.requests())
        if way == "closed":
            async with aclosing(results):
                await anext(results)
            assert source.ended_with is not None, "at once"
        else:
            async for _ in results:
                break
            del results, _
            gc.collect()  # and the loop closes what is gone
        await until_idle()
        assert source.ended_with is not None
        scripted.answers = [ListProvidersResponse()]
        assert await client.list_providers() == [], "and the client goes on"


async def test_a_watch_that_is_cancelled_ends_the_call(target: str, scripted: ScriptedServer) -> None:
    hanging = Hanging(WatchMessagesResponse(resume_token="t"))
    scripted.answers = [hanging.watch]
    async with AsyncClient(target) as client:
        watching = asyncio.create_task(anext(client.watch_messages()))
        await until(scripted, lambda: scripted.asked)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        await hanging.until_over()
    assert len(scripted.asked) == 1


async def test_to_close_the_client_cancels_calls_and_not_tasks(target: str, scripted: ScriptedServer) -> None:
    hanging = Hanging()
    scripted.answers = [hanging.unary]
    client = AsyncClient(target)

    async def call() -> int:
        with pytest.raises(ClientClosed):
            await client.dispatch(HELLO)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task
        return task.cancelling()

    calling = asyncio.create_task(call())
    await until(scripted, lambda: scripted.asked)
    await client.close()
    assert await within(calling) == 0


async def test_a_task_that_is_cancelled_while_the_client_is_closed_is_cancelled(
    target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [Hanging().unary]
    client = AsyncClient(target)
    calling = asyncio.ensure_future(client.dispatch(HELLO))
    await until(scripted, lambda: scripted.asked)
    calling.cancel()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await calling


# Asynchronous iterables.


async def test_requests_are_awaited_and_no_more_than_the_window_is_taken(target: str, scripted: ScriptedServer) -> None:
    source = Source(1_000)
    async with AsyncClient(target) as client, aclosing(client.dispatch_many(source.requests(), window=20)) as results:
        for read in range(1, 101):
            assert (await anext(results)).index == read - 1
            assert source.taken - read <= 20


async def test_a_stream_that_breaks_does_not_disturb_the_iterable(target: str, scripted: ScriptedServer) -> None:
    scripted.scripts = [ending(2, Refuse(grpc.StatusCode.UNAVAILABLE)), accept]
    source = Source(5)
    async with AsyncClient(target) as client, aclosing(client.dispatch_many(source.requests())) as results:
        assert sorted([(await within(anext(results))).index for _ in range(5)]) == [0, 1, 2, 3, 4]
        assert source.ended_with is None
    assert len(scripted.streams) == 2


@pytest.mark.parametrize(
    "error", [LookupError("mine"), asyncio.CancelledError()], ids=["LookupError", "CancelledError"]
)
async def test_what_the_iterable_raises_is_raised_after_what_came_before(target: str, error: BaseException) -> None:
    async def failing() -> AsyncIterator[DispatchRequest]:
        yield DispatchRequest(message=HELLO)
        raise error

    async with AsyncClient(target) as client:
        results = client.dispatch_many(failing())
        assert (await anext(results)).index == 0
        with pytest.raises(type(error)):
            await within(anext(results))


async def test_an_iterable_that_never_waits_leaves_the_loop_to_others(target: str) -> None:
    turns = 0
    taken_at: list[int] = []

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def requests() -> Iterator[DispatchRequest]:
        for _ in range(3_000):
            taken_at.append(turns)
            yield DispatchRequest(message=HELLO)

    async with AsyncClient(target) as client:
        beside = asyncio.create_task(other())
        results = [one async for one in client.dispatch_many(requests(), frame_size=100, window=3_000)]
        beside.cancel()
    assert len(results) == 3_000
    assert len(set(taken_at)) >= 30, "once a frame at the least"


# Event loops.


def test_a_client_belongs_to_the_event_loop_of_its_first_call(target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [ListProvidersResponse()]
    client = AsyncClient(target)

    async def call() -> None:
        assert await client.list_providers() == []

    with asyncio.Runner() as runner, asyncio.Runner() as another:
        runner.run(call())
        with pytest.raises(RuntimeError, match="another event loop"):
            another.run(call())
        runner.run(client.close())

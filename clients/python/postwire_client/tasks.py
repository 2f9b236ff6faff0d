"""The streams of the client that is awaited: tasks, and reads that end in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from postwire.v1.dispatch_service_pb2 import DispatchRequest
from postwire_client.bulk import Bulk, DispatchResult
from postwire_client.errors import ClientClosed, PostwireError
from postwire_client.lifetime import Lifetime
from postwire_client.reopening import no_answer
from postwire_client.watching import Watch

Reported = TypeVar("Reported")


class LoopLifetime(Lifetime):
    """The same, within one event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise ClientClosed if it is over, and RuntimeError in another event loop than the first."""
        super().check()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("this client belongs to another event loop: make one for each")


@contextmanager
def errors(lifetime: Lifetime) -> Iterator[None]:
    """Around a call: what it raises is a PostwireError, or it is the task that was cancelled."""
    lifetime.check()
    try:
        yield
    except grpc.RpcError as error:
        raise lifetime.error(error) from error
    except asyncio.CancelledError:
        # gRPC raises it as well where the channel was closed, and nobody has cancelled the task.
        task = asyncio.current_task()
        if lifetime.is_over and not (task and task.cancelling()):
            raise ClientClosed from None
        raise


async def watch(
    lifetime: Lifetime, method: Callable[[Any], Any], watch: Watch[Reported]
) -> AsyncGenerator[Reported, None]:
    """What a watch yields, over as many streams as it takes."""
    while True:
        error: PostwireError | None = None
        with _Stream(lifetime) as stream:
            stream.begin(method(watch.opened()))
            while True:
                stream.expect(_now() + watch.silence)
                try:
                    response = await stream.read()
                except PostwireError as caught:
                    error = caught
                    break
                if response is None:
                    break
                reported = watch.heard(response)
                if reported is not None:
                    yield reported
        pause = watch.ended(error)
        if pause is None:
            return
        is_over = asyncio.Event()
        with lifetime.notifying(is_over.set), suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await is_over.wait()


class Sending:
    """`dispatch_many`, by three tasks: one takes the requests, one writes frames, and the caller's reads the answers.

    Each of the events notifies one of them that something has changed.
    """

    def __init__(
        self,
        lifetime: Lifetime,
        method: Callable[[], Any],
        requests: Iterable[DispatchRequest] | AsyncIterable[DispatchRequest],
        bulk: Bulk,
    ) -> None:
        self._lifetime = lifetime
        self._method = method
        self._requests = requests
        self._bulk = bulk
        self._taking = asyncio.Event()
        self._writing = asyncio.Event()
        self._reading = asyncio.Event()

    async def results(self) -> AsyncGenerator[DispatchResult, None]:
        """What became of each request, over as many streams as it takes."""
        async with _running(self._take()):
            while await self._until_frame():
                self._bulk.opened()
                error: PostwireError | None = None
                with _Stream(self._lifetime) as stream:
                    stream.begin(self._method())
                    async with _running(self._write(stream)):
                        while True:
                            self._bulk.listening(_now())
                            stream.expect(self._bulk.deadline)
                            try:
                                response = await stream.read()
                            except PostwireError as caught:
                                error = caught
                                break
                            if response is None:
                                break
                            for result in response.results:
                                reported = self._bulk.answered(result, _now())
                                self._notify()
                                if reported is not None:
                                    yield reported
                self._bulk.ended(error, _now())
        self._bulk.finish()

    async def _write(self, stream: _Stream) -> None:
        # What goes wrong here ends the call, and is read there.
        with suppress(grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            while not self._bulk.is_done:
                frame = self._bulk.next_frame(_now())
                if frame is None:
                    await _until(self._writing, self._bulk.wake_at)
                else:
                    stream.expect(self._bulk.deadline)
                    await stream.call.write(frame)
            await stream.call.done_writing()

    async def _until_frame(self) -> bool:
        """Wait until there is something to send; False: there will be nothing any more. Raises ClientClosed."""
        with self._lifetime.notifying(self._reading.set):
            while not self._bulk.is_done:
                self._lifetime.check()
                wake_at = self._bulk.wake_at
                if wake_at is not None and wake_at <= _now():
                    return True
                await _until(self._reading, wake_at)
            return False

    async def _take(self) -> None:
        failure: BaseException | None = None
        try:
            following = _following(self._requests)
            while await self._until_room() and (request := await following()) is not None:
                if self._bulk.put(request, _now()):
                    self._notify()
                    await asyncio.sleep(0)  # a loop of ours that never waits would stop everything else
        except BaseException as error:  # the caller's own, which is to have it again; or this task is over
            failure = error
        self._bulk.no_more(failure)
        self._notify()

    async def _until_room(self) -> bool:
        while self._bulk.room <= 0:
            await _until(self._taking, None)
        return True

    def _notify(self) -> None:
        for event in (self._taking, self._writing, self._reading):
            event.set()


class _Stream:
    """One call that answers with a stream. At the end of its context it is cancelled, if it still is under way."""

    call: Any = None

    def __init__(self, lifetime: Lifetime) -> None:
        lifetime.check()
        self._lifetime = lifetime
        self._deadline: float | None = None
        self._timeout: asyncio.Timeout | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.call is not None:
            self.call.cancel()

    def begin(self, call: Any) -> None:
        self.call = call
        # And not `call.read`, which gives nothing more once a write has failed: what has arrived before would be lost,
        # and keep the call from its end.
        self._responses = aiter(call)

    def expect(self, deadline: float | None) -> None:
        """The next answer has to be there by then; None: some time. During a `read` as well."""
        self._deadline = deadline
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(deadline)

    async def read(self) -> Any:
        """The next answer; None at the end. Raises PostwireError."""
        timeout = asyncio.timeout_at(self._deadline)
        try:
            async with timeout:
                self._timeout = timeout
                with errors(self._lifetime):
                    return await anext(self._responses, None)
        except TimeoutError:
            raise no_answer() from None
        finally:
            self._timeout = None


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(event: asyncio.Event, at: float | None) -> None:
    """Wait for the event, or until the time has come."""
    event.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout_at(at):
            await event.wait()


@asynccontextmanager
async def _running(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs beside what is within, and no longer."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _following(
    requests: Iterable[DispatchRequest] | AsyncIterable[DispatchRequest],
) -> Callable[[], Coroutine[Any, Any, DispatchRequest | None]]:
    """A function that gives the next request, and None after the last."""
    if isinstance(requests, AsyncIterable):
        awaited = aiter(requests)

        async def following() -> DispatchRequest | None:
            return await anext(awaited, None)
    else:
        plain = iter(requests)

        async def following() -> DispatchRequest | None:
            return next(plain, None)

    return following

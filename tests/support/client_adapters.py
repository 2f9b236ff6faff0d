"""Both clients, called in one way, so that one suite holds for both."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Final, Self, TypeVar, cast

from tests.support.waiting import PATIENCE

from postwire_client import AsyncClient, Client, DispatchRequest

T = TypeVar("T")

CLIENT_ADAPTERS: Final = ("Client", "AsyncClient")

_END: Final = object()


class LoopThread:
    """An event loop that runs on a thread of its own, within the context."""

    _open = 0  # of all of them

    def __init__(self) -> None:
        """Leave what is there before out of the look for garbage at the end, which took 20 ms a test."""
        if not LoopThread._open:
            gc.collect()
            gc.freeze()

    def __enter__(self) -> Self:
        LoopThread._open += 1
        self.errors: list[dict[str, Any]] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, error: self.errors.append(error))
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.run(self._is_clean())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(PATIENCE)
            self.loop.close()
            LoopThread._open -= 1
        gc.collect()  # what nobody has awaited is told when it goes
        ours = [error for error in self.errors if not _is_of_another_loop(error)]
        assert ours == [], ours

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it returns, or raises."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    async def _is_clean(self) -> None:
        """Nothing of ours is left in the loop. What gRPC or the end of a generator has left has its turn first."""
        try:
            async with asyncio.timeout(PATIENCE / 2):
                while left := asyncio.all_tasks() - {asyncio.current_task()}:
                    await asyncio.wait(cast(set[Any], left))
        except TimeoutError:
            raise AssertionError(f"tasks are left: {[(one, one.get_stack()) for one in left]}") from None


def _is_of_another_loop(error: dict[str, Any]) -> bool:
    """Whether gRPC has tried to wake the loop of an earlier test.

    It has one poller for all loops of a process, and may wake one in the moment in which that is closed.
    """
    return "PollerCompletionQueue" in error["message"] and str(error.get("exception")) == "Event loop is closed"


class Driven:
    """An `AsyncClient` that is called like a `Client`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.thread = LoopThread()
        self.client = AsyncClient(*args, **settings)  # before there is an event loop, as a module's constant would be

    def __enter__(self) -> Self:
        self.thread.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        finally:
            self.thread.__exit__()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if inspect.isasyncgen(result):
                return _Iterated(self.thread, result)
            assert inspect.iscoroutine(result)
            return self.thread.run(result)

        return call


class _Iterated:
    """An asynchronous generator as a plain one."""

    def __init__(self, thread: LoopThread, generator: Any) -> None:
        self._thread = thread
        self._generator = generator

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        async def following() -> Any:
            return await anext(self._generator, _END)

        reported = self._thread.run(following())
        if reported is _END:
            raise StopIteration
        return reported

    def close(self) -> None:
        self._thread.run(self._generator.aclose())


def connect(adapter: str, *args: Any, **settings: Any) -> Client:
    """A client, or what is called like one. It is used as a context."""
    return Client(*args, **settings) if adapter == "Client" else cast(Client, Driven(*args, **settings))


class Feed:
    """Requests that are there when a test says so. It counts those that were taken."""

    def __init__(self, client: Client) -> None:
        self.taken = 0
        self._client = client
        self._waiting: deque[DispatchRequest | None] = deque()
        self._changed = threading.Condition()
        self._news = asyncio.Event()

    def put(self, *requests: DispatchRequest) -> None:
        self._add(requests)

    def end(self) -> None:
        """There are no more."""
        self._add((None,))

    @property
    def requests(self) -> Any:
        """What to give to `dispatch_many`."""
        return self._await() if isinstance(self._client, Driven) else self._block()

    def until_taken(self, count: int) -> None:
        """Return once so many were taken."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.taken >= count, PATIENCE), f"only {self.taken} were taken"

    def _add(self, requests: tuple[DispatchRequest | None, ...]) -> None:
        with self._changed:
            self._waiting.extend(requests)
            self._changed.notify_all()
        if isinstance(self._client, Driven):
            self._client.thread.loop.call_soon_threadsafe(self._news.set)

    def _take(self) -> DispatchRequest | None:
        request = self._waiting.popleft()
        self.taken += request is not None
        self._changed.notify_all()
        return request

    def _block(self) -> Iterator[DispatchRequest]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                if (request := self._take()) is None:
                    return
            yield request

    async def _await(self) -> AsyncIterator[DispatchRequest]:
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            with self._changed:
                if (request := self._take()) is None:
                    return
            yield request

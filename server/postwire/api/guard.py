"""What happens around every call: refusals become statuses, faults of ours become `INTERNAL`, and calls are observed.

grpc.aio leaves a client hanging when a handler raises CancelledError of its own, sends callers the text of any other
exception, and does not wait at `stop` for handlers that have aborted. So every handler of ours runs inside this.

It wraps the servicers' methods, once, instead of being a gRPC interceptor, which is asked again at every call.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, Self, TypeAlias

import grpc

from postwire.api import errors
from postwire.api.call import CallContext
from postwire.core.errors import Refusal
from postwire.core.principal import LOCAL
from postwire.telemetry.base import CallObserver
from postwire.telemetry.logs import EventLog

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler = Callable[[Any, Any], Awaitable[Any]]
StreamHandler = Callable[[Any, Any], AsyncGenerator[Any, None]]
"""Take a request, or the iterator of several, and what is known of the call."""

_OK: Final = grpc.StatusCode.OK.name
_CANCELLED: Final = grpc.StatusCode.CANCELLED.name
_INTERNAL: Final = grpc.StatusCode.INTERNAL.name

_log = EventLog()


class Calls:
    """The calls that are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._begun = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._count += 1
        self._begun += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return once no call is under way."""
        await self._idle.wait()

    async def wait_quiet(self, seconds: float) -> None:
        """Return once no call has been under way for so long."""
        begun = -1
        while begun != self._begun:
            await self._idle.wait()
            begun = self._begun
            await asyncio.sleep(seconds)


class Guard:
    """See the module."""

    def __init__(self, calls: Calls, observers: Sequence[CallObserver]) -> None:
        self._calls = calls
        self._observers = tuple(observers)

    def around(self, service: str, servicer: object) -> Any:
        """A servicer for gRPC whose methods are those of `servicer`, guarded. `service` is its full name."""
        return _Guarded(self, service, servicer)

    def handler(self, method: str, inner: Handler) -> Handler:
        """`inner`, guarded. `method` is its full name: `postwire.v1.DispatchService/Dispatch`."""

        async def guarded(request: Any, context: Context) -> Any:
            with self._calls, _Observed(self._observers, method, context) as observed:
                try:
                    return await inner(request, _call_of(context))
                except (asyncio.CancelledError, Exception) as error:
                    refused = observed.check(error)
                # Here, where no error is being handled: what gRPC raises to end the call stays in a cycle with it until
                # the collector comes, and must hold neither the request, which may be large, nor a traceback to it.
                del request
                return await _end(context, refused)

        return guarded

    def stream_handler(self, method: str, inner: StreamHandler) -> StreamHandler:
        """The same for a method that answers with a stream."""

        async def guarded(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            with self._calls, _Observed(self._observers, method, context) as observed:
                try:
                    async with aclosing(inner(request, _call_of(context))) as responses:
                        async for response in responses:
                            yield response
                    return
                except GeneratorExit:  # the caller hung up while a response was on its way
                    observed.status_code = _CANCELLED
                    raise
                except (asyncio.CancelledError, Exception) as error:
                    refused = observed.check(error)
                del request
                await _end(context, refused)

        return guarded


def _call_of(context: Context) -> CallContext:
    return CallContext(LOCAL, context.time_remaining)


async def _end(context: Context, refused: Refusal | None) -> None:
    if refused:
        await errors.abort(context, refused)
    await context.abort(grpc.StatusCode.INTERNAL, errors.INTERNAL_TEXT)


class _Guarded:
    """Stands for a servicer where gRPC takes its methods."""

    def __init__(self, guard: Guard, service: str, servicer: object) -> None:
        self._guard = guard
        self._service = service
        self._servicer = servicer

    def __getattr__(self, name: str) -> Handler | StreamHandler:
        inner, method = getattr(self._servicer, name), f"{self._service}/{name}"
        if inspect.isasyncgenfunction(inner):
            return self._guard.stream_handler(method, inner)
        return self._guard.handler(method, inner)


class _Observed:
    """Tells the observers of one call. `status_code` is what they will hear."""

    __slots__ = ("_method", "_observers", "_started", "status_code")

    def __init__(self, observers: Sequence[CallObserver], method: str, context: Context) -> None:
        self._observers = observers
        self._method = method
        self.status_code = _OK
        if observers:
            metadata = context.invocation_metadata() or ()
            self._started = [observer.call_started(method, metadata) for observer in observers]

    def check(self, error: BaseException) -> Refusal | None:
        """What the call is to be refused with; None where the fault is ours. A true cancellation is raised again."""
        if isinstance(error, Refusal):
            self.status_code = errors.STATUS_OF[error.reason].name
            for observer in self._observers:
                observer.request_refused(error.reason)
            return error.with_traceback(None)
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self.status_code = _CANCELLED
                raise error  # the caller hung up, or the grace is over
        self.status_code = _INTERNAL
        _log.fault(error)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for index, observer in enumerate(self._observers):
            observer.call_ended(self._started[index], self._method, self.status_code)

"""What happens around every call: refusals become statuses, faults of ours become `INTERNAL`, and calls are counted.

grpc.aio leaves a client hanging when a handler raises CancelledError of its own, tells callers the text of any other
exception, and does not wait at `stop` for handlers that have aborted. So every handler runs inside this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn, Self, TypeAlias

import grpc

from postwire.api import errors
from postwire.core.errors import Refusal
from postwire.telemetry.base import CallObserver
from postwire.telemetry.logs import EventLog

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Handler = Callable[[Any, Any], Awaitable[Any]]

_OURS: Final = "postwire."
_OK: Final = grpc.StatusCode.OK.name
_CANCELLED: Final = grpc.StatusCode.CANCELLED.name
_INTERNAL: Final = grpc.StatusCode.INTERNAL.name

_log = EventLog("api")


class Calls:
    """The calls that are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self._count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return once no call is under way."""
        await self._idle.wait()


class EdgeInterceptor(grpc.aio.ServerInterceptor):
    """See the module."""

    def __init__(self, calls: Calls, observers: Sequence[CallObserver]) -> None:
        self._calls = calls
        self._observers = tuple(observers)
        self._wrapped: dict[str, MethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler | None:
        """Give out the wrapped handler. Handlers are fixed at boot, so each is wrapped once."""
        method = handler_call_details.method
        try:
            return self._wrapped[method]
        except KeyError:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # not kept: anybody can ask for any number of methods that are not there
            wrapped = self._wrapped[method] = self._wrap(method.lstrip("/"), handler)
            return wrapped

    def _wrap(self, method: str, handler: MethodHandler) -> MethodHandler:
        if handler.unary_unary is None:
            return handler  # health's Watch and reflection: theirs to end
        return grpc.unary_unary_rpc_method_handler(
            self._guard(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )

    def _guard(self, method: str, inner: Handler) -> Handler:
        # Probes would drown what people look for.
        observers = self._observers if method.startswith(_OURS) else ()

        async def guarded(request: Any, context: Context) -> Any:
            with self._calls, _Observed(observers, method, context) as observed:
                try:
                    return await inner(request, context)
                except Refusal as refusal:
                    observed.status_code = errors.STATUS_OF[refusal.reason].name
                    await errors.abort(context, refusal)
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        observed.status_code = _CANCELLED
                        raise  # the caller hung up, or the grace is over
                    await _fail(error, context, observed)
                except grpc.aio.AbortError:
                    raise
                except Exception as error:
                    await _fail(error, context, observed)

        return guarded


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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for index, observer in enumerate(self._observers):
            observer.call_ended(self._started[index], self._method, self.status_code)


async def _fail(error: BaseException, context: Context, observed: _Observed) -> NoReturn:
    observed.status_code = _INTERNAL
    _log.fault(error)
    await context.abort(grpc.StatusCode.INTERNAL, errors.INTERNAL_TEXT)

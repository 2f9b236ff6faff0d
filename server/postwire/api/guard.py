"""What happens around every call: who calls is found out before anything else, refusals become statuses, faults of ours
become `INTERNAL`, and calls are observed.

grpc.aio leaves a client hanging when a handler raises CancelledError of its own, sends callers the text of any other
exception, and does not wait at `stop` for handlers that have aborted. So every handler of ours runs inside this.

It wraps the servicers' methods, once, instead of being a gRPC interceptor, which is asked again at every call.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Self

import grpc

from postwire.api import errors
from postwire.api.access import Access, roles_of
from postwire.api.answer_room import AnswerRoom
from postwire.api.call import CallContext, Context, OtherStatus
from postwire.api.requests import Large
from postwire.core.audit import AuditedMethod
from postwire.core.errors import InvalidCredentials, Refusal, RefusedCaller
from postwire.core.principal import Principal, Role
from postwire.telemetry.base import GRPC, CallObserver, Metadata
from postwire.telemetry.logs import EventLog

Handler = Callable[[Any, Any], Awaitable[Any]]
StreamHandler = Callable[[Any, Any], AsyncGenerator[Any, None]]
"""Take a request, or the iterator of several, and what is known of the call."""
Needed = Callable[[str], tuple[Role, ...] | None]

KeepRefused = Callable[[AuditedMethod, Principal, str, str, Refusal], Awaitable[None]]
"""Takes the method, who calls, what he names, and the reason that he gives; and why he was refused."""

_AUDITED: Final = {method.value: method for method in AuditedMethod}
_OK: Final = grpc.StatusCode.OK.name
_CANCELLED: Final = grpc.StatusCode.CANCELLED.name
_INTERNAL: Final = grpc.StatusCode.INTERNAL.name

_LARGE_ANSWERS: Final = frozenset(
    (
        "postwire.v1.DispatchService/ListMessages",
        "postwire.v1.AdminService/ListAuditEvents",
        "postwire.v1.InboxService/ListInbox",
    )
)

_log = EventLog()


class Calls:
    """The calls that are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._begun = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        if not self._count:
            self._idle.clear()
        self._count += 1
        self._begun += 1

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

    def __init__(
        self,
        calls: Calls,
        observers: Sequence[CallObserver],
        access: Access,
        keep_refused: KeepRefused | None = None,
    ) -> None:
        """`keep_refused` is called with what is known of a refused call of a method that is audited."""
        self._calls = calls
        self._keep_refused = keep_refused
        self._observers = tuple(observers)
        self._access = access
        self._room = AnswerRoom()

    def around(self, service: str, servicer: object, needed: Needed = roles_of, system: str = GRPC) -> Any:
        """A servicer for a transport whose methods are those of `servicer`, guarded. `service` is its full name.

        `needed` says of a method by its full name which roles it takes; None: it is open to all. `system` is what
        observers hear of the transport.
        """
        return _Guarded(self, service, servicer, needed, system)

    def tenant_of(self, metadata: Metadata) -> str | None:
        """See `Access.tenant_of`."""
        return self._access.tenant_of(metadata)

    def handler(self, method: str, inner: Handler, needed: tuple[Role, ...] | None, system: str = GRPC) -> Handler:
        """`inner`, guarded. `method` is its full name: `postwire.v1.DispatchService/Dispatch`."""
        audited = _AUDITED.get(method)
        is_large = method in _LARGE_ANSWERS

        async def guarded(request: Any, context: Context) -> Any:
            metadata = context.invocation_metadata() or ()
            with self._calls, _Observed(self._observers, method, metadata, system) as observed:
                principal: Principal | None = None
                try:
                    principal = await self._access.admit(needed, metadata, context)
                    observed.tenant = principal.tenant
                    if is_large:
                        await self._room.enter(context)
                    if type(request) is Large:
                        request = await request.read_in_turn()
                    return await inner(request, CallContext(principal, context.time_remaining))
                except (asyncio.CancelledError, Exception) as error:
                    refused = observed.check(error)
                if audited and self._keep_refused and isinstance(refused, Refusal):
                    by = refused.by if isinstance(refused, RefusedCaller) else principal
                    if by:
                        if type(request) is Large:
                            with suppress(Refusal, OtherStatus):
                                request = await request.read_in_turn()
                        await self._keep_refused(audited, by, *_named_in(request), refused)
                # Here, where no error is being handled: what gRPC raises to end the call stays in a cycle with it until
                # the collector comes, and must hold neither the request, which may be large, nor a traceback to it.
                del request
                if isinstance(refused, InvalidCredentials):
                    await self._access.note_refused(metadata, context)
                return await _end(context, refused)

        return guarded

    def stream_handler(
        self, method: str, inner: StreamHandler, needed: tuple[Role, ...] | None, system: str = GRPC
    ) -> StreamHandler:
        """The same for a method that answers with a stream."""

        async def guarded(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            metadata = context.invocation_metadata() or ()
            with self._calls, _Observed(self._observers, method, metadata, system) as observed:
                try:
                    principal = await self._access.admit(needed, metadata, context)
                    observed.tenant = principal.tenant
                    if type(request) is Large:
                        request = await request.read_in_turn()
                    call = CallContext(principal, context.time_remaining)
                    with self._access.recheck(needed, metadata, context, principal) as recheck:
                        try:
                            async with aclosing(inner(request, call)) as responses:
                                async for response in responses:
                                    recheck.leave()
                                    yield response
                                    recheck.resume()
                        except asyncio.CancelledError as error:
                            raise recheck.cause_of(error) from None
                    return
                except GeneratorExit:  # the caller hung up while a response was on its way
                    observed.status_code = _CANCELLED
                    raise
                except (asyncio.CancelledError, Exception) as error:
                    refused = observed.check(error)
                del request
                if isinstance(refused, InvalidCredentials):
                    await self._access.note_refused(metadata, context)
                await _end(context, refused)

        return guarded


def _named_in(request: Any) -> tuple[str, str]:
    """What a request of one of the methods that are audited is about, one message or one provider, and its reason."""
    named: str = getattr(request, "message_id", "") or getattr(request, "name", "")
    return named, getattr(request, "reason", "")


async def _end(context: Context, refused: Refusal | OtherStatus | None) -> None:
    if isinstance(refused, OtherStatus):
        await context.abort(refused.code, str(refused))
    elif refused:
        await errors.abort(context, refused)
    await context.abort(grpc.StatusCode.INTERNAL, errors.INTERNAL_TEXT)


class _Guarded:
    """Stands for a servicer where a transport takes its methods."""

    def __init__(self, guard: Guard, service: str, servicer: object, needed: Needed, system: str) -> None:
        self._guard = guard
        self._service = service
        self._servicer = servicer
        self._needed = needed
        self._system = system

    def __getattr__(self, name: str) -> Handler | StreamHandler:
        inner, method = getattr(self._servicer, name), f"{self._service}/{name}"
        if inspect.isasyncgenfunction(inner):
            return self._guard.stream_handler(method, inner, self._needed(method), self._system)
        return self._guard.handler(method, inner, self._needed(method), self._system)


class _Observed:
    """Tells the observers of one call. `status_code` is what they will hear; `tenant` whose call it is, once that is
    known."""

    __slots__ = ("_method", "_observers", "_started", "_system", "status_code", "tenant")

    def __init__(self, observers: Sequence[CallObserver], method: str, metadata: Metadata, system: str) -> None:
        self._observers = observers
        self._method = method
        self._system = system
        self.status_code = _OK
        self.tenant = ""
        self._started = [observer.call_started(method, metadata) for observer in observers]

    def check(self, error: BaseException) -> Refusal | OtherStatus | None:
        """What the call is to be refused with; None where the fault is ours. A true cancellation is raised again."""
        if isinstance(error, Refusal):
            self.status_code = errors.STATUS_OF[error.reason].name
            for observer in self._observers:
                observer.request_refused(error.reason, self.tenant)
            return error.with_traceback(None)
        if isinstance(error, OtherStatus):
            self.status_code = error.code.name
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
            observer.call_ended(self._started[index], self._method, self.status_code, self._system)

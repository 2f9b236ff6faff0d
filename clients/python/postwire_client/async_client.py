"""The client that is awaited."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from datetime import datetime
from functools import cached_property
from types import CoroutineType, TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import grpc.aio

from postwire.v1.admin_service_pb2 import AuditEvent, WatchStatsResponse
from postwire.v1.dispatch_service_pb2 import DispatchRequest, ListMessagesRequest, MessageFilter
from postwire.v1.inbox_service_pb2 import InboxFilter, InboxMessage, ListInboxRequest
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import Provider
from postwire.v1.suppression_service_pb2 import ListSuppressionsRequest, Suppression
from postwire_client.base import ANSWER_TIMEOUT, DEFAULT_TARGET, DEFAULT_TIMEOUT, BaseClient
from postwire_client.bulk import DispatchResult
from postwire_client.calls import Call, Calls, as_method, audit_request, is_worth_waiting, wait_request
from postwire_client.channel import open_async_channel
from postwire_client.credentials import NONE, Credentials
from postwire_client.tasks import LoopLifetime, Sending, errors, watch
from postwire_client.watching import MessageChange

P = ParamSpec("P")
R = TypeVar("R")


def _awaited(
    make: Callable[Concatenate[Calls, P], Call[R]],
) -> Callable[Concatenate[AsyncClient, P], CoroutineType[Any, Any, R]]:
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(make(self._calls, *args, **kwargs))

    # What a coroutine function returns is a Coroutine to mypy, and the same for pyright.
    return cast("Callable[..., Any]", as_method(make, method, "AsyncClient"))


class AsyncClient(BaseClient):
    """Calls one server. Made anywhere, used in one event loop; close it, or use it as an asynchronous context manager.

    Every method raises a `PostwireError` for a call that fails: `TryAgain` where it may go well later, `ClientClosed`
    after `close`, and what it says of itself. A task that is cancelled sees `asyncio.CancelledError`.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        credentials: Credentials = NONE,
        timeout: float = DEFAULT_TIMEOUT,
        retry: bool = True,
    ) -> None:
        super().__init__(target, credentials=credentials, timeout=timeout, retry=retry)
        self._lifetime = LoopLifetime()
        self._channel: grpc.aio.Channel | None = None

    __init__.__doc__ = BaseClient.__init__.__doc__

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connection. Calls under way, in other tasks, are cancelled: they raise ClientClosed."""
        self._lifetime.end()
        if self._channel is not None:
            await self._channel.close()

    dispatch = _awaited(Calls.dispatch)
    get_message = _awaited(Calls.get_message)
    cancel_message = _awaited(Calls.cancel_message)
    resolve_message = _awaited(Calls.resolve_message)
    explain_route = _awaited(Calls.explain_route)
    erase_messages = _awaited(Calls.erase_messages)
    list_providers = _awaited(Calls.list_providers)
    get_provider = _awaited(Calls.get_provider)
    drain_provider = _awaited(Calls.drain_provider)
    resume_provider = _awaited(Calls.resume_provider)
    reset_breaker = _awaited(Calls.reset_breaker)
    update_mock_provider = _awaited(Calls.update_mock_provider)
    add_suppressions = _awaited(Calls.add_suppressions)
    remove_suppressions = _awaited(Calls.remove_suppressions)
    check_suppressions = _awaited(Calls.check_suppressions)
    start_rekey = _awaited(Calls.start_rekey)
    get_rekey = _awaited(Calls.get_rekey)
    list_nodes = _awaited(Calls.list_nodes)
    clear_inbox = _awaited(Calls.clear_inbox)
    list_tenants = _awaited(Calls.list_tenants)
    get_caller = _awaited(Calls.get_caller)
    _list_page = _awaited(Calls.list_page)
    _audit_page = _awaited(Calls.audit_page)
    _suppression_page = _awaited(Calls.suppression_page)
    _inbox_page = _awaited(Calls.inbox_page)
    _wait_once = _awaited(Calls.wait_once)

    async def list_messages(
        self, chosen: MessageFilter | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[Message, None]:
        """The records that `chosen` admits, newest first; all of them without it.

        They are fetched as they are asked for, `page_size` at a time (the server's own choice if it is 0); `timeout` is
        for each page. Raises InvalidRequest.
        """
        request = ListMessagesRequest(filter=chosen, page_size=page_size)
        while True:
            page = await self._list_page(request, timeout)
            for message in page.messages:
                yield message
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_audit_events(
        self,
        *,
        tenant: str = "",
        method: str = "",
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerator[AuditEvent, None]:
        """Who changed what, besides by dispatching, newest first; all of it unless the choice is narrowed.

        `method` is its full name, such as `postwire.v1.ProviderService/DrainProvider`. Times without an offset are UTC.
        Events are fetched as they are asked for, `page_size` at a time (the server's own choice if it is 0); `timeout`
        is for each page. Raises InvalidRequest, and a PostwireError with the reason ROLE_REQUIRED.
        """
        request = audit_request(tenant, method, time_from, time_to, page_size)
        while True:
            page = await self._audit_page(request, timeout)
            for event in page.events:
                yield event
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_suppressions(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[Suppression, None]:
        """What is suppressed, newest first, without the addresses, which nobody knows any more.

        It is fetched as it is asked for, `page_size` at a time (the server's own choice if it is 0); `timeout` is for
        each page. Raises InvalidRequest.
        """
        request = ListSuppressionsRequest(page_size=page_size)
        while True:
            page = await self._suppression_page(request, timeout)
            for one in page.suppressions:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_inbox(
        self, chosen: InboxFilter | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[InboxMessage, None]:
        """What simulated providers took, as far as `chosen` admits it, with its contents, newest first.

        It is fetched as it is asked for, `page_size` at a time (the server's own choice if it is 0); `timeout` is for
        each page. Raises InvalidRequest.
        """
        request = ListInboxRequest(filter=chosen, page_size=page_size)
        while True:
            page = await self._inbox_page(request, timeout)
            for one in page.messages:
                yield one
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def wait_for_message(
        self, to: str, match: str = "", *, since: datetime | None = None, timeout: float | None = None
    ) -> InboxMessage | None:
        """Wait until a simulated provider has taken a message to this recipient, with this text in it, and return the
        newest; one that is there already is returned at once. None: there was none in `timeout` seconds.

        `to` is a phone number or an email address. With `since`, what was taken before that time does not count; a time
        without an offset is UTC. Raises InvalidRequest.
        """
        request, asked = wait_request(to, match, since), self._seconds(timeout)
        deadline = time.monotonic() + asked
        left = asked
        while True:  # as the server lets nobody wait for longer than its own `max_wait`
            found = await self._wait_once(request, left)
            left = deadline - time.monotonic()
            if found is not None or not is_worth_waiting(left, asked):
                return found

    def dispatch_many(
        self,
        requests: Iterable[DispatchRequest] | AsyncIterable[DispatchRequest],
        *,
        frame_size: int = 100,
        window: int = 1_000,
        timeout: float = ANSWER_TIMEOUT,
    ) -> AsyncGenerator[DispatchResult, None]:
        """Send many messages over one stream, and give what became of each, as the answers come.

        They are taken from `requests`, by a task of its own, as the server takes them: at most `window` are without an
        answer at any time, and as many as there are, up to `frame_size`, are sent together. One without a request id
        gets one. One that is refused for good ends nothing: see `DispatchResult.error`. To stop early, close the
        iterator (`aclose`, or `contextlib.aclosing`).

        With the client's `retry`, a stream that breaks is opened again, and what was not answered, or could not be
        taken just then, is sent again. `timeout` (in seconds) is how long an answer may take to come.

        Raises TryAgain where the stream breaks for good, and what `requests` itself raises, after all that came before
        has been answered.
        """
        bulk = self._bulk(frame_size, window, timeout)
        return Sending(self._lifetime, self._open_dispatch_stream, requests, bulk).results()

    def watch_messages(
        self,
        message_ids: Iterable[str] = (),
        chosen: MessageFilter | None = None,
        *,
        resume_token: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[MessageChange, None]:
        """Messages that change, each with the token to go on behind it: those of `message_ids`, which come first as
        they are, or all that `chosen` admits, or simply all.

        It goes on for as long as you iterate, with the client's `retry` over restarts of the server as well; `timeout`
        is for the first answer. To go on after an interruption of your own, give the last token that you have dealt
        with.

        Raises NotFound for an id of no message, InvalidRequest, and a PostwireError with the reason
        RESUME_TOKEN_EXPIRED.
        """
        what = self._message_watch(message_ids, chosen, resume_token, timeout)
        return watch(
            self._lifetime,
            lambda asked: self._calls.messages.WatchMessages(asked, metadata=self._metadata()),
            what,
        )

    def watch_inbox(
        self, chosen: InboxFilter | None = None, *, timeout: float | None = None
    ) -> AsyncGenerator[InboxMessage, None]:
        """What simulated providers take from now on, as far as `chosen` admits it.

        It goes on for as long as you iterate, with the client's `retry` over restarts of the server as well; what is
        taken during an interruption is not shown. `timeout` is for the first answer. To close the iterator ends the
        call. Raises InvalidRequest.
        """
        return watch(
            self._lifetime,
            lambda asked: self._calls.inbox.WatchInbox(asked, metadata=self._metadata()),
            self._inbox_watch(chosen, timeout),
        )

    def watch_providers(self, *, timeout: float | None = None) -> AsyncGenerator[list[Provider], None]:
        """Every provider, then again and again those that have changed.

        It goes on for as long as you iterate, or else until the server stops; with the client's `retry` it goes on
        after that, again with every provider. `timeout` is for the first answer. To close the iterator ends the call.
        """
        return watch(
            self._lifetime,
            lambda asked: self._calls.providers.WatchProviders(asked, metadata=self._metadata()),
            self._provider_watch(timeout),
        )

    def watch_stats(self, *, timeout: float | None = None) -> AsyncGenerator[WatchStatsResponse, None]:
        """How much is sent, and what waits: the last 15 min, then again and again what has changed of it.

        An interval that comes again replaces the one with its `start_time`. It goes on as `watch_providers` does, after
        an interruption again with all that there is. `timeout` is for the first answer.
        """
        return watch(
            self._lifetime,
            lambda asked: self._calls.admin.WatchStats(asked, metadata=self._metadata()),
            self._stats_watch(timeout),
        )

    @cached_property
    def _calls(self) -> Calls:
        # At the first call, and no sooner: gRPC's channel belongs to the event loop that runs when it is made.
        self._lifetime.check()
        self._channel = open_async_channel(self._target, retry=self._retry, tls=self._tls)
        return Calls(self._channel)

    def _open_dispatch_stream(self) -> Any:
        messages: Any = self._calls.messages  # typed as if it blocked
        return messages.DispatchStream(metadata=self._metadata())

    async def _run(self, call: Call[R]) -> R:
        with errors(self._lifetime):
            timeout = self._seconds(call.timeout)
            return call.take(await call.method(call.request, timeout=timeout, metadata=self._metadata()))

"""The client that blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from datetime import datetime
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from postwire.v1.admin_service_pb2 import AuditEvent, WatchStatsResponse
from postwire.v1.dispatch_service_pb2 import DispatchRequest, ListMessagesRequest, MessageFilter
from postwire.v1.inbox_service_pb2 import InboxFilter, InboxMessage, ListInboxRequest
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import Provider
from postwire.v1.suppression_service_pb2 import ListSuppressionsRequest, Suppression
from postwire_client.base import ANSWER_TIMEOUT, DEFAULT_TARGET, DEFAULT_TIMEOUT, BaseClient
from postwire_client.bulk import DispatchResult
from postwire_client.calls import Call, Calls, as_method, audit_request, is_worth_waiting, wait_request
from postwire_client.channel import open_channel
from postwire_client.credentials import NONE, Credentials
from postwire_client.lifetime import Lifetime
from postwire_client.threads import Sending, errors, watch
from postwire_client.watching import MessageChange

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(make: Callable[Concatenate[Calls, P], Call[R]]) -> Callable[Concatenate[Client, P], R]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(make(self._calls, *args, **kwargs))

    return as_method(make, method, "Client")


class Client(BaseClient):
    """Calls one server. Safe to share between threads; close it, or use it as a context manager.

    Every method raises a `PostwireError` for a call that fails: `TryAgain` where it may go well later, `ClientClosed`
    after `close`, and what it says of itself.
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
        self._channel = open_channel(target, retry=retry, tls=self._tls)
        self._calls = Calls(self._channel)
        self._lifetime = Lifetime()

    __init__.__doc__ = BaseClient.__init__.__doc__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection. Calls under way, on other threads, are cancelled: they raise ClientClosed."""
        self._lifetime.end()
        self._channel.close()

    dispatch = _blocking(Calls.dispatch)
    get_message = _blocking(Calls.get_message)
    cancel_message = _blocking(Calls.cancel_message)
    resolve_message = _blocking(Calls.resolve_message)
    explain_route = _blocking(Calls.explain_route)
    erase_messages = _blocking(Calls.erase_messages)
    list_providers = _blocking(Calls.list_providers)
    get_provider = _blocking(Calls.get_provider)
    drain_provider = _blocking(Calls.drain_provider)
    resume_provider = _blocking(Calls.resume_provider)
    reset_breaker = _blocking(Calls.reset_breaker)
    update_mock_provider = _blocking(Calls.update_mock_provider)
    add_suppressions = _blocking(Calls.add_suppressions)
    remove_suppressions = _blocking(Calls.remove_suppressions)
    check_suppressions = _blocking(Calls.check_suppressions)
    start_rekey = _blocking(Calls.start_rekey)
    get_rekey = _blocking(Calls.get_rekey)
    list_nodes = _blocking(Calls.list_nodes)
    clear_inbox = _blocking(Calls.clear_inbox)
    list_tenants = _blocking(Calls.list_tenants)
    get_caller = _blocking(Calls.get_caller)
    _list_page = _blocking(Calls.list_page)
    _audit_page = _blocking(Calls.audit_page)
    _suppression_page = _blocking(Calls.suppression_page)
    _inbox_page = _blocking(Calls.inbox_page)
    _wait_once = _blocking(Calls.wait_once)

    def list_messages(
        self, chosen: MessageFilter | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> Generator[Message, None, None]:
        """The records that `chosen` admits, newest first; all of them without it.

        They are fetched as they are asked for, `page_size` at a time (the server's own choice if it is 0); `timeout` is
        for each page. Raises InvalidRequest.
        """
        request = ListMessagesRequest(filter=chosen, page_size=page_size)
        while True:
            page = self._list_page(request, timeout)
            yield from page.messages
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_audit_events(
        self,
        *,
        tenant: str = "",
        method: str = "",
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Generator[AuditEvent, None, None]:
        """Who changed what, besides by dispatching, newest first; all of it unless the choice is narrowed.

        `method` is its full name, such as `postwire.v1.ProviderService/DrainProvider`. Times without an offset are UTC.
        Events are fetched as they are asked for, `page_size` at a time (the server's own choice if it is 0); `timeout`
        is for each page. Raises InvalidRequest, and a PostwireError with the reason ROLE_REQUIRED.
        """
        request = audit_request(tenant, method, time_from, time_to, page_size)
        while True:
            page = self._audit_page(request, timeout)
            yield from page.events
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_suppressions(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> Generator[Suppression, None, None]:
        """What is suppressed, newest first, without the addresses, which nobody knows any more.

        It is fetched as it is asked for, `page_size` at a time (the server's own choice if it is 0); `timeout` is for
        each page. Raises InvalidRequest.
        """
        request = ListSuppressionsRequest(page_size=page_size)
        while True:
            page = self._suppression_page(request, timeout)
            yield from page.suppressions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_inbox(
        self, chosen: InboxFilter | None = None, *, page_size: int = 0, timeout: float | None = None
    ) -> Generator[InboxMessage, None, None]:
        """What simulated providers took, as far as `chosen` admits it, with its contents, newest first.

        It is fetched as it is asked for, `page_size` at a time (the server's own choice if it is 0); `timeout` is for
        each page. Raises InvalidRequest.
        """
        request = ListInboxRequest(filter=chosen, page_size=page_size)
        while True:
            page = self._inbox_page(request, timeout)
            yield from page.messages
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def wait_for_message(
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
            found = self._wait_once(request, left)
            left = deadline - time.monotonic()
            if found is not None or not is_worth_waiting(left, asked):
                return found

    def dispatch_many(
        self,
        requests: Iterable[DispatchRequest],
        *,
        frame_size: int = 100,
        window: int = 1_000,
        timeout: float = ANSWER_TIMEOUT,
    ) -> Generator[DispatchResult, None, None]:
        """Send many messages over one stream, and give what became of each, as the answers come.

        They are taken from `requests`, on a thread of its own, as the server takes them: at most `window` are without
        an answer at any time, and as many as there are, up to `frame_size`, are sent together. One without a request id
        gets one. One that is refused for good ends nothing: see `DispatchResult.error`. To stop early, close the
        iterator.

        With the client's `retry`, a stream that breaks is opened again, and what was not answered, or could not be
        taken just then, is sent again. `timeout` (in seconds) is how long an answer may take to come.

        Raises TryAgain where the stream breaks for good, and what `requests` itself raises, after all that came before
        has been answered.
        """
        return Sending(
            self._lifetime,
            lambda frames: self._calls.messages.DispatchStream(frames, metadata=self._metadata()),
            requests,
            self._bulk(frame_size, window, timeout),
        ).results()

    def watch_messages(
        self,
        message_ids: Iterable[str] = (),
        chosen: MessageFilter | None = None,
        *,
        resume_token: str = "",
        timeout: float | None = None,
    ) -> Generator[MessageChange, None, None]:
        """Messages that change, each with the token to go on behind it: those of `message_ids`, which come first as
        they are, or all that `chosen` admits, or simply all.

        It goes on for as long as you iterate, with the client's `retry` over restarts of the server as well; `timeout`
        is for the first answer. To go on after an interruption of your own, give the last token that you have dealt
        with.

        Raises NotFound for an id of no message, InvalidRequest, and a PostwireError with the reason
        RESUME_TOKEN_EXPIRED.
        """
        return watch(
            self._lifetime,
            lambda asked: self._calls.messages.WatchMessages(asked, metadata=self._metadata()),
            self._message_watch(message_ids, chosen, resume_token, timeout),
        )

    def watch_inbox(
        self, chosen: InboxFilter | None = None, *, timeout: float | None = None
    ) -> Generator[InboxMessage, None, None]:
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

    def watch_providers(self, *, timeout: float | None = None) -> Generator[list[Provider], None, None]:
        """Every provider, then again and again those that have changed.

        It goes on for as long as you iterate, or else until the server stops; with the client's `retry` it goes on
        after that, again with every provider. `timeout` is for the first answer. To close the iterator ends the call.
        """
        return watch(
            self._lifetime,
            lambda asked: self._calls.providers.WatchProviders(asked, metadata=self._metadata()),
            self._provider_watch(timeout),
        )

    def watch_stats(self, *, timeout: float | None = None) -> Generator[WatchStatsResponse, None, None]:
        """How much is sent, and what waits: the last 15 min, then again and again what has changed of it.

        An interval that comes again replaces the one with its `start_time`. It goes on as `watch_providers` does, after
        an interruption again with all that there is. `timeout` is for the first answer.
        """
        return watch(
            self._lifetime,
            lambda asked: self._calls.admin.WatchStats(asked, metadata=self._metadata()),
            self._stats_watch(timeout),
        )

    def _run(self, call: Call[R]) -> R:
        with errors(self._lifetime):
            return call.take(call.method(call.request, timeout=self._seconds(call.timeout), metadata=self._metadata()))

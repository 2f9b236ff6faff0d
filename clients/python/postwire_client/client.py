"""The synchronous client: a thin coat over the generated stubs."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from postwire.v1.dispatch_service_pb2 import (
    CancelMessageRequest,
    DispatchRequest,
    ExplainRouteRequest,
    ExplainRouteResponse,
    GetMessageRequest,
    ListMessagesRequest,
    MessageFilter,
    Resolution,
    ResolveMessageRequest,
)
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import DispatchOptions, Message, OutboundMessage
from postwire.v1.provider_service_pb2 import (
    DrainProviderRequest,
    GetProviderRequest,
    ListProvidersRequest,
    Provider,
    ResetBreakerRequest,
    ResumeProviderRequest,
    UpdateMockProviderRequest,
    WatchProvidersRequest,
)
from postwire.v1.provider_service_pb2_grpc import ProviderServiceStub
from postwire_client.bulk import MAX_FRAME, DispatchResult, dispatch_many
from postwire_client.channel import open_channel
from postwire_client.errors import TryAgain, from_rpc_error
from postwire_client.watch import watch_messages

DEFAULT_TARGET: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT: Final = 30.0

Answer = TypeVar("Answer")


class Client:
    """Calls one server. Safe to share between threads; close it, or use it as a context manager.

    Every method raises a `PostwireError` for a call that fails.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout: float = DEFAULT_TIMEOUT, retry: bool = True) -> None:
        """`timeout` is for each call, in seconds, with all of its retries.

        `retry` repeats a call for which the server has no room, or which does not reach it; without it, a server that
        is not there is known at once.
        """
        self._timeout = timeout
        self._retry = retry
        self._channel = open_channel(target, retry=retry)
        self._messages = DispatchServiceStub(self._channel)
        self._providers = ProviderServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection. Calls under way are cancelled."""
        self._channel.close()

    def dispatch(
        self, message: OutboundMessage, *, request_id: str = "", options: DispatchOptions | None = None
    ) -> Message:
        """Send a message, and return its record. A provider that failed is no error: see `state` and `outcome`.

        Without a `request_id` a new one is made, so that retries send nothing twice. Give one of your own if you may
        have to repeat this call: after a crash, say.
        """
        request = DispatchRequest(message=message, request_id=request_id or str(uuid.uuid4()), options=options)
        return self._call(self._messages.Dispatch, request).message

    def dispatch_many(
        self, requests: Iterable[DispatchRequest], *, frame_size: int = 100, window: int = 1_000
    ) -> Iterator[DispatchResult]:
        """Send many messages over one stream, and give what became of each, as the answers come.

        Each request needs a `request_id`. They are taken from `requests` as the server takes them: at most `window` are
        without an answer at any time. With the client's `retry`, a stream that breaks is opened again, and what was not
        answered, or could not be taken just then, is sent again. One that is refused for good ends nothing: see
        `DispatchResult.error`. What `requests` itself raises is raised here. To stop early, close the iterator.
        """
        if not 1 <= frame_size <= MAX_FRAME:
            raise ValueError(f"frame_size must be from 1 to {MAX_FRAME}")
        return dispatch_many(
            self._messages.DispatchStream, requests, frame_size=frame_size, window=window, retry=self._retry
        )

    def watch_messages(
        self, message_ids: Sequence[str] = (), chosen: MessageFilter | None = None, *, resume_token: str = ""
    ) -> Generator[tuple[Message, str], None, None]:
        """Messages that change, each with the token to go on after it: those of `message_ids`, which come first as they
        are, or all that `chosen` admits, or simply all.

        It has no deadline. With the client's `retry` it goes on by itself after an interruption; to go on after one of
        your own, give the last token that you have dealt with.
        """
        return watch_messages(self._messages.WatchMessages, message_ids, chosen, resume_token, retry=self._retry)

    def cancel_message(self, message_id: str) -> Message:
        """Take a message back that is queued. Again is fine."""
        return self._call(self._messages.CancelMessage, CancelMessageRequest(message_id=message_id)).message

    def resolve_message(self, message_id: str, *, sent: bool) -> Message:
        """Settle a message that is uncertain, once you have found out whether it was sent."""
        resolution = Resolution.RESOLUTION_SENT if sent else Resolution.RESOLUTION_FAILED
        request = ResolveMessageRequest(message_id=message_id, resolution=resolution)
        return self._call(self._messages.ResolveMessage, request).message

    def get_message(self, message_id: str) -> Message:
        """The record of a message."""
        return self._call(self._messages.GetMessage, GetMessageRequest(message_id=message_id)).message

    def list_messages(self, chosen: MessageFilter | None = None, *, page_size: int = 0) -> Iterator[Message]:
        """The records that `chosen` admits, newest first; all of them without it.

        They are fetched as they are asked for, `page_size` at a time (the server's own choice if it is 0).
        """
        request = ListMessagesRequest(filter=chosen, page_size=page_size)
        while True:
            page = self._call(self._messages.ListMessages, request)
            yield from page.messages
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def explain_route(self, message: OutboundMessage, options: DispatchOptions | None = None) -> ExplainRouteResponse:
        """Which providers the message would be offered to, in which order, and who could take it now. Sends nothing."""
        return self._call(self._messages.ExplainRoute, ExplainRouteRequest(message=message, options=options))

    def list_providers(self) -> list[Provider]:
        """Every provider, in the order of declaration."""
        return list(self._call(self._providers.ListProviders, ListProvidersRequest()).providers)

    def get_provider(self, name: str) -> Provider:
        """One provider."""
        return self._call(self._providers.GetProvider, GetProviderRequest(name=name)).provider

    def watch_providers(self) -> Generator[list[Provider], None, None]:
        """Every provider, then again and again those that have changed, until the server stops.

        The client's timeout is for the first answer; after that, it waits for as long as nothing changes. To close the
        iterator, or the client, ends the call.
        """
        call = self._providers.WatchProviders(WatchProvidersRequest())
        is_silent = threading.Event()

        def give_up() -> None:
            is_silent.set()
            call.cancel()

        alarm = threading.Timer(self._timeout, give_up)
        alarm.daemon = True
        alarm.start()
        try:
            for response in call:
                alarm.cancel()
                yield list(response.providers)
        except grpc.RpcError as error:
            if is_silent.is_set():
                raise TryAgain(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from error
            raise from_rpc_error(error) from error
        finally:
            alarm.cancel()
            call.cancel()

    def drain_provider(self, name: str) -> Provider:
        """Take a provider out of service, until `resume_provider`. Attempts that are under way are left to end."""
        return self._call(self._providers.DrainProvider, DrainProviderRequest(name=name)).provider

    def resume_provider(self, name: str) -> Provider:
        """Put a drained provider into service again."""
        return self._call(self._providers.ResumeProvider, ResumeProviderRequest(name=name)).provider

    def reset_breaker(self, name: str) -> Provider:
        """Close a provider's breaker, whatever it has seen."""
        return self._call(self._providers.ResetBreaker, ResetBreakerRequest(name=name)).provider

    def update_mock_provider(
        self,
        name: str,
        *,
        error_ratio: float | None = None,
        rate_limited_ratio: float | None = None,
        uncertain_ratio: float | None = None,
        rejected_ratio: float | None = None,
        latency: float | None = None,
        retry_after: float | None = None,
        seed: int | None = None,
    ) -> Provider:
        """Change how a mock behaves, until the server stops; what is None stays. Times are in seconds."""
        request = UpdateMockProviderRequest(
            name=name,
            error_ratio=error_ratio,
            rate_limited_ratio=rate_limited_ratio,
            uncertain_ratio=uncertain_ratio,
            rejected_ratio=rejected_ratio,
            latency=_duration(latency),
            retry_after=_duration(retry_after),
            seed=seed,
        )
        return self._call(self._providers.UpdateMockProvider, request).provider

    def _call(self, method: Callable[..., Answer], request: object) -> Answer:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration

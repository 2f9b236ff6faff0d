"""The synchronous client: a thin coat over the generated stubs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from postwire.v1.dispatch_service_pb2 import DispatchRequest, GetMessageRequest, ListMessagesRequest, MessageFilter
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import DispatchOptions, Message, OutboundMessage
from postwire.v1.provider_service_pb2 import (
    GetProviderRequest,
    ListProvidersRequest,
    Provider,
    UpdateMockProviderRequest,
)
from postwire.v1.provider_service_pb2_grpc import ProviderServiceStub
from postwire_client.channel import open_channel
from postwire_client.errors import from_rpc_error

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

    def list_providers(self) -> list[Provider]:
        """Every provider, in the order of declaration."""
        return list(self._call(self._providers.ListProviders, ListProvidersRequest()).providers)

    def get_provider(self, name: str) -> Provider:
        """One provider."""
        return self._call(self._providers.GetProvider, GetProviderRequest(name=name)).provider

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

"""Whether a client is closed, and who is to hear of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from postwire_client.errors import ClientClosed, PostwireError, from_rpc_error


class Lifetime:
    """Begins with a client, and ends when it is closed."""

    def __init__(self) -> None:
        self.is_over = False
        self._listeners: set[Callable[[], object]] = set()

    def end(self) -> None:
        """It is over, from now on."""
        self.is_over = True
        for listener in tuple(self._listeners):
            listener()

    def check(self) -> None:
        """Raise ClientClosed if it is over."""
        if self.is_over:
            raise ClientClosed

    @contextmanager
    def notifying(self, listener: Callable[[], object]) -> Iterator[None]:
        """Within, the listener is called once it is over; at once, if it is."""
        self._listeners.add(listener)
        try:
            if self.is_over:
                listener()
            yield
        finally:
            self._listeners.discard(listener)

    def error(self, error: grpc.RpcError) -> PostwireError:
        """What a failed call means."""
        failed = from_rpc_error(error)
        return ClientClosed() if self.is_over and failed.code is grpc.StatusCode.CANCELLED else failed

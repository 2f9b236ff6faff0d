"""What both clients are made with, and what they make for their streams."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from postwire.v1.dispatch_service_pb2 import MessageFilter
from postwire.v1.inbox_service_pb2 import InboxFilter
from postwire_client.bulk import Bulk
from postwire_client.credentials import NONE, CallMetadata, Credentials, channel_credentials
from postwire_client.reopening import Reopening
from postwire_client.watching import InboxWatch, MessageWatch, ProviderWatch, StatsWatch

DEFAULT_TARGET: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT: Final = 30.0
ANSWER_TIMEOUT: Final = 60.0
"""Of `dispatch_many`: more than the server's `max_wait`, for which it keeps an answer back."""
LONGEST_TIMEOUT: Final = 36_500 * 86_400.0
"""Seconds. gRPC has nanoseconds in 64 bits, and takes a deadline after the year 2262 for one that has passed."""


class BaseClient:
    """Settings."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        credentials: Credentials = NONE,
        timeout: float = DEFAULT_TIMEOUT,
        retry: bool = True,
    ) -> None:
        """`target` is `host:port`, `unix:/path` or what else gRPC knows. Nothing is connected before the first call.

        `credentials` say whether to speak TLS, and what to show: see `Credentials`.

        `timeout` is for each call, in seconds, with all of its retries; each method takes another one. `math.inf` sets
        no limit.

        `retry` repeats a call that the server cannot take just now, or that does not reach it, and lets streams go on
        after an interruption. Without it, a server that is not there is known at once.

        Raises ValueError where a file of the credentials is of no use, or a token would go to another machine in the
        clear.
        """
        self._tls = channel_credentials(credentials)
        self._metadata = CallMetadata(credentials, target)
        self._target = target
        self._timeout = timeout
        self._retry = retry

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _bulk(self, frame_size: int, window: int, timeout: float) -> Bulk:
        return Bulk(
            frame_size=frame_size, window=window, timeout=self._seconds(timeout), reopening=Reopening(retry=self._retry)
        )

    def _message_watch(
        self, message_ids: Iterable[str], chosen: MessageFilter | None, resume_token: str, timeout: float | None
    ) -> MessageWatch:
        return MessageWatch(
            message_ids, chosen, resume_token, timeout=self._seconds(timeout), reopening=Reopening(retry=self._retry)
        )

    def _provider_watch(self, timeout: float | None) -> ProviderWatch:
        return ProviderWatch(timeout=self._seconds(timeout), reopening=Reopening(retry=self._retry))

    def _inbox_watch(self, chosen: InboxFilter | None, timeout: float | None) -> InboxWatch:
        return InboxWatch(chosen, timeout=self._seconds(timeout), reopening=Reopening(retry=self._retry))

    def _stats_watch(self, timeout: float | None) -> StatsWatch:
        return StatsWatch(timeout=self._seconds(timeout), reopening=Reopening(retry=self._retry))

    def _seconds(self, timeout: float | None) -> float:
        seconds = self._timeout if timeout is None else timeout
        if math.isnan(seconds):
            raise ValueError("timeout must be a number of seconds")
        return min(seconds, LONGEST_TIMEOUT)

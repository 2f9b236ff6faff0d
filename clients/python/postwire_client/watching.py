"""What watches ask for, what they yield for an answer, and how they go on after an interruption. No I/O, no clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from postwire.v1.admin_service_pb2 import WatchStatsRequest, WatchStatsResponse
from postwire.v1.dispatch_service_pb2 import MessageFilter, WatchMessagesRequest, WatchMessagesResponse
from postwire.v1.inbox_service_pb2 import InboxFilter, InboxMessage, WatchInboxRequest, WatchInboxResponse
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import Provider, WatchProvidersRequest, WatchProvidersResponse
from postwire_client.errors import PostwireError
from postwire_client.reopening import Reopening

HEARTBEAT_INTERVAL: Final = 15.0
"""After how long (s) without a change a watch shows a sign of life."""

SILENCE: Final = 3 * HEARTBEAT_INTERVAL
"""After how long (s) without either it counts as broken."""

Reported = TypeVar("Reported")


class MessageChange(NamedTuple):
    """A message that has changed, and the token with which another watch goes on behind it."""

    message: Message
    resume_token: str


class Watch(ABC, Generic[Reported]):
    """One watch, over as many streams as it takes. `timeout` (s) is how long the first answer of each may take."""

    def __init__(self, *, timeout: float, reopening: Reopening) -> None:
        self._timeout = timeout
        self._reopening = reopening
        self._has_begun = False

    def opened(self) -> Any:
        """A stream is opened. What to ask for."""
        self._has_begun = False
        self._reopening.opened()
        return self._request()

    @property
    def silence(self) -> float:
        """How long (s) to wait for the next answer."""
        return SILENCE if self._has_begun else self._timeout

    def heard(self, response: Any) -> Reported | None:
        """Take an answer. Returns what to yield for it, if anything."""
        self._has_begun = True
        self._reopening.got_further()
        return self._reported(response)

    def ended(self, error: PostwireError | None) -> float | None:
        """The stream has ended, in good order or with an error, which is raised if the watch ends with it.

        Returns how long (s) to wait before the next stream; None: the watch is over.
        """
        if self._reopening.allows(error):
            return self._reopening.pause(error)
        if error is not None:
            raise error
        return None

    @abstractmethod
    def _request(self) -> Any: ...

    @abstractmethod
    def _reported(self, response: Any) -> Reported | None: ...


class MessageWatch(Watch[MessageChange]):
    """`WatchMessages`."""

    def __init__(
        self,
        message_ids: Iterable[str],
        chosen: MessageFilter | None,
        resume_token: str,
        *,
        timeout: float,
        reopening: Reopening,
    ) -> None:
        super().__init__(timeout=timeout, reopening=reopening)
        self._asked = WatchMessagesRequest(message_ids=message_ids, filter=chosen, resume_token=resume_token)

    def _request(self) -> WatchMessagesRequest:
        return self._asked

    def _reported(self, response: WatchMessagesResponse) -> MessageChange | None:
        self._asked.resume_token = response.resume_token
        return MessageChange(response.message, response.resume_token) if response.HasField("message") else None


class ProviderWatch(Watch[list[Provider]]):
    """`WatchProviders`: each stream begins with every provider."""

    def _request(self) -> WatchProvidersRequest:
        return WatchProvidersRequest()

    def _reported(self, response: WatchProvidersResponse) -> list[Provider] | None:
        return list(response.providers) or None


class InboxWatch(Watch[InboxMessage]):
    """`WatchInbox`: each stream shows what comes from then on."""

    def __init__(self, chosen: InboxFilter | None, *, timeout: float, reopening: Reopening) -> None:
        super().__init__(timeout=timeout, reopening=reopening)
        self._asked = WatchInboxRequest(filter=chosen)

    def _request(self) -> WatchInboxRequest:
        return self._asked

    def _reported(self, response: WatchInboxResponse) -> InboxMessage | None:
        return response.message if response.HasField("message") else None


class StatsWatch(Watch[WatchStatsResponse]):
    """`WatchStats`: each stream begins with all that there is."""

    def _request(self) -> WatchStatsRequest:
        return WatchStatsRequest()

    def _reported(self, response: WatchStatsResponse) -> WatchStatsResponse | None:
        return response if response.intervals or response.HasField("backlog") else None

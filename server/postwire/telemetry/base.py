"""The seam to telemetry: what the delivery path tells of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from postwire.core.message import Channel, MessageRecord


class Observer(Protocol):
    """Is told what has happened. Called on the event loop, so it must not block."""

    def attempt_ended(self, record: MessageRecord) -> None:
        """The last attempt of `record` has ended; the record shows how."""
        ...

    def routing_invalid(self, channel: Channel) -> None:
        """A message came for a channel that no provider carries."""
        ...


class Observers:
    """Several observers as one. One that raises harms neither the others nor the message: `on_fault` hears of it."""

    def __init__(self, observers: Sequence[Observer], on_fault: Callable[[Exception], None]) -> None:
        self._observers = tuple(observers)
        self._on_fault = on_fault

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        for observer in self._observers:
            try:
                observer.attempt_ended(record)
            except Exception as error:
                self._on_fault(error)

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""
        for observer in self._observers:
            try:
                observer.routing_invalid(channel)
            except Exception as error:
                self._on_fault(error)

"""The seams to telemetry: what the delivery path and the server tell of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from postwire.core.message import Channel, MessageRecord

Metadata = Iterable[tuple[str, str | bytes]]


class Observer(Protocol):
    """Is told what has happened to messages. Called on the event loop, so it must not block."""

    def trace_id(self) -> str:
        """The trace that an attempt begun by this task will be shown in: 32 hexadecimal digits, or nothing."""
        ...

    def state_reached(self, record: MessageRecord) -> None:
        """The message has reached its state, and that is durable."""
        ...

    def attempt_ended(self, record: MessageRecord) -> None:
        """The last attempt of `record` has ended; the record shows how."""
        ...

    def routing_invalid(self, channel: Channel) -> None:
        """A message came for a channel that no provider carries."""
        ...


class CallObserver(Protocol):
    """Is told of the calls that the server answers."""

    def call_started(self, method: str, metadata: Metadata) -> Any:
        """A call of `method` (`postwire.v1.DispatchService/Dispatch`) has come in, and the current task answers it.

        What is returned is handed to `call_ended`.
        """
        ...

    def call_ended(self, started: Any, method: str, status_code: str) -> None:
        """The call was answered with a status (`OK`, `INVALID_ARGUMENT`)."""
        ...


class SilentObserver:
    """An `Observer` that does nothing: what others leave out, they take from here."""

    def trace_id(self) -> str:
        """See `Observer.trace_id`."""
        return ""

    def state_reached(self, record: MessageRecord) -> None:
        """See `Observer.state_reached`."""

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""


class Observers:
    """Several observers as one. One that raises harms neither the others nor the message: `on_fault` hears of it."""

    def __init__(self, observers: Sequence[Observer], on_fault: Callable[[Exception], None]) -> None:
        self._observers = tuple(observers)
        self._on_fault = on_fault

    def trace_id(self) -> str:
        """See `Observer.trace_id`: the first that there is."""
        for observer in self._observers:
            try:
                if trace_id := observer.trace_id():
                    return trace_id
            except Exception as error:
                self._on_fault(error)
        return ""

    def state_reached(self, record: MessageRecord) -> None:
        """See `Observer.state_reached`."""
        for observer in self._observers:
            self._tell(observer.state_reached, record)

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        for observer in self._observers:
            self._tell(observer.attempt_ended, record)

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""
        for observer in self._observers:
            self._tell(observer.routing_invalid, channel)

    def _tell(self, hook: Callable[..., None], subject: object) -> None:
        try:
            hook(subject)
        except Exception as error:
            self._on_fault(error)

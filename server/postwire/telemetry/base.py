"""The seams to telemetry: what the delivery path and the server report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from postwire.core.breaker import Transition
from postwire.core.message import Channel, MessageRecord
from postwire.core.receipts import MessageReceipt
from postwire.core.routing import PassedOver

Metadata = Iterable[tuple[str, str | bytes]]

GRPC: Final = "grpc"
CONNECT: Final = "connectrpc"
"""By which system a call has come, as the conventions name it: gRPC, or whatever Connect's server takes over HTTP."""


@dataclass(frozen=True, slots=True)
class HookReport:
    """What is shown of a hook: how many tries ended in which outcome, how much was lost for which reason, and how long
    ago (s) the oldest change was that it is still to tell of."""

    name: str
    attempts: Mapping[str, int]
    lost: Mapping[str, int]
    lag: float


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What is shown of a node among those that share a store. Times are in seconds; None: it is not known.

    `live`: how many nodes live, itself among them. `lease_left`: for how long it may still act without a heartbeat.
    `clock_offset`: by how much its clock is ahead of the store's. `leases_lost`: how often its own ran out; `reaped`:
    how many nodes it has taken for dead; `strays`: how many open attempts of its own it had lost. `pauses`: how often
    the store could not be written, and `paused`: for how long in all. `feed_lag`: for how long at the least nobody has
    learned of changes, since a transaction is open; `feed_holder`: whose that is, empty where it is nothing unusual.
    """

    live: int | None = None
    is_leader: bool = False
    lease_left: float = 0.0
    clock_offset: float | None = None
    leases_lost: int = 0
    reaped: int = 0
    strays: int = 0
    pauses: int = 0
    paused: float = 0.0
    feed_lag: float | None = None
    feed_holder: str = ""


class Observer(Protocol):
    """Receives what has happened to messages. Called on the event loop, so it must not block."""

    def traceparent(self) -> str:
        """The span that the current task works under, in the form of W3C's `traceparent` header; or nothing."""
        ...

    def delivery_started(self, accept_trace: str) -> Any:
        """The current task begins a later pass of a message, which was accepted under the span `accept_trace`.

        What is returned is handed to `delivery_ended`.
        """
        ...

    def delivery_ended(self, started: Any, record: MessageRecord) -> None:
        """The pass is over; the record may be older."""
        ...

    def state_reached(self, record: MessageRecord) -> None:
        """The message has reached its state, and that is durable."""
        ...

    def passed_over(self, record: MessageRecord, passed_over: Sequence[PassedOver]) -> None:
        """The message was not offered to these providers, each for the obstacle that is given."""
        ...

    def attempt_ended(self, record: MessageRecord) -> None:
        """The last attempt of `record` has ended; the record shows how."""
        ...

    def result_refused(self, record: MessageRecord) -> None:
        """How the last attempt of `record` has ended is not on record: the message was taken over meanwhile."""
        ...

    def breaker_changed(self, provider_name: str, transition: Transition) -> None:
        """A provider's breaker has gone from one state to another. The current task has made it so."""
        ...

    def routing_invalid(self, channel: Channel) -> None:
        """A message came for a channel that no provider carries."""
        ...

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        """A receipt was kept for one of the message's attempts; the record shows what it has led to."""
        ...

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        """Nothing is kept of what has come in as a receipt of a provider, for a reason of few words (`signature`,
        `unknown`). The name is empty where there is no such provider.
        """
        ...


class CallObserver(Protocol):
    """Receives the calls that the server answers."""

    def call_started(self, method: str, metadata: Metadata) -> Any:
        """A call of `method` (`postwire.v1.DispatchService/Dispatch`) has come in, and the current task answers it.

        What is returned is handed to `call_ended`.
        """
        ...

    def request_refused(self, reason: str, tenant: str) -> None:
        """A request of a tenant was refused for a reason (`OVERLOADED`): a call, or one of a stream.

        `tenant` is empty where it is not known who calls.
        """
        ...

    def call_ended(self, started: Any, method: str, status_code: str, system: str = GRPC) -> None:
        """The call was answered with a status (`OK`, `INVALID_ARGUMENT`). `system`: how it has come."""
        ...


class SilentObserver:
    """An `Observer` that does nothing: what others leave out, they take from here."""

    def traceparent(self) -> str:
        """See `Observer.traceparent`."""
        return ""

    def delivery_started(self, accept_trace: str) -> Any:
        """See `Observer.delivery_started`."""

    def delivery_ended(self, started: Any, record: MessageRecord) -> None:
        """See `Observer.delivery_ended`."""

    def state_reached(self, record: MessageRecord) -> None:
        """See `Observer.state_reached`."""

    def passed_over(self, record: MessageRecord, passed_over: Sequence[PassedOver]) -> None:
        """See `Observer.passed_over`."""

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""

    def result_refused(self, record: MessageRecord) -> None:
        """See `Observer.result_refused`."""

    def breaker_changed(self, provider_name: str, transition: Transition) -> None:
        """See `Observer.breaker_changed`."""

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        """See `Observer.receipt_applied`."""

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        """See `Observer.receipt_refused`."""


class Observers:
    """Several observers as one. One that raises harms neither the others nor the message: `on_fault` hears of it."""

    def __init__(self, *observers: Observer, on_fault: Callable[[Exception], None]) -> None:
        self._observers: tuple[Observer, ...] = ()
        self._on_fault = on_fault
        self.add(*observers)

    def add(self, *observers: Observer) -> None:
        """Add observers, which receive what happens from now on."""
        self._observers += observers
        # What each message calls: found here, once, and only of those who do anything.
        self._traceparent: tuple[Callable[[], str], ...] = self._hooks("traceparent")
        self._state_reached = self._hooks("state_reached")
        self._attempt_ended = self._hooks("attempt_ended")

    def _hooks(self, name: str) -> tuple[Callable[..., Any], ...]:
        silent = getattr(SilentObserver, name)
        hooks = (getattr(one, name) for one in self._observers)
        return tuple(hook for hook in hooks if getattr(hook, "__func__", None) is not silent)

    def traceparent(self) -> str:
        """See `Observer.traceparent`: the first that there is."""
        for hook in self._traceparent:
            try:
                if traceparent := hook():
                    return traceparent
            except Exception as error:
                self._on_fault(error)
        return ""

    def delivery_started(self, accept_trace: str) -> list[Any]:
        """See `Observer.delivery_started`."""
        return [self._notify(observer.delivery_started, accept_trace) for observer in self._observers]

    def delivery_ended(self, started: list[Any], record: MessageRecord) -> None:
        """See `Observer.delivery_ended`."""
        for observer, one in zip(self._observers, started, strict=True):
            self._notify(observer.delivery_ended, one, record)

    def state_reached(self, record: MessageRecord) -> None:
        """See `Observer.state_reached`."""
        for hook in self._state_reached:
            try:
                hook(record)
            except Exception as error:
                self._on_fault(error)

    def passed_over(self, record: MessageRecord, passed_over: Sequence[PassedOver]) -> None:
        """See `Observer.passed_over`. Not called on where nobody was passed over."""
        if passed_over:
            for observer in self._observers:
                self._notify(observer.passed_over, record, passed_over)

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        for hook in self._attempt_ended:
            try:
                hook(record)
            except Exception as error:
                self._on_fault(error)

    def result_refused(self, record: MessageRecord) -> None:
        """See `Observer.result_refused`."""
        for observer in self._observers:
            self._notify(observer.result_refused, record)

    def breaker_changed(self, provider_name: str, transition: Transition) -> None:
        """See `Observer.breaker_changed`."""
        for observer in self._observers:
            self._notify(observer.breaker_changed, provider_name, transition)

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""
        for observer in self._observers:
            self._notify(observer.routing_invalid, channel)

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        """See `Observer.receipt_applied`."""
        for observer in self._observers:
            self._notify(observer.receipt_applied, record, receipt)

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        """See `Observer.receipt_refused`."""
        for observer in self._observers:
            self._notify(observer.receipt_refused, provider_name, reason)

    def _notify(self, hook: Callable[..., Any], *subjects: object) -> Any:
        try:
            return hook(*subjects)
        except Exception as error:
            self._on_fault(error)
            return None

"""Metrics: counted in plain integers on the path of a message, and handed to the SDK when somebody reads them.

An SDK counter costs as much a call as the work it counts, an observable one nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from postwire import __version__
from postwire.core.breaker import BreakerState, Transition
from postwire.core.errors import REASONS, QuotaExceeded
from postwire.core.message import Channel, MessageRecord
from postwire.core.obstacles import Obstacle
from postwire.core.receipts import MessageReceipt
from postwire.core.routing import PassedOver
from postwire.telemetry import names
from postwire.telemetry.base import GRPC, Metadata, SilentObserver
from postwire.telemetry.durations import Durations, Key
from postwire.telemetry.receipts import delay_of

Gauges = Callable[[], Mapping[str, float]]
Count = Callable[[], int]
BreakerStates = Callable[[], Mapping[str, str]]
"""Gives every provider's name with its breaker's state, on any thread."""
Tenants = Callable[[], Collection[str]]
"""Gives the names of the tenants that there are, on any thread."""
QueueDepths = Callable[[], Mapping[str, int]]
"""Gives every queue's key with how many of its messages are not settled, on any thread."""

_ATTEMPT_KEYS: Final = (names.PROVIDER_NAME, names.CHANNEL, names.OUTCOME)
_CALL_KEYS: Final = (names.RPC_SYSTEM_NAME, names.RPC_METHOD, names.RPC_STATUS_CODE, names.ERROR_TYPE)
_MESSAGE_KEYS: Final = (names.CHANNEL, names.MESSAGE_STATE)
_ROUTING_KEYS: Final = (names.CHANNEL,)
_TRANSITION_KEYS: Final = (names.PROVIDER_NAME, names.BREAKER_FROM, names.BREAKER_TO)
_REFUSED_KEYS: Final = (names.REASON,)
_REJECTION_KEYS: Final = (names.PROVIDER_NAME,)
_RECEIPT_KEYS: Final = (names.PROVIDER_NAME, names.RECEIPT_STATE)
_RECEIPT_REFUSED_KEYS: Final = (names.PROVIDER_NAME, names.REASON)

_USUAL_TRANSITIONS: Final = (
    (BreakerState.CLOSED.value, BreakerState.OPEN.value),
    (BreakerState.OPEN.value, BreakerState.HALF_OPEN.value),
    (BreakerState.HALF_OPEN.value, BreakerState.CLOSED.value),
    (BreakerState.HALF_OPEN.value, BreakerState.OPEN.value),
)
"""Those that no operator has made."""

_REJECTING: Final = (Obstacle.OPEN, Obstacle.HALF_OPEN, Obstacle.DRAINED)
"""The obstacles that are a breaker's."""


class Metrics(SilentObserver):
    """Observes calls and messages, and counts them: see `CallObserver` and `Observer`.

    `durations` are for the readers.
    """

    def __init__(
        self,
        meter: Meter,
        outbox_gauges: Gauges,
        breaker_states: BreakerStates,
        queue_depths: QueueDepths,
        dropped_lines: Count,
        tenants: Tenants | None = None,
    ) -> None:
        """`outbox_gauges` gives the values of the gauges of the outbox and the store when they are read, and
        `dropped_lines` how many lines the log has lost. Messages, attempts and refusals are counted for each of
        `tenants`, and without a name for others together; for all together where that is None.
        """
        self._tenants = tenants
        of_tenant = () if tenants is None else (names.TENANT,)
        nobody = () if tenants is None else ("",)
        self._breaker_states = breaker_states
        self._attempts: Counter[Key] = Counter()
        self._messages: Counter[Key] = Counter()
        self._routing: Counter[Key] = Counter()
        self._transitions: Counter[Key] = Counter()
        self._rejections: Counter[Key] = Counter()
        self._refused: Counter[Key] = Counter()
        self._receipts: Counter[Key] = Counter()
        self._receipts_refused: Counter[Key] = Counter()
        self._queue_depths = queue_depths
        _counter(
            meter,
            names.ATTEMPTS,
            "{attempt}",
            "Attempts that have ended.",
            (*_ATTEMPT_KEYS, *of_tenant),
            self._attempts,
        )
        keys = (*_MESSAGE_KEYS, *of_tenant)
        _counter(meter, names.MESSAGES, "{message}", "Messages, by the state reached.", keys, self._messages)
        _counter(
            meter,
            names.REFUSED,
            "{request}",
            "Requests that were refused: calls, and those within streams.",
            (*_REFUSED_KEYS, *of_tenant),
            self._refused,
            # Of all that there is for each tenant, only what its operators are to be alerted to.
            lambda: [
                *((reason, *nobody) for reason in REASONS),
                *((QuotaExceeded.reason, name) for name in (tenants() if tenants else ())),
            ],
        )
        _counter(
            meter,
            names.ROUTING_INVALID,
            "{message}",
            "Messages for a channel that no provider carries.",
            _ROUTING_KEYS,
            self._routing,
            lambda: [(channel.value,) for channel in Channel],
        )
        _counter(
            meter,
            names.BREAKER_TRANSITIONS,
            "{transition}",
            "Changes of state of a provider's breaker.",
            _TRANSITION_KEYS,
            self._transitions,
            lambda: [(name, *pair) for name in breaker_states() for pair in _USUAL_TRANSITIONS],
        )
        _counter(
            meter,
            names.BREAKER_REJECTIONS,
            "{message}",
            "How often a message went past a provider because of its breaker.",
            _REJECTION_KEYS,
            self._rejections,
            lambda: [(name,) for name in breaker_states()],
        )
        _counter(meter, names.RECEIPTS, "{receipt}", "Receipts, by what they reported.", _RECEIPT_KEYS, self._receipts)
        _counter(
            meter,
            names.RECEIPTS_REFUSED,
            "{receipt}",
            "What came in as a receipt, and of which nothing is kept.",
            _RECEIPT_REFUSED_KEYS,
            self._receipts_refused,
        )
        _gauge(meter, names.RECEIPTS_HELD, "{receipt}", "Receipts whose message is not known yet.", outbox_gauges)
        meter.create_observable_gauge(
            names.BREAKER_STATE_GAUGE, [self._observe_states], "", "1 for the state that a provider's breaker is in."
        )
        _gauge(meter, names.OUTBOX_DEPTH, "{message}", "Messages that are not settled.", outbox_gauges)
        meter.create_observable_gauge(
            names.QUEUE_DEPTH, [self._observe_queues], "{message}", "Messages that are not settled, by their queue."
        )
        _gauge(meter, names.OUTBOX_OLDEST_AGE, "s", "Age of the oldest message that is not settled.", outbox_gauges)
        _gauge(meter, names.STORE_AVAILABLE, "", "1 while the store can commit, and 0 while it cannot.", outbox_gauges)
        meter.create_observable_counter(
            names.LOG_DROPPED,
            [lambda _: [Observation(dropped_lines())]],
            "{line}",
            "Lines of the log that could not be written.",
        )
        meter.create_observable_gauge(
            names.BUILD_INFO, [lambda _: [Observation(1, {names.VERSION: __version__})]], "", "What is running."
        )
        self._attempt_duration = Durations(
            names.ATTEMPT_DURATION, "How long attempts took.", _ATTEMPT_KEYS, names.ATTEMPT_BUCKETS
        )
        self._call_duration = Durations(names.RPC_DURATION, "How long calls took.", _CALL_KEYS, names.RPC_BUCKETS)
        self._receipt_delay = Durations(
            names.RECEIPT_DELAY, "From the end of attempts to their receipts.", _RECEIPT_KEYS, names.RECEIPT_BUCKETS
        )
        self.durations = (self._attempt_duration, self._call_duration, self._receipt_delay)

    def call_started(self, method: str, metadata: Metadata) -> float:
        """See `CallObserver.call_started`."""
        return perf_counter()

    def request_refused(self, reason: str, tenant: str) -> None:
        """See `CallObserver.request_refused`."""
        self._refused[(reason, *self._label(tenant))] += 1

    def call_ended(self, started: float, method: str, status_code: str, system: str = GRPC) -> None:
        """See `CallObserver.call_ended`."""
        error_type = "" if status_code == "OK" else status_code
        self._call_duration.record((system, method, status_code, error_type), perf_counter() - started)

    def state_reached(self, record: MessageRecord) -> None:
        """See `Observer.state_reached`."""
        key = (record.channel.value, record.state.value)
        self._messages[key if self._tenants is None else (*key, *self._label(record.tenant))] += 1

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        attempt = record.attempts[-1]
        assert attempt.outcome is not None
        key = (attempt.provider_name, record.channel.value, attempt.outcome.reported.value)
        self._attempts[key if self._tenants is None else (*key, *self._label(record.tenant))] += 1
        self._attempt_duration.record(key, (attempt.duration or 0) / 1e6)

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""
        self._routing[(channel.value,)] += 1

    def passed_over(self, record: MessageRecord, passed_over: Sequence[PassedOver]) -> None:
        """See `Observer.passed_over`."""
        for one in passed_over:
            if one.obstacle in _REJECTING:
                self._rejections[(one.provider_name,)] += 1

    def breaker_changed(self, provider_name: str, transition: Transition) -> None:
        """See `Observer.breaker_changed`."""
        self._transitions[provider_name, transition.source.value, transition.target.value] += 1

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        """See `Observer.receipt_applied`."""
        key = receipt.provider_name, receipt.state.value
        self._receipts[key] += 1
        if (delay := delay_of(record, receipt)) is not None:
            self._receipt_delay.record(key, delay / 1e6)

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        """See `Observer.receipt_refused`."""
        self._receipts_refused[provider_name, reason] += 1

    def _label(self, tenant: str) -> Key:
        """No more labels than tenants are declared, whatever a store or a caller names."""
        if self._tenants is None:
            return ()
        return (tenant if tenant in self._tenants() else "",)

    def _observe_queues(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {names.ROUTE_KEY: key}) for key, count in self._queue_depths().items()]

    def _observe_states(self, _: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(int(state.value == current), {names.PROVIDER_NAME: name, names.BREAKER_STATE: state.value})
            for name, current in self._breaker_states().items()
            for state in BreakerState
        ]


def _counter(
    meter: Meter,
    name: str,
    unit: str,
    description: str,
    keys: Key,
    counts: Counter[Key],
    shown: Callable[[], Iterable[Key]] = tuple,
) -> None:
    """`shown` are there before the first count: an alert on a rate needs the series to be there."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        # Read on another thread: `list` takes all of it in one step.
        last_reported = dict.fromkeys(shown(), 0) | dict(list(counts.items()))
        return [Observation(count, dict(zip(keys, key, strict=True))) for key, count in last_reported.items()]

    meter.create_observable_counter(name, [observe], unit, description)


def _gauge(meter: Meter, name: str, unit: str, description: str, gauges: Gauges) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        # Nothing rather than something old, where the store could not be asked.
        return [Observation(value) for key, value in gauges().items() if key == name]

    meter.create_observable_gauge(name, [observe], unit, description)

"""Metrics: counted in plain integers on the path of a message, and handed to the SDK when somebody reads them.

An SDK counter costs as much a call as the work it counts, an observable one nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from postwire import __version__
from postwire.core.message import Channel, MessageRecord
from postwire.telemetry import names
from postwire.telemetry.base import Metadata, SilentObserver
from postwire.telemetry.durations import Durations, Key

Gauges = Callable[[], Mapping[str, float]]

_ATTEMPT_KEYS: Final = (names.PROVIDER_NAME, names.CHANNEL, names.OUTCOME)
_CALL_KEYS: Final = (names.RPC_SYSTEM_NAME, names.RPC_METHOD, names.RPC_STATUS_CODE, names.ERROR_TYPE)
_MESSAGE_KEYS: Final = (names.CHANNEL, names.MESSAGE_STATE)
_ROUTING_KEYS: Final = (names.CHANNEL,)


class Metrics(SilentObserver):
    """Observes calls and messages, and counts them: see `CallObserver` and `Observer`.

    `durations` are for the readers.
    """

    def __init__(self, meter: Meter, outbox_gauges: Gauges) -> None:
        """`outbox_gauges` gives the values of `OUTBOX_DEPTH` and `OUTBOX_OLDEST_AGE` when they are read."""
        self._attempts: Counter[Key] = Counter()
        self._messages: Counter[Key] = Counter()
        # Shown before the first one: an alert on a rate needs the series to be there.
        self._routing: Counter[Key] = Counter({(channel.value,): 0 for channel in Channel})
        _counter(meter, names.ATTEMPTS, "{attempt}", "Attempts that have ended.", _ATTEMPT_KEYS, self._attempts)
        _counter(meter, names.MESSAGES, "{message}", "Messages, by the state reached.", _MESSAGE_KEYS, self._messages)
        _counter(
            meter,
            names.ROUTING_INVALID,
            "{message}",
            "Messages for a channel that no provider carries.",
            _ROUTING_KEYS,
            self._routing,
        )
        _gauge(meter, names.OUTBOX_DEPTH, "{message}", "Messages that are not settled.", outbox_gauges)
        _gauge(meter, names.OUTBOX_OLDEST_AGE, "s", "Age of the oldest message that is not settled.", outbox_gauges)
        meter.create_observable_gauge(
            names.BUILD_INFO, [lambda _: [Observation(1, {names.VERSION: __version__})]], "", "What is running."
        )
        self._attempt_duration = Durations(
            names.ATTEMPT_DURATION, "How long attempts took.", _ATTEMPT_KEYS, names.ATTEMPT_BUCKETS
        )
        self._call_duration = Durations(names.RPC_DURATION, "How long calls took.", _CALL_KEYS, names.RPC_BUCKETS)
        self.durations = (self._attempt_duration, self._call_duration)

    def call_started(self, method: str, metadata: Metadata) -> float:
        """See `CallObserver.call_started`."""
        return perf_counter()

    def call_ended(self, started: float, method: str, status_code: str) -> None:
        """See `CallObserver.call_ended`."""
        error_type = "" if status_code == "OK" else status_code
        self._call_duration.record(("grpc", method, status_code, error_type), perf_counter() - started)

    def state_reached(self, record: MessageRecord) -> None:
        """See `Observer.state_reached`."""
        self._messages[record.channel.value, record.state.value] += 1

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        attempt = record.attempts[-1]
        assert attempt.outcome is not None
        key = (attempt.provider_name, record.channel.value, attempt.outcome.value)
        self._attempts[key] += 1
        self._attempt_duration.record(key, (attempt.duration or 0) / 1e6)

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""
        self._routing[(channel.value,)] += 1


def _counter(meter: Meter, name: str, unit: str, description: str, keys: Key, counts: Counter[Key]) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        # Read on another thread: `list` takes all of it in one step.
        return [Observation(count, dict(zip(keys, key, strict=True))) for key, count in list(counts.items())]

    meter.create_observable_counter(name, [observe], unit, description)


def _gauge(meter: Meter, name: str, unit: str, description: str, gauges: Gauges) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        # Nothing rather than something old, where the store could not be asked.
        return [Observation(value) for key, value in gauges().items() if key == name]

    meter.create_observable_gauge(name, [observe], unit, description)

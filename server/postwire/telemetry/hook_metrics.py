"""Metrics of hooks: there only where there are hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from postwire.telemetry import names
from postwire.telemetry.base import HookReport

ReadHooks = Callable[[], Sequence[HookReport]]
"""Gives what is shown of every hook, on any thread."""


def observe_hooks(meter: Meter, read: ReadHooks) -> None:
    """Have the metrics of hooks read."""

    def attempts(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, {names.NOTIFY_NAME: hook.name, names.OUTCOME: outcome})
            for hook in read()
            for outcome, count in hook.attempts.items()
        ]

    def lost(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, {names.NOTIFY_NAME: hook.name, names.REASON: reason})
            for hook in read()
            for reason, count in hook.lost.items()
        ]

    def lag(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(hook.lag, {names.NOTIFY_NAME: hook.name}) for hook in read()]

    meter.create_observable_counter(names.NOTIFY_ATTEMPTS, [attempts], "{attempt}", "Tries to tell of a change.")
    meter.create_observable_counter(names.NOTIFY_LOST, [lost], "{change}", "Changes that will not be told.")
    meter.create_observable_gauge(names.NOTIFY_LAG, [lag], "s", "Age of the oldest change that is still to be told.")

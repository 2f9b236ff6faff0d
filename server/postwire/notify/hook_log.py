"""What a hook has to say in the log: its name, and nothing of where it posts to."""

from __future__ import annotations

from typing import Final

from postwire.clock import Clock
from postwire.core.breaker import BreakerState, Transition
from postwire.core.throttle import Throttle
from postwire.notify.poster import Answer
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

BURST: Final = 5
INTERVAL: Final = 10.0
"""Seconds. With the burst: at most eleven lines of a kind in any minute."""

_log = EventLog()


class HookLog:
    """The lines of one hook. Of what happens again and again, some are left out; the next says how many."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._throttle: Throttle[str] = Throttle(burst=BURST, interval=INTERVAL)

    def failed(self, answer: Answer) -> None:
        """A try has not succeeded."""
        fields: dict[str, object] = {names.LOG_OUTCOME: answer.outcome.value, "detail": answer.detail}
        self._warn(names.EVENT_NOTIFY_FAILED, answer.outcome.value, fields)

    def lost(self, reason: str, count: int, message_id: str = "") -> None:
        """So much will not be told; where it is one event, of which message."""
        fields: dict[str, object] = {"reason": reason, "count": count}
        if message_id:
            fields[names.LOG_MESSAGE_ID] = message_id
        self._warn(names.EVENT_NOTIFY_LOST, f"lost {reason}", fields)

    def breaker_changed(self, transition: Transition) -> None:
        """Its breaker has. The breaker's own doubling limits these."""
        log = _log.warning if transition.target is BreakerState.OPEN else _log.info
        log(
            names.EVENT_NOTIFY_BREAKER,
            **{
                names.LOG_NOTIFY_NAME: self._name,
                names.LOG_FROM: transition.source.value,
                names.LOG_TO: transition.target.value,
            },
        )

    def _warn(self, event: str, key: str, fields: dict[str, object]) -> None:
        suppressed = self._throttle.admit(key, self._clock.monotonic())
        if suppressed is not None:
            more = {"suppressed": suppressed} if suppressed else {}
            _log.warning(event, **{names.LOG_NOTIFY_NAME: self._name}, **fields, **more)

"""Tells what happens in log lines."""

from __future__ import annotations

from typing import Final

from postwire.clock import Clock, SystemClock
from postwire.core.breaker import BreakerState, Transition
from postwire.core.message import Channel, MessageRecord
from postwire.core.outcome import Outcome
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.core.throttle import Throttle
from postwire.telemetry import names
from postwire.telemetry.base import SilentObserver
from postwire.telemetry.logs import EventLog, Shape

FAILURE_BURST: Final = 5
FAILURE_INTERVAL: Final = 2.0
"""Seconds. With the burst: at most ten lines in any ten seconds, of one provider with one outcome."""

UNUSED: Final = "unused"
"""The reason of a receipt that reports nothing which we have a word for."""

_BLOCKED: Final = (BreakerState.OPEN, BreakerState.FORCED_OPEN)

_ATTEMPT: Final = (
    names.LOG_PROVIDER_NAME,
    names.LOG_OUTCOME,
    names.LOG_MESSAGE_ID,
    names.LOG_CHANNEL,
    "attempt",
    "duration_ms",
)
_SENT: Final = Shape(names.EVENT_ATTEMPT, *_ATTEMPT)
_SENT_AND_TRACED: Final = Shape(names.EVENT_ATTEMPT, *_ATTEMPT, names.LOG_TRACE_ID)

_log = EventLog()


class LogObserver(SilentObserver):
    """See `Observer`. One line an attempt, and one a change of a breaker, whose own doubling limits them; one line a
    channel that cannot be routed, however often it is asked for; one line a receipt.

    Of a provider that fails in the same way again and again, of its receipts and of what came of attempts that are no
    longer ours, some lines are left out; the next one says how many (`suppressed`). The metrics count every attempt and
    every receipt.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._reported: set[Channel] = set()
        self._failures: Throttle[tuple[str, Outcome]] = Throttle(burst=FAILURE_BURST, interval=FAILURE_INTERVAL)
        self._results: Throttle[str] = Throttle(burst=FAILURE_BURST, interval=FAILURE_INTERVAL)
        self._receipts: Throttle[tuple[str, ReceiptState]] = Throttle(burst=FAILURE_BURST, interval=FAILURE_INTERVAL)
        self._refused: Throttle[tuple[str, str]] = Throttle(burst=FAILURE_BURST, interval=FAILURE_INTERVAL)

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        attempt = record.attempts[-1]
        outcome = attempt.outcome
        assert outcome is not None
        values = (
            attempt.provider_name,
            outcome.reported.value,
            record.message_id,
            record.channel.value,
            attempt.number,
            round((attempt.duration or 0) / 1000, 3),
        )
        if outcome is Outcome.SUCCESS:
            if attempt.trace_id:
                _log.info_of(_SENT_AND_TRACED, *values, attempt.trace_id)
            else:
                _log.info_of(_SENT, *values)
            return
        suppressed = self._failures.admit((attempt.provider_name, outcome.reported), self._clock.monotonic())
        if suppressed is None:
            return
        fields: dict[str, object] = dict(zip(_ATTEMPT, values, strict=True))
        if attempt.trace_id:
            fields[names.LOG_TRACE_ID] = attempt.trace_id
        if suppressed:
            fields["suppressed"] = suppressed
        _log.warning(names.EVENT_ATTEMPT, **fields, error_code=attempt.error_code, detail=attempt.detail)

    def result_refused(self, record: MessageRecord) -> None:
        """See `Observer.result_refused`."""
        attempt = record.attempts[-1]
        assert attempt.outcome is not None
        suppressed = self._results.admit(attempt.provider_name, self._clock.monotonic())
        if suppressed is None:
            return
        fields: dict[str, object] = {
            names.LOG_PROVIDER_NAME: attempt.provider_name,
            names.LOG_OUTCOME: attempt.outcome.reported.value,
            names.LOG_MESSAGE_ID: record.message_id,
            "attempt": attempt.number,
        }
        if suppressed:
            fields["suppressed"] = suppressed
        _log.warning(names.EVENT_RESULT_REFUSED, **fields)

    def breaker_changed(self, provider_name: str, transition: Transition) -> None:
        """See `Observer.breaker_changed`."""
        fields = {
            names.LOG_PROVIDER_NAME: provider_name,
            names.LOG_FROM: transition.source.value,
            names.LOG_TO: transition.target.value,
        }
        if transition.target in _BLOCKED:
            _log.warning(names.EVENT_BREAKER, **fields)
        else:
            _log.info(names.EVENT_BREAKER, **fields)

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""
        if channel not in self._reported:
            self._reported.add(channel)
            _log.error(names.EVENT_INVALID_ROUTING, **{names.LOG_CHANNEL: channel.value})

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        """See `Observer.receipt_applied`."""
        suppressed = self._receipts.admit((receipt.provider_name, receipt.state), self._clock.monotonic())
        if suppressed is None:
            return
        fields: dict[str, object] = {
            names.LOG_PROVIDER_NAME: receipt.provider_name,
            "receipt": receipt.state.value,
            names.LOG_MESSAGE_ID: record.message_id,
            "attempt": receipt.attempt_number,
            "state": record.state.value,
        }
        if receipt.error_code:
            fields["error_code"] = receipt.error_code
        if suppressed:
            fields["suppressed"] = suppressed
        _log.info(names.EVENT_RECEIPT, **fields)

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        """See `Observer.receipt_refused`. What is of no use to us is nothing that anybody has to look at."""
        if reason == UNUSED:
            return
        suppressed = self._refused.admit((provider_name, reason), self._clock.monotonic())
        if suppressed is not None:
            more = {"suppressed": suppressed} if suppressed else {}
            _log.warning(
                names.EVENT_RECEIPT_REFUSED, **{names.LOG_PROVIDER_NAME: provider_name or None}, reason=reason, **more
            )

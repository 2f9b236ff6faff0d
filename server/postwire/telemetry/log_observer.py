"""Tells what happens in log lines."""

from __future__ import annotations

from postwire.core.message import Channel, MessageRecord
from postwire.core.outcome import Outcome
from postwire.telemetry import names
from postwire.telemetry.base import SilentObserver
from postwire.telemetry.logs import EventLog

_log = EventLog()


class LogObserver(SilentObserver):
    """See `Observer`. One line an attempt; one line a channel that cannot be routed, however often it is asked for."""

    def __init__(self) -> None:
        self._told: set[Channel] = set()

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        attempt = record.attempts[-1]
        assert attempt.outcome is not None
        fields: dict[str, object] = {
            names.LOG_PROVIDER_NAME: attempt.provider_name,
            names.LOG_OUTCOME: attempt.outcome.value,
            names.LOG_MESSAGE_ID: record.message_id,
            names.LOG_CHANNEL: record.channel.value,
            "attempt": attempt.number,
            "duration_ms": round((attempt.duration or 0) / 1000, 3),
        }
        if attempt.trace_id:
            fields[names.LOG_TRACE_ID] = attempt.trace_id
        if attempt.outcome is Outcome.SUCCESS:
            _log.info(names.EVENT_ATTEMPT, **fields)
        else:
            _log.warning(names.EVENT_ATTEMPT, **fields, error_code=attempt.error_code, detail=attempt.detail)

    def routing_invalid(self, channel: Channel) -> None:
        """See `Observer.routing_invalid`."""
        if channel not in self._told:
            self._told.add(channel)
            _log.error(names.EVENT_INVALID_ROUTING, **{names.LOG_CHANNEL: channel.value})

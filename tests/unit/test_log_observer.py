"""What the delivery path tells in lines of the log."""

from __future__ import annotations

import pytest
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.log_lines import lines, logging_as_it_was, start  # noqa: F401  # a fixture

from postwire.core.breaker import BreakerState, Transition
from postwire.core.message import Channel
from postwire.core.outcome import DispatchResult, Outcome
from postwire.telemetry.log_observer import FAILURE_BURST, LogObserver


@pytest.mark.parametrize("outcome", Outcome)
def test_an_attempt_is_one_line(outcome: Outcome) -> None:
    stream = start()
    record = build.ended(
        build.accepted(trace_id="ab" * 16), DispatchResult(outcome, error_code="c-1", detail="d-1"), after=1_234_567
    )
    LogObserver().attempt_ended(record)
    (line,) = lines(stream)
    failed = outcome is not Outcome.SUCCESS
    assert {name: value for name, value in line.items() if name != "time"} == {
        "level": "warning" if failed else "info",
        "event": "attempt",
        "provider_name": "sms-mms",
        "outcome": outcome.reported.value,
        "message_id": record.message_id,
        "channel": "sms",
        "attempt": 1,
        "duration_ms": 1234.567,
        "trace_id": "ab" * 16,
        **({"error_code": "c-1", "detail": "d-1"} if failed else {}),
    }


def test_a_result_that_is_not_kept_is_a_line_and_many_are_told_with_a_count() -> None:
    stream = start()
    clock = ManualClock()
    observer = LogObserver(clock)
    record = build.ended(build.accepted(), DispatchResult(Outcome.SUCCESS, detail="d-1"))
    for _ in range(FAILURE_BURST + 3):
        observer.result_refused(record)
    clock.advance(60)
    observer.result_refused(record)
    found = lines(stream)
    assert {name: value for name, value in found[0].items() if name != "time"} == {
        "level": "warning",
        "event": "result_refused",
        "provider_name": "sms-mms",
        "outcome": "success",
        "message_id": record.message_id,
        "attempt": 1,
    }
    assert [line.get("suppressed") for line in found] == [None] * FAILURE_BURST + [3]


def test_a_channel_without_a_route_is_told_once_a_channel() -> None:
    stream = start()
    observer = LogObserver()
    for channel in (Channel.SMS, Channel.SMS, Channel.EMAIL, Channel.SMS):
        observer.routing_invalid(channel)
    assert [(line["event"], line["channel"], line["level"]) for line in lines(stream)] == [
        ("invalid_routing", "sms", "error"),
        ("invalid_routing", "email", "error"),
    ]


@pytest.mark.parametrize("target", BreakerState)
def test_a_breaker_that_changes_is_a_line_and_a_warning_where_it_opens(target: BreakerState) -> None:
    stream = start()
    source = BreakerState.HALF_OPEN if target is not BreakerState.HALF_OPEN else BreakerState.OPEN
    LogObserver().breaker_changed("sms-mms", Transition(source, target))
    (line,) = lines(stream)
    assert {name: value for name, value in line.items() if name != "time"} == {
        "level": "warning" if target in (BreakerState.OPEN, BreakerState.FORCED_OPEN) else "info",
        "event": "breaker",
        "provider_name": "sms-mms",
        "from": source.value,
        "to": target.value,
    }


def test_every_change_of_a_breaker_is_told() -> None:
    stream = start()
    observer = LogObserver()
    for _ in range(100):
        observer.breaker_changed("sms-mms", Transition(BreakerState.OPEN, BreakerState.HALF_OPEN))
        observer.breaker_changed("sms-mms", Transition(BreakerState.HALF_OPEN, BreakerState.OPEN))
    assert len(lines(stream)) == 200

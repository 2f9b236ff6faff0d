"""What is told of receipts: spans that lead to their attempts, metrics, and lines of the log at a limited rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.tracing import METHOD, Harness

from postwire.core.message import MessageRecord
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.telemetry import log_observer
from postwire.telemetry.durations import FetchedReader
from postwire.telemetry.log_observer import FAILURE_BURST, LogObserver
from postwire.telemetry.metrics import Metrics
from postwire.telemetry.receipts import LATEST, ReceiptFigures, delay_of

DELIVERED = ReceiptState.DELIVERED


def sent(trace_id: str = "") -> MessageRecord:
    """A message whose attempt has taken 2 s."""
    record = build.ended(build.accepted())
    return replace(record, attempts=(replace(record.attempts[0], duration=2_000_000, trace_id=trace_id),))


def receipt(record: MessageRecord, after: float, state: ReceiptState = DELIVERED, attempt: int = 1) -> MessageReceipt:
    """One that comes so many seconds after the begin of the message's attempt."""
    received = record.attempts[0].start_time + int(after * 1_000_000)
    return MessageReceipt(record.attempts[0].provider_name, attempt, state, "", received)


def test_a_span_of_a_receipt_leads_to_that_of_its_attempt() -> None:
    harness = Harness()
    started = harness.tracer.call_started(METHOD, ())
    record = sent(harness.tracer.traceparent()[3:35])
    harness.tracer.attempt_ended(record)
    harness.tracer.call_ended(started, METHOD, "OK")
    harness.clock = (record.attempts[0].start_time + 5_000_000) * 1000
    harness.tracer.receipt_applied(record, receipt(record, 3.0))
    attempt, call, span = harness.ended
    assert span.links == ((attempt.trace_id, attempt.span_id),)
    assert (span.name, span.parent_id, span.message_id) == ("receipt sms-mms", 0, record.message_id)
    assert span.trace_id not in (0, attempt.trace_id)
    assert len({one.span_id for one in (attempt, call, span)}) == 3
    assert span.end_time - span.start_time == 2_000_000_000, "from when it came in"
    assert dict(span.attributes) == {
        "postwire.provider.name": "sms-mms",
        "postwire.channel": "sms",
        "postwire.receipt.state": "delivered",
    }


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_receipt_of_what_is_not_sampled_has_no_span(attempt: int) -> None:
    harness = Harness()
    record = sent()
    harness.tracer.receipt_applied(record, receipt(record, 3.0, attempt=attempt))
    assert harness.ended == []


def test_receipts_are_counted_and_their_delay_measured() -> None:
    registry = CollectorRegistry()
    reader = FetchedReader(registry=registry)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    metrics = Metrics(meters.get_meter("postwire"), lambda: {"postwire.receipts.held": 3}, dict, dict, int)
    reader.durations = metrics.durations
    record = sent()
    for after in (3.0, 7.0, 1.0):
        metrics.receipt_applied(record, receipt(record, after))
    metrics.receipt_refused("sms-mms", "signature")
    metrics.receipt_refused("", "provider")
    found = {
        (sample.name, *(sample.labels.get(f"postwire_{key}") for key in ("provider_name", "receipt_state"))): sample
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.labels.get("le") is None
    }
    meters.shutdown()
    assert found["postwire_receipts_total", "sms-mms", "delivered"].value == 3
    assert found["postwire_receipt_delay_seconds_count", "sms-mms", "delivered"].value == 3
    assert found["postwire_receipt_delay_seconds_sum", "sms-mms", "delivered"].value == 6.0, "never less than nothing"
    refused = found["postwire_receipts_refused_total", "sms-mms", None]
    assert (refused.labels["reason"], refused.value) == ("signature", 1)
    assert found["postwire_receipts_refused_total", "", None].labels["reason"] == "provider"
    assert found["postwire_receipts_held", None, None].value == 3


def test_the_delay_of_what_never_ended_is_not_known() -> None:
    record = sent()
    assert delay_of(record, receipt(record, 3.0)) == 1_000_000
    assert delay_of(record, receipt(record, 3.0, attempt=2)) is None
    assert (
        delay_of(replace(record, attempts=(replace(record.attempts[0], duration=None),)), receipt(record, 3.0)) is None
    )


def test_receipts_are_counted_for_each_provider() -> None:
    figures, record = ReceiptFigures(), sent()
    for state in (DELIVERED, DELIVERED, ReceiptState.COMPLAINED):
        figures.receipt_applied(record, receipt(record, 1.0, state))
    assert figures.counts("sms-mms") == {DELIVERED: 2, ReceiptState.COMPLAINED: 1}
    assert figures.counts("other") == {}


def test_the_delay_is_the_median_of_the_last_ones() -> None:
    figures, record = ReceiptFigures(), sent()
    assert figures.delay("sms-mms") is None
    for _ in range(LATEST):
        figures.receipt_applied(record, receipt(record, 1000.0))
    for _ in range(LATEST // 2 + 1):
        figures.receipt_applied(record, receipt(record, 3.0))
    assert figures.delay("sms-mms") == 1_000_000
    assert figures.delay("other") is None


class Noted:
    """Notes the lines of a log, each by its level and event."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))


def test_lines_of_receipts_come_at_a_limited_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted()
    monkeypatch.setattr(log_observer, "_log", noted)
    observer = LogObserver(clock := ManualClock())
    record = sent()
    for _ in range(FAILURE_BURST + 3):
        observer.receipt_applied(record, replace(receipt(record, 1.0, ReceiptState.UNDELIVERED), error_code="30003"))
        observer.receipt_refused("sms-mms", "signature")
        observer.receipt_refused("", "provider")
        observer.receipt_refused("sms-mms", "unused")
    assert len(noted.lines) == FAILURE_BURST * 3
    assert noted.lines[:3] == [
        (
            "info",
            "receipt",
            {
                "provider_name": "sms-mms",
                "receipt": "undelivered",
                "message_id": record.message_id,
                "attempt": 1,
                "state": record.state.value,
                "error_code": "30003",
            },
        ),
        ("warning", "receipt_refused", {"provider_name": "sms-mms", "reason": "signature"}),
        ("warning", "receipt_refused", {"provider_name": None, "reason": "provider"}),
    ]
    clock.advance(60.0)
    observer.receipt_refused("sms-mms", "signature")
    assert noted.lines[-1][2] == {"provider_name": "sms-mms", "reason": "signature", "suppressed": 3}

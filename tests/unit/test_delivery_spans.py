"""Later passes of a message: each is a trace of its own that leads back to the call by which the message came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.support import build
from tests.support.tracing import METHOD, PARENT, TRACE, Harness, traceparent

from postwire.telemetry import tracing
from postwire.telemetry.tracing import EndedSpan, Link

ACCEPTED = traceparent()[1]
"""The span that a message was accepted under, as the store keeps it."""


@pytest.fixture(autouse=True)
def _no_call_of_another_test() -> None:
    tracing._current.set(None)


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_a_delivery_begins_a_trace_with_a_link_to_where_the_message_was_accepted(harness: Harness) -> None:
    started = harness.tracer.delivery_started(ACCEPTED)
    harness.clock += 500
    record = build.ended(build.accepted())
    harness.tracer.delivery_ended(started, record)
    assert harness.ended == [
        EndedSpan(
            kind=SpanKind.CONSUMER,
            name="deliver",
            trace_id=1001,
            span_id=1,
            parent_id=0,
            trace_state="",
            start_time=1_000_000_000,
            end_time=1_000_000_500,
            attributes=(("postwire.channel", "sms"),),
            message_id=record.message_id,
            error="",
            events=(),
            links=(Link(int(TRACE, 16), int(PARENT, 16)),),
            dropped_events=0,
        )
    ]


def test_what_a_call_gives_to_keep_leads_back_to_it(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, ())
    kept = harness.tracer.traceparent()
    harness.tracer.call_ended(started, METHOD, "OK")
    later = harness.tracer.delivery_started(kept)
    harness.tracer.delivery_ended(later, build.accepted())
    call, delivery = harness.ended
    assert delivery.links == (Link(call.trace_id, call.span_id),)
    assert delivery.trace_id != call.trace_id


@pytest.mark.parametrize("kind", ["call", "delivery"])
def test_what_is_current_is_told_as_the_header_has_it(harness: Harness, kind: str) -> None:
    started = harness.tracer.call_started(METHOD, ()) if kind == "call" else harness.tracer.delivery_started(ACCEPTED)
    assert started
    context = TraceContextTextMapPropagator().extract({"traceparent": harness.tracer.traceparent()}, Context())
    read = get_current_span(context).get_span_context()
    assert (read.trace_id, read.span_id) == (started.trace_id, started.span_id)
    assert read.trace_flags.sampled


def test_attempts_of_a_delivery_hang_under_it(harness: Harness) -> None:
    started = harness.tracer.delivery_started(ACCEPTED)
    assert harness.tracer.traceparent() == f"00-{1001:032x}-{1:016x}-01", "what the record of the attempt says"
    record = build.ended(build.accepted())
    harness.tracer.attempt_ended(record)
    later = replace(record.attempts[0], number=2)
    harness.tracer.attempt_ended(replace(record, attempts=(*record.attempts, later)))
    harness.tracer.delivery_ended(started, record)
    *attempts, delivery = harness.ended
    assert [(span.trace_id, span.parent_id) for span in attempts] == [(delivery.trace_id, delivery.span_id)] * 2
    assert len({span.span_id for span in harness.ended}) == 3


NO_TRACE = [
    "",
    "x",
    TRACE,
    f"{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}",
    f"00-{TRACE}-{PARENT}-01-more",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01\n",
    f"00-{TRACE[1:]}_-{PARENT}-01",
]


# Whether there is a span.


@pytest.mark.parametrize("kept", NO_TRACE)
def test_a_message_whose_call_was_not_sampled_has_no_later_spans(harness: Harness, kept: str) -> None:
    harness.tracer.call_started(METHOD, ())  # whatever was current before is not taken for the delivery's
    started = harness.tracer.delivery_started(kept)
    assert harness.tracer.traceparent() == ""
    harness.tracer.attempt_ended(build.ended(build.accepted()))
    harness.tracer.delivery_ended(started, build.accepted())
    assert (started, harness.ended) == (None, [])


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF])
def test_a_message_whose_call_was_sampled_has_all_its_later_spans_whatever_the_sampler_says_by_now(
    sampler: Sampler,
) -> None:
    harness = Harness(sampler)
    harness.tracer.delivery_ended(harness.tracer.delivery_started(ACCEPTED), build.accepted())
    assert [span.name for span in harness.ended] == ["deliver"]


def test_after_its_end_nothing_is_current(harness: Harness) -> None:
    started = harness.tracer.delivery_started(ACCEPTED)
    harness.tracer.delivery_ended(started, build.accepted())
    assert harness.tracer.traceparent() == ""


# Between tasks.


async def test_a_delivery_does_not_hang_under_the_call_whose_task_has_started_it(harness: Harness) -> None:
    async def deliver(kept: str) -> None:
        started = harness.tracer.delivery_started(kept)
        await asyncio.sleep(0)
        harness.tracer.attempt_ended(build.ended(build.accepted()))
        harness.tracer.delivery_ended(started, build.accepted())

    call = harness.tracer.call_started(METHOD, [traceparent()])
    kept = harness.tracer.traceparent()
    await asyncio.gather(*(asyncio.create_task(deliver(kept)) for _ in range(5)))
    assert harness.tracer.traceparent() == kept, "and the call is what it was"
    harness.tracer.call_ended(call, METHOD, "OK")
    deliveries: Mapping[int, EndedSpan] = {
        span.span_id: span for span in harness.ended if span.kind is SpanKind.CONSUMER
    }
    attempts = [span for span in harness.ended if span.kind is SpanKind.CLIENT]
    assert len({span.trace_id for span in deliveries.values()} | {int(TRACE, 16)}) == 6
    assert {span.parent_id for span in attempts} == deliveries.keys()
    assert all(span.trace_id == deliveries[span.parent_id].trace_id for span in attempts)

"""Our translation of spans to OTLP, held to the SDK's own for the same spans, and the way to a collector."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as SdkLink
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from tests.support.otlp import Collector

from postwire import __version__
from postwire.telemetry import names
from postwire.telemetry.durations import Durations
from postwire.telemetry.otlp import SpanExport, encode, export_timeout, metric_reader
from postwire.telemetry.tracing import EndedSpan, Event, Link

RESOURCE = Resource({"service.name": "postwire", "host.id": 7, "ok": True}, "https://example.com/schema")
SAMPLED = 0x01
"""What the protocol asks for in the flags, and the SDK leaves out: the trace flags of W3C."""


def as_sdk(span: EndedSpan, resource: Resource = RESOURCE) -> ReadableSpan:
    """The SDK's own span that says the same."""
    state = TraceState.from_header([span.trace_state])
    sampled = TraceFlags(TraceFlags.SAMPLED)
    attributes = dict(span.attributes)
    if span.message_id:
        attributes[names.MESSAGE_ID] = span.message_id
    events: BoundedList[SdkEvent] = BoundedList(max(len(span.events), 1))
    events.extend([SdkEvent(one.name, dict(one.attributes), one.time) for one in span.events])
    events.dropped = span.dropped_events
    links = [SdkLink(SpanContext(one.trace_id, one.span_id, True, sampled), {}) for one in span.links]
    parent = SpanContext(span.trace_id, span.parent_id, span.kind is SpanKind.SERVER, sampled, state)
    return ReadableSpan(
        name=span.name,
        context=SpanContext(span.trace_id, span.span_id, False, sampled, state),
        parent=parent if span.parent_id else None,
        resource=resource,
        attributes=attributes,
        events=events,
        links=links,
        kind=span.kind,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=InstrumentationScope(names.SCOPE, __version__),
    )


def spans_in(export: ExportTraceServiceRequest) -> list[Span]:
    return [span for one in export.resource_spans for scope in one.scope_spans for span in scope.spans]


def same(ours: ExportTraceServiceRequest, theirs: ExportTraceServiceRequest) -> None:
    """Hold them equal, but for what the protocol takes as the same."""
    for span in spans_in(ours):
        assert span.flags & 0xFF == SAMPLED
        span.flags &= ~0xFF
        span.status.SetInParent()  # left out is unset
        for link in span.links:
            assert link.flags & 0xFF == SAMPLED
            link.flags &= ~0xFF
    assert ours == theirs


CALL = EndedSpan(
    kind=SpanKind.SERVER,
    name="postwire.v1.DispatchService/Dispatch",
    trace_id=0x0AF7651916CD43DD8448EB211C80319C,
    span_id=0x00F067AA0BA902B7,
    parent_id=0,
    trace_state="",
    start_time=1_700_000_000_000_000_000,
    end_time=1_700_000_000_000_000_001,
    attributes=(("rpc.system.name", "grpc"), ("rpc.method", "Dispatch"), ("rpc.response.status_code", "OK")),
    message_id="",
    error="",
)
ATTEMPT = CALL._replace(
    kind=SpanKind.CLIENT, name="attempt sms-mms", span_id=7, parent_id=CALL.span_id, message_id="m-1"
)
OPENED = Event("breaker changed", CALL.end_time, (("postwire.breaker.from", "closed"), ("postwire.breaker.to", "open")))
DELIVERY = CALL._replace(
    kind=SpanKind.CONSUMER, name="deliver", message_id="m-1", links=(Link(2**128 - 1, 2**64 - 1),), trace_id=1
)
SPANS = {
    "root": CALL,
    "under a caller": CALL._replace(parent_id=2**64 - 1, trace_state="a=1,b=2"),
    "attempt": ATTEMPT,
    "failed attempt": ATTEMPT._replace(error="the mock failed"),
    "refused call": CALL._replace(error="INVALID_ARGUMENT"),
    "delivery": DELIVERY,
    "delivery without a link": DELIVERY._replace(links=()),
    "attempt that opened a breaker": ATTEMPT._replace(events=(OPENED, OPENED._replace(time=1, attributes=()))),
    "call with events left out": CALL._replace(events=(OPENED,), dropped_events=7),
}


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS.keys())
def test_a_span_is_translated_as_the_sdk_does(span: EndedSpan) -> None:
    same(encode(RESOURCE, [span]), encode_spans([as_sdk(span)]))


def test_many_spans_are_one_scope_in_order() -> None:
    spans = list(SPANS.values()) * 3
    same(encode(RESOURCE, spans), encode_spans([as_sdk(span) for span in spans]))


@pytest.mark.parametrize(
    ("span", "remote"),
    [(CALL, False), (SPANS["under a caller"], True), (ATTEMPT, False), (DELIVERY, False)],
    ids=["root", "under a caller", "attempt", "delivery"],
)
def test_the_flags_say_whether_the_parent_is_another_process(span: EndedSpan, remote: bool) -> None:
    (wire,) = spans_in(encode(RESOURCE, [span]))
    assert wire.flags == (0x301 if remote else 0x101)


def test_a_link_leads_to_a_span_that_may_be_another_process_s() -> None:
    (wire,) = spans_in(encode(RESOURCE, [DELIVERY]))
    (link,) = wire.links
    assert (link.trace_id, link.span_id, link.flags) == (b"\xff" * 16, b"\xff" * 8, 0x301)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = st.integers(1, 2**64 - 1)
TRACE_IDS = st.integers(1, 2**128 - 1)
TIMES = st.integers(0, 2**63 - 1)
ATTRIBUTES = st.dictionaries(TEXT.filter(bool), TEXT, max_size=4).map(lambda found: tuple(found.items()))
EVENTS = st.lists(st.builds(Event, name=TEXT, time=TIMES, attributes=ATTRIBUTES), max_size=3).map(tuple)
LINKS = st.lists(st.builds(Link, trace_id=TRACE_IDS, span_id=IDS), max_size=2).map(tuple)


@given(
    st.lists(
        st.builds(
            EndedSpan,
            kind=st.sampled_from([SpanKind.SERVER, SpanKind.CLIENT, SpanKind.CONSUMER]),
            name=TEXT,
            trace_id=TRACE_IDS,
            span_id=IDS,
            parent_id=st.one_of(st.just(0), IDS),
            trace_state=st.sampled_from(["", "a=1", "a=1,b=2", "t@v=x"]),
            start_time=TIMES,
            end_time=TIMES,
            attributes=ATTRIBUTES,
            message_id=TEXT,
            error=TEXT,
            events=EVENTS,
            links=LINKS,
            dropped_events=st.integers(0, 2**32 - 1),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_span_is_translated_as_the_sdk_does(spans: list[EndedSpan]) -> None:
    same(encode(RESOURCE, spans), encode_spans([as_sdk(span) for span in spans]))


def test_an_attribute_that_recurs_is_the_same_every_time() -> None:
    first, second = (spans_in(encode(RESOURCE, [ATTEMPT]))[0] for _ in range(2))
    first.attributes[0].value.string_value = "changed"
    assert second.attributes[0].value.string_value == "grpc", "what was handed out is a copy"
    assert spans_in(encode(RESOURCE, [ATTEMPT]))[0] == second


# To a collector.


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def test_what_was_taken_is_exported_at_the_latest_at_the_end(collector: Collector) -> None:
    export = SpanExport(RESOURCE, collector.endpoint)
    spans = [ATTEMPT._replace(span_id=number) for number in range(1, 1_001)]
    for span in spans:
        export(span)
    export.shutdown(10)
    seen = collector.spans()
    assert sorted(one.span.span_id for one in seen) == [span.span_id.to_bytes(8, "big") for span in spans]
    assert {one.scope for one in seen} == {"postwire"}
    assert seen[0].resource["service.name"] == "postwire"


def test_spans_go_out_by_themselves(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    export = SpanExport(RESOURCE, collector.endpoint)
    export(CALL)
    assert collector.wait_for_spans(1)[0].name == CALL.name
    export.shutdown(10)


def test_the_environments_endpoint_is_taken_where_the_configuration_has_none(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc")
    export = SpanExport(RESOURCE, None)
    export(CALL)
    export.shutdown(10)
    assert len(collector.spans()) == 1
    assert collector.metadata[0]["api-key"] == "abc"


def test_metrics_are_exported_with_our_own_durations_among_them(collector: Collector) -> None:
    reader = metric_reader(collector.endpoint)
    meters = MeterProvider([reader], RESOURCE, shutdown_on_exit=False)
    meters.get_meter("postwire").create_counter("postwire.attempts").add(3)
    took = Durations("postwire.attempt.duration", "d", ["postwire.channel"], [0.1, 1.0])
    took.record(("sms",), 0.5)
    reader.durations = (took,)
    meters.shutdown()
    metrics = collector.metrics()
    assert metrics["postwire.attempts"].sum.data_points[0].as_int == 3
    (point,) = metrics["postwire.attempt.duration"].histogram.data_points
    assert list(point.bucket_counts) == [0, 1, 0]
    assert list(point.explicit_bounds) == [0.1, 1.0]
    assert (point.count, point.sum) == (1, 0.5)
    assert collector.metric_resources()[0]["service.name"] == "postwire"


def test_times_out_in_milliseconds_as_the_specification_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TIMEOUT", raising=False)
    assert export_timeout("TRACES") is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5000")
    assert export_timeout("TRACES") == 5.0
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250")
    assert (export_timeout("TRACES"), export_timeout("METRICS")) == (0.25, 5.0)

"""What a collector sees: a caller's trace, with the call under it and each attempt under that."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    NO_RETRY,
    SENT,
    TIMEOUT,
    email,
    mms,
    refused,
    release,
    request,
    sms,
    until_eligible,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.support.otlp import Collector, Seen

from postwire import __version__
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import Message, MessageState, OutboundMessage
from postwire.v1.provider_service_pb2 import ListProvidersRequest

CALLER = "b7ad6b7169203331"
DISPATCH = "postwire.v1.DispatchService/Dispatch"
SERVER_KIND, CLIENT_KIND = 2, 3
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_METRIC_EXPORT_INTERVAL": "50"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(shared: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of this module share; each has traces of its own."""
    settings = {"telemetry__otlp_endpoint": shared.endpoint, "providers__sms_mms__retry_after": "1ms"}
    with Server(tmp_path_factory.mktemp("traced"), **settings, **NO_RETRY, **QUICK) as server:
        yield server


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def serve(collector: Collector, serve: Serve) -> Serve:
    """As ever, but the collector outlives the server: one that waits for it at its end would take its time."""
    return serve


@pytest.fixture
def trace() -> str:
    """The id of a trace that no other test has."""
    return secrets.token_hex(16)


def traceparent(trace: str, flags: str = "01") -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{trace}-{CALLER}-{flags}"),)


def dispatch(server: Server, message: OutboundMessage, metadata: Any = None, **options: Any) -> Message:
    return server.dispatch.Dispatch(request(message, **options), timeout=TIMEOUT, metadata=metadata).message


def call_and_attempt(spans: list[Seen]) -> tuple[Seen, Seen]:
    by_kind: dict[int, Seen] = {one.span.kind: one for one in spans}
    assert len(spans) == len(by_kind) == 2
    return by_kind[SERVER_KIND], by_kind[CLIENT_KIND]


@pytest.mark.parametrize(
    ("message", "channel", "provider"),
    [(sms(), "sms", "sms-mms"), (mms(), "mms", "sms-mms"), (email(), "email", "email")],
    ids=["sms", "mms", "email"],
)
def test_a_dispatch_is_a_span_under_its_callers_and_an_attempt_under_that(
    traced: Server, shared: Collector, trace: str, message: OutboundMessage, channel: str, provider: str
) -> None:
    sent = dispatch(traced, message, (*traceparent(trace), ("tracestate", "shop=1")))
    call, attempt = call_and_attempt(shared.wait_for_spans(2, trace))

    assert call.name == DISPATCH
    assert (call.trace_id, call.parent_id) == (trace, CALLER)
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": DISPATCH,
        "rpc.response.status_code": "OK",
    }
    assert attempt.name == f"attempt {provider}"
    assert (attempt.trace_id, attempt.parent_id) == (trace, call.span_id)
    assert attempt.attributes == {
        "postwire.provider.name": provider,
        "postwire.channel": channel,
        "postwire.outcome": "success",
        "postwire.message.id": sent.message_id,
    }
    assert call.span.trace_state == attempt.span.trace_state == "shop=1"
    assert not call.failed
    assert not attempt.failed
    assert sent.attempts[0].trace_id == trace

    # The attempt lies within the call, and takes what the record says.
    assert call.span.start_time_unix_nano <= attempt.span.start_time_unix_nano
    assert attempt.span.end_time_unix_nano <= call.span.end_time_unix_nano
    took = attempt.span.end_time_unix_nano - attempt.span.start_time_unix_nano
    assert took == sent.attempts[0].duration.ToNanoseconds()


def test_a_call_without_a_trace_begins_one_that_the_record_and_the_log_lead_to(
    serve: Serve, collector: Collector
) -> None:
    server = serve(telemetry__otlp_endpoint=collector.endpoint, **QUICK)
    sent = [dispatch(server, sms()) for _ in range(2)]
    spans = collector.wait_for_spans(4)
    assert len({one.trace_id for one in spans}) == 2
    for one in sent:
        call, attempt = call_and_attempt([span for span in spans if span.trace_id == one.attempts[0].trace_id])
        assert call.parent_id == ""
        assert attempt.parent_id == call.span_id
    assert server.terminate() == 0
    assert [line["trace_id"] for line in server.log("attempt")] == [one.attempts[0].trace_id for one in sent]


@pytest.mark.parametrize(
    ("outcome", "number"),
    [
        ("rejected", "+15005550001"),
        ("error", "+15005550002"),
        ("rate_limited", "+15005550003"),
        ("uncertain", "+15005550004"),
    ],
)
def test_a_failed_attempt_reads_as_an_error_and_its_call_does_not(
    traced: Server, shared: Collector, trace: str, outcome: str, number: str
) -> None:
    failed = dispatch(traced, sms(number), traceparent(trace), max_attempts=1)
    call, attempt = call_and_attempt(shared.wait_for_spans(2, trace))
    until_eligible(traced)  # one that throttles is left alone for a while, and the others share it
    assert attempt.failed
    assert attempt.span.status.message == failed.attempts[0].detail
    assert attempt.attributes["postwire.outcome"] == attempt.attributes["error.type"] == outcome
    assert not call.failed
    assert call.attributes["rpc.response.status_code"] == "OK"


def test_a_refused_call_reads_as_an_error_with_its_code(serve: Serve, collector: Collector, trace: str) -> None:
    server = serve(telemetry__otlp_endpoint=collector.endpoint, routes__email="", **QUICK)
    calls = {
        "INVALID_ARGUMENT": lambda: dispatch(server, sms(to="nobody"), traceparent(trace)),
        "INTERNAL": lambda: dispatch(server, email(), traceparent(trace)),
        "NOT_FOUND": lambda: server.dispatch.GetMessage(
            pb.GetMessageRequest(message_id="019ab0c4-94c8-7000-8f3e-5d2a7c1b9e64"),
            timeout=TIMEOUT,
            metadata=traceparent(trace),
        ),
    }
    for call in calls.values():
        refused(call)
    spans = collector.wait_for_spans(3)
    assert [one.attributes["rpc.response.status_code"] for one in spans] == list(calls)
    for one in spans:
        assert one.failed
        assert one.span.kind == SERVER_KIND
        assert one.attributes["error.type"] == one.attributes["rpc.response.status_code"]
        assert (one.trace_id, one.parent_id) == (trace, CALLER)
    assert spans[2].name == "postwire.v1.DispatchService/GetMessage"


def test_a_caller_that_hangs_up_reads_as_cancelled_and_the_attempt_is_there(
    serve: Serve, collector: Collector, trace: str
) -> None:
    server = serve(held=True, telemetry__otlp_endpoint=collector.endpoint, providers__sms_mms__latency="1h", **QUICK)
    call = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT, metadata=traceparent(trace))

    def in_flight() -> int:
        unseen = traceparent(secrets.token_hex(16), "00")
        listed = server.providers.ListProviders(ListProvidersRequest(), timeout=TIMEOUT, metadata=unseen)
        return sum(one.in_flight for one in listed.providers)

    eventually(in_flight)
    assert call.cancel()
    collector.wait_for_spans(1)
    release(server)
    gone, attempt = call_and_attempt(collector.wait_for_spans(2, trace))
    assert gone.attributes["rpc.response.status_code"] == "CANCELLED"
    assert attempt.parent_id == gone.span_id
    assert attempt.attributes["postwire.outcome"] == "success"
    assert attempt.span.end_time_unix_nano > gone.span.end_time_unix_nano


def test_an_attempt_hangs_under_the_call_that_was_answered_long_before(
    serve: Serve, collector: Collector, trace: str
) -> None:
    server = serve(held=True, telemetry__otlp_endpoint=collector.endpoint, providers__sms_mms__latency="1h", **QUICK)
    accepted = dispatch(server, sms(), traceparent(trace), wait_for=ACCEPTANCE)
    collector.wait_for_spans(1, trace)
    release(server)
    call, attempt = call_and_attempt(collector.wait_for_spans(2, trace))
    assert attempt.parent_id == call.span_id
    assert attempt.span.end_time_unix_nano > call.span.end_time_unix_nano
    assert accepted.attempts[0].trace_id == trace


def test_a_repeat_is_a_call_and_no_attempt(traced: Server, shared: Collector, trace: str) -> None:
    asked = request()
    first = traced.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    again = traced.dispatch.Dispatch(asked, timeout=TIMEOUT, metadata=traceparent(trace)).message
    assert again == first
    everything_is_there(traced, shared)
    assert [one.name for one in shared.wait_for_spans(1, trace)] == [DISPATCH]
    first_trace = first.attempts[0].trace_id
    assert sorted(one.name for one in shared.wait_for_spans(2, first_trace)) == ["attempt sms-mms", DISPATCH]


def everything_is_there(server: Server, collector: Collector) -> None:
    """Return once the collector has every span of the calls so far: spans go out in the order in which they ended."""
    last = dispatch(server, sms()).attempts[0].trace_id
    collector.wait_for_spans(2, last)


# Whether there are spans at all.


def test_a_caller_that_does_not_sample_has_no_spans_and_no_trace_id(
    traced: Server, shared: Collector, trace: str
) -> None:
    unsampled = dispatch(traced, sms(), traceparent(trace, "00"))
    assert unsampled.state == SENT
    assert unsampled.attempts[0].trace_id == ""
    refused(lambda: dispatch(traced, sms(to="nobody"), traceparent(trace, "00")))
    everything_is_there(traced, shared)
    assert shared.wait_for_spans(0, trace) == []
    eventually(lambda: unsampled.message_id in traced.log_text())
    (line,) = [line for line in traced.log("attempt") if line["message_id"] == unsampled.message_id]
    assert "trace_id" not in line


@pytest.mark.parametrize("value", ["", "x", f"00-{'0' * 32}-{CALLER}-01", f"ff-TRACE-{CALLER}-01", "00-TRACE-01", "é"])
def test_a_trace_that_is_none_harms_no_call(traced: Server, shared: Collector, trace: str, value: str) -> None:
    value = value.replace("TRACE", trace)
    metadata = (("traceparent", value),) if value.isascii() else (("traceparent-bin", value.encode()),)
    sent = dispatch(traced, sms(), (*metadata, ("tracestate", "=,=")))
    assert sent.state == SENT
    begun = sent.attempts[0].trace_id
    assert begun not in ("", trace)
    call, _ = call_and_attempt(shared.wait_for_spans(2, begun))
    assert call.parent_id == ""


@pytest.mark.parametrize(
    "settings",
    [
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.0"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
    ids=lambda settings: ",".join(settings.values()),
)
def test_what_asks_for_no_traces_gets_none(
    serve: Serve, collector: Collector, trace: str, settings: dict[str, str]
) -> None:
    server = serve(telemetry__otlp_endpoint=collector.endpoint, **QUICK, **settings)
    for metadata in (None, traceparent(trace)):
        assert dispatch(server, sms(), metadata).attempts[0].trace_id == ""
    assert server.terminate() == 0
    assert collector.spans() == []
    assert bool(collector.metrics()) is ("OTEL_SDK_DISABLED" not in settings)


def test_a_share_is_taken_of_the_traces_and_all_of_each(serve: Serve, collector: Collector, trace: str) -> None:
    share = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    # So many at once that they would have to wait for the provider, and what waits is traced apart.
    server = serve(telemetry__otlp_endpoint=collector.endpoint, providers__sms_mms__max_concurrent="200", **share)
    calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(200)]
    reported = [call.result().message.attempts[0].trace_id for call in calls]
    caller = dispatch(server, sms(), traceparent(trace)).attempts[0].trace_id
    assert caller == trace, "the caller has decided already"
    assert server.terminate() == 0
    traces = [one.trace_id for one in collector.spans() if one.trace_id != trace]
    assert 40 < len(set(traces)) < 160
    assert set(traces) == set(filter(None, reported))
    assert all(traces.count(one) == 2 for one in set(traces)), "the call and its attempt"


# Who tells, and how.


def test_the_service_says_who_it_is(serve: Serve, collector: Collector) -> None:
    server = serve(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        OTEL_SERVICE_NAME="alerts",
        OTEL_RESOURCE_ATTRIBUTES="team=billing,deployment.environment.name=test%201",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=our-key",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        **QUICK,
    )
    dispatch(server, sms())
    spans = collector.wait_for_spans(2)
    collector.wait_for_metrics(lambda metrics: "postwire.attempts" in metrics)
    for resource in (*(one.resource for one in spans), *collector.metric_resources()):
        assert resource["service.name"] == "alerts"
        assert resource["service.version"] == __version__
        assert resource["team"] == "billing"
        assert resource["deployment.environment.name"] == "test 1"
    assert {one.scope for one in spans} == {"postwire"}
    assert {metadata["api-key"] for metadata in collector.metadata} == {"our-key"}
    assert "our-key" not in server.log_text()


def test_without_a_name_the_service_is_postwire(traced: Server, shared: Collector, trace: str) -> None:
    dispatch(traced, sms(), traceparent(trace))
    assert shared.wait_for_spans(2, trace)[0].resource["service.name"] == "postwire"


def test_metrics_arrive_as_well(serve: Serve, collector: Collector) -> None:
    server = serve(telemetry__otlp_endpoint=collector.endpoint, **QUICK)
    dispatch(server, sms())
    dispatch(server, sms("+15005550002"), max_attempts=1)

    def attempts(metrics: dict[str, Any]) -> dict[tuple[str, ...], int]:
        if "postwire.attempts" not in metrics:
            return {}
        return {
            tuple(sorted(attribute.value.string_value for attribute in point.attributes)): point.as_int
            for point in metrics["postwire.attempts"].sum.data_points
        }

    wanted = {("sms", "sms-mms", "success"): 1, ("error", "sms", "sms-mms"): 1}
    metrics = collector.wait_for_metrics(lambda metrics: attempts(metrics) == wanted)
    assert metrics["postwire.attempts"].sum.is_monotonic
    (took, _) = metrics["postwire.attempt.duration"].histogram.data_points
    assert took.count == 1
    assert list(took.explicit_bounds)[:2] == [0.005, 0.01]
    assert metrics["postwire.attempt.duration"].unit == "s"
    assert metrics["postwire.outbox.depth"].gauge.data_points
    assert metrics["postwire.build.info"].gauge.data_points[0].as_int == 1
    assert {"rpc.server.call.duration", "postwire.messages", "postwire.breaker.rejections"} <= metrics.keys()
    states = {
        tuple(sorted(attribute.value.string_value for attribute in point.attributes)): point.as_int
        for point in metrics["postwire.breaker.state"].gauge.data_points
    }
    assert {labels for labels, value in states.items() if value} == {("closed", "email"), ("closed", "sms-mms")}
    assert len(states) == 8
    assert {point.as_int for point in metrics["postwire.breaker.transitions"].sum.data_points} == {0}


def test_what_is_left_goes_out_at_the_end(serve: Serve, collector: Collector) -> None:
    slow = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
    server = serve(telemetry__otlp_endpoint=collector.endpoint, providers__sms_mms__max_concurrent="100", **slow)
    calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(100)]
    for call in calls:
        assert call.result().message.state == MessageState.MESSAGE_STATE_SENT
    assert server.terminate() == 0
    assert len(collector.spans()) == 200
    (point,) = collector.metrics()["postwire.attempts"].sum.data_points
    assert point.as_int == 100
    assert server.log("library") == []


def test_a_call_that_no_code_answers_harms_nothing(traced: Server, trace: str) -> None:
    call: Any = traced.channel().unary_unary("/postwire.v1.DispatchService/Explode")
    error = refused(lambda: call(b"", timeout=TIMEOUT, metadata=traceparent(trace)))
    assert error.code is grpc.StatusCode.UNIMPLEMENTED

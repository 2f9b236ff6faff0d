"""Spans: whose trace a call continues, what its attempts hang under, and what each of them tells."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.support import build
from tests.support.tracing import METHOD, PARENT, TRACE, Harness, traceparent

from postwire.core.message import MessageRecord
from postwire.core.outcome import DispatchResult, Outcome
from postwire.telemetry import tracing
from postwire.telemetry.base import Metadata
from postwire.telemetry.tracing import EndedSpan, Tracer, attempt_span_id


@pytest.fixture(autouse=True)
def _no_call_of_another_test() -> None:
    tracing._current.set(None)


def attempted(outcome: Outcome = Outcome.SUCCESS, detail: str = "", after: int = 20_000) -> MessageRecord:
    return build.ended(build.accepted(), DispatchResult(outcome, detail=detail), after=after)


@pytest.fixture
def harness() -> Harness:
    return Harness()


# Whose trace.


def test_a_call_without_a_trace_begins_one(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, ())
    assert harness.tracer.traceparent() == f"00-{1001:032x}-{1:016x}-01"
    harness.clock += 500
    harness.tracer.call_ended(started, METHOD, "OK")
    assert harness.ended == [
        EndedSpan(
            kind=SpanKind.SERVER,
            name=METHOD,
            trace_id=1001,
            span_id=1,
            parent_id=0,
            trace_state="",
            start_time=1_000_000_000,
            end_time=1_000_000_500,
            attributes=(
                ("rpc.system.name", "grpc"),
                ("rpc.method", METHOD),
                ("rpc.response.status_code", "OK"),
            ),
            message_id="",
            error="",
        )
    ]


def test_a_call_continues_the_callers_trace(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, [("user-agent", "x"), traceparent(), ("tracestate", "a=1,b=2")])
    assert harness.tracer.traceparent() == f"00-{TRACE}-{1:016x}-01", "its own span, and not the caller's"
    harness.tracer.attempt_ended(attempted())
    harness.tracer.call_ended(started, METHOD, "OK")
    attempt, call = harness.ended
    assert (f"{call.trace_id:032x}", f"{call.parent_id:016x}") == (TRACE, PARENT)
    assert (f"{attempt.trace_id:032x}", attempt.parent_id) == (TRACE, call.span_id)
    assert call.trace_state == attempt.trace_state == "a=1,b=2"
    assert call.span_id != attempt.span_id


NO_TRACE: list[Sequence[tuple[str, str | bytes]]] = [
    [("traceparent", "")],
    [("traceparent", "x")],
    [("traceparent", "x" * 10_000)],
    [("traceparent", f"00-{'0' * 32}-{PARENT}-01")],
    [("traceparent", f"00-{TRACE}-{'0' * 16}-01")],
    [("traceparent", f"00-{TRACE.upper()}-{PARENT}-01")],
    [("traceparent", f"00-{TRACE}-{PARENT}")],
    [("traceparent", f"{TRACE}-{PARENT}-01")],
    [("traceparent", "é")],
    [("traceparent", b"\xff\xfe")],
    [traceparent(version="ff")],
    [traceparent(rest="-more")],
    [("tracestate", "a=1")],
    [("traceparent-bin", f"00-{TRACE}-{PARENT}-01".encode())],
]


@pytest.mark.parametrize("metadata", NO_TRACE)
def test_what_is_no_trace_begins_one(harness: Harness, metadata: Metadata) -> None:
    harness.call(*metadata)
    (call,) = harness.ended
    assert (call.trace_id, call.parent_id, call.trace_state) == (1001, 0, "")


@pytest.mark.parametrize("state", ["", "=", "a", "a=1,,b", "é=1", "x" * 10_000, "a=1," * 100])
def test_a_state_that_is_none_does_not_break_the_trace(harness: Harness, state: str) -> None:
    harness.call(traceparent(), ("tracestate", state))
    (call,) = harness.ended
    assert f"{call.trace_id:032x}" == TRACE


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known(harness: Harness) -> None:
    harness.call(traceparent(version="cc", rest="-what-comes-later"))
    assert f"{harness.ended[0].trace_id:032x}" == TRACE


DIGITS = st.text("0123456789abcdef", min_size=2, max_size=2)
IDS = st.tuples(st.sampled_from([TRACE, "0" * 32, "0" * 31 + "1"]), st.sampled_from([PARENT, "0" * 16]))
HEADERS = st.one_of(
    st.builds("{0}-{1[0]}-{1[1]}-{2}".format, st.one_of(st.just("00"), DIGITS), IDS, DIGITS),
    st.from_regex(
        r"[ \t]*[0-9a-fA-F]{2}-[0-9a-fA-F]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}(-.*)?[ \t\n]*", fullmatch=True
    ),
    st.text(),
)


@given(header=HEADERS, state=st.sampled_from([None, "", "a=1", "a=1,b=2", "=", "é"]))
def test_a_header_is_read_as_the_sdk_reads_it(header: str, state: str | None) -> None:
    carrier = {"traceparent": header} if state is None else {"traceparent": header, "tracestate": state}
    expected = get_current_span(TraceContextTextMapPropagator().extract(carrier, Context())).get_span_context()
    for sampler, is_sampled in ((ALWAYS_ON, True), (DEFAULT_ON, not expected.is_valid or expected.trace_flags.sampled)):
        harness = Harness(sampler)
        harness.call(*carrier.items())
        wanted = (1001, 0, "")
        if expected.is_valid:
            wanted = expected.trace_id, expected.span_id, expected.trace_state.to_header()
        found = [(one.trace_id, one.parent_id, one.trace_state) for one in harness.ended]
        assert found == [wanted] * is_sampled


# Whether there are spans at all.


def test_a_caller_that_does_not_sample_has_no_spans(harness: Harness) -> None:
    started = harness.tracer.call_started(METHOD, [traceparent(flags="00")])
    assert harness.tracer.traceparent() == ""
    harness.tracer.attempt_ended(attempted(Outcome.ERROR))
    harness.tracer.call_ended(started, METHOD, "INTERNAL")
    assert harness.ended == []


def test_what_was_current_before_is_not_taken_for_an_unsampled_call(harness: Harness) -> None:
    harness.call(traceparent())
    harness.ended.clear()
    harness.tracer.call_started(METHOD, [traceparent(flags="00")])
    harness.tracer.attempt_ended(attempted())
    assert (harness.tracer.traceparent(), harness.ended) == ("", [])


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize(("sampler", "spans"), [(DEFAULT_ON, 1), (DEFAULT_OFF, 0)])
def test_a_caller_who_is_not_trusted_does_not_decide_what_is_sampled(sampler: Sampler, spans: int, flags: str) -> None:
    harness = Harness(sampler, trusts_callers=False)
    harness.call(traceparent(flags), ("tracestate", "a=1"))
    assert [(f"{one.trace_id:032x}", f"{one.parent_id:016x}", one.trace_state) for one in harness.ended] == (
        [(TRACE, PARENT, "")] * spans
    )


def test_nor_does_his_choice_of_an_id() -> None:
    ratio = TraceIdRatioBased(0.5)
    low = ("traceparent", f"00-{'0' * 31}1-{PARENT}-01")
    assert ratio.should_sample(None, 1, METHOD).decision is Decision.RECORD_AND_SAMPLE
    tracer = Tracer(sampler=ratio, ids=RandomIdGenerator(), sink=lambda span: None, trusts_callers=lambda: False)
    sampled = sum(tracer.call_started(METHOD, [low]) is not None for _ in range(400))
    assert 0 < sampled < 400


@pytest.mark.parametrize(("sampler", "spans"), [(ALWAYS_ON, 1), (ALWAYS_OFF, 0)])
def test_a_sampler_that_ignores_the_parent_decides_alone(sampler: Sampler, spans: int) -> None:
    for flags in ("00", "01"):
        harness = Harness(sampler)
        harness.call(traceparent(flags=flags))
        assert len(harness.ended) == spans


class Asked(Sampler):
    """Notes what it is asked, and decides as it was told to."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self.asked: list[tuple[int, int, str, SpanKind | None]] = []

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, kind: SpanKind | None = None, *_: Any, **__: Any
    ) -> SamplingResult:
        parent = get_current_span(parent_context).get_span_context().span_id
        self.asked.append((parent, trace_id, name, kind))
        return SamplingResult(self._decision)

    def get_description(self) -> str:
        return "asked"


def test_the_sampler_authenticates_each_call_with_what_it_needs() -> None:
    sampler = Asked(Decision.RECORD_AND_SAMPLE)
    harness = Harness(sampler)
    harness.call()
    harness.call(traceparent(flags="00"))
    assert sampler.asked == [
        (0, 1001, METHOD, SpanKind.SERVER),
        (int(PARENT, 16), int(TRACE, 16), METHOD, SpanKind.SERVER),
    ]


@pytest.mark.parametrize("decision", [Decision.DROP, Decision.RECORD_ONLY])
def test_what_is_not_to_be_exported_is_not_made(decision: Decision) -> None:
    harness = Harness(Asked(decision))
    harness.call(traceparent())
    assert harness.ended == []


# What a span tells.


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL", "CANCELLED", "RESOURCE_EXHAUSTED"])
def test_a_refused_call_reads_as_an_error(harness: Harness, code: str) -> None:
    harness.call(code=code)
    (call,) = harness.ended
    assert call.error == code
    assert dict(call.attributes)["rpc.response.status_code"] == code
    assert dict(call.attributes)["error.type"] == code


def test_an_attempt_tells_its_provider_channel_outcome_and_message(harness: Harness) -> None:
    harness.tracer.call_started(METHOD, ())
    record = attempted(after=1_234)
    harness.tracer.attempt_ended(record)
    assert harness.ended == [
        EndedSpan(
            kind=SpanKind.CLIENT,
            name="attempt sms-mms",
            trace_id=1001,
            span_id=attempt_span_id(record.message_id, 1),
            parent_id=1,
            trace_state="",
            start_time=1_000_000_000 - 1_234_000,
            end_time=1_000_000_000,
            attributes=(
                ("postwire.provider.name", "sms-mms"),
                ("postwire.channel", "sms"),
                ("postwire.outcome", "success"),
            ),
            message_id=record.message_id,
            error="",
        )
    ]


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.SUCCESS])
def test_an_attempt_that_failed_reads_as_an_error(harness: Harness, outcome: Outcome) -> None:
    harness.tracer.call_started(METHOD, ())
    harness.tracer.attempt_ended(attempted(outcome, detail="the vendor said no"))
    harness.tracer.attempt_ended(attempted(outcome))
    assert [span.error for span in harness.ended] == ["the vendor said no", outcome.reported.value], (
        "an error is never empty"
    )
    for span in harness.ended:
        assert (
            dict(span.attributes)["postwire.outcome"] == dict(span.attributes)["error.type"] == outcome.reported.value
        )


def test_the_last_attempt_of_several_is_the_one_that_ended(harness: Harness) -> None:
    harness.tracer.call_started(METHOD, ())
    first = attempted(Outcome.ERROR)
    second = replace(first.attempts[0], number=2, provider_name="other", outcome=Outcome.SUCCESS)
    harness.tracer.attempt_ended(replace(first, attempts=(*first.attempts, second)))
    (span,) = harness.ended
    assert (span.name, dict(span.attributes)["postwire.outcome"]) == ("attempt other", "success")


def test_an_attempt_that_no_call_has_begun_has_no_span(harness: Harness) -> None:
    harness.tracer.attempt_ended(attempted())
    assert (harness.tracer.traceparent(), harness.ended) == ("", [])


# Between tasks.


async def test_an_attempt_goes_on_under_its_call_after_that_has_ended(harness: Harness) -> None:
    released = asyncio.Event()

    async def attempt() -> None:
        await released.wait()
        harness.tracer.attempt_ended(attempted())

    async def call() -> asyncio.Task[None]:
        started = harness.tracer.call_started(METHOD, [traceparent()])
        task = asyncio.create_task(attempt())
        harness.tracer.call_ended(started, METHOD, "OK")
        return task

    # As in the server: each call has a task of its own, and the message another.
    carrying = await asyncio.create_task(call())
    assert harness.tracer.traceparent() == "", "nothing of it is left where it was started from"
    released.set()
    await carrying
    ended_call, ended_attempt = harness.ended
    assert ended_attempt.parent_id == ended_call.span_id
    assert f"{ended_attempt.trace_id:032x}" == TRACE


async def test_calls_side_by_side_do_not_mix(harness: Harness) -> None:
    async def call(number: int) -> None:
        started = harness.tracer.call_started(f"service/{number}", ())
        for _ in range(3):
            await asyncio.sleep(0)
        record = replace(attempted(), message_id=str(number))
        await asyncio.create_task(asyncio.to_thread(lambda: None))
        harness.tracer.attempt_ended(record)
        harness.tracer.call_ended(started, f"service/{number}", "OK")

    await asyncio.gather(*(asyncio.create_task(call(number)) for number in range(20)))
    calls = {span.span_id: span for span in harness.ended if span.kind is SpanKind.SERVER}
    attempts = [span for span in harness.ended if span.kind is SpanKind.CLIENT]
    assert len(calls) == len(attempts) == 20
    for span in attempts:
        above = calls[span.parent_id]
        assert (above.name, above.trace_id) == (f"service/{span.message_id}", span.trace_id)
    assert len({span.trace_id for span in attempts}) == 20

"""Spans: one a call, and one an attempt under it.

The SDK's span objects cost more than the rest of a call does (locks, copied attributes, a span context a span), so the
path of a message makes none. It keeps four numbers for the span that is open, and one tuple for a span that has ended.
What turns tuples into OTLP, in batches and on another thread, is in `otlp`. Sampling, ids and the wire format are the
SDK's. See docs/adr/0003.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from postwire.core.message import MessageRecord
from postwire.core.outcome import Outcome
from postwire.telemetry import names
from postwire.telemetry.base import Metadata, SilentObserver

_TRACEPARENT: Final = "traceparent"
_TRACESTATE: Final = "tracestate"
_OK: Final = "OK"

Attributes = tuple[tuple[str, str], ...]


class OpenSpan(NamedTuple):
    """The span of a call that is sampled and under way. Times are in ns since the epoch; a root has `parent_id` 0."""

    trace_id: int
    span_id: int
    parent_id: int
    trace_state: str
    start_time: int


class EndedSpan(NamedTuple):
    """A span, as it is exported. `attributes` have few different values, `message_id` has many; `error` is empty where
    all went well, or says what did not."""

    kind: SpanKind
    name: str
    trace_id: int
    span_id: int
    parent_id: int
    trace_state: str
    start_time: int
    end_time: int
    attributes: Attributes
    message_id: str
    error: str


class SpanSink(Protocol):
    """Takes spans that have ended, and must not block."""

    def __call__(self, span: EndedSpan) -> None:
        """Take one."""
        ...


_current: ContextVar[OpenSpan | None] = ContextVar("postwire_span", default=None)
"""The span of the call that the current task, or the task that started it, works for."""


class Tracer(SilentObserver):
    """Observes calls and messages, and makes spans of them: see `CallObserver` and `Observer`."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        ids: IdGenerator,
        sink: SpanSink,
        now: Callable[[], int] = time.time_ns,
        continues: bool = True,
    ) -> None:
        """`continues`: whether a caller's trace is continued; else every call begins one."""

        self._sampler = sampler
        self._ids = ids
        self._sink = sink
        self._now = now
        self._continues = continues
        self._propagator = TraceContextTextMapPropagator()

    def call_started(self, method: str, metadata: Metadata) -> OpenSpan | None:
        """See `CallObserver.call_started`: continues the caller's trace, or begins one."""
        # An empty context, so that nothing that happens to be current decides about this call.
        context = (
            self._propagator.extract(_carrier(metadata), Context())
            if self._continues and _is_traced(metadata)
            else Context()
        )
        parent = get_current_span(context).get_span_context()
        is_root = not parent.is_valid
        trace_id = self._ids.generate_trace_id() if is_root else parent.trace_id
        span = None
        verdict = self._sampler.should_sample(context, trace_id, method, SpanKind.SERVER)
        if verdict.decision is Decision.RECORD_AND_SAMPLE:
            span = OpenSpan(
                trace_id,
                self._ids.generate_span_id(),
                0 if is_root else parent.span_id,
                "" if is_root else parent.trace_state.to_header(),
                self._now(),
            )
        _current.set(span)
        return span

    def call_ended(self, started: OpenSpan | None, method: str, status_code: str) -> None:
        """See `CallObserver.call_ended`."""
        if started is None:
            return
        attributes: Attributes = (
            (names.RPC_SYSTEM_NAME, "grpc"),
            (names.RPC_METHOD, method),
            (names.RPC_STATUS_CODE, status_code),
        )
        error = "" if status_code == _OK else status_code
        if error:
            attributes = (*attributes, (names.ERROR_TYPE, error))
        self._sink(
            EndedSpan(
                SpanKind.SERVER,
                method,
                started.trace_id,
                started.span_id,
                started.parent_id,
                started.trace_state,
                started.start_time,
                self._now(),
                attributes,
                "",
                error,
            )
        )

    def trace_id(self) -> str:
        """See `Observer.trace_id`."""
        span = _current.get()
        return f"{span.trace_id:032x}" if span else ""

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        parent = _current.get()
        if parent is None:
            return
        attempt = record.attempts[-1]
        assert attempt.outcome is not None
        outcome = attempt.outcome.value
        attributes: Attributes = (
            (names.PROVIDER_NAME, attempt.provider_name),
            (names.CHANNEL, record.channel.value),
            (names.OUTCOME, outcome),
        )
        error = ""
        if attempt.outcome is not Outcome.SUCCESS:
            attributes = (*attributes, (names.ERROR_TYPE, outcome))
            error = attempt.detail or outcome
        end_time = self._now()
        self._sink(
            EndedSpan(
                SpanKind.CLIENT,
                names.SPAN_ATTEMPT.format(provider=attempt.provider_name),
                parent.trace_id,
                self._ids.generate_span_id(),
                parent.span_id,
                parent.trace_state,
                end_time - (attempt.duration or 0) * 1000,
                end_time,
                attributes,
                record.message_id,
                error,
            )
        )


def _is_traced(metadata: Metadata) -> bool:
    return any(key == _TRACEPARENT for key, _ in metadata)


def _carrier(metadata: Metadata) -> dict[str, str]:
    return {key: value for key, value in metadata if key in (_TRACEPARENT, _TRACESTATE) and isinstance(value, str)}

"""Spans: one a call, one a later pass of a message, and one an attempt under either.

The SDK's span objects cost more than the rest of a call does (locks, copied attributes, a span context a span), so the
path of a message makes none. It keeps a few values for the span that is open, and one tuple for a span that has ended.
What turns tuples into OTLP, in batches and on another thread, is in `otlp`. Sampling, ids and the wire format are the
SDK's. See docs/adr/0003.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from postwire.core.breaker import Transition
from postwire.core.message import MessageRecord
from postwire.core.outcome import Outcome
from postwire.core.receipts import MessageReceipt
from postwire.core.routing import PassedOver
from postwire.telemetry import names
from postwire.telemetry.base import GRPC, Metadata, SilentObserver
from postwire.telemetry.receipts import attempt_of

_TRACEPARENT: Final = "traceparent"
_TRACESTATE: Final = "tracestate"
_OK: Final = "OK"
_USUAL_TRACEPARENT: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""What nearly every caller sends who sends any (W3C Trace Context, section 3.2)."""

_KEPT_TRACEPARENT: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-01")
"""What `Tracer.traceparent` makes."""

_NO_PARENT: Final[tuple[Context, SpanContext | None]] = Context(), None
"""An empty context, so that nothing that happens to be current decides about a call."""

_SERVER: Final = SpanKind.SERVER  # to find a member of an enum takes Python 3.11 as long as a call

MAX_EVENTS: Final = 128
"""How many events a span has: the default of the SDK, and of OpenTelemetry's specification."""

Attributes = tuple[tuple[str, str], ...]


class Event(NamedTuple):
    """Something that happened in the course of a span, at `time` (ns since the epoch)."""

    name: str
    time: int
    attributes: Attributes


class Link(NamedTuple):
    """Another span that has to do with this one."""

    trace_id: int
    span_id: int


class OpenSpan:
    """The span of a call, or of a later pass of a message, that is sampled and under way. Times are in ns since the
    epoch; a root has `parent_id` 0.

    `noted` are the latest events that no span has recorded yet, each with what it is about: a provider's name, or a
    message's id. Most spans have none, so it is made for the first. `dropped` counts what was one too many.
    """

    __slots__ = ("dropped", "links", "noted", "parent_id", "span_id", "start_time", "trace_id", "trace_state")

    def __init__(
        self,
        trace_id: int,
        span_id: int,
        parent_id: int,
        trace_state: str,
        start_time: int,
        links: tuple[Link, ...] = (),
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.trace_state = trace_state
        self.start_time = start_time
        self.links = links
        self.noted: deque[tuple[str, Event]] | None = None
        self.dropped = 0

    def note(self, about: str, event: Event, most: int | None) -> None:
        """Keep an event until somebody takes it; of more than `most`, the oldest is dropped."""
        if self.noted is None:
            self.noted = deque(maxlen=most)
        if len(self.noted) == most:
            self.dropped += 1
        self.noted.append((about, event))

    def take(self, *about: str) -> tuple[Event, ...]:
        """Hand out the events about any of these, in order."""
        if self.noted is None:
            return ()
        left = [one for one in self.noted if one[0] not in about]
        taken = tuple(event for subject, event in self.noted if subject in about)
        self.noted = deque(left, self.noted.maxlen) if left else None
        return taken

    def take_all(self) -> tuple[Event, ...]:
        """Hand out the events that are left."""
        noted, self.noted = self.noted or (), None
        return tuple(event for _, event in noted)


class EndedSpan(NamedTuple):
    """A span, as it is exported. `attributes` have few different values, `message_id` has many; `error` is empty where
    all went well, or says what did not. `dropped_events` counts those that are not among `events`."""

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
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    dropped_events: int = 0


class SpanSink(Protocol):
    """Takes spans that have ended, and must not block."""

    def __call__(self, span: EndedSpan) -> None:
        """Take one."""
        ...


_current: ContextVar[OpenSpan | None] = ContextVar("postwire_span", default=None)
"""The span of the call or the pass that the current task, or the task that started it, works for."""


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
        trusts_callers: Callable[[], bool] = lambda: True,
        max_events: int | None = MAX_EVENTS,
    ) -> None:
        """`continues`: whether a caller's trace is continued; else every call begins one. `trusts_callers`: whether a
        caller's flag decides if his trace is sampled, and his trace state goes on; else only his ids do. `max_events`:
        of one span.
        """

        self._sampler = sampler
        self._ids = ids
        self._sink = sink
        self._now = now
        self._continues = continues
        self._trusts_callers = trusts_callers
        self._max_events = max_events
        self._propagator = TraceContextTextMapPropagator()

    def call_started(self, method: str, metadata: Metadata) -> OpenSpan | None:
        """See `CallObserver.call_started`: continues the caller's trace, or begins one."""
        context, parent = self._extract(metadata) if self._continues else _NO_PARENT
        is_root = parent is None
        trace_id = parent.trace_id if parent else self._ids.generate_trace_id()
        span = None
        trusts_callers = self._trusts_callers()
        if trusts_callers:
            verdict = self._sampler.should_sample(context, trace_id, method, _SERVER)
        else:  # as if nobody had called: not even the choice of an id may have it sampled
            drawn = trace_id if is_root else self._ids.generate_trace_id()
            verdict = self._sampler.should_sample(_NO_PARENT[0], drawn, method, _SERVER)
        if verdict.decision is Decision.RECORD_AND_SAMPLE:
            span = OpenSpan(
                trace_id,
                self._ids.generate_span_id(),
                parent.span_id if parent else 0,
                parent.trace_state.to_header() if parent and parent.trace_state and trusts_callers else "",
                self._now(),
            )
        _current.set(span)
        return span

    def _extract(self, metadata: Metadata) -> tuple[Context, SpanContext | None]:
        """The span that a call is made under, as a context of the SDK's and by itself; None where there is none."""
        traceparent = tracestate = ""
        for key, value in metadata:
            if key == _TRACEPARENT and isinstance(value, str):
                traceparent = value
            elif key == _TRACESTATE and isinstance(value, str):
                tracestate = value
        if not traceparent:
            return _NO_PARENT
        if not tracestate and (usual := _USUAL_TRACEPARENT.fullmatch(traceparent)):
            # As the SDK does it, in a third of the time.
            trace_id, span_id, flags = usual.groups()
            parent = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
            context = set_span_in_context(NonRecordingSpan(parent), _NO_PARENT[0])
        else:
            carrier = {_TRACEPARENT: traceparent, _TRACESTATE: tracestate}
            context = self._propagator.extract(carrier, _NO_PARENT[0])
            parent = get_current_span(context).get_span_context()
        return (context, parent) if parent.is_valid else _NO_PARENT

    def request_refused(self, reason: str, tenant: str) -> None:
        """See `CallObserver.request_refused`: of a call, its status says it."""

    def call_ended(self, started: OpenSpan | None, method: str, status_code: str, system: str = GRPC) -> None:
        """See `CallObserver.call_ended`."""
        if started is None:
            return
        attributes: Attributes = (
            (names.RPC_SYSTEM_NAME, system),
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
                started.take_all() if started.noted else (),
                (),
                started.dropped,
            )
        )

    def traceparent(self) -> str:
        """See `Observer.traceparent`."""
        span = _current.get()
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-01" if span else ""

    def delivery_started(self, accept_trace: str) -> OpenSpan | None:
        """See `Observer.delivery_started`: begins a trace, with a link to where the message was accepted.

        Of kind CONSUMER, which is for work that was put off and that nobody waits for; INTERNAL is for what goes on
        below a span of the same process, and this one is a root (OpenTelemetry specification, Tracing API, SpanKind).
        It is sampled where the call that brought the message was, so that a message is traced from end to end or not at
        all: `accept_trace` is empty where it was not.
        """
        accepted = _KEPT_TRACEPARENT.fullmatch(accept_trace)
        span = None
        if accepted:
            link = Link(int(accepted[1], 16), int(accepted[2], 16))
            span = OpenSpan(self._ids.generate_trace_id(), self._ids.generate_span_id(), 0, "", self._now(), (link,))
        _current.set(span)
        return span

    def delivery_ended(self, started: OpenSpan | None, record: MessageRecord) -> None:
        """See `Observer.delivery_ended`. It does not record the state, since that of the record may be an older one."""
        if started is None:
            return
        _current.set(None)
        self._sink(
            EndedSpan(
                SpanKind.CONSUMER,
                names.SPAN_DELIVERY,
                started.trace_id,
                started.span_id,
                started.parent_id,
                started.trace_state,
                started.start_time,
                self._now(),
                ((names.CHANNEL, record.channel.value),),
                record.message_id,
                "",
                started.take_all(),
                started.links,
                started.dropped,
            )
        )

    def breaker_changed(self, provider_name: str, transition: Transition) -> None:
        """See `Observer.breaker_changed`: an event of the provider's next attempt, or else of what is open."""
        span = _current.get()
        if span is None:
            return
        attributes: Attributes = (
            (names.PROVIDER_NAME, provider_name),
            (names.BREAKER_FROM, transition.source.value),
            (names.BREAKER_TO, transition.target.value),
        )
        span.note(provider_name, Event(names.SPAN_EVENT_BREAKER, self._now(), attributes), self._max_events)

    def passed_over(self, record: MessageRecord, passed_over: Sequence[PassedOver]) -> None:
        """See `Observer.passed_over`: events of the message's next attempt, or else of what is open."""
        span = _current.get()
        if span is None:
            return
        now = self._now()
        for one in passed_over:
            attributes: Attributes = ((names.PROVIDER_NAME, one.provider_name), (names.OBSTACLE, one.obstacle.value))
            span.note(record.message_id, Event(names.SPAN_EVENT_PASSED_OVER, now, attributes), self._max_events)

    def attempt_ended(self, record: MessageRecord) -> None:
        """See `Observer.attempt_ended`."""
        parent = _current.get()
        if parent is None:
            return
        attempt = record.attempts[-1]
        assert attempt.outcome is not None
        outcome = attempt.outcome.reported.value
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
        start_time = end_time - (attempt.duration or 0) * 1000
        # Others may work under the same span at this time: what is theirs stays for them.
        events = parent.take(attempt.provider_name, record.message_id) if parent.noted else ()
        self._sink(
            EndedSpan(
                SpanKind.CLIENT,
                names.SPAN_ATTEMPT.format(provider=attempt.provider_name),
                parent.trace_id,
                attempt_span_id(record.message_id, attempt.number),
                parent.span_id,
                parent.trace_state,
                start_time,
                end_time,
                attributes,
                record.message_id,
                error,
                # A provider was passed over before the attempt, and a breaker changes before its end is recorded here.
                tuple(event._replace(time=max(event.time, start_time)) for event in events) if events else (),
            )
        )

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        """See `Observer.receipt_applied`: begins a trace, with a link to the attempt, if that is sampled.

        It lasts from when the receipt came in until now, when its message is known to have it.
        """
        attempt = attempt_of(record, receipt)
        if attempt is None or not attempt.trace_id:
            return
        now = self._now()
        self._sink(
            EndedSpan(
                SpanKind.CONSUMER,
                names.SPAN_RECEIPT.format(provider=receipt.provider_name),
                self._ids.generate_trace_id(),
                self._ids.generate_span_id(),
                0,
                "",
                min(receipt.receive_time * 1000, now),
                now,
                (
                    (names.PROVIDER_NAME, receipt.provider_name),
                    (names.CHANNEL, record.channel.value),
                    (names.RECEIPT_STATE, receipt.state.value),
                ),
                record.message_id,
                "",
                (),
                (Link(int(attempt.trace_id, 16), attempt_span_id(record.message_id, attempt.number)),),
            )
        )


def attempt_span_id(message_id: str, number: int) -> int:
    """The id of an attempt's span, by which it is found later though nobody keeps it."""
    return int.from_bytes(blake2b(f"{message_id} {number}".encode(), digest_size=8).digest()) or 1

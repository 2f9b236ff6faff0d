"""A tracer whose spans a test can look at."""

from __future__ import annotations

import itertools

from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler

from postwire.telemetry.tracing import MAX_EVENTS, EndedSpan, Tracer

METHOD = "postwire.v1.DispatchService/Dispatch"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def traceparent(flags: str = "01", version: str = "00", rest: str = "") -> tuple[str, str]:
    """A caller's header."""
    return "traceparent", f"{version}-{TRACE}-{PARENT}-{flags}{rest}"


class Ids(IdGenerator):
    """1, 2, 3, … for spans, and the same from 1001 on for traces."""

    def __init__(self) -> None:
        self._spans = itertools.count(1)
        self._traces = itertools.count(1001)

    def generate_span_id(self) -> int:
        return next(self._spans)

    def generate_trace_id(self) -> int:
        return next(self._traces)


class Harness:
    """A tracer whose spans are in `ended`; `clock` is in ns, and stands still."""

    def __init__(
        self, sampler: Sampler = DEFAULT_ON, max_events: int | None = MAX_EVENTS, *, trusts_callers: bool = True
    ) -> None:
        self.ended: list[EndedSpan] = []
        self.clock = 1_000_000_000
        self.tracer = Tracer(
            sampler=sampler,
            ids=Ids(),
            sink=self._take,
            now=lambda: self.clock,
            trusts_callers=lambda: trusts_callers,
            max_events=max_events,
        )

    def call(self, *metadata: tuple[str, str | bytes], code: str = "OK", method: str = METHOD) -> None:
        started = self.tracer.call_started(method, metadata)
        self.tracer.call_ended(started, method, code)

    def _take(self, span: EndedSpan) -> None:
        self.ended.append(span)

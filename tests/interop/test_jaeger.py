"""Traces as people read them: Postwire and a caller of its own tell Jaeger, and Jaeger shows what the docs say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Tracer, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.e2e.calls import FAILED, QUEUED, SENT, TIMEOUT, email, mms, refused, request, sms, tried, until
from tests.e2e.server import Server
from tests.interop.conftest import TOOLS
from tests.interop.jaeger import Jaeger, Trace, build
from tests.support.needed import Need

from postwire.v1.message_pb2 import Message, OutboundMessage

MARK: Final = "zq9canary"
NUMBER: Final = "+1987600"
"""What the recipients, bodies and subjects of this module have in them, and Jaeger nowhere."""

DISPATCH: Final = "postwire.v1.DispatchService/Dispatch"

PROVIDERS: Final = """
[providers.sms-one]
kind = "mock"
channels = ["sms", "mms"]

[providers.sms-two]
kind = "mock"
channels = ["sms", "mms"]

[providers.email]
kind = "mock"
channels = ["email"]
"""
"""Without routes: a message goes to the first that carries its channel, and on to the next."""

FAILS: Final = {"providers__sms_one__error_ratio": "1"}
BRITTLE: Final = {"providers__sms_one__breaker__window_calls": "1", "providers__sms_one__breaker__minimum_calls": "1"}
FAILS_ONCE: Final = {"providers__sms_one__error_ratio": "0.5", "providers__sms_one__seed": "3"}
"""The first draw of this seed is 0.11, the second 0.70."""

SOON: Final = {"delivery__backoff_base": "20ms", "delivery__backoff_max": "20ms"}

SENT_AT_ONCE: Final = """\
shop: checkout [client]
  postwire: postwire.v1.DispatchService/Dispatch [server]
      rpc.method = postwire.v1.DispatchService/Dispatch
      rpc.response.status_code = OK
      rpc.system.name = grpc
    postwire: attempt sms-one [client]
        postwire.channel = sms
        postwire.message.id = …
        postwire.outcome = success
        postwire.provider.name = sms-one
"""

FAILED_OVER: Final = """\
shop: checkout [client]
  postwire: postwire.v1.DispatchService/Dispatch [server]
      rpc.method = postwire.v1.DispatchService/Dispatch
      rpc.response.status_code = OK
      rpc.system.name = grpc
    postwire: attempt sms-one [client, error "the mock failed"]
        error.type = error
        postwire.channel = sms
        postwire.message.id = …
        postwire.outcome = error
        postwire.provider.name = sms-one
    postwire: attempt sms-two [client]
        postwire.channel = sms
        postwire.message.id = …
        postwire.outcome = success
        postwire.provider.name = sms-two
"""

OPENED: Final = """\
shop: checkout [client]
  postwire: postwire.v1.DispatchService/Dispatch [server]
      rpc.method = postwire.v1.DispatchService/Dispatch
      rpc.response.status_code = OK
      rpc.system.name = grpc
    postwire: attempt sms-one [client, error "the mock failed"]
        error.type = error
        postwire.channel = sms
        postwire.message.id = …
        postwire.outcome = error
        postwire.provider.name = sms-one
        event: breaker changed
            postwire.breaker.from = closed
            postwire.breaker.to = open
            postwire.provider.name = sms-one
    postwire: attempt sms-two [client]
        postwire.channel = sms
        postwire.message.id = …
        postwire.outcome = success
        postwire.provider.name = sms-two
"""

PASSED_OVER: Final = """\
shop: checkout [client]
  postwire: postwire.v1.DispatchService/Dispatch [server]
      rpc.method = postwire.v1.DispatchService/Dispatch
      rpc.response.status_code = OK
      rpc.system.name = grpc
    postwire: attempt sms-two [client]
        postwire.channel = sms
        postwire.message.id = …
        postwire.outcome = success
        postwire.provider.name = sms-two
        event: provider passed over
            postwire.provider.name = sms-one
            postwire.route.obstacle = open
"""

FAILED_AT_FIRST: Final = """\
shop: checkout [client]
  postwire: postwire.v1.DispatchService/Dispatch [server]
      rpc.method = postwire.v1.DispatchService/Dispatch
      rpc.response.status_code = OK
      rpc.system.name = grpc
    postwire: attempt sms-one [client, error "the mock failed"]
        error.type = error
        postwire.channel = sms
        postwire.message.id = …
        postwire.outcome = error
        postwire.provider.name = sms-one
"""

SENT_LATER: Final = """\
postwire: deliver [consumer]
    postwire.channel = sms
    postwire.message.id = …
    follows from: a span of another trace
  postwire: attempt sms-one [client]
      postwire.channel = sms
      postwire.message.id = …
      postwire.outcome = success
      postwire.provider.name = sms-one
"""

REFUSED: Final = """\
shop: checkout [client]
  postwire: postwire.v1.DispatchService/Dispatch [server, error "INVALID_ARGUMENT"]
      error.type = INVALID_ARGUMENT
      rpc.method = postwire.v1.DispatchService/Dispatch
      rpc.response.status_code = INVALID_ARGUMENT
      rpc.system.name = grpc
"""

_numbers = itertools.count()


def marked() -> OutboundMessage:
    """A text message that says to whom it goes and what it says."""
    return sms(f"{NUMBER}{next(_numbers):04d}", f"{MARK} {next(_numbers)}")


@pytest.fixture(scope="module")
def jaeger(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    need("go")
    program = TOOLS / "jaeger"
    build(program)
    with Jaeger(program, tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture(scope="module")
def shop(jaeger: Jaeger) -> Iterator[Tracer]:
    """What makes the caller's spans, and tells Jaeger each before it goes on."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(jaeger.otlp, insecure=True)))
    yield provider.get_tracer("shop")
    provider.shutdown()


Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def serve(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Makes a server that tells Jaeger, with settings of its own. Its metrics are not for Jaeger, which takes none."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "postwire.toml").write_text(PROVIDERS, encoding="utf-8")
    reported = {"telemetry__otlp_endpoint": jaeger.otlp, "OTEL_METRICS_EXPORTER": "prometheus"}
    return lambda **settings: Server(folder, **reported, **settings)


class Checkout:
    """Calls of a shop, each in a trace that the shop has begun."""

    def __init__(self, shop: Tracer) -> None:
        self._shop = shop
        self.trace_id = ""

    def dispatch(self, server: Server, message: OutboundMessage, **options: Any) -> Message:
        """Call it; `trace_id` is the trace, also if it is refused."""
        asked = request(message, **options)
        carrier: dict[str, str] = {}
        with self._shop.start_as_current_span(
            "checkout", kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
        ) as span:
            self.trace_id = format_trace_id(span.get_span_context().trace_id)
            TraceContextTextMapPropagator().inject(carrier)
            return server.dispatch.Dispatch(asked, timeout=TIMEOUT, metadata=tuple(carrier.items())).message


@pytest.fixture
def checkout(shop: Tracer) -> Checkout:
    return Checkout(shop)


def is_sound(trace: Trace) -> bool:
    """Whether Jaeger has nothing to remark, and every span lies within the one above it, in µs that Jaeger has rounded.

    Not so for a refused call: at the server it ends once the error is out, when its caller may have it already.
    """
    spans = {one.span_id: one for one in trace.spans}
    return not any(one.warnings for one in trace.spans) and all(
        above.start_time <= one.start_time and one.start_time + one.duration <= above.start_time + above.duration + 2
        for one in trace.spans
        if (above := spans.get(one.parent_id))
    )


def test_a_message_that_goes_well_is_a_call_and_an_attempt(jaeger: Jaeger, serve: Serve, checkout: Checkout) -> None:
    with serve() as server:
        sent = checkout.dispatch(server, marked())
    assert sent.state == SENT
    assert server.log("library") == [], "Jaeger has taken all that was sent"
    trace = jaeger.trace(checkout.trace_id, 3)
    assert trace.drawing() == SENT_AT_ONCE
    assert is_sound(trace)
    assert trace.named("attempt sms-one").tags["postwire.message.id"] == sent.message_id
    assert [one.trace_id for one in sent.attempts] == [checkout.trace_id]


def test_a_failover_is_two_attempts_of_one_call(jaeger: Jaeger, serve: Serve, checkout: Checkout) -> None:
    with serve(**FAILS) as server:
        sent = checkout.dispatch(server, marked())
    assert tried(sent) == [("sms-one", "error"), ("sms-two", "success")]
    trace = jaeger.trace(checkout.trace_id, 4)
    assert trace.drawing() == FAILED_OVER
    assert is_sound(trace)
    first, second = trace.named("attempt sms-one"), trace.named("attempt sms-two")
    assert first.start_time + first.duration <= second.start_time
    assert first.error == sent.attempts[0].detail
    assert {one.trace_id for one in sent.attempts} == {checkout.trace_id}


def test_a_breaker_opens_in_sight_and_its_provider_is_passed_over_in_sight(
    jaeger: Jaeger, serve: Serve, checkout: Checkout
) -> None:
    with serve(**FAILS, **BRITTLE) as server:
        checkout.dispatch(server, marked())
        opened = checkout.trace_id
        checkout.dispatch(server, marked())
    opening, passing = jaeger.trace(opened, 4), jaeger.trace(checkout.trace_id, 3)
    assert opening.drawing() == OPENED
    assert passing.drawing() == PASSED_OVER
    assert is_sound(opening)
    assert is_sound(passing)


def test_a_later_attempt_is_in_a_trace_of_its_own_that_leads_back(
    jaeger: Jaeger, serve: Serve, checkout: Checkout
) -> None:
    with serve(**FAILS_ONCE, **SOON) as server:
        waits = checkout.dispatch(server, marked(), provider_name="sms-one")
        assert waits.state == QUEUED
        sent = until(server, waits, SENT)
    assert tried(sent) == [("sms-one", "error"), ("sms-one", "success")]
    before, after = sent.attempts
    assert before.trace_id == checkout.trace_id != after.trace_id

    accepted = jaeger.trace(before.trace_id, 3)
    later = jaeger.trace(after.trace_id, 2)
    assert accepted.drawing() == FAILED_AT_FIRST
    assert later.drawing() == SENT_LATER
    assert is_sound(accepted)
    assert is_sound(later)
    call, delivery = accepted.named(DISPATCH), later.named("deliver")
    assert delivery.follows_from == ((call.trace_id, call.span_id),)
    assert accepted.named("attempt sms-one").tags["postwire.message.id"] == sent.message_id
    assert {one.tags["postwire.message.id"] for one in later.spans} == {sent.message_id}


def test_a_call_that_is_refused_is_an_error(jaeger: Jaeger, serve: Serve, checkout: Checkout) -> None:
    with serve() as server:
        assert refused(lambda: checkout.dispatch(server, sms(f"{MARK}12"))).code is grpc.StatusCode.INVALID_ARGUMENT
    trace = jaeger.trace(checkout.trace_id, 2)
    assert trace.drawing() == REFUSED


def test_jaeger_lists_who_and_what_and_holds_nobodys_data(jaeger: Jaeger, serve: Serve, checkout: Checkout) -> None:
    address, traces = f"{MARK}@{MARK}.example.com", set[str]()
    letter = email(address, cc=[address], subject=MARK, text=MARK, sender=address, headers={"X-Mark": MARK})
    bad = [sms(MARK), sms(f"{NUMBER}0000\n"), mms(f"{NUMBER}0000", MARK * 1_000), email(MARK, subject=f"{MARK}\n")]
    with serve(**FAILS_ONCE, **SOON) as server:
        waits = checkout.dispatch(server, marked(), provider_name="sms-one", request_id=MARK)
        traces |= {one.trace_id for one in until(server, waits, SENT).attempts}
        for message in (marked(), mms(f"{NUMBER}9999", MARK), letter, sms("+15005550001", MARK)):
            message.labels[MARK] = MARK
            assert checkout.dispatch(server, message).state in (SENT, FAILED)
            traces.add(checkout.trace_id)
        for message in bad:
            with pytest.raises(grpc.RpcError):
                checkout.dispatch(server, message)
            traces.add(checkout.trace_id)
    for trace_id in traces:
        jaeger.trace(trace_id, 2)

    assert jaeger.services() == ["postwire", "shop"]
    assert jaeger.operations("shop") == {("checkout", "client")}
    assert jaeger.operations("postwire") == {
        (DISPATCH, "server"),
        ("postwire.v1.DispatchService/GetMessage", "server"),
        ("deliver", "consumer"),
        *((f"attempt {name}", "client") for name in ("sms-one", "sms-two", "email")),
    }
    held = jaeger.everything()
    assert all(trace_id in held for trace_id in traces)
    assert MARK not in held.lower()
    assert NUMBER.removeprefix("+") not in held

"""What a collector sees of failover, breakers and retries: each attempt where it belongs, and what led to it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest
from tests.e2e.calls import ACCEPTANCE, FAILED, QUEUED, SENT, TIMEOUT, get, request, sms, until, until_eligible, update
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.toml import ERRORS, STAYS_CLOSED, case, mock, of
from tests.support.otlp import Collector, Seen, values

from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

CALLER: Final = "b7ad6b7169203331"
DISPATCH: Final = "postwire.v1.DispatchService/Dispatch"
SERVER_KIND, CLIENT_KIND, CONSUMER_KIND = 2, 3, 5
QUICK: Final = {"OTEL_BSP_SCHEDULE_DELAY": "10"}
SOON: Final = {"delivery__backoff_base": "20ms", "delivery__backoff_max": "20ms"}
BRITTLE: Final = 'breaker = {{ window_calls = 1, minimum_calls = 1, open_for = "{0}", open_for_max = "{0}" }}'

ROUTES: Final = (
    mock("failing", ERRORS, STAYS_CLOSED),
    mock("good"),
    mock("fragile", ERRORS, BRITTLE.format("1h")),
    mock("recovering", ERRORS, BRITTLE.format("10ms")),
    mock("drained"),
    mock("later", STAYS_CLOSED),
    case("row", '["failing", "good"]'),
    case("fragile", '["fragile", "good"]'),
    case("recovering", '["recovering"]'),
    case("drained", '["drained"]'),
    case("later", '["later"]'),
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("traced")
    (folder / "postwire.toml").write_text("\n".join(ROUTES), encoding="utf-8")
    with Server(folder, telemetry__otlp_endpoint=collector.endpoint, **SOON, **QUICK) as server:
        yield server


@pytest.fixture
def trace() -> str:
    """The id of a trace that no other test has."""
    return secrets.token_hex(16)


def send(server: Server, name: str, trace: str = "", to: str = "+14155550132", **options: Any) -> Message:
    """A message by a route of its own, in its caller's trace."""
    return server.dispatch.Dispatch(
        request(of(name, sms(to)), **options),
        timeout=TIMEOUT,
        metadata=(("traceparent", f"00-{trace}-{CALLER}-01"),) if trace else None,
    ).message


def split(spans: list[Seen], kind: int) -> tuple[Seen, list[Seen]]:
    """The call or the delivery of a trace, and the attempts under it, in order."""
    (root,) = [one for one in spans if one.span.kind == kind]
    attempts = [one for one in spans if one is not root]
    for one in attempts:
        assert one.span.kind == CLIENT_KIND
        assert (one.trace_id, one.parent_id) == (root.trace_id, root.span_id)
    return root, sorted(attempts, key=lambda one: one.span.start_time_unix_nano)


def events(span: Seen) -> list[tuple[str, dict[str, str]]]:
    return [(event.name, values(event.attributes)) for event in span.span.events]


def changed(name: str, source: str, target: str) -> tuple[str, dict[str, str]]:
    attributes = {
        "postwire.provider.name": name,
        "postwire.breaker.from": source,
        "postwire.breaker.to": target,
    }
    return "breaker changed", attributes


def past(name: str, obstacle: str) -> tuple[str, dict[str, str]]:
    return "provider passed over", {"postwire.provider.name": name, "postwire.route.obstacle": obstacle}


def test_every_attempt_of_a_call_is_a_span_under_it(traced: Server, collector: Collector, trace: str) -> None:
    sent = send(traced, "row", trace)
    call, (first, second) = split(collector.wait_for_spans(3, trace), SERVER_KIND)
    assert (call.name, call.parent_id, call.failed) == (DISPATCH, CALLER, False)
    for span, name, outcome in ((first, "failing", "error"), (second, "good", "success")):
        assert span.name == f"attempt {name}"
        assert span.failed is (outcome == "error")
        assert span.attributes == {
            "postwire.provider.name": name,
            "postwire.channel": "sms",
            "postwire.outcome": outcome,
            "postwire.message.id": sent.message_id,
            **({"error.type": "error"} if outcome == "error" else {}),
        }
        assert events(span) == []
    assert [one.trace_id for one in sent.attempts] == [trace, trace]
    # One after the other, and both within the call.
    assert call.span.start_time_unix_nano <= first.span.start_time_unix_nano
    assert first.span.end_time_unix_nano <= second.span.start_time_unix_nano
    assert second.span.end_time_unix_nano <= call.span.end_time_unix_nano


def test_a_breaker_is_seen_to_open_where_it_did_and_later_to_be_passed_over(
    traced: Server, collector: Collector, trace: str
) -> None:
    send(traced, "fragile", trace)
    call, (first, second) = split(collector.wait_for_spans(3, trace), SERVER_KIND)
    assert events(first) == [changed("fragile", "closed", "open")]
    assert events(second) == events(call) == []
    assert first.span.events[0].time_unix_nano <= first.span.end_time_unix_nano

    another = secrets.token_hex(16)
    send(traced, "fragile", another)
    call, (only,) = split(collector.wait_for_spans(2, another), SERVER_KIND)
    assert only.name == "attempt good"
    assert events(only) == [past("fragile", "open")]
    assert events(call) == []


def test_a_probe_shows_what_it_has_made_of_the_breaker(traced: Server, collector: Collector, trace: str) -> None:
    assert send(traced, "recovering", max_attempts=1).state == FAILED
    update(traced, "recovering", error_ratio=0)
    until_eligible(traced, of("recovering", sms()))
    assert send(traced, "recovering", trace).state == SENT
    _, (probe,) = split(collector.wait_for_spans(2, trace), SERVER_KIND)
    assert events(probe) == [
        changed("recovering", "open", "half_open"),
        changed("recovering", "half_open", "closed"),
    ]


def test_what_was_parked_goes_in_a_trace_of_its_own_that_leads_back(
    traced: Server, collector: Collector, trace: str
) -> None:
    operator = secrets.token_hex(16)
    traced.providers.DrainProvider(
        DrainProviderRequest(name="drained"),
        timeout=TIMEOUT,
        metadata=(("traceparent", f"00-{operator}-{CALLER}-01"),),
    )
    parked = send(traced, "drained", trace)
    assert parked.state == QUEUED
    (call,) = collector.wait_for_spans(1, trace)
    assert call.name == DISPATCH
    assert events(call) == [past("drained", "drained")]
    (steering,) = collector.wait_for_spans(1, operator)
    assert events(steering) == [changed("drained", "closed", "forced_open")]

    traced.providers.ResumeProvider(ResumeProviderRequest(name="drained"), timeout=TIMEOUT)
    (attempt,) = until(traced, parked, SENT).attempts
    assert attempt.trace_id not in ("", trace)
    delivery, (tried,) = split(collector.wait_for_spans(2, attempt.trace_id), CONSUMER_KIND)
    assert (delivery.name, delivery.parent_id) == ("deliver", "")
    assert delivery.attributes == {"postwire.channel": "sms", "postwire.message.id": parked.message_id}
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in delivery.span.links] == [(trace, call.span_id)]
    assert tried.name == "attempt drained"
    assert tried.attributes["postwire.message.id"] == parked.message_id
    eventually(lambda: parked.message_id in traced.log_text())
    (line,) = [line for line in traced.log("attempt") if line["message_id"] == parked.message_id]
    assert line["trace_id"] == attempt.trace_id


def leads_back(collector: Collector, message: Message, number: int, trace: str) -> None:
    """Hold a later attempt to a trace of its own that is linked to the call under which the message came."""
    attempt = message.attempts[number - 1]
    delivery, (span,) = split(collector.wait_for_spans(2, attempt.trace_id), CONSUMER_KIND)
    assert delivery.name == "deliver"
    assert span.name == f"attempt {attempt.provider_name}"
    (call,) = [one for one in collector.wait_for_spans(1, trace) if one.name == DISPATCH]
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in delivery.span.links] == [(trace, call.span_id)]


def test_each_later_attempt_is_in_a_trace_of_its_own_that_leads_back(
    traced: Server, collector: Collector, trace: str
) -> None:
    assert send(traced, "later", to="+15005550006").state == SENT  # so that a few that fail are no trouble
    failed = until(traced, send(traced, "later", trace, to="+15005550002", max_attempts=3), FAILED)
    first, *others = [one.trace_id for one in failed.attempts]
    assert first == trace
    assert len({trace, *others}) == 3
    call, (attempt,) = split(collector.wait_for_spans(2, trace), SERVER_KIND)
    assert attempt.attributes["postwire.message.id"] == failed.message_id
    for number in (2, 3):
        leads_back(collector, failed, number, trace)
    assert not call.failed


def test_what_a_crash_left_leads_back_too(serve: Serve, collector: Collector, trace: str) -> None:
    server = serve(toml=mock("one", 'latency = "1h"'), telemetry__otlp_endpoint=collector.endpoint, **SOON, **QUICK)
    left = send(server, "one", trace, wait_for=ACCEPTANCE)
    collector.wait_for_spans(1, trace)
    server.kill()
    server.start(providers__one__latency="0s")
    sent = until(server, left, SENT)
    assert sent.attempts[0].trace_id == trace
    leads_back(collector, sent, 2, trace)
    assert get(server, sent) == sent

"""Metrics that are there from the boot on: what Prometheus and a collector are told of breakers and of routes."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.support import build
from tests.support.otlp import Collector
from tests.support.waiting import PATIENCE

from postwire.api import errors
from postwire.config.schema import TelemetryConfig
from postwire.core.breaker import Breaker, BreakerSettings, BreakerState, Transition, Verdict
from postwire.core.message import DEFAULT_TENANT, Channel
from postwire.core.obstacles import Obstacle
from postwire.core.routing import PassedOver
from postwire.telemetry import names, tracing
from postwire.telemetry.base import Observers
from postwire.telemetry.durations import FetchedReader
from postwire.telemetry.environment import OtelSettings
from postwire.telemetry.metrics import Metrics, Tenants
from postwire.telemetry.probes import Probes
from postwire.telemetry.setup import Telemetry

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN = BreakerState
TRANSITIONS = "postwire_breaker_transitions_total"
STATE = "postwire_breaker_state"
REJECTIONS = "postwire_breaker_rejections_total"


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of their labels in the order of the labels' names."""
    return {
        tuple(value for label, value in sorted(sample.labels.items()) if not label.startswith("otel_scope")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


class Harness:
    """Metrics of these breakers, and the text that Prometheus would fetch."""

    def __init__(self, *names: str, tenants: Tenants | None = None) -> None:
        self.states = dict.fromkeys(names, CLOSED)
        self.dropped_lines = 0
        self.depths: dict[str, int] = {}
        self._registry = CollectorRegistry()
        reader = FetchedReader(registry=self._registry)
        self.meters = MeterProvider([reader], shutdown_on_exit=False)
        self.metrics = Metrics(
            self.meters.get_meter("postwire"),
            dict,
            lambda: {name: state.value for name, state in self.states.items()},
            lambda: self.depths,
            lambda: self.dropped_lines,
            tenants,
        )
        reader.durations = self.metrics.durations

    def text(self) -> str:
        return generate_latest(self._registry).decode()

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        return values(self.text(), name)


@pytest.fixture
def harness() -> Iterator[Harness]:
    harness = Harness("sms-mms", "email")
    yield harness
    harness.meters.shutdown()


def usual(provider_name: str, **counts: int) -> dict[tuple[str, ...], float]:
    """The transitions that are always there, by from, to and provider."""
    pairs = (("closed", "open"), ("open", "half_open"), ("half_open", "closed"), ("half_open", "open"))
    return {(source, target, provider_name): counts.get(f"{source}_to_{target}", 0) for source, target in pairs}


def test_everything_is_there_before_anything_happens(harness: Harness) -> None:
    assert harness.values(TRANSITIONS) == usual("sms-mms") | usual("email")
    assert harness.values(REJECTIONS) == {("sms-mms",): 0, ("email",): 0}
    assert harness.values(STATE) == {
        (state.value, provider_name): int(state is CLOSED) for provider_name in harness.states for state in BreakerState
    }


def test_each_transition_raises_its_counter_by_one(harness: Harness) -> None:
    for count in (1, 2):
        harness.metrics.breaker_changed("sms-mms", Transition(CLOSED, OPEN))
        assert harness.values(TRANSITIONS) == usual("sms-mms", closed_to_open=count) | usual("email")
    harness.metrics.breaker_changed("sms-mms", Transition(HALF_OPEN, OPEN))
    harness.metrics.breaker_changed("email", Transition(OPEN, HALF_OPEN))
    assert harness.values(TRANSITIONS) == (
        usual("sms-mms", closed_to_open=2, half_open_to_open=1) | usual("email", open_to_half_open=1)
    )


@pytest.mark.parametrize("source", BreakerState)
@pytest.mark.parametrize("target", BreakerState)
def test_any_transition_is_counted(harness: Harness, source: BreakerState, target: BreakerState) -> None:
    harness.metrics.breaker_changed("sms-mms", Transition(source, target))
    reported = harness.values(TRANSITIONS)
    assert reported[source.value, target.value, "sms-mms"] == 1
    assert sum(reported.values()) == 1


@pytest.mark.parametrize("state", BreakerState)
def test_the_state_is_the_one_that_it_is_when_asked(harness: Harness, state: BreakerState) -> None:
    harness.states["email"] = state
    reported = harness.values(STATE)
    assert {key: value for key, value in reported.items() if "email" in key} == {
        (one.value, "email"): int(one is state) for one in BreakerState
    }
    assert reported["closed", "sms-mms"] == 1


@pytest.mark.parametrize("obstacle", Obstacle)
def test_a_message_is_rejected_by_a_breaker_and_by_nothing_else(harness: Harness, obstacle: Obstacle) -> None:
    rejects = obstacle in (Obstacle.OPEN, Obstacle.HALF_OPEN, Obstacle.DRAINED)
    for count in (1, 2):
        harness.metrics.passed_over(build.accepted(), [PassedOver("email", obstacle)])
        assert harness.values(REJECTIONS) == {("sms-mms",): 0, ("email",): count if rejects else 0}


def test_each_provider_that_a_message_went_past_is_counted(harness: Harness) -> None:
    harness.metrics.passed_over(
        build.accepted(), [PassedOver("sms-mms", Obstacle.OPEN), PassedOver("email", Obstacle.COOLING_DOWN)]
    )
    harness.metrics.passed_over(
        build.accepted(), [PassedOver("sms-mms", Obstacle.DRAINED), PassedOver("email", Obstacle.HALF_OPEN)]
    )
    assert harness.values(REJECTIONS) == {("sms-mms",): 2, ("email",): 1}


def test_the_lines_are_those_that_people_look_for(harness: Harness) -> None:
    harness.metrics.breaker_changed("sms-mms", Transition(CLOSED, OPEN))
    harness.metrics.passed_over(build.accepted(), [PassedOver("sms-mms", Obstacle.OPEN)])
    harness.states["sms-mms"] = OPEN
    lines = [line for line in harness.text().splitlines() if not line.startswith("#")]
    for name, labels, value in (
        (
            TRANSITIONS,
            'postwire_breaker_from="closed",postwire_breaker_to="open",postwire_provider_name="sms-mms"',
            "1.0",
        ),
        (STATE, 'postwire_breaker_state="open",postwire_provider_name="sms-mms"', "1.0"),
        (STATE, 'postwire_breaker_state="closed",postwire_provider_name="sms-mms"', "0.0"),
        (REJECTIONS, 'postwire_provider_name="sms-mms"', "1.0"),
    ):
        (line,) = [line for line in lines if line.startswith(f"{name}{{") and labels in line]
        assert line.endswith(f"}} {value}")


def test_each_says_what_it_is(harness: Harness) -> None:
    families = {family.name: family for family in text_string_to_metric_families(harness.text())}
    for name, kind in (("transitions", "counter"), ("state", "gauge"), ("rejections", "counter")):
        family = families[f"postwire_breaker_{name}"]
        assert family.type == kind
        assert family.documentation


def test_a_channel_that_cannot_be_routed_is_there_before_the_first_message_of_it(harness: Harness) -> None:
    name = "postwire_routing_invalid_total"
    assert harness.values(name) == {("sms",): 0, ("mms",): 0, ("email",): 0}
    harness.metrics.routing_invalid(Channel.MMS)
    assert harness.values(name) == {("sms",): 0, ("mms",): 1, ("email",): 0}


# As the server puts it together.


@pytest.fixture(autouse=True)
def _no_call_of_another_test() -> None:
    tracing._current.set(None)


class GateModel:
    """A provider's breaker, which tells whoever observes."""

    def __init__(self) -> None:
        self.reported: Observers | None = None
        self.breaker = Breaker(BreakerSettings(minimum_calls=1), listener=self._changed)

    def fail(self) -> None:
        permit = self.breaker.acquire(0.0)
        assert permit
        self.breaker.release(permit, Verdict.FAILURE, 0.0)

    def _changed(self, transition: Transition) -> None:
        if self.reported:
            self.reported.breaker_changed("sms-mms", transition)


async def no_gauges() -> dict[str, float]:
    return {names.OUTBOX_DEPTH: 0, names.OUTBOX_OLDEST_AGE: 0}


def telemetry(gate_model: GateModel, wanted: OtelSettings, endpoint: str | None = None) -> Telemetry:
    config = TelemetryConfig(metrics_listen="127.0.0.1:0", otlp_endpoint=endpoint)
    probes = Probes(config, None)
    made = Telemetry(
        config, wanted, no_gauges, lambda: {"sms-mms": gate_model.breaker.state.value}, dict, lambda: "", probes
    )
    gate_model.reported = Observers(*made.observers, on_fault=_raise)
    return made


def _raise(error: Exception) -> None:
    raise error


def fetch(address: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/metrics", timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text


async def test_a_breaker_is_seen_through_the_address_for_metrics() -> None:
    gate_model = GateModel()
    made = telemetry(gate_model, OtelSettings(traces=False, continues_traces=False, metrics=False, prometheus=True))
    address = await made.start()
    before = await asyncio.to_thread(fetch, address)
    gate_model.fail()
    after = await asyncio.to_thread(fetch, address)
    await made.stop(5)
    assert values(before, STATE)["closed", "sms-mms"] == values(after, STATE)["open", "sms-mms"] == 1
    assert values(after, STATE)["closed", "sms-mms"] == 0
    assert (values(before, TRANSITIONS), values(after, TRANSITIONS)) == (
        usual("sms-mms"),
        usual("sms-mms", closed_to_open=1),
    )


async def test_a_collector_has_the_events_and_as_many_as_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "2")
    with Collector() as collector:
        gate_model = GateModel()
        wanted = OtelSettings(traces=True, continues_traces=True, metrics=True, prometheus=False)
        made = telemetry(gate_model, wanted, collector.endpoint)
        assert gate_model.reported
        started = gate_model.reported.delivery_started("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        record = build.accepted()
        gate_model.reported.passed_over(record, [PassedOver(name, Obstacle.OPEN) for name in ("a", "b")])
        gate_model.fail()
        gate_model.reported.delivery_ended(started, record)
        await made.stop(10)
        (seen,) = collector.spans()
        metrics = collector.metrics()
    assert [(event.name, event.attributes[0].value.string_value) for event in seen.span.events] == [
        ("provider passed over", "b"),
        ("breaker changed", "sms-mms"),
    ]
    assert seen.span.dropped_events_count == 1
    assert [link.trace_id.hex() for link in seen.span.links] == ["0af7651916cd43dd8448eb211c80319c"]
    states = {
        frozenset(attribute.value.string_value for attribute in point.attributes): point.as_int
        for point in metrics["postwire.breaker.state"].gauge.data_points
    }
    assert states == {frozenset({"sms-mms", state.value}): int(state is OPEN) for state in BreakerState}
    rejected = {
        point.attributes[0].value.string_value: point.as_int
        for point in metrics["postwire.breaker.rejections"].sum.data_points
    }
    assert rejected == {"sms-mms": 0, "a": 1, "b": 1}
    assert metrics["postwire.breaker.transitions"].sum.is_monotonic


def test_lines_that_the_log_has_lost_are_counted_from_the_start(harness: Harness) -> None:
    assert harness.values("postwire_log_dropped_total") == {(): 0}
    harness.dropped_lines = 3
    assert harness.values("postwire_log_dropped_total") == {(): 3}


# What is refused, and what waits.


def test_every_reason_to_refuse_is_there_from_the_start_and_counted(harness: Harness) -> None:
    found = harness.values("postwire_refused_total")
    assert set(found) == {(reason,) for reason in errors.STATUS_OF}
    assert set(found.values()) == {0}
    for reason in ("OVERLOADED", "INVALID_MESSAGE", "OVERLOADED"):
        harness.metrics.request_refused(reason, DEFAULT_TENANT)
    assert {key: count for key, count in harness.values("postwire_refused_total").items() if count} == {
        ("OVERLOADED",): 2,
        ("INVALID_MESSAGE",): 1,
    }


def test_what_is_counted_for_each_tenant_has_no_more_labels_than_there_are_tenants() -> None:
    harness = Harness("sms-mms", tenants=lambda: ("acme", DEFAULT_TENANT))
    refused = harness.values("postwire_refused_total")
    assert len(refused) == len(errors.STATUS_OF) + 2
    assert refused["acme", "QUOTA_EXCEEDED"] == refused["", "QUOTA_EXCEEDED"] == 0
    for tenant in ("acme", "acme", DEFAULT_TENANT, "gone", ""):
        record = build.accepted(build.command(tenant=tenant))
        harness.metrics.state_reached(record)
        harness.metrics.attempt_ended(build.ended(record))
        harness.metrics.request_refused("OVERLOADED", tenant)
    expected = {"acme": 2, DEFAULT_TENANT: 1, "": 2}
    assert harness.values("postwire_messages_total") == {
        ("sms", "sending", tenant): count for tenant, count in expected.items()
    }
    attempts = harness.values("postwire_attempts_total")
    assert attempts == {("sms", "success", "sms-mms", tenant): count for tenant, count in expected.items()}
    assert harness.values("postwire_attempt_duration_seconds_count") == {("sms", "success", "sms-mms"): 5}
    refused = harness.values("postwire_refused_total")
    assert {key[0]: count for key, count in refused.items() if key[1] == "OVERLOADED"} == expected
    assert 'postwire_tenant="acme"' in harness.text()
    harness.meters.shutdown()


def test_without_the_label_nothing_names_a_tenant(harness: Harness) -> None:
    record = build.accepted(build.command(tenant="acme"))
    harness.metrics.state_reached(record)
    harness.metrics.attempt_ended(build.ended(record))
    harness.metrics.request_refused("QUOTA_EXCEEDED", "acme")
    assert "acme" not in harness.text()
    assert "tenant" not in harness.text()


def test_each_queue_says_how_deep_it_is(harness: Harness) -> None:
    harness.depths = {"sms#1": 7, "@a": 0}
    assert harness.values("postwire_queue_depth") == {("sms#1",): 7, ("@a",): 0}

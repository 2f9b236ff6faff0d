"""What Prometheus fetches: names, labels, and figures that are true."""

from __future__ import annotations

import socket
import urllib.error
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.calls import ACCEPTANCE, NO_RETRY, SENT, TIMEOUT, dispatch, email, mms, refused, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, attempts, fetch, probe, values
from tests.e2e.server import Server, environment, eventually
from tests.support import forking
from tests.support.waiting import PATIENCE

from postwire import __version__
from postwire.core.message import Channel
from postwire.telemetry import names

DISPATCH = "postwire.v1.DispatchService/Dispatch"


@pytest.fixture
def server(serve: Serve) -> Server:
    """One of the test's own: what it counts, nobody else adds to, and nothing is tried again."""
    return serve(providers__sms_mms__retry_after="1ms", **NO_RETRY, **METRICS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for those who do not count."""
    with Server(tmp_path_factory.mktemp("shared"), **METRICS) as running:
        yield running


def test_each_attempt_raises_its_counter_by_one(server: Server) -> None:
    assert attempts(server) == {}
    for count in (1, 2, 3):
        dispatch(server, sms())
        assert attempts(server) == {("sms", "success", "sms-mms"): count}
    dispatch(server, mms())
    dispatch(server, email())
    for outcome, number in (
        ("rejected", "+15005550001"),
        ("error", "+15005550002"),
        ("rate_limited", "+15005550003"),
        ("uncertain", "+15005550004"),
    ):
        before = attempts(server).get(("sms", outcome, "sms-mms"), 0)
        dispatch(server, sms(number), max_attempts=1, wait_for=ACCEPTANCE)
        eventually(lambda: attempts(server).get(("sms", outcome, "sms-mms"), 0) > before)  # noqa: B023  # called at once
    assert attempts(server) == {
        ("sms", "success", "sms-mms"): 3,
        ("mms", "success", "sms-mms"): 1,
        ("email", "success", "email"): 1,
        **{("sms", outcome, "sms-mms"): 1 for outcome in ("rejected", "error", "rate_limited", "uncertain")},
    }


def test_the_line_is_the_one_that_people_look_for(server: Server) -> None:
    dispatch(server, sms())
    (line,) = [line for line in fetch(server).splitlines() if line.startswith("postwire_attempts_total{")]
    name, _, rest = line.partition("{")
    labels, _, value = rest.rpartition("} ")
    assert name == "postwire_attempts_total"
    assert float(value) == 1
    for label in ('postwire_channel="sms"', 'postwire_outcome="success"', 'postwire_provider_name="sms-mms"'):
        assert label in labels.split(",")


def test_a_channel_without_a_provider_is_counted_each_time(serve: Serve) -> None:
    server = serve(routes__email="", **METRICS)
    name = "postwire_routing_invalid_total"
    assert values(server, name) == {("sms",): 0, ("mms",): 0, ("email",): 0}, "there before the first one"
    for count in (1, 2):
        assert refused(lambda: dispatch(server, email())).reason == "INVALID_ROUTING"
        assert values(server, name) == {("sms",): 0, ("mms",): 0, ("email",): count}
    assert attempts(server) == {}


def test_messages_are_counted_by_the_states_they_reach(server: Server) -> None:
    name = "postwire_messages_total"
    assert values(server, name) == {}
    dispatch(server, sms())
    dispatch(server, sms("+15005550001"))
    assert values(server, name) == {("sms", "sending"): 2, ("sms", "sent"): 1, ("sms", "failed"): 1}
    asked = request()
    for _ in range(3):
        server.dispatch.Dispatch(asked, timeout=TIMEOUT)
    assert values(server, name)["sms", "sent"] == 2, "a repeat is no message"
    dispatch(server, sms("+15005550002"))
    assert values(server, name) == {
        ("sms", "sending"): 4,
        ("sms", "sent"): 2,
        ("sms", "failed"): 1,
        ("sms", "queued"): 1,
    }


def test_what_is_not_settled_shows_in_the_outboxs_depth_and_age(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1h", **METRICS)
    depth, age = "postwire_outbox_depth", "postwire_outbox_oldest_age_seconds"
    assert (values(server, depth), values(server, age)) == ({(): 0}, {(): 0})
    for count in (1, 2):
        dispatch(server, sms(), wait_for=ACCEPTANCE)
        assert values(server, depth) == {(): count}
    first = values(server, age)[()]
    assert 0 < first < PATIENCE
    eventually(lambda: values(server, age)[()] > first)
    dispatch(server, email())
    assert values(server, depth) == {(): 2}
    # What a crash leaves behind is still there for the next one to see to.
    server.kill()
    server.start(providers__sms_mms__latency="0s", **NO_RETRY)
    assert values(server, depth)[()] == 2
    server.restart()
    assert values(server, depth)[()] == 2, "when a message is due is kept"


def test_what_runs_is_told(shared: Server) -> None:
    assert values(shared, "postwire_build_info") == {(__version__,): 1}
    ((labels, one),) = values(shared, "target_info").items()
    assert one == 1
    assert "postwire" in labels


def test_calls_are_counted_by_method_and_status_with_their_durations(server: Server) -> None:
    dispatch(server, sms())
    dispatch(server, sms())
    refused(lambda: dispatch(server, sms(to="nobody")))
    reported = values(server, "rpc_server_call_duration_seconds_count")
    # By error type, method, status and system; one that went well has no error type.
    assert reported == {
        (DISPATCH, "OK", "grpc"): 2,
        ("INVALID_ARGUMENT", DISPATCH, "INVALID_ARGUMENT", "grpc"): 1,
    }
    assert values(server, "rpc_server_call_duration_seconds_sum")[DISPATCH, "OK", "grpc"] > 0


def buckets(server: Server, name: str, **wanted: str) -> Mapping[float, float]:
    """Cumulative counts by upper bound, of the series with these labels."""
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(fetch(server))
        for sample in family.samples
        if sample.name == f"{name}_bucket" and wanted.items() <= sample.labels.items()
    }


def test_durations_are_in_buckets_of_seconds(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="30ms", **METRICS)
    for _ in range(5):
        dispatch(server, sms())
    dispatch(server, email())
    reported = buckets(server, "postwire_attempt_duration_seconds", postwire_provider_name="sms-mms")
    assert tuple(reported) == (*names.ATTEMPT_BUCKETS, float("inf"))
    counts = list(reported.values())
    assert counts == sorted(counts)
    assert counts[-1] == 5
    assert reported[0.025] == 0, "none took less than the provider does"
    assert reported[60] == 5
    calls = buckets(server, "rpc_server_call_duration_seconds", rpc_method=DISPATCH)
    assert tuple(calls) == (*names.RPC_BUCKETS, float("inf"))
    assert calls[float("inf")] == 6
    assert calls[0.025] <= 1, "the email"
    total = values(server, "postwire_attempt_duration_seconds_sum")["sms", "success", "sms-mms"]
    assert 5 * 0.029 <= total < 5 * PATIENCE, "a timer may be a ms early"


def test_a_metric_does_not_grow_with_the_messages(serve: Serve) -> None:
    server = serve(providers__sms_mms__max_concurrent="100", **METRICS)  # or some wait first, and are counted as queued

    def send(count: int) -> int:
        calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(count)]
        assert {call.result().message.state for call in calls} == {SENT}
        return len(fetch(server).splitlines())

    assert send(5) == send(100)


def test_every_metric_of_ours_says_what_it_is(server: Server) -> None:
    dispatch(server, sms())
    refused(lambda: dispatch(server, sms(to="nobody")))
    dispatch(server, sms("+15005550003"))
    families = {
        family.name: family for family in text_string_to_metric_families(fetch(server)) if family.name != "target_info"
    }
    assert {name: family.type for name, family in families.items()} == {
        "postwire_attempts": "counter",
        "postwire_attempt_duration_seconds": "histogram",
        "postwire_breaker_rejections": "counter",
        "postwire_breaker_state": "gauge",
        "postwire_breaker_transitions": "counter",
        "postwire_build_info": "gauge",
        "postwire_log_dropped": "counter",
        "postwire_messages": "counter",
        "postwire_outbox_depth": "gauge",
        "postwire_outbox_oldest_age_seconds": "gauge",
        "postwire_queue_depth": "gauge",
        "postwire_receipt_delay_seconds": "histogram",
        "postwire_receipts_held": "gauge",
        "postwire_refused": "counter",
        "postwire_routing_invalid": "counter",
        "postwire_store_available": "gauge",
        "rpc_server_call_duration_seconds": "histogram",
    }
    assert all(family.documentation for family in families.values())


def test_many_may_fetch_while_messages_are_sent(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        sending = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(200)]
        texts = list(pool.map(lambda _: fetch(server), range(40)))
        assert {call.result().message.state for call in sending} == {SENT}
    assert all("postwire_build_info" in text for text in texts)
    assert attempts(server) == {("sms", "success", "sms-mms"): 200}


@pytest.mark.parametrize(
    ("path", "options", "code"), [("/", {}, 404), ("/metrics", {"method": "POST", "data": b""}, 405)]
)
def test_there_is_nothing_else_to_fetch(shared: Server, path: str, options: dict[str, Any], code: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(shared, path, **options)
    assert refused.value.code == code
    refused.value.close()
    assert shared.log("internal_error") == shared.log("library") == []


def test_without_an_address_nothing_listens(serve: Serve) -> None:
    server = serve(telemetry__metrics_listen="")
    assert server.wait_for_event("serving")["metrics_listen"] == ""
    dispatch(server, sms())


def test_without_metrics_there_are_the_probes_alone(serve: Serve) -> None:
    server = serve(**METRICS, OTEL_METRICS_EXPORTER="none")
    assert probe(server, "/livez") == probe(server, "/readyz") == (200, "ok\n")
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(server)
    assert refused.value.code == 404
    refused.value.close()


def test_an_address_that_is_taken_stops_the_boot_with_a_line_that_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = environment(tmp_path, telemetry__metrics_listen=address)
        done = forking.run("serve", cwd=tmp_path, env=settings)
    assert done.returncode == 4
    line = done.stderr.removesuffix("\n")
    assert "\n" not in line
    assert "telemetry.metrics_listen" in line
    assert address in line


def test_every_channel_is_one_of_the_words(shared: Server) -> None:
    for message in (sms(), mms(), email()):
        dispatch(shared, message)
    assert {labels[0] for labels in attempts(shared)} == {channel.value for channel in Channel}

"""What an operator reads: a line an attempt, and how the server came up and went down."""

from __future__ import annotations

import json
import re
import socket
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from tests.e2e.calls import NO_RETRY, SENT, TIMEOUT, dispatch, email, mms, refused, request, sms, until_eligible
from tests.e2e.conftest import Serve
from tests.e2e.server import environment, eventually
from tests.support.forking import POSTWIRE, Forked
from tests.support.waiting import PATIENCE

from postwire.telemetry.log_observer import FAILURE_BURST
from postwire.v1 import dispatch_service_pb2_grpc, message_pb2
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest


def test_an_attempt_is_a_line_that_says_all_of_it(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="20ms")
    sent = [server.dispatch.Dispatch(request(message), timeout=TIMEOUT).message for message in (sms(), mms(), email())]
    assert server.terminate() == 0
    lines = server.log("attempt")
    assert [line["message_id"] for line in lines] == [message.message_id for message in sent]
    for line, message, channel in zip(lines, sent, ("sms", "mms", "email"), strict=True):
        assert line["level"] == "info"
        assert line["provider_name"] == message.provider_name
        assert line["outcome"] == "success"
        assert line["channel"] == channel
        assert line["attempt"] == 1
        assert line["duration_ms"] == pytest.approx(message.attempts[0].duration.ToMicroseconds() / 1000)
        assert "trace_id" not in line, "there is no collector, so there is no trace"
        reported = datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
        assert abs((reported - message.update_time.ToDatetime(UTC)).total_seconds()) < TIMEOUT
    assert lines[0]["duration_ms"] >= 19, "a timer may be a ms early"


def test_an_attempt_that_failed_is_a_warning_with_the_vendors_code_and_our_words(serve: Serve) -> None:
    server = serve(providers__sms_mms__retry_after="1ms", **NO_RETRY)
    failed = {
        outcome: dispatch(server, sms(number))
        for outcome, number in (
            ("rejected", "+15005550001"),
            ("error", "+15005550002"),
            ("uncertain", "+15005550004"),
            ("rate_limited", "+15005550003"),  # last, since the provider is left alone for a while
        )
    }
    assert server.terminate() == 0
    lines = server.log("attempt")
    assert [line["message_id"] for line in lines] == [message.message_id for message in failed.values()]
    for line, (outcome, message) in zip(lines, failed.items(), strict=True):
        (attempt,) = message.attempts
        assert (line["level"], line["outcome"], line["provider_name"]) == ("warning", outcome, "sms-mms")
        assert (line["error_code"], line["detail"]) == (attempt.error_code, attempt.detail)


def test_each_attempt_of_a_message_is_a_line_of_its_own(serve: Serve) -> None:
    server = serve(delivery__backoff_base="1ms", delivery__backoff_max="1ms")
    asked = sms("+15005550002")
    message = dispatch(server, asked, max_attempts=3)
    eventually(lambda: len(server.log("attempt")) == 3)
    assert [(line["message_id"], line["attempt"], line["outcome"]) for line in server.log("attempt")] == [
        (message.message_id, number, "error") for number in (1, 2, 3)
    ]


def test_a_breaker_that_changes_is_a_line(serve: Serve) -> None:
    settings = {"minimum_calls": "2", "open_for": "10ms", "open_for_max": "10ms"}
    server = serve(**{f"providers__email__breaker__{key}": value for key, value in settings.items()})
    for _ in range(2):
        dispatch(server, email("error@simulator.postwire.test"), max_attempts=1)
    until_eligible(server, email())
    assert dispatch(server, email()).state == SENT
    server.providers.DrainProvider(DrainProviderRequest(name="email"), timeout=TIMEOUT)
    server.providers.ResumeProvider(ResumeProviderRequest(name="email"), timeout=TIMEOUT)
    assert server.terminate() == 0
    lines = server.log("breaker")
    assert {line["provider_name"] for line in lines} == {"email"}
    assert [(line["from"], line["to"], line["level"]) for line in lines] == [
        ("closed", "open", "warning"),
        ("open", "half_open", "info"),
        ("half_open", "closed", "info"),
        ("closed", "forced_open", "warning"),
        ("forced_open", "closed", "info"),
    ]


def test_failures_that_repeat_are_told_at_a_limited_rate_and_each_success_in_full(serve: Serve) -> None:
    server = serve()
    count = 60
    failing = [
        server.dispatch.Dispatch.future(request(sms("+15005550001"), max_attempts=1), timeout=TIMEOUT)
        for _ in range(count)
    ]
    for call in failing:
        assert call.result().message.outcome == message_pb2.OUTCOME_REJECTED
    server.dispatch.Dispatch(request(sms("+15005550002"), max_attempts=1), timeout=TIMEOUT)
    for _ in range(20):
        assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT
    assert server.terminate() == 0
    lines = server.log("attempt")
    reported = [line for line in lines if line["outcome"] == "rejected"]
    assert FAILURE_BURST <= len(reported) < count
    assert all(line["provider_name"] and line["message_id"] for line in reported)
    assert sum(1 + line.get("suppressed", 0) for line in reported) <= count
    assert len([line for line in lines if line["outcome"] == "error"]) == 1, "another outcome is told at once"
    assert len([line for line in lines if line["outcome"] == "success"]) == 20


def test_the_lines_of_a_life_are_in_order(serve: Serve) -> None:
    server = serve(providers__email__seed="7", routes__email="email")
    server.dispatch.Dispatch(request(), timeout=TIMEOUT)
    assert server.terminate() == 0
    events = [line["event"] for line in server.log()]
    assert [event for event in events if event != "provider_check"] == [  # that comes when it comes
        "provider",
        "provider",
        "warning",
        "warning",
        "warning",
        "serving",
        "attempt",
        "draining",
        "stopped",
    ]
    by_name = {line["provider_name"]: line for line in server.log("provider")}
    assert (by_name["email"]["seeded"], by_name["email"]["seed"]) == (True, 7)
    assert by_name["sms-mms"]["seeded"] is False
    assert 0 <= by_name["sms-mms"]["seed"] < 2**64
    assert {line["kind"] for line in by_name.values()} == {"mock"}
    times = [line["time"] for line in server.log()]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)


def test_a_channel_without_a_provider_is_told_once_by_one_event(serve: Serve) -> None:
    server = serve(routes__mms="", routes__email="")
    for _ in range(5):
        for message in (mms(), email()):
            error = refused(lambda: server.dispatch.Dispatch(request(message), timeout=TIMEOUT))  # noqa: B023  # at once
            assert error.reason == "INVALID_ROUTING"
    assert server.terminate() == 0
    assert [(line["channel"], line["level"]) for line in server.log("invalid_routing")] == [
        ("mms", "error"),
        ("email", "error"),
    ]
    # On no other line: whoever counts them counts these.
    assert server.log_text().count("invalid_routing") == 2


# Other formats and levels, under which a server does not say where it listens.


def stderr_of(folder: Path, **settings: str) -> str:
    """What a server writes while it takes a message, refuses one, and ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = environment(folder, server__listen=address, routes__email="", **settings)
    stdout, stderr = folder / "stdout", folder / "stderr"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = Forked(POSTWIRE, ["serve"], cwd=folder, env=env, stdout=out.fileno(), stderr=err.fileno())
    try:
        with grpc.insecure_channel(address) as channel:
            dispatch = dispatch_service_pb2_grpc.DispatchServiceStub(channel).Dispatch
            dispatch(request(), timeout=TIMEOUT, wait_for_ready=True)
            dispatch(request(sms("+15005550001")), timeout=TIMEOUT)
            refused(lambda: dispatch(request(email()), timeout=TIMEOUT))
    finally:
        process.terminate()
        code = process.wait(PATIENCE)
    assert (code, stdout.read_text()) == (0, "")
    return stderr.read_text()


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("error", {"invalid_routing"}),
        ("warning", {"invalid_routing", "warning", "attempt"}),
        (
            "debug",
            {"invalid_routing", "warning", "attempt", "provider", "serving", "draining", "stopped", "provider_check"},
        ),
    ],
)
def test_what_is_below_the_level_is_not_told(tmp_path: Path, level: str, events: set[str]) -> None:
    lines = [json.loads(line) for line in stderr_of(tmp_path, telemetry__log_level=level).splitlines()]
    assert {line["event"] for line in lines} == events
    if level == "warning":
        assert {line["level"] for line in lines} == {"warning", "error"}


def test_text_is_for_people(tmp_path: Path) -> None:
    text = stderr_of(tmp_path, telemetry__log_format="text")
    (line,) = [line for line in text.splitlines() if "outcome=rejected" in line]
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} warning attempt provider_name=sms-mms ", line)
    assert 'detail="the mock refused the message"' in line
    assert "\x1b" not in text
    assert "{" not in text

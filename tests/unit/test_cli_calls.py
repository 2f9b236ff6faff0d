"""The commands that call a server, against one in this process that answers as it is told."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_health.v1.health_pb2 import HealthCheckResponse
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.dispatch_service_pb2 import DispatchResponse, GetMessageResponse
from postwire.v1.message_pb2 import (
    DELIVERY_GUARANTEE_AT_MOST_ONCE,
    PRIORITY_HIGH,
    WAIT_FOR_ACCEPTANCE,
    Attachment,
    Attempt,
    Channel,
    DispatchOptions,
    Email,
    Media,
    Message,
    MessageState,
    Mms,
    OutboundMessage,
    Outcome,
    Sms,
)

SENT = Message(
    message_id="01890a5d-ac96-774b-bcce-b302099a8057",
    request_id="order-1",
    channel=Channel.CHANNEL_SMS,
    state=MessageState.MESSAGE_STATE_SENT,
    outcome=Outcome.OUTCOME_SUCCESS,
    provider_name="sms-mms",
    attempts=[
        Attempt(number=1, provider_name="sms-mms", outcome=Outcome.OUTCOME_SUCCESS, duration=Duration(nanos=2_500_000))
    ],
    labels={"order": "1", "shop": "eu"},
)


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


Call = Callable[..., Result]


@pytest.fixture
def call(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Runs the command against the server."""

    def run(*args: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(root, args, input=stdin)

    with serving(scripted) as target:
        monkeypatch.setenv("POSTWIRE_TARGET", target)
        yield run


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


# What is sent.


def test_sms(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = DispatchResponse(message=SENT)
    result = call(
        *("send", "sms", "--to", "+15005550006", "--body", "Hello", "--sender", "Shop", "--label", "order=1"),
        *("--label", "note=a=b", "--request-id", "order-1", "--wait-for", "acceptance", "--provider", "sms-mms"),
        *("--priority", "high", "--delivery-guarantee", "at-most-once", "--max-attempts", "3"),
        *("--send-at", "2030-01-31T09:00:00Z", "--expire-at", "2030-01-31T12:00:00Z"),
    )
    assert result.exit_code == 0
    (request,) = scripted.asked
    assert request.request_id == "order-1"
    assert request.message == OutboundMessage(
        sms=Sms(to="+15005550006", body="Hello", sender="Shop"), labels={"order": "1", "note": "a=b"}
    )
    options = DispatchOptions(
        wait_for=WAIT_FOR_ACCEPTANCE,
        priority=PRIORITY_HIGH,
        delivery_guarantee=DELIVERY_GUARANTEE_AT_MOST_ONCE,
        provider_name="sms-mms",
        max_attempts=3,
    )
    options.send_time.FromJsonString("2030-01-31T09:00:00Z")
    options.expire_time.FromJsonString("2030-01-31T12:00:00Z")
    assert request.options == options


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("2030-01-31T14:00:00+02:00", "2030-01-31T12:00:00Z"),
        ("2030-01-31t03:30:00.25-08:30", "2030-01-31T12:00:00.250Z"),
        ("2030-01-31 12:00:00.123456789z", "2030-01-31T12:00:00.123456Z"),
    ],
)
def test_a_time_may_have_an_offset(call: Call, scripted: ScriptedServer, given: str, sent: str) -> None:
    scripted.answer = DispatchResponse(message=SENT)
    assert call("send", "sms", "--to", "+15005550006", "--body", "Hello", "--send-at", given).exit_code == 0
    assert scripted.asked[0].options.send_time.ToJsonString() == sent


def test_a_time_may_be_so_far_ahead(call: Call, scripted: ScriptedServer) -> None:
    scripted.refuse(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    before = datetime.now(UTC)
    result = call("send", "sms", "--to", "+15005550006", "--body", "Hello", "--send-at", "in 2h")
    asked = scripted.asked[0].options.send_time
    assert timedelta() <= asked.ToDatetime(UTC) - before - timedelta(hours=2) < timedelta(minutes=1)
    assert f"--send-at {asked.ToJsonString()}" in result.stderr, "a repeat would mean another time"


def test_what_is_left_out_is_not_sent(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = DispatchResponse(message=SENT)
    assert call("send", "sms", "--to", "+15005550006", "--body", "Hello").exit_code == 0
    assert scripted.asked[0].options == DispatchOptions()
    assert re.fullmatch(r"[0-9a-f-]{36}", scripted.asked[0].request_id)


def test_mms_with_an_address_and_a_file(call: Call, scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.answer = DispatchResponse(message=SENT)
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"png")
    url = "HTTPS://example.com/door.jpg"
    assert call("send", "mms", "--to", "+15005550006", "--media", url, "--media", str(picture)).exit_code == 0
    assert scripted.asked[0].message.mms == Mms(
        to="+15005550006", media=[Media(url=url), Media(data=b"png", content_type="image/png", file_name="dot.png")]
    )


def test_email(call: Call, scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.answer = DispatchResponse(message=SENT)
    attached = tmp_path / "invoice.no-such-type"
    attached.write_bytes(b"1")
    result = call(
        *("send", "email", "--to", "a@example.com", "--to", "b@example.com", "--cc", "c@example.com"),
        *("--bcc", "d@example.com", "--subject", "Hi", "--body", "text", "--html", "-", "--sender", "e@example.com"),
        *("--reply-to", "f@example.com", "--header", "X-Order=1", "--attach", str(attached)),
        stdin="<p>ünï</p>\n",
    )
    assert result.exit_code == 0
    assert scripted.asked[0].message.email == Email(
        to=["a@example.com", "b@example.com"],
        cc=["c@example.com"],
        bcc=["d@example.com"],
        subject="Hi",
        text="text",
        html="<p>ünï</p>",
        sender="e@example.com",
        reply_to="f@example.com",
        headers={"X-Order": "1"},
        attachments=[Attachment(file_name="invoice.no-such-type", content_type="application/octet-stream", data=b"1")],
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--header", "X"), "'X' is not KEY=VALUE"),
        (("--label", "=x"), "'=x' is not KEY=VALUE"),
        (("--label", "a=1", "--label", "a=2"), "'a' is there twice"),
        (("--attach", "no/such/file"), "cannot read no/such/file: No such file"),
        (("--attach", "."), "cannot read .: Is a directory"),
        (("--body", "-", "--html", "-"), "not both"),
        (("--body", "-"), "stdin is not UTF-8"),
        (("--body", "\udcff"), "an argument is not UTF-8"),
        (("--expire-in", "10"), "is not a duration such as"),
        (("--expire-in", "0s"), "is not more than 0s and at most"),
        (("--expire-in", "400d"), "is not more than 0s and at most"),
        (("--expire-in", "1h", "--expire-at", "2030-01-31T12:00:00Z"), "--expire-in or --expire-at, not both"),
        (("--send-in", "1h", "--send-at", "2030-01-31T12:00:00Z"), "--send-in or --send-at, not both"),
        (("--send-in", "-1h"), "is not a duration such as"),
        (
            ("--send-at", "noon"),
            "'noon' is not a time such as 2030-01-31T12:00:00Z, 2030-01-31T14:00:00+02:00, or in 2h",
        ),
        (("--send-at", "999999999999999"), "is not a time such as"),
        (("--send-at", "2030-02-30T12:00:00Z"), "is not a time such as"),
        (("--send-at", "0001-01-01T00:00:00+01:00"), "is not a time such as"),
        (("--send-at", "2030-01-31T12:00:00"), "has no offset: add Z for UTC, or one such as +02:00"),
        (("--send-at", "in 400d"), "is not more than 0s and at most"),
        (("--send-at", "in 5"), "is not more than 0s and at most"),
        (("--expire-at", "tomorrow"), "is not a time such as"),
        (("--subject", "a", "--subject", "b"), "--subject is given twice: give it once"),
        (("--json", "--json"), "--json is given twice: give it once"),
        (("--timeout", "soon"), "is not a duration such as"),
        (("--server", "http://localhost:50051"), "is not an address such as"),
        (("--server", "localhost"), "is not an address such as"),
        (("--max-attempts", "0"), "is not in the range"),
        (("--wait-for", "godot"), "is not one of"),
        (("--nonsense",), "No such option"),
    ],
)
def test_wrong_usage(call: Call, scripted: ScriptedServer, more: tuple[str, ...], said: str) -> None:
    result = call("send", "email", "--to", "a@example.com", *more, stdin=b"\xff")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not result.stdout
    assert not scripted.asked


# What is shown.


@pytest.mark.parametrize(
    ("state", "exit_code"),
    [
        *[(state, 0) for state in ("QUEUED", "SENDING", "SENT", "DELIVERED")],
        *[(state, 1) for state in ("UNDELIVERED", "FAILED", "UNCERTAIN", "EXPIRED", "CANCELLED")],
    ],
)
def test_the_exit_code_tells_whether_it_was_sent(
    call: Call, scripted: ScriptedServer, state: str, exit_code: int
) -> None:
    scripted.answer = DispatchResponse(message=Message(state=MessageState.Value(f"MESSAGE_STATE_{state}")))
    result = call("send", "sms", "--to", "+15005550006", "--body", "Hello")
    assert result.exit_code == exit_code
    assert re.search(rf"^state +{state.lower()}$", result.stdout, re.MULTILINE)


def test_a_record_for_people(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = GetMessageResponse(message=SENT)
    result = call("messages", "get", SENT.message_id)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        "message_id  01890a5d-ac96-774b-bcce-b302099a8057\n"
        "request_id  order-1\n"
        "channel     sms\n"
        "state       sent\n"
        "outcome     success\n"
        "provider    sms-mms\n"
        "labels      order=1 shop=eu\n"
        "\n"
        "ATTEMPT  PROVIDER  OUTCOME  STARTED  TOOK   CODE  DETAIL\n"
        "1        sms-mms   success  -        2.5ms  -     -\n"
    )


def test_a_record_for_programs(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = GetMessageResponse(message=SENT)
    result = call("messages", "get", SENT.message_id, "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    record = json.loads(result.stdout)
    assert record["message_id"] == SENT.message_id
    assert record["state"] == "MESSAGE_STATE_SENT"
    assert record["labels"] == {"order": "1", "shop": "eu"}
    assert record["recipients"] == []  # what is empty is there all the same


@pytest.mark.parametrize(
    ("status", "shown", "exit_code"), [("SERVING", "serving", 0), ("NOT_SERVING", "not_serving", 1)]
)
def test_health(call: Call, scripted: ScriptedServer, status: str, shown: str, exit_code: int) -> None:
    scripted.answer = HealthCheckResponse(status=HealthCheckResponse.ServingStatus.Value(status))
    result = call("health", "--service", "postwire.v1.DispatchService")
    assert (result.stdout, result.exit_code) == (f"{shown}\n", exit_code)
    assert scripted.asked[0].service == "postwire.v1.DispatchService"
    assert json.loads(call("health", "--json").stdout) == {"service": "", "status": status}


def test_health_of_a_service_that_does_not_exist(call: Call, scripted: ScriptedServer) -> None:
    scripted.refuse(grpc.StatusCode.NOT_FOUND, "unknown service")
    result = call("health", "--service", "nope")
    assert (result.stdout, result.exit_code) == ("service_unknown\n", 1)


# What is told of failures.


def refuse_fields(scripted: ScriptedServer) -> None:
    violation = BadRequest.FieldViolation
    scripted.refuse(
        grpc.StatusCode.INVALID_ARGUMENT,
        "message.sms.to: must be a number (and 1 more bad fields)",
        ErrorInfo(reason="INVALID_MESSAGE", domain="postwire"),
        BadRequest(
            field_violations=[
                violation(field="message.sms.to", description="must be a number"),
                violation(field="message.sms.body", description="must not\nbe \x1b[31mempty"),
            ]
        ),
    )


def test_a_refusal_for_people(call: Call, scripted: ScriptedServer) -> None:
    refuse_fields(scripted)
    result = call("send", "sms", "--to", "nobody", "--body", "")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "postwire: INVALID_ARGUMENT INVALID_MESSAGE\n"
        "  message.sms.to: must be a number\n"
        "  message.sms.body: must not\\nbe \\x1b[31mempty\n"
    )


def test_a_refusal_for_programs(call: Call, scripted: ScriptedServer) -> None:
    refuse_fields(scripted)
    result = call("send", "sms", "--to", "nobody", "--body", "", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr) == {
        "error": {
            "code": "INVALID_ARGUMENT",
            "reason": "INVALID_MESSAGE",
            "message": "message.sms.to: must be a number (and 1 more bad fields)",
            "field_violations": [
                {"field": "message.sms.to", "description": "must be a number"},
                {"field": "message.sms.body", "description": "must not\nbe \x1b[31mempty"},
            ],
            "retry_delay": None,
        }
    }


def test_a_refusal_without_fields(call: Call, scripted: ScriptedServer) -> None:
    info = ErrorInfo(reason="MESSAGE_NOT_FOUND", domain="postwire")
    scripted.refuse(grpc.StatusCode.NOT_FOUND, "there is no such message", info)
    result = call("messages", "get", "x")
    assert result.exit_code == 1
    assert result.stderr == "postwire: NOT_FOUND MESSAGE_NOT_FOUND: there is no such message\n"


def test_a_server_that_has_no_room_is_no_answer_and_says_how_to_repeat(call: Call, scripted: ScriptedServer) -> None:
    scripted.refuse(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too much is in flight",
        ErrorInfo(reason="OVERLOADED", domain="postwire"),
        RetryInfo(retry_delay=Duration(seconds=1)),
    )
    result = call(*("send", "sms", "--to", "+15005550006", "--body", "Hello", "--send-in", "5m", "--expire-in", "10m"))
    assert result.exit_code == 3
    first, second = result.stderr.splitlines()
    assert first == "postwire: RESOURCE_EXHAUSTED OVERLOADED: too much is in flight"
    (asked,) = scripted.asked
    options = asked.options
    assert f"--request-id {asked.request_id}" in second
    assert f"--send-at {options.send_time.ToJsonString()}" in second
    assert f"--expire-at {options.expire_time.ToJsonString()}" in second
    assert options.expire_time.ToDatetime() - options.send_time.ToDatetime() == timedelta(minutes=5)
    programs = call("providers", "list", "--json")
    assert json.loads(programs.stderr)["error"]["retry_delay"] == 1.0


def test_a_server_that_broke_off_is_told_as_it_is(call: Call, scripted: ScriptedServer) -> None:
    scripted.refuse(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    result = call("messages", "get", "x")
    assert result.exit_code == 3
    assert re.fullmatch(r"postwire: no answer from 127\.0\.0\.1:\d+: Socket closed\n", result.stderr)


@pytest.mark.parametrize(
    "args", [("providers", "list"), ("health",), ("send", "sms", "--to", "+15005550006", "--body", "Hello")]
)
def test_a_server_that_is_not_there_is_one_line(args: tuple[str, ...]) -> None:
    server = closed_port()
    result = CliRunner().invoke(root, [*args, "--server", server])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"postwire: no answer from {server}: is the server running? (postwire serve)\n"


def test_a_server_that_is_silent_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        result = CliRunner().invoke(root, ["health", "--server", server, "--timeout", "50ms"])
    assert result.exit_code == 3
    assert result.stderr == f"postwire: no answer from {server} within 0.05s: is the server running? (postwire serve)\n"

"""`postwire route explain`, against a server in this process that answers as it is scripted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc.error_details_pb2 import ErrorInfo
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.dispatch_service_pb2 import (
    ExplainRouteRequest,
    ExplainRouteResponse,
    RouteCandidate,
    RouteObstacle,
    SmsEncoding,
)
from postwire.v1.message_pb2 import PRIORITY_HIGH, DispatchOptions, Mms, OutboundMessage, Sms

SMS = ("sms", "--to", "+15005550006", "--body", "Hello")


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


Call = Callable[..., Result]


@pytest.fixture
def call(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Runs the command against the server."""
    with serving(scripted) as target:
        monkeypatch.setenv("POSTWIRE_TARGET", target)
        yield lambda *args: CliRunner().invoke(root, ["route", "explain", *args])


def two_tiers() -> ExplainRouteResponse:
    blocked = RouteCandidate(
        provider_name="one", tier=1, weight=3, obstacle=RouteObstacle.ROUTE_OBSTACLE_COOLING_DOWN, eligible=False
    )
    blocked.eligible_time.FromMilliseconds(1_500)
    drained = RouteCandidate(provider_name="two", tier=1, weight=1, obstacle=RouteObstacle.ROUTE_OBSTACLE_DRAINED)
    able = RouteCandidate(provider_name="three", tier=2, weight=1, eligible=True)
    return ExplainRouteResponse(route_key="sms#1", candidates=[blocked, drained, able], overflow=True)


def test_a_route_for_people(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = two_tiers()
    result = call(*SMS)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "route     sms#1\n"
        "overflow  on\n"
        "\n"
        "TIER  PROVIDER  WEIGHT  ELIGIBLE  OBSTACLE      UNTIL\n"
        "1     one       3       no        cooling_down  1970-01-01T00:00:01.500Z\n"
        "1     two       1       no        drained       -\n"
        "2     three     1       yes       -             -\n"
    )


def test_a_route_for_programs(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = two_tiers()
    result = call(*SMS, "--json")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    shown = json.loads(result.stdout)
    assert (shown["route_key"], shown["overflow"]) == ("sms#1", True)
    assert [one["obstacle"].removeprefix("ROUTE_OBSTACLE_") for one in shown["candidates"]] == [
        "COOLING_DOWN",
        "DRAINED",
        "UNSPECIFIED",
    ]


def test_how_many_segments_an_sms_takes_and_how_it_is_encoded(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ExplainRouteResponse(route_key="sms", sms_segments=2, sms_encoding=SmsEncoding.SMS_ENCODING_UCS2)
    assert call(*SMS).stdout.startswith("route     sms\nsegments  2\nencoding  ucs2\n\nTIER")
    shown = json.loads(call(*SMS, "--json").stdout)
    assert (shown["sms_segments"], shown["sms_encoding"]) == (2, "SMS_ENCODING_UCS2")


def test_without_overflow_nothing_is_said_of_it(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ExplainRouteResponse(route_key="@email")
    assert call(*SMS).stdout.startswith("route  @email\n\nTIER")


def test_what_is_asked_is_the_message_as_it_would_be_sent(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ExplainRouteResponse(route_key="sms")
    options = ("--priority", "high", "--provider", "one", "--send-at", "2030-01-31T12:00:00Z")
    assert call(*SMS, "--label", "team=x", *options, "--request-id", "order-1").exit_code == 0
    assert call("mms", "--to", "+15005550006", "--media", "https://example.com/a.png").exit_code == 0
    assert call("email", "--to", "a@example.com", "--subject", "Hi").exit_code == 0
    sms, mms, email = scripted.asked
    expected = DispatchOptions(priority=PRIORITY_HIGH, provider_name="one")
    expected.send_time.FromJsonString("2030-01-31T12:00:00Z")
    assert sms == ExplainRouteRequest(
        message=OutboundMessage(sms=Sms(to="+15005550006", body="Hello"), labels={"team": "x"}), options=expected
    )
    assert mms.message.mms == Mms(to="+15005550006", media=mms.message.mms.media)
    assert mms.message.mms.media[0].url == "https://example.com/a.png"
    assert list(email.message.email.to) == ["a@example.com"]


def test_it_takes_what_send_takes() -> None:
    def options(*path: str) -> dict[str, set[str]]:
        group: click.Command = root
        for name in path:
            assert isinstance(group, click.Group)
            group = group.commands[name]
        assert isinstance(group, click.Group)
        return {
            name: {option for parameter in command.params for option in parameter.opts}
            for name, command in group.commands.items()
        }

    assert options("route", "explain") == {name: found - {"--dry-run"} for name, found in options("send").items()}
    assert options("send").keys() == {"sms", "mms", "email"}


def test_a_channel_that_nobody_carries_is_an_error(call: Call, scripted: ScriptedServer) -> None:
    info = ErrorInfo(reason="INVALID_ROUTING", domain="postwire")
    scripted.refuse(grpc.StatusCode.INTERNAL, "no provider carries sms", info)
    result = call(*SMS)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "postwire: INTERNAL INVALID_ROUTING: no provider carries sms\n"

"""`postwire providers`, against a server in this process that answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.message_pb2 import Channel
from postwire.v1.provider_service_pb2 import (
    Availability,
    Breaker,
    BreakerState,
    DrainProviderRequest,
    DrainProviderResponse,
    GetProviderRequest,
    GetProviderResponse,
    ListProvidersResponse,
    Provider,
    ResetBreakerRequest,
    ResetBreakerResponse,
    ResumeProviderRequest,
    ResumeProviderResponse,
    UpdateMockProviderRequest,
    UpdateMockProviderResponse,
)

OPEN = Provider(
    name="sms-mms",
    kind="mock",
    channels=[Channel.CHANNEL_SMS, Channel.CHANNEL_MMS],
    breaker=Breaker(state=BreakerState.BREAKER_STATE_OPEN, calls=8, failures=5, slow_calls=1, failure_ratio=0.625),
    seed=7,
    seeded=True,
)
OPEN.breaker.next_probe_time.FromMilliseconds(1_500)
CLOSED = Provider(
    name="email",
    kind="mock",
    channels=[Channel.CHANNEL_EMAIL],
    breaker=Breaker(state=BreakerState.BREAKER_STATE_CLOSED),
    seed=8,
    in_flight=2,
)
OLD = Provider(name="relay", kind="smtp", channels=[Channel.CHANNEL_EMAIL])
"""Of a server that tells nothing of breakers."""


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


Call = Callable[..., Result]


@pytest.fixture
def call(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Runs the command against the server."""
    with serving(scripted) as target:
        monkeypatch.setenv("POSTWIRE_TARGET", target)
        yield lambda *args: CliRunner().invoke(root, ["providers", *args])


def test_list_shows_how_each_stands(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ListProvidersResponse(providers=[OPEN, CLOSED, OLD])
    assert call("list").stdout == (
        "PROVIDER  KIND  CHANNELS  BREAKER  FAILURE_RATIO  NEXT_PROBE  IN_FLIGHT  SEED\n"
        "sms-mms   mock  sms,mms   open     0.62           due         0          7\n"
        "email     mock  email     closed   0.00           -           2          random\n"
        "relay     smtp  email     -        0.00           -           0          -\n"
    )
    programs = json.loads(call("list", "--json").stdout)
    assert [one["name"] for one in programs["providers"]] == ["sms-mms", "email", "relay"]
    assert programs["providers"][0]["breaker"] == {
        "state": "BREAKER_STATE_OPEN",
        "calls": 8,
        "failures": 5,
        "slow_calls": 1,
        "failure_ratio": 0.625,
        "next_probe_time": "1970-01-01T00:00:01.500Z",
    }


@pytest.mark.parametrize(
    ("availability", "shown"),
    [("AVAILABLE", "closed"), ("UNAVAILABLE", "unavailable"), ("MISCONFIGURED", "misconfigured")],
)
def test_one_that_cannot_be_used_is_told_from_one_whose_breaker_is_closed(
    call: Call, scripted: ScriptedServer, availability: str, shown: str
) -> None:
    provider = Provider(availability=Availability.Value(f"AVAILABILITY_{availability}"))
    provider.MergeFrom(CLOSED)
    scripted.answer = ListProvidersResponse(providers=[provider])
    assert call("list").stdout.splitlines()[1].split()[3] == shown
    scripted.answer = GetProviderResponse(provider=provider)
    assert f"{availability.lower()}\n" in call("get", "email").stdout


def test_none_is_a_table_without_rows(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ListProvidersResponse()
    result = call("list")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)


def test_one_for_people(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = GetProviderResponse(provider=OPEN)
    result = call("get", "sms-mms")
    assert (result.exit_code, result.stderr) == (0, "")
    assert scripted.asked == [GetProviderRequest(name="sms-mms")]
    assert result.stdout == (
        "provider         sms-mms\n"
        "kind             mock\n"
        "channels         sms,mms\n"
        "breaker          open\n"
        "calls            8\n"
        "failures         5\n"
        "slow_calls       1\n"
        "failure_ratio    0.62\n"
        "next_probe_time  1970-01-01T00:00:01.500Z\n"
        "in_flight        0\n"
        "seed             7\n"
    )


@pytest.mark.parametrize(
    ("command", "asked", "response"),
    [
        ("get", GetProviderRequest, GetProviderResponse),
        ("drain", DrainProviderRequest, DrainProviderResponse),
        ("resume", ResumeProviderRequest, ResumeProviderResponse),
        ("reset", ResetBreakerRequest, ResetBreakerResponse),
        ("update", UpdateMockProviderRequest, UpdateMockProviderResponse),
    ],
)
def test_each_command_asks_for_its_own_and_shows_the_provider_as_it_now_is(
    call: Call, scripted: ScriptedServer, command: str, asked: Any, response: Any
) -> None:
    scripted.answer = response(provider=CLOSED)
    result = call(command, "email")
    assert (result.exit_code, result.stderr) == (0, "")
    assert scripted.asked == [asked(name="email")]
    assert "breaker        closed\n" in result.stdout
    assert "seed           8 (random)\n" in result.stdout
    programs = call(command, "email", "--json")
    assert programs.stdout.count("\n") == 1
    assert json.loads(programs.stdout)["breaker"]["state"] == "BREAKER_STATE_CLOSED"


def test_a_refusal_is_told_as_elsewhere(call: Call, scripted: ScriptedServer) -> None:
    info = ErrorInfo(reason="PROVIDER_DRAINED", domain="postwire")
    scripted.refuse(grpc.StatusCode.FAILED_PRECONDITION, "it is drained: resume it", info)
    result = call("reset", "email")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "postwire: FAILED_PRECONDITION PROVIDER_DRAINED: it is drained: resume it\n"
    assert json.loads(call("reset", "email", "--json").stderr)["error"]["reason"] == "PROVIDER_DRAINED"


def test_a_mock_is_changed_in_what_is_given_and_in_nothing_else(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = UpdateMockProviderResponse(provider=OPEN)
    assert call("update", "sms-mms", "--error-ratio", "0", "--latency", "0s", "--seed", "0").exit_code == 0
    every = ("--rate-limited-ratio", "0.1", "--uncertain-ratio", "0.2", "--rejected-ratio", "1", "--retry-after", "1m")
    more = ("--connect-error-ratio", "0.3", "--deferred-ratio", "0.4", "--misconfigured")
    later = ("--delivered-ratio", "0.9", "--undelivered-ratio", "0.05", "--doubled-receipt-ratio", "0.1")
    assert (
        call("update", "sms-mms", *every, *more, *later, "--receipt-delay", "2s", "--seed", str(2**64 - 1)).exit_code
        == 0
    )
    assert scripted.asked == [
        UpdateMockProviderRequest(name="sms-mms", error_ratio=0.0, latency=Duration(), seed=0),
        UpdateMockProviderRequest(
            name="sms-mms",
            rate_limited_ratio=0.1,
            uncertain_ratio=0.2,
            rejected_ratio=1.0,
            retry_after=Duration(seconds=60),
            connect_error_ratio=0.3,
            deferred_ratio=0.4,
            misconfigured=True,
            delivered_ratio=0.9,
            undelivered_ratio=0.05,
            receipt_delay=Duration(seconds=2),
            doubled_receipt_ratio=0.1,
            seed=2**64 - 1,
        ),
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("get",), "Missing argument"),
        (("drain", "a", "b"), "unexpected extra argument"),
        (("update", "a", "--error-ratio", "1.1"), "is not in the range"),
        (("update", "a", "--error-ratio", "often"), "is not a valid float"),
        (("update", "a", "--latency", "soon"), "is not a duration such as"),
        (("update", "a", "--latency", "25h"), "is not at most 24h"),
        (("update", "a", "--seed", str(2**64)), "is not in the range"),
        (("update", "a", "--seed", "-1"), "is not in the range"),
        (("watch", "a"), "unexpected extra argument"),
    ],
)
def test_wrong_usage(call: Call, scripted: ScriptedServer, args: tuple[str, ...], said: str) -> None:
    result = call(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not scripted.asked

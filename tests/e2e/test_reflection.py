"""Callers that have nothing but the address: no .proto files, no stubs of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.e2e.calls import TIMEOUT
from tests.e2e.conftest import Serve
from tests.e2e.server import Server

BUF = Path(sys.executable).with_name("buf")

MESSAGES = [
    ({"sms": {"to": "+15005550006", "body": "hi"}}, "CHANNEL_SMS", "sms-mms"),
    ({"mms": {"to": "+15005550006", "media": [{"url": "https://a.test/1.png"}]}}, "CHANNEL_MMS", "sms-mms"),
    ({"email": {"to": ["success@simulator.postwire.test"], "text": "hi"}}, "CHANNEL_EMAIL", "email"),
]


def check(answer: dict[str, Any], channel: str, provider: str) -> None:
    message = answer["message"]
    assert message["messageId"]
    assert message["channel"] == channel
    assert message["state"] == "MESSAGE_STATE_SENT"
    assert message["outcome"] == "OUTCOME_SUCCESS"
    assert message["providerName"] == provider


@pytest.fixture(scope="module")
def reflected(server: Server) -> ProtoReflectionDescriptorDatabase:
    return ProtoReflectionDescriptorDatabase(server.channel())


def test_the_services_are_listed(reflected: ProtoReflectionDescriptorDatabase) -> None:
    assert {"postwire.v1.DispatchService", "postwire.v1.ProviderService", "grpc.health.v1.Health"} <= set(
        reflected.get_services()
    )


@pytest.mark.parametrize(
    "symbol",
    [
        "postwire.v1.DispatchService",
        "postwire.v1.DispatchService.Dispatch",
        "postwire.v1.Message",
        "postwire.v1.Message.state",
        "postwire.v1.CHANNEL_SMS",
        "grpc.health.v1.Health.Check",
    ],
)
def test_every_kind_of_name_is_found(server: Server, symbol: str) -> None:
    reflected = ProtoReflectionDescriptorDatabase(server.channel())  # a new one: it guesses from what it has seen
    assert reflected.FindFileContainingSymbol(symbol).package == symbol[: symbol.index("v1") + 2]


@pytest.mark.parametrize("symbol", ["postwire.v1.Nothing", "postwire.v1.DispatchService.Nothing", "nothing", ""])
def test_a_name_that_there_is_not_is_said_to_be_unknown(server: Server, symbol: str) -> None:
    reflected = ProtoReflectionDescriptorDatabase(server.channel())
    with pytest.raises(KeyError):
        reflected.FindFileContainingSymbol(symbol)


@pytest.mark.parametrize(("message", "channel", "provider"), MESSAGES)
def test_a_client_made_from_reflection_dispatches(
    server: Server,
    reflected: ProtoReflectionDescriptorDatabase,
    message: dict[str, Any],
    channel: str,
    provider: str,
) -> None:
    pool = DescriptorPool(reflected)
    method = pool.FindServiceByName("postwire.v1.DispatchService").FindMethodByName("Dispatch")
    request = json_format.ParseDict({"message": message}, GetMessageClass(method.input_type)())
    call: Any = server.channel().unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    check(json_format.MessageToDict(call(request, timeout=TIMEOUT)), channel, provider)


@pytest.mark.parametrize(("message", "channel", "provider"), MESSAGES)
def test_buf_curl_dispatches(server: Server, message: dict[str, Any], channel: str, provider: str) -> None:
    done = buf_curl(server, {"message": message})
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), channel, provider)


METHODS = {
    "DispatchService": {"Dispatch", "GetMessage", "ListMessages", "ExplainRoute"},
    "ProviderService": {
        "ListProviders",
        "GetProvider",
        "WatchProviders",
        "DrainProvider",
        "ResumeProvider",
        "ResetBreaker",
        "UpdateMockProvider",
    },
}


@pytest.mark.parametrize("service", METHODS)
def test_every_method_is_described(reflected: ProtoReflectionDescriptorDatabase, service: str) -> None:
    found = DescriptorPool(reflected).FindServiceByName(f"postwire.v1.{service}")
    assert {method.name for method in found.methods} >= METHODS[service]
    streams = {method.name for method in found.methods if method.server_streaming}
    assert streams >= {name for name in METHODS[service] if name.startswith("Watch")}


def test_buf_curl_steers_a_provider_and_sees_where_messages_would_go(serve: Serve) -> None:
    server = serve()

    def steer(method: str) -> dict[str, Any]:
        done = buf_curl(server, {"name": "email"}, f"ProviderService/{method}")
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)["provider"]
        return shown

    assert steer("DrainProvider")["breaker"] == {"state": "BREAKER_STATE_FORCED_OPEN"}
    done = buf_curl(
        server, {"message": {"email": {"to": ["ada@example.com"], "text": "hi"}}}, "DispatchService/ExplainRoute"
    )
    assert json.loads(done.stdout) == {
        "routeKey": "email",
        "rule": "routes.email",
        "candidates": [{"providerName": "email", "tier": 1, "weight": 1, "obstacle": "ROUTE_OBSTACLE_DRAINED"}],
    }
    refused = buf_curl(server, {"name": "email"}, "ProviderService/ResetBreaker")
    assert json.loads(refused.stderr)["code"] == "failed_precondition"
    assert steer("ResumeProvider")["breaker"] == {"state": "BREAKER_STATE_CLOSED"}


def test_buf_curl_shows_what_is_wrong(server: Server) -> None:
    done = buf_curl(server, {"message": {}})
    assert done.returncode != 0
    error = json.loads(done.stderr)
    assert error["code"] == "invalid_argument"
    assert [detail["type"] for detail in error["details"]] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


def buf_curl(
    server: Server, request: dict[str, Any], method: str = "DispatchService/Dispatch"
) -> subprocess.CompletedProcess[str]:
    url = f"http://{server.address}/postwire.v1.{method}"
    command = [
        str(BUF),
        "curl",
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        "--reflect",
        "-d",
        json.dumps(request),
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd=server.folder)

"""Somebody whose client was made from the first contract, and never renewed, notices nothing.

`tests/contracts/first.binpb` is the image of the contract as it was when `Dispatch` first worked. It is never renewed:
clients out there were made from it. Its files have the names of today's, so that they need a pool of their own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet
from tests.e2e.calls import NO_RETRY, TIMEOUT, new_request_id, refused
from tests.e2e.conftest import Serve
from tests.e2e.server import Server

from postwire.v1 import provider_service_pb2

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "tests/contracts/first.binpb"

FIRST = {
    "DispatchService": {"Dispatch", "GetMessage", "ListMessages"},
    "ProviderService": {"ListProviders", "GetProvider", "UpdateMockProvider"},
}


class FirstClient:
    """Calls made from nothing but the image."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(IMAGE.read_bytes()).file:
            self.pool.Add(file)

    def call(self, service: str, name: str, request: dict[str, Any]) -> Any:
        method = self.pool.FindServiceByName(f"postwire.v1.{service}").FindMethodByName(name)
        send: Callable[..., Any] = self._channel.unary_unary(
            f"/postwire.v1.{service}/{name}",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return send(json_format.ParseDict(request, GetMessageClass(method.input_type)()), timeout=TIMEOUT)

    def dispatch(self, message: dict[str, Any], **request: Any) -> dict[str, Any]:
        answer = self.call("DispatchService", "Dispatch", {"message": message, **request})
        record: dict[str, Any] = json_format.MessageToDict(answer)["message"]
        return record


@pytest.fixture
def client(server: Server) -> FirstClient:
    return FirstClient(server.channel())


def test_the_image_is_that_of_the_first_contract(client: FirstClient) -> None:
    for name, methods in FIRST.items():
        service = client.pool.FindServiceByName(f"postwire.v1.{name}")
        assert {method.name for method in service.methods} == methods
    assert service.full_name == provider_service_pb2.DESCRIPTOR.services_by_name["ProviderService"].full_name
    assert service is not provider_service_pb2.DESCRIPTOR.services_by_name["ProviderService"]


def test_nothing_that_it_knows_was_changed_or_removed() -> None:
    buf = Path(sys.executable).with_name("buf")
    done = subprocess.run([buf, "breaking", "--against", IMAGE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("message", "channel", "provider"),
    [
        ({"sms": {"to": "+15005550006", "body": "hi"}}, "CHANNEL_SMS", "sms-mms"),
        ({"mms": {"to": "+15005550006", "media": [{"url": "https://a.test/1.png"}]}}, "CHANNEL_MMS", "sms-mms"),
        ({"email": {"to": ["success@simulator.postwire.test"], "text": "hi"}}, "CHANNEL_EMAIL", "email"),
    ],
)
def test_it_dispatches_and_reads_what_became_of_it(
    client: FirstClient, message: dict[str, Any], channel: str, provider: str
) -> None:
    request_id = new_request_id()
    record = client.dispatch(message, requestId=request_id)
    assert (record["channel"], record["state"]) == (channel, "MESSAGE_STATE_SENT")
    assert (record["providerName"], record["outcome"]) == (provider, "OUTCOME_SUCCESS")
    assert [attempt["providerName"] for attempt in record["attempts"]] == [provider]
    assert client.dispatch(message, requestId=request_id) == record
    by_id = client.call("DispatchService", "GetMessage", {"messageId": record["messageId"]})
    assert json_format.MessageToDict(by_id)["message"] == record
    page = client.call("DispatchService", "ListMessages", {"filter": {"channels": [channel]}, "pageSize": 1})
    assert json_format.MessageToDict(page)["messages"] == [record]


def test_states_that_it_knows_are_all_it_sees(serve: Serve) -> None:
    """Failure, doubt and waiting as well: each by a value that has a name in the first contract."""
    client = FirstClient(serve(**NO_RETRY).channel())
    ends = {
        "+15005550001": ("MESSAGE_STATE_FAILED", "OUTCOME_REJECTED"),
        "+15005550002": ("MESSAGE_STATE_QUEUED", "OUTCOME_ERROR"),
        "+15005550003": ("MESSAGE_STATE_QUEUED", "OUTCOME_RATE_LIMITED"),
        "+15005550004": ("MESSAGE_STATE_UNCERTAIN", "OUTCOME_UNCERTAIN"),
    }
    options = {"deliveryGuarantee": "DELIVERY_GUARANTEE_AT_MOST_ONCE"}
    for number in ("+15005550001", "+15005550002", "+15005550004", "+15005550003"):  # the last one cools it down
        record = client.dispatch({"sms": {"to": number, "body": "hi"}}, options=options)
        assert (record["state"], record["outcome"]) == ends[number]


def test_a_refusal_says_what_it_said_then(client: FirstClient) -> None:
    error = refused(lambda: client.dispatch({"sms": {"to": "12", "body": "hi"}}))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert error.fields == ["message.sms.to"]


def test_it_skips_what_was_added_since(serve: Serve) -> None:
    client = FirstClient(serve().channel())
    providers = client.call("ProviderService", "ListProviders", {}).providers
    assert [provider.name for provider in providers] == ["sms-mms", "email"]
    added = provider_service_pb2.Provider.DESCRIPTOR.fields_by_name["breaker"].number
    for provider in providers:
        assert "breaker" not in provider.DESCRIPTOR.fields_by_name
        unknown: Any = UnknownFieldSet(provider)  # its types know no iteration
        assert added in {field.field_number for field in unknown}
    changed = client.call("ProviderService", "UpdateMockProvider", {"name": "email", "seed": "7"})
    assert (changed.provider.seed, changed.provider.seeded) == (7, True)
    assert client.call("ProviderService", "GetProvider", {"name": "email"}).provider.seed == 7

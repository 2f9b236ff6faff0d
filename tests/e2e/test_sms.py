"""How many segments an SMS takes and whom it is from, as callers of a server see it."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from tests.e2e.calls import dispatch, explain, mms, refused, sms
from tests.e2e.server import Server

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import OutboundMessage

GSM, UCS2 = pb.SMS_ENCODING_GSM_7BIT, pb.SMS_ENCODING_UCS2
UNSUITABLE = pb.ROUTE_OBSTACLE_UNSUITABLE

TOML = """
[providers.british]
kind = "twilio"
channels = ["sms", "mms"]
base_url = "http://127.0.0.1:1"
account_sid = "AC00000000000000000000000000000000"
auth_token = "t"
senders = { "+44" = "+447700900001" }

[providers.short]
kind = "vonage"
channels = ["sms"]
base_url = "http://127.0.0.1:1"
api_key = "k"
api_secret = "s"
sender = "Acme"
max_segments = 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose vendors are nowhere: what cannot be carried is never handed to them."""
    folder = tmp_path_factory.mktemp("sms")
    (folder / "postwire.toml").write_text(TOML, encoding="utf-8")
    with Server(folder) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "encoding", "count"),
    [
        ("x" * 160, GSM, 1),
        ("x" * 161, GSM, 2),
        ("€" * 81, GSM, 2),
        ("日" * 70, UCS2, 1),
        ("\U0001f600" * 67, UCS2, 3),
    ],
)
def test_an_sms_is_explained_with_its_segments(
    server: Server, body: str, encoding: pb.SmsEncoding.ValueType, count: int
) -> None:
    shown = explain(server, sms(body=body))
    assert (shown.sms_encoding, shown.sms_segments) == (encoding, count)


def test_an_mms_has_no_segments(server: Server) -> None:
    shown = explain(server, mms("+447700900123"))
    assert (shown.sms_encoding, shown.sms_segments) == (pb.SMS_ENCODING_UNSPECIFIED, 0)


def unsuitable(server: Server, message: OutboundMessage) -> list[str]:
    return [one.provider_name for one in explain(server, message).candidates if one.obstacle == UNSUITABLE]


def test_who_has_no_sender_for_a_number_or_takes_no_such_length_is_left_out(server: Server) -> None:
    assert unsuitable(server, sms("+447700900123")) == []
    assert unsuitable(server, sms("+447700900123", "x" * 161)) == ["short"]
    assert unsuitable(server, sms("+15005550009")) == ["british"]
    assert unsuitable(server, sms("+15005550009", sender="Other")) == []


@pytest.mark.parametrize(
    ("message", "pinned", "violation"),
    [
        (mms("+15005550009"), "", ("message.mms.sender", "the provider has none for this number")),
        (sms("+15005550009"), "british", ("message.sms.sender", "the provider has none for this number")),
        (sms("+15005550009", "x" * 161), "short", ("message.sms.body", "at most 1 segment, and takes 2")),
    ],
)
def test_what_nobody_can_carry_is_refused_by_the_field_that_is_why(
    server: Server, message: OutboundMessage, pinned: str, violation: tuple[str, str]
) -> None:
    options = {"provider_name": pinned} if pinned else {}
    error = refused(lambda: dispatch(server, message, **options))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    ((field, description),) = error.violations
    assert field == violation[0]
    assert violation[1] in description

"""Every way in which a call is refused: what its caller sees, and that nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import (
    SENT,
    TIMEOUT,
    Refused,
    email,
    mms,
    new_request_id,
    refusal_of,
    refused,
    release,
    request,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import Attachment, DispatchOptions, Media, OutboundMessage
from postwire.v1.provider_service_pb2 import GetProviderRequest, ListProvidersRequest, UpdateMockProviderRequest

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
MIB = 1 << 20
SECRET = "s3cr3t"


@dataclass(frozen=True)
class Bad:
    """A request that has to be refused, and the fields that its error has to name."""

    reason: str
    fields: list[str]
    message: OutboundMessage | None = None
    options: DispatchOptions | None = None


BAD = {
    "no message": Bad("INVALID_MESSAGE", ["message.content"]),
    "no content": Bad("INVALID_MESSAGE", ["message.content"], OutboundMessage()),
    "empty sms": Bad("INVALID_MESSAGE", ["message.sms.to", "message.sms.body"], sms(to="", body="")),
    "empty mms": Bad("INVALID_MESSAGE", ["message.mms.to", "message.mms.body"], mms(to="", body="")),
    "empty email": Bad("INVALID_MESSAGE", ["message.email.to", "message.email.text"], email(to=[], text="")),
    "empty address": Bad("INVALID_MESSAGE", ["message.email.to[0]"], email("")),
    "number without plus": Bad("INVALID_MESSAGE", ["message.sms.to"], sms(to="4155550132")),
    "number with a line feed": Bad("INVALID_MESSAGE", ["message.sms.to"], sms(to="+14155550132\n")),
    "sender": Bad("INVALID_MESSAGE", ["message.sms.sender"], sms(sender="+1 (415) 555")),
    "third address": Bad("INVALID_MESSAGE", ["message.email.to[2]"], email("a@b.test", "c@d.test", "e")),
    "copies": Bad(
        "INVALID_MESSAGE", ["message.email.cc[0]", "message.email.bcc[1]"], email(cc=["x"], bcc=["a@b.test", ""])
    ),
    "line feed in the subject": Bad("INVALID_MESSAGE", ["message.email.subject"], email(subject=f"Hi\nBcc: {SECRET}")),
    "carriage return in an address": Bad(
        "INVALID_MESSAGE", ["message.email.to[0]"], email(f"a@b.test\r\nBcc: {SECRET}")
    ),
    "line feed in the sender": Bad("INVALID_MESSAGE", ["message.email.sender"], email(sender=f"{SECRET}\n <a@b.test>")),
    "line separator in reply_to": Bad(
        "INVALID_MESSAGE", ["message.email.reply_to"], email(reply_to="A\u2028B <a@b.test>")
    ),
    "zero-width space in an address": Bad(
        "INVALID_MESSAGE", ["message.email.to[0]"], email(to=[f"{SECRET}\u200b@b.test"])
    ),
    "line feed in reply_to": Bad("INVALID_MESSAGE", ["message.email.reply_to"], email(reply_to="a@b.test\nX: y")),
    "line break in a header": Bad(
        "INVALID_MESSAGE", ["message.email.headers"], email(headers={f"X-{SECRET}": "a\r\nBcc: b"})
    ),
    "line break in a header's name": Bad(
        "INVALID_MESSAGE", ["message.email.headers"], email(headers={f"X-{SECRET}\r\nBcc": "b"})
    ),
    "NUL in a header": Bad("INVALID_MESSAGE", ["message.email.headers"], email(headers={"X-A": "a\0b"})),
    "a header of ours": Bad("INVALID_MESSAGE", ["message.email.headers"], email(headers={"bCC": "eve@example.com"})),
    "media without a source": Bad("INVALID_MESSAGE", ["message.mms.media[0]"], mms(media=[Media(file_name="a.png")])),
    "media without a type": Bad(
        "INVALID_MESSAGE", ["message.mms.media[0].content_type"], mms(media=[Media(data=b"x")])
    ),
    "attachment": Bad(
        "INVALID_MESSAGE",
        ["message.email.attachments[0].file_name", "message.email.attachments[0].data"],
        email(attachments=[Attachment()]),
    ),
    "label": Bad("INVALID_MESSAGE", ["message.labels"], OutboundMessage(sms=sms().sms, labels={f"{SECRET} key": "x"})),
    "unknown enum values": Bad(
        "INVALID_MESSAGE",
        ["options.delivery_guarantee", "options.priority", "options.wait_for"],
        sms(),
        # As a newer client's contract would have them.
        DispatchOptions.FromString(b"\x08\x63\x20\x63\x28\x63"),
    ),
    "attempts": Bad("INVALID_MESSAGE", ["options.max_attempts"], sms(), DispatchOptions(max_attempts=101)),
    "fewer than no attempts": Bad("INVALID_MESSAGE", ["options.max_attempts"], sms(), DispatchOptions(max_attempts=-1)),
    "no time": Bad(
        "INVALID_MESSAGE", ["options.expire_time"], sms(), DispatchOptions(expire_time=Timestamp(seconds=-1, nanos=-1))
    ),
    "expired": Bad(
        "INVALID_MESSAGE", ["options.expire_time"], sms(), DispatchOptions(expire_time=Timestamp(seconds=1))
    ),
    "text": Bad("MESSAGE_TOO_LARGE", ["message.sms.body"], sms(body="x" * 1601)),
    "recipients": Bad("MESSAGE_TOO_LARGE", ["message.email.to"], email(*(["a@b.test"] * 1001))),
    "labels": Bad(
        "MESSAGE_TOO_LARGE", ["message.labels"], OutboundMessage(sms=sms().sms, labels={str(n): "" for n in range(17)})
    ),
    "unknown provider": Bad(
        "INVALID_PROVIDER", ["options.provider_name"], sms(), DispatchOptions(provider_name="nobody")
    ),
    "another channel's provider": Bad(
        "INVALID_PROVIDER", ["options.provider_name"], sms(), DispatchOptions(provider_name="email")
    ),
    "33 MiB": Bad(
        "MESSAGE_TOO_LARGE", ["message"], email(attachments=[Attachment(file_name="a", data=bytes(33 * MIB))])
    ),
}


def dispatch(server: Server, asked: pb.DispatchRequest) -> Refused:
    return refused(lambda: server.dispatch.Dispatch(asked, timeout=TIMEOUT))


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_message_is_refused_and_nothing_of_it_is_kept(server: Server, bad: Bad) -> None:
    request_id = new_request_id()
    error = dispatch(server, pb.DispatchRequest(message=bad.message, request_id=request_id, options=bad.options))
    assert (error.code, error.reason) == (INVALID_ARGUMENT, bad.reason)
    assert sorted(error.fields) == sorted(bad.fields)
    assert error.text
    assert all(description for _, description in error.violations)
    assert SECRET not in str(error)
    # The request id is free, so that its caller can correct the message.
    assert server.dispatch.Dispatch(request(request_id=request_id), timeout=TIMEOUT).message.state == SENT


def test_no_refused_call_leaves_a_row(serve: Serve) -> None:
    server = serve()
    for bad in BAD.values():
        dispatch(server, pb.DispatchRequest(message=bad.message, request_id=new_request_id(), options=bad.options))
        dispatch(server, pb.DispatchRequest(message=bad.message, options=bad.options))
    assert server.terminate() == 0
    for table in ("messages", "contents", "attempts"):
        assert server.rows(f"SELECT count(*) FROM {table}") == [(0,)]
    assert server.log("attempt") == []
    assert server.log("internal_error") == []
    assert SECRET not in server.log_text()


@pytest.mark.parametrize("request_id", ["x" * 129, "tab\t", "é", "\x7f"])
def test_a_bad_request_id_is_refused(server: Server, request_id: str) -> None:
    error = dispatch(server, pb.DispatchRequest(message=sms(), request_id=request_id))
    assert (error.code, error.reason, error.fields) == (INVALID_ARGUMENT, "INVALID_MESSAGE", ["request_id"])


def test_at_most_25_bad_fields_are_named(server: Server) -> None:
    error = dispatch(server, request(email(*(["nobody"] * 100))))
    assert error.reason == "INVALID_MESSAGE"
    assert error.fields == [*(f"message.email.to[{index}]" for index in range(25)), ""]
    assert error.violations[-1][1] == "and 75 more"


def test_a_message_over_the_transports_limit_is_refused_by_the_transport(server: Server) -> None:
    large = email(attachments=[Attachment(file_name="a", data=bytes(40 * MIB))])
    error = dispatch(server, request(large))
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, None)
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT


def test_the_limit_is_configurable(serve: Serve) -> None:
    server = serve(server__max_message_bytes="1KiB")
    assert dispatch(server, request(email(text="x" * 1024))).reason == "MESSAGE_TOO_LARGE"
    assert server.dispatch.Dispatch(request(email(text="x" * 512)), timeout=TIMEOUT).message.state == SENT


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x05\x0a\x03\x0a\x01\xff"], ids=["bytes", "no UTF-8"])
def test_bytes_that_are_no_request_are_refused(server: Server, garbage: bytes) -> None:
    call: Any = server.channel().unary_unary("/postwire.v1.DispatchService/Dispatch")
    error = refused(lambda: call(garbage, timeout=TIMEOUT))
    assert error.reason is None
    assert error.code is not grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT


def test_a_method_that_is_not_there_is_unimplemented(server: Server) -> None:
    call: Any = server.channel().unary_unary("/postwire.v1.DispatchService/Explode")
    assert refused(lambda: call(b"", timeout=TIMEOUT)).code is grpc.StatusCode.UNIMPLEMENTED


def test_a_request_id_belongs_to_one_payload(server: Server) -> None:
    asked = request(sms(body="one"))
    first = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    for other in (
        request(sms(body="two"), asked.request_id),
        request(sms(to="+14155550199", body="one"), asked.request_id),
        request(mms(body="one"), asked.request_id),
        request(sms(body="one"), asked.request_id, max_attempts=2),
        request(sms(body="one"), asked.request_id, provider_name="sms-mms"),
    ):
        error = dispatch(server, other)
        assert (error.code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message == first


@pytest.mark.parametrize("message_id", ["42", "019AB0C4-94C8-7000-8F3E-5D2A7C1B9E64", "' OR 1=1 --"])
def test_a_malformed_message_id_is_refused(server: Server, message_id: str) -> None:
    error = refused(lambda: server.dispatch.GetMessage(pb.GetMessageRequest(message_id=message_id), timeout=TIMEOUT))
    assert (error.code, error.reason, error.fields) == (INVALID_ARGUMENT, "INVALID_MESSAGE", ["message_id"])


def test_an_unknown_message_is_not_found(server: Server) -> None:
    asked = pb.GetMessageRequest(message_id="019ab0c4-94c8-7000-8f3e-5d2a7c1b9e64")
    error = refused(lambda: server.dispatch.GetMessage(asked, timeout=TIMEOUT))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")


def test_an_unknown_provider_is_not_found(server: Server) -> None:
    calls: list[Callable[[], object]] = [
        lambda: server.providers.GetProvider(GetProviderRequest(name="nobody"), timeout=TIMEOUT),
        lambda: server.providers.UpdateMockProvider(UpdateMockProviderRequest(name="nobody"), timeout=TIMEOUT),
    ]
    for call in calls:
        error = refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND")


UPDATES = {
    "no name": (UpdateMockProviderRequest(error_ratio=0.1), ["name"]),
    "over 1": (UpdateMockProviderRequest(name="email", error_ratio=1.1), ["error_ratio"]),
    "below 0": (UpdateMockProviderRequest(name="email", rejected_ratio=-0.1), ["rejected_ratio"]),
    "no number": (UpdateMockProviderRequest(name="email", uncertain_ratio=float("nan")), ["uncertain_ratio"]),
    "a sum over 1": (UpdateMockProviderRequest(name="email", error_ratio=0.6, rejected_ratio=0.5), ["error_ratio"]),
    "a negative time": (UpdateMockProviderRequest(name="email", latency=Duration(seconds=-1)), ["latency"]),
    "too long a time": (UpdateMockProviderRequest(name="email", retry_after=Duration(seconds=10**9)), ["retry_after"]),
    "several": (
        UpdateMockProviderRequest(name="", error_ratio=2, latency=Duration(nanos=-1)),
        ["error_ratio", "latency", "name"],
    ),
}


@pytest.mark.parametrize(("update", "fields"), UPDATES.values(), ids=UPDATES.keys())
def test_a_bad_update_of_a_mock_is_refused_and_changes_nothing(
    server: Server, update: UpdateMockProviderRequest, fields: list[str]
) -> None:
    update.seed = 99
    before = server.providers.GetProvider(GetProviderRequest(name="email"), timeout=TIMEOUT)
    error = refused(lambda: server.providers.UpdateMockProvider(update, timeout=TIMEOUT))
    assert (error.code, error.reason) == (INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert sorted(error.fields) == fields
    assert server.providers.GetProvider(GetProviderRequest(name="email"), timeout=TIMEOUT) == before
    assert server.dispatch.Dispatch(request(email()), timeout=TIMEOUT).message.state == SENT


def test_too_much_in_flight_is_pushed_back(serve: Serve) -> None:
    server = serve(server__max_in_flight="1", providers__sms_mms__latency="1h")
    owned = server.dispatch.Dispatch(request(wait_for="WAIT_FOR_ACCEPTANCE"), timeout=TIMEOUT).message
    one = request(email())
    error = dispatch(server, one)
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert error.retry_delay
    assert float(error.trailers["grpc-retry-pushback-ms"]) == error.retry_delay * 1000
    # A repeat of what is owned is OK, however much is in flight.
    again = server.dispatch.Dispatch(
        request(request_id=owned.request_id, wait_for="WAIT_FOR_ACCEPTANCE"), timeout=TIMEOUT
    ).message
    assert again.message_id == owned.message_id
    server.kill()
    server.start(providers__sms_mms__latency="0s")
    assert server.dispatch.Dispatch(one, timeout=TIMEOUT).message.state == SENT


def test_room_is_free_again_once_a_message_has_landed(serve: Serve) -> None:
    server = serve(held=True, server__max_in_flight="2", providers__sms_mms__latency="1h")
    calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(8)]
    eventually(lambda: sum(call.done() for call in calls) == 6)
    release(server)
    errors = [refusal_of(call.exception()) for call in calls if call.exception()]
    assert [error.reason for error in errors] == ["OVERLOADED"] * 6
    eventually(
        lambda: (
            not any(
                one.in_flight
                for one in server.providers.ListProviders(ListProvidersRequest(), timeout=TIMEOUT).providers
            )
        )
    )
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT

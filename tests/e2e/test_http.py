"""The contract over HTTP by a real server: what curl, a browser and Connect's clients get, and who gets nothing."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest
from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf import json_format
from tests.e2e import web
from tests.e2e.calls import TIMEOUT, dispatch, email, get, new_request_id, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.e2e.test_errors import BAD, Bad
from tests.e2e.test_errors import dispatch as dispatch_badly
from tests.e2e.web import HTTP, call

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import MESSAGE_STATE_SENT

MESSAGE: Final = {"sms": {"to": "+14155550132", "body": "Hello"}}
GRPC_WEB: Final = "application/grpc-web+proto"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by the tests of this module: none of them may change it."""
    with Server(tmp_path_factory.mktemp("web"), **HTTP) as running:
        yield running


# What there is.


def test_plain_json_sends_gets_and_lists(server: Server) -> None:
    request_id = new_request_id()
    answer = call(server, "Dispatch", {"message": MESSAGE, "requestId": request_id})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    message = answer.json["message"]
    assert (message["state"], message["channel"]) == ("MESSAGE_STATE_SENT", "CHANNEL_SMS")
    assert get(server, message["messageId"]).request_id == request_id, "as gRPC has it"
    again = call(server, "Dispatch", {"message": MESSAGE, "request_id": request_id})
    assert again.json["message"]["messageId"] == message["messageId"]
    got = call(server, "GetMessage", {"message_id": message["messageId"]}).json["message"]
    assert got == json_format.MessageToDict(get(server, message["messageId"]))
    listed = call(server, "ListMessages", {"filter": {"request_ids": [request_id]}}).json["messages"]
    assert [one["messageId"] for one in listed] == [message["messageId"]]
    providers = call(server, "ProviderService/ListProviders").json["providers"]
    assert {one["name"] for one in providers} == {"sms-mms", "email"}


def test_plain_json_watches_in_lines(server: Server) -> None:
    with web.streamed(server, "WatchMessages") as lines:
        first = next(lines)
        assert "message" not in first, "a sign of life, as soon as it watches"
        message_id = dispatch(server).message_id
        states = []
        while "MESSAGE_STATE_SENT" not in states:
            event = next(lines)["message"]
            assert event["messageId"] == message_id
            states.append(event["state"])
        token = first["resumeToken"]
    with web.streamed(server, "WatchMessages", {"resume_token": token}) as lines:
        assert next(lines)["message"]["messageId"] == message_id


def test_a_stream_in_lines_that_fails_at_once_is_an_answer_like_any_other(server: Server) -> None:
    answer = call(server, "WatchMessages", {"resume_token": "none"})
    assert (answer.status, answer.reason) == (400, "INVALID_PAGE")
    assert [field for field, _ in answer.violations] == ["resume_token"]
    late = call(server, "WatchMessages", {}, connect_timeout_ms="200")
    *_, last = late.body.splitlines()
    assert (late.status, json.loads(last)["error"]["code"]) == (200, "deadline_exceeded")


@pytest.mark.parametrize("protocol", [ProtocolType.CONNECT, ProtocolType.GRPC_WEB], ids=["connect", "grpc-web"])
@pytest.mark.parametrize("codec", [google_protobuf_binary_codec(), google_protobuf_json_codec()], ids=["proto", "json"])
def test_clients_of_connect_call_and_watch(server: Server, protocol: ProtocolType, codec: Any) -> None:
    client = ConnectClientSync(web.url(server), codec=codec, protocol=protocol)
    method = pb.DESCRIPTOR.services_by_name["DispatchService"].full_name

    def info(name: str, taken: Any, given: Any, stream: StreamType = StreamType.UNARY) -> MethodInfo[Any, Any]:
        return MethodInfo(
            name=name, service_name=method, input=taken, output=given, stream_type=stream,
            idempotency_level=IdempotencyLevel.UNKNOWN,
        )  # fmt: skip

    unary = info("Dispatch", pb.DispatchRequest, pb.DispatchResponse)
    sent = client.execute_unary(request=request(), method=unary, timeout_ms=round(TIMEOUT * 1000))
    assert sent.message.state == MESSAGE_STATE_SENT
    watch = info("WatchMessages", pb.WatchMessagesRequest, pb.WatchMessagesResponse, StreamType.SERVER_STREAM)
    watched = client.execute_server_stream(
        request=pb.WatchMessagesRequest(message_ids=[sent.message.message_id]),
        method=watch,
        timeout_ms=round(TIMEOUT * 1000),
    )
    assert next(iter(watched)).message == get(server, sent.message)
    with pytest.raises(ConnectError) as caught:
        client.execute_unary(request=pb.DispatchRequest(), method=unary)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [one.type_name for one in caught.value.details] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


def test_a_page_of_many_comes_whole(server: Server) -> None:
    for _ in range(60):
        dispatch(server)
    listed = call(server, "ListMessages", {"page_size": 60})
    assert len(listed.json["messages"]) == 60
    assert len(listed.body) > 16 << 10, "or it is not one that is encoded on another thread"
    packed = call(server, "ListMessages", {"page_size": 60}, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.body)) == listed.json


# What is wrong.


def as_json(bad: Bad) -> dict[str, Any]:
    return json_format.MessageToDict(pb.DispatchRequest(message=bad.message, options=bad.options))


@pytest.mark.parametrize(
    "bad", [pytest.param(bad, id=name) for name, bad in BAD.items() if name not in ("no time", "33 MiB")]
)
def test_a_bad_message_is_refused_as_by_grpc(server: Server, bad: Bad) -> None:
    expected = dispatch_badly(server, pb.DispatchRequest(message=bad.message, options=bad.options))
    answer = call(server, "Dispatch", as_json(bad))
    assert (answer.status, answer.json["code"]) == (400, expected.code.name.lower())
    assert answer.json["message"] == expected.text
    assert (answer.reason, answer.violations) == (expected.reason, expected.violations)


GOOD: Final = json.dumps({"message": MESSAGE}).encode()
NO_CALLS: Final[list[tuple[object, int, dict[str, str]]]] = [
    (b"to=%2B14155550132&body=Hello", 415, {"content_type": "application/x-www-form-urlencoded"}),
    (GOOD, 415, {"content_type": "text/plain"}),
    (GOOD, 415, {"content_type": "text/plain;charset=utf-8"}),
    (GOOD, 415, {"content_type": ""}),
    (GOOD, 415, {"content_type": "multipart/form-data; boundary=x"}),
    (GOOD, 415, {"content_type": "application/connect+json"}),
    (GOOD, 415, {"content_type": "application/grpc"}),
    (GOOD, 403, {"origin": "http://evil.example.com"}),
    (GOOD, 403, {"origin": "null"}),
    (GOOD, 421, {"host": "evil.example.com"}),
    (GOOD, 421, {"host": "192.0.2.1"}),
    ({"message": MESSAGE, "options": {"sned_time": "2030-01-01T00:00:00Z"}}, 400, {}),
    ({"message": {**MESSAGE, "labels": {"a": 1}}}, 400, {}),
    (b'{"message": {"sms": {"to": "+14155550132", "body": "Hello"}}', 400, {}),
    (GOOD + b" " * (1 << 20), 413, {}),
    (GOOD, 501, {"content_encoding": "br"}),
    (GOOD, 400, {"content_encoding": "gzip"}),
]
"""What is sent, by which status it is refused, and headers."""


def test_what_is_no_call_sends_nothing(serve: Serve) -> None:
    server = serve(**HTTP)
    for body, status, headers in NO_CALLS:
        answer = call(server, "Dispatch", body, **headers)
        assert (answer.status, headers) == (status, headers), answer.body
        assert answer.body
        assert "access-control-allow-origin" not in answer.headers
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(0,)]
    assert server.log("internal_error") == server.log("library") == []


def test_a_misspelt_field_is_named_and_what_was_meant(server: Server) -> None:
    answer = call(server, "Dispatch", {"message": MESSAGE, "options": {"sned_time": "2030-01-01T00:00:00Z"}})
    assert (answer.status, answer.reason) == (400, "INVALID_MESSAGE")
    assert answer.violations == [("options.sned_time", "is not known, did you mean send_time?")]


@pytest.mark.parametrize(
    ("method", "verb", "status", "allow"),
    [
        ("Dispatch", "GET", 405, "POST"),
        ("Dispatch", "PUT", 405, "POST"),
        ("GetMessage", "GET", 405, "POST"),
        ("Dispatch", "HEAD", 405, "POST"),
        ("Dispatch", "OPTIONS", 405, "POST"),
        ("DispatchStream", "POST", 501, None),
        ("Nothing", "POST", 404, None),
        ("NoService/Dispatch", "POST", 404, None),
        ("/", "POST", 405, "GET, HEAD"),
        ("/postwire.v1.DispatchService/Dispatch/", "POST", 404, None),
        ("/../postwire.v1.DispatchService/Dispatch", "POST", 404, None),
    ],
)
def test_methods_are_posted_to_and_nothing_else(
    server: Server, method: str, verb: str, status: int, allow: str | None
) -> None:
    answer = call(server, method, {}, verb)
    assert answer.status == status
    assert sorted(answer.headers.get("allow", "").split(", ")) == (allow or "").split(", ")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_gzip_is_read_and_a_bomb_of_it_is_not(server: Server) -> None:
    body = json.dumps({"message": MESSAGE}).encode()
    assert call(server, "Dispatch", gzip.compress(body), content_encoding="gzip").status == 200
    bomb = gzip.compress(body + b" " * (1 << 26))
    assert len(bomb) < 1 << 20
    answer = call(server, "Dispatch", bomb, content_encoding="gzip")
    assert (answer.status, answer.json["code"]) == (429, "resource_exhausted")


def test_an_email_in_binary_may_be_as_large_as_with_grpc(server: Server) -> None:
    large = request(email(attachments=[{"file_name": "a", "content_type": "a/b", "data": bytes(3 << 20)}]))
    answer = call(server, "Dispatch", large.SerializeToString(), content_type="application/proto")
    assert answer.status == 200
    assert pb.DispatchResponse.FromString(answer.body).message.state == MESSAGE_STATE_SENT
    too_large = call(server, "Dispatch", b"", content_type="application/proto", content_length=str(37 << 20))
    assert (too_large.status, too_large.json["code"]) == (413, "resource_exhausted")
    garbage = call(server, "Dispatch", b"\xff" * 10, content_type="application/proto")
    assert (garbage.status, garbage.json["code"], garbage.reason) == (400, "invalid_argument", "")


def test_grpc_web_is_refused_in_its_own_form(server: Server) -> None:
    answer = call(server, "Dispatch", web.enveloped(b""), content_type=GRPC_WEB)
    assert answer.status == 200
    ((flags, trailers),) = web.envelopes(answer.body)
    assert flags == 0x80
    assert b"grpc-status: 3\r\n" in trailers
    assert b"grpc-status-details-bin: " in trailers
    refused = call(server, "Dispatch", b"", content_type=GRPC_WEB, host="evil.example.com")
    assert (refused.status, refused.headers["content-type"]) == (421, "text/plain; charset=utf-8")


@pytest.mark.parametrize("header", ["content-type: text/plain", "host: evil.example.com", "origin: http://x"])
def test_a_header_that_says_two_things_is_refused(server: Server, header: str) -> None:
    """What stands before a server may have read the other one."""
    host, port = web.address(server)
    lines = (
        "POST /postwire.v1.DispatchService/ListMessages HTTP/1.1",
        f"host: {host}:{port}",
        "content-type: application/json",
        f"origin: http://{host}:{port}",
        header,
        "content-length: 2",
        "connection: close",
    )
    with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
        connection.sendall("\r\n".join((*lines, "", "{}")).encode())
        assert connection.makefile("rb").readline().split()[1] == b"400"

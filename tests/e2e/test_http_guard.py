"""What holds for every call holds over HTTP: who may call, limits, deadlines, traces, the end of the server."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e import web
from tests.e2e.calls import SENT, TIMEOUT, get, in_flight, release, until
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment, eventually
from tests.e2e.test_canary import found_in, mark, phone
from tests.e2e.web import HTTP, call
from tests.support import forking
from tests.support.access import declared, made_key
from tests.support.certificates import Authority
from tests.support.otlp import Collector

MESSAGE = {"sms": {"to": "+14155550132", "body": "Hello"}}
HELD = {"held": True, "providers__sms_mms__latency": "1h"}
DISPATCH = "postwire.v1.DispatchService/Dispatch"


def raw(server: Server, *lines: str, body: str = "{}") -> bytes:
    """The status line of the answer to a request of these lines."""
    host, port = web.address(server)
    common = (f"host: {host}:{port}", "content-type: application/json", f"content-length: {len(body)}")
    with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
        connection.sendall("\r\n".join((*lines, *common, "connection: close", "", body)).encode())
        return connection.makefile("rb").readline()


class Dispatching:
    """A dispatch that is under way."""

    def __init__(self, server: Server, **headers: str) -> None:
        self._host, self._port = web.address(server)
        self._headers = headers
        self.answer: Any = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self._thread = threading.Thread(target=self._call)
        self._thread.start()

    def _call(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        connection.request("POST", f"/{DISPATCH}", web.sent({"message": MESSAGE}), {"content-type": web.JSON})
        answer = connection.getresponse()
        self.status, self.headers = answer.status, {name.lower(): value for name, value in answer.headers.items()}
        self.answer = json.loads(answer.read())
        connection.close()

    def wait(self) -> Any:
        self._thread.join(TIMEOUT)
        return self.answer


# Who may call.


def test_every_call_shows_who_it_is_and_may_do_what_its_roles_take(serve: Serve) -> None:
    sender, other = made_key(), made_key()
    toml = declared(sender, "acme", "send") + declared(other, "globex", "send") + declared(admin := made_key(), "")
    server = serve(toml=toml, **HTTP)
    key = {"authorization": f"Bearer {sender.text}"}
    sent = call(server, "Dispatch", {"message": MESSAGE}, **key)
    assert sent.status == 200
    message_id = sent.json["message"]["messageId"]
    assert call(server, "GetMessage", {"message_id": message_id}, **key).status == 200

    def refused(method: str, body: object = b"{}", **headers: str) -> tuple[int, str]:
        answer = call(server, method, body, **headers)
        return answer.status, answer.reason

    assert refused("Dispatch", {"message": MESSAGE}) == (401, "NO_CREDENTIALS")
    assert refused("Dispatch", {"message": MESSAGE}, authorization="Bearer pw_x") == (401, "INVALID_CREDENTIALS")
    assert refused("ListMessages", **key) == (403, "ROLE_REQUIRED")
    assert refused("WatchMessages") == (401, "NO_CREDENTIALS")
    assert refused("GetMessage", {"message_id": message_id}, authorization=f"Bearer {other.text}") == (
        404,
        "MESSAGE_NOT_FOUND",
    )
    to_acme = {"authorization": f"Bearer {admin.text}", "postwire_tenant": "acme"}
    assert call(server, "GetMessage", {"message_id": message_id}, **to_acme).status == 200
    assert refused("GetMessage", **{**to_acme, "postwire_tenant": "nobody"}) == (404, "TENANT_NOT_FOUND")
    # Who it is comes before what it is, and whoever shows two keys shows none.
    assert refused("Dispatch", b"{") == (401, "NO_CREDENTIALS")
    assert refused("Dispatch", {"x": 1}, **key) == (400, "INVALID_MESSAGE")
    two = (f"POST /{DISPATCH} HTTP/1.1", *[f"authorization: Bearer {sender.text}"] * 2)
    assert raw(server, *two).split()[1] == b"401"
    assert call(server, "/console/settings.json", verb="GET").json["authenticates"] is True
    assert server.terminate() == 0
    logged = server.log("credentials_refused")
    assert {line["peer"] for line in logged} == {"127.0.0.1"}


def test_a_page_elsewhere_may_call_where_the_configuration_has_its_origin(serve: Serve) -> None:
    server = serve(http__cors_origins="https://app.example.com", **HTTP)
    origin = {"origin": "https://app.example.com"}
    asked = call(server, "Dispatch", verb="OPTIONS", access_control_request_method="POST", **origin)
    assert (asked.status, asked.body) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == "https://app.example.com"
    assert asked.headers["access-control-allow-methods"] == "POST"
    allowed = asked.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "connect-protocol-version", "postwire-tenant"} <= set(allowed)
    sent = call(server, "Dispatch", {"message": MESSAGE}, **origin)
    assert (sent.status, sent.headers["access-control-allow-origin"]) == (200, "https://app.example.com")
    assert "Origin" in sent.headers["vary"]
    bad = call(server, "Dispatch", {}, **origin)
    assert (bad.status, bad.headers["access-control-allow-origin"]) == (400, "https://app.example.com")
    own = call(server, "Dispatch", {"message": MESSAGE}, origin=web.url(server))
    assert (own.status, "access-control-allow-origin" in own.headers) == (200, False)
    for verb in ("OPTIONS", "POST"):
        other = call(server, "Dispatch", {"message": MESSAGE}, verb, origin="https://evil.example.com")
        assert (other.status, "access-control-allow-origin" in other.headers) == (403, False)


# Limits, and the caller's time.


def test_a_caller_who_is_too_early_is_asked_to_come_again(serve: Serve) -> None:
    server = serve(server__max_in_flight="1", **HELD, **HTTP)
    under_way = Dispatching(server)
    eventually(lambda: in_flight(server) == 1)
    answer = call(server, "Dispatch", {"message": MESSAGE})
    assert (answer.status, answer.reason) == (429, "OVERLOADED")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.detail("RetryInfo")["retryDelay"]
    release(server)
    assert under_way.wait()["message"]["state"] == "MESSAGE_STATE_SENT"


def test_a_dispatch_is_answered_in_its_callers_time(serve: Serve) -> None:
    server = serve(**HELD, **HTTP)
    answer = call(server, "Dispatch", {"message": MESSAGE}, connect_timeout_ms="500")
    assert (answer.status, answer.json["message"]["state"]) == (200, "MESSAGE_STATE_SENDING")
    late = call(server, "Dispatch", {"message": MESSAGE}, connect_timeout_ms="0")
    assert (late.status, late.json["code"]) == (504, "deadline_exceeded")
    bad = call(server, "Dispatch", {"message": MESSAGE}, connect_timeout_ms="-1")
    assert (bad.status, bad.json["code"]) == (400, "invalid_argument")
    release(server)


def test_a_caller_who_hangs_up_leaves_his_message_to_the_server(serve: Serve) -> None:
    server = serve(**HELD, **HTTP)
    connection = http.client.HTTPConnection(*web.address(server), timeout=TIMEOUT)
    connection.request("POST", f"/{DISPATCH}", web.sent({"message": MESSAGE}), {"content-type": web.JSON})
    eventually(lambda: in_flight(server) == 1)
    connection.close()
    # Its permit is held before it is on record.
    eventually(lambda: call(server, "ListMessages").json)
    (listed,) = call(server, "ListMessages").json["messages"]
    release(server)
    assert until(server, get(server, listed["messageId"]), SENT).attempts
    assert server.terminate() == 0
    assert server.log("internal_error") == server.log("library") == []


# What is seen of it.


def test_a_call_is_a_span_of_its_callers_trace(serve: Serve) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with Collector() as collector:
        server = serve(telemetry__otlp_endpoint=collector.endpoint, OTEL_BSP_SCHEDULE_DELAY="10", **HTTP)
        header = f"00-{trace}-{parent}-01"
        sent = call(server, "Dispatch", {"message": MESSAGE}, traceparent=header).json["message"]
        spans = {one.name: one for one in collector.wait_for_spans(2, trace)}
        assert spans[DISPATCH].parent_id == parent
        assert spans[DISPATCH].attributes == {
            "rpc.system.name": "connectrpc",
            "rpc.method": DISPATCH,
            "rpc.response.status_code": "OK",
        }
        assert spans["attempt sms-mms"].parent_id == spans[DISPATCH].span_id
        assert sent["attempts"][0]["traceId"] == trace
        refused = "1af7651916cd43dd8448eb211c80319c"
        call(server, "Dispatch", {"x": 1}, traceparent=f"00-{refused}-{parent}-01")
        (span,) = collector.wait_for_spans(1, refused)
        assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"


def test_nothing_of_a_request_is_in_a_log_or_a_span(serve: Serve) -> None:
    with Collector() as collector:
        server = serve(
            telemetry__otlp_endpoint=collector.endpoint,
            telemetry__log_level="debug",
            OTEL_BSP_SCHEDULE_DELAY="10",
            **HTTP,
        )
        good = {"message": {"sms": {"to": phone(), "body": mark()}}}
        assert call(server, "Dispatch", good, authorization=f"Bearer {mark()}", x_mark=mark(), cookie=mark()).status
        answers = [
            call(server, "Dispatch", body, **headers)
            for body, headers in (
                ({"message": {"sms": {"to": [phone()], "body": {mark(): mark()}}}}, {}),
                ({"message": {"labels": {mark(): 5}}, "options": {"send_time": mark(), "priority": mark()}}, {}),
                ({"message": {"mms": {"media": [{"data": f"{mark()}!"}]}}}, {}),
                (json.dumps(good)[:-1].encode(), {}),
                (b"\xff" + mark().encode(), {}),
                (mark().encode(), {"content_type": "application/proto"}),
                (mark().encode(), {"content_encoding": "gzip"}),
                (web.enveloped(mark().encode()), {"content_type": "application/grpc-web"}),
            )
        ]
        assert {answer.status for answer in answers} == {200, 400}
        call(server, f"/console/{mark()}?{mark()}", verb="GET")
        call(server, f"/{mark()}", {mark(): mark()})
        call(server, "Dispatch", good, host=mark())
        assert found_in("".join(answer.body.decode("latin-1") for answer in answers)) == []
        collector.wait_for_spans(8)
        assert server.terminate() == 0
        assert found_in(server.log_text()) == []
        assert [text for one in collector.spans() for text in found_in(str(one.span))] == []


# The end, and the certificate.


def test_at_the_end_what_is_under_way_is_answered_and_streams_are_ended(serve: Serve) -> None:
    server = serve(server__grace="1h", **HELD, **HTTP)
    kept = http.client.HTTPConnection(*web.address(server), timeout=TIMEOUT)
    kept.request("GET", "/console/settings.json")
    assert kept.getresponse().read()
    with web.streamed(server, "WatchMessages") as lines:
        next(lines)
        under_way = Dispatching(server)
        eventually(lambda: in_flight(server) == 1)
        server.send_signal(signal.SIGTERM)
        *_, last = lines
    assert last["error"]["code"] == "unavailable"
    assert last["error"]["details"][0]["debug"]["reason"] == "SHUTTING_DOWN"
    refused = call(server, "Dispatch", {"message": MESSAGE})
    assert (refused.status, refused.reason) == (503, "SHUTTING_DOWN")
    assert refused.headers["connection"] == "close"
    assert int(refused.headers["retry-after"]) >= 1
    release(server)
    assert under_way.wait()["message"]["state"] == "MESSAGE_STATE_SENT"
    assert (under_way.status, under_way.headers["connection"]) == (200, "close")
    assert server.wait() == 0
    kept.close()
    assert server.log("stopped")[0]["unfinished"] == 0
    assert server.log("internal_error") == server.log("library") == []


def test_a_new_certificate_is_shown_once_it_is_there(serve: Serve, tmp_path: Path) -> None:
    authority, folder = Authority(tmp_path), tmp_path / "tls"
    authority.issue("127.0.0.1").write(folder)
    files = {"http__tls__cert_file": str(folder / "tls.crt"), "http__tls__key_file": str(folder / "tls.key")}
    server = serve(**HTTP, **files)
    trusting = ssl.create_default_context(cafile=str(authority.ca_file))
    connection = web.secure(server, trusting)
    connection.request("POST", f"/{DISPATCH}", web.sent({"message": MESSAGE}), {"content-type": web.JSON})
    assert connection.getresponse().status == 200
    before = ssl.get_server_certificate(web.address(server), timeout=TIMEOUT)
    authority.issue("127.0.0.1").write(folder)
    eventually(lambda: ssl.get_server_certificate(web.address(server), timeout=TIMEOUT) != before)
    assert server.wait_for_event("reloaded")["changed"] == ["http.tls.cert_file", "http.tls.key_file"]
    connection.close()


# What is off is not there.


def test_what_is_off_is_not_served(serve: Serve) -> None:
    server = serve(console__enabled="false", console__compose="true", **HTTP)
    for path in ("/", "/console/", "/console/settings.json", "/console/index.html"):
        assert call(server, path, verb="GET").status == 404
    assert call(server, "/openapi.json", verb="GET").status == 200
    assert call(server, "Dispatch", {"message": MESSAGE}).status == 200


def test_an_address_that_is_taken_stops_the_boot(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = forking.run("serve", cwd=tmp_path, env=environment(tmp_path, http__listen=address))
    assert ended.returncode != 0
    assert f"http.listen: cannot listen on {address}" in ended.stderr


def test_grpc_is_as_it_was(serve: Serve) -> None:
    """A caller of gRPC who gets the ports mixed up learns so, and does not hang."""
    server = serve(**HTTP)
    host, port = web.address(server)
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        method = channel.unary_unary(f"/{DISPATCH}", lambda one: one, lambda one: one)
        with pytest.raises(grpc.RpcError) as caught:
            method(b"", timeout=TIMEOUT)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE

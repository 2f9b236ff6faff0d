"""Whoever speaks HTTP badly, or on purpose so that others read it otherwise, sends nothing and holds up nobody."""

from __future__ import annotations

import json
import re
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from tests.e2e import web
from tests.e2e.calls import TIMEOUT, dispatch
from tests.e2e.server import Server
from tests.e2e.web import HTTP, call
from tests.support.access import declared, made_key

from postwire.http_connections import MAX_CONNECTIONS
from postwire.v1 import dispatch_service_pb2 as pb

PATH: Final = "/postwire.v1.DispatchService/Dispatch"
BODY: Final = b'{"message": {"sms": {"to": "+14155550132", "body": "Hello"}}}'
LENGTH: Final = b"content-length: %d" % len(BODY)
CHUNKED: Final = b"transfer-encoding: chunked"
CHUNKS: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SECOND: Final = b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
"""Hidden in what may count as the body of a first one."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by the tests of this module: none of them may change it."""
    with Server(tmp_path_factory.mktemp("hostile"), **HTTP) as running:
        yield running


def request(server: Server, *headers: bytes, body: bytes = BODY, version: bytes = b"1.1") -> bytes:
    """A call of `Dispatch`, to the byte."""
    host = "{}:{}".format(*web.address(server)).encode()
    lines = (
        b"POST %b HTTP/%b" % (PATH.encode(), version),
        b"host: " + host,
        b"content-type: application/json",
        *headers,
    )
    return b"\r\n".join((*lines, b"", body))


def exchange(server: Server, data: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes the connection."""
    with socket.create_connection(web.address(server), timeout=TIMEOUT) as connection:
        connection.sendall(data)
        return connection.makefile("rb").read()


def count(server: Server) -> int:
    return len(server.dispatch.ListMessages(pb.ListMessagesRequest(page_size=1000), timeout=TIMEOUT).messages)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param((b"content-length: 4", CHUNKED), CHUNKS, id="a length that is too short, and chunks"),
        pytest.param((b"content-length: 47", CHUNKED), b"0\r\n\r\n" + SECOND, id="a second request behind chunks"),
        pytest.param((LENGTH, b"content-length: 2"), BODY, id="two lengths"),
        pytest.param((b"content-length: %d, 2" % len(BODY),), BODY, id="two lengths in one"),
        pytest.param((b"content-length: +%d" % len(BODY),), BODY, id="a length with a sign"),
        pytest.param((b"content-length: -1",), BODY, id="a negative length"),
        pytest.param((b"content-length: 0x3d",), BODY, id="a length that is hexadecimal"),
        pytest.param((b"content-length : %d" % len(BODY),), BODY, id="a blank before a colon"),
        pytest.param((CHUNKED, CHUNKED), CHUNKS, id="chunked twice"),
        pytest.param((b"transfer-encoding: xchunked",), CHUNKS, id="something like chunked"),
        pytest.param((b"transfer-encoding: chunked, identity",), CHUNKS, id="chunked and not last"),
        pytest.param((b"transfer-encoding: gzip, chunked",), CHUNKS, id="another encoding below"),
        pytest.param((b"transfer-encoding: \x0bchunked",), CHUNKS, id="chunked behind a blank that is none"),
        pytest.param((CHUNKED,), b"zz\r\n" + CHUNKS, id="a chunk of no size"),
        pytest.param((CHUNKED,), CHUNKS.replace(b"\r\n0", b"XX0"), id="a chunk that goes on behind its end"),
        pytest.param((b"x: a\0b", LENGTH), BODY, id="a header with NUL"),
        pytest.param((b"x: a\rcontent-length: 2", LENGTH), BODY, id="a header behind half of a line's end"),
    ],
)
def test_a_request_whose_end_is_not_clear_sends_nothing_and_ends_the_connection(
    server: Server, headers: tuple[bytes, ...], body: bytes
) -> None:
    before = count(server)
    answered = exchange(server, request(server, *headers, body=body) + SECOND)
    assert answered.startswith(b"HTTP/1.1 400 "), answered
    assert len(re.findall(rb"HTTP/1\.1 \d", answered)) == 1, "what is behind it was read as another request"
    assert count(server) == before


def test_chunks_of_an_older_http_send_nothing(server: Server) -> None:
    before = count(server)
    answered = exchange(server, request(server, CHUNKED, body=CHUNKS, version=b"1.0"))
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert count(server) == before


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"\0\xff" * 300, id="noise"),
        pytest.param(b"A" * 300_000, id="a line without an end"),
    ],
)
def test_what_is_no_http_is_400_and_the_end(server: Server, data: bytes) -> None:
    with socket.create_connection(web.address(server), timeout=TIMEOUT) as connection:
        try:
            connection.sendall(data)
            answered = connection.makefile("rb").read()
        except ConnectionError:
            return  # closed while it was still sending
    assert answered.startswith(b"HTTP/1.1 400 ")


def test_requests_that_are_sent_at_once_are_answered_in_turn(server: Server) -> None:
    ids = [f"pipelined-{number}" for number in range(20)]
    bodies = [json.dumps({**json.loads(BODY), "requestId": one}).encode() for one in ids]
    requests = [request(server, b"content-length: %d" % len(body), body=body) for body in bodies]
    last = request(server, LENGTH, b"connection: close")
    answered = exchange(server, b"".join((*requests, last))).decode()
    assert answered.count("HTTP/1.1 200 ") == 21
    places = [answered.index(f'"requestId": "{one}"') for one in ids]
    assert places == sorted(places)


def test_an_upgrade_is_not_made(server: Server) -> None:
    answered = exchange(
        server, request(server, b"connection: upgrade, close", b"upgrade: h2c", b"http2-settings: AAMAAABk", LENGTH)
    )
    assert answered.startswith(b"HTTP/1.1 200 ")


def test_those_who_read_nothing_and_those_who_say_nothing_hold_up_nobody(server: Server) -> None:
    watching = request(server, b"content-length: 2", body=b"{}").replace(b"/Dispatch ", b"/WatchMessages ")
    with ExitStack() as stack:
        for number in range(MAX_CONNECTIONS + 100):
            connection = stack.enter_context(socket.create_connection(web.address(server), timeout=TIMEOUT))
            connection.sendall(watching if number < 20 else b"POST")
        assert call(server, "Dispatch", BODY).status == 200
        assert dispatch(server).message_id
        with web.streamed(server, "WatchMessages") as lines:
            assert next(lines)["resumeToken"]
        assert call(server, "/openapi.json", verb="GET").status == 200


LARGE: Final = bytes(10 << 20)
TIMES: Final = 12


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
@pytest.mark.parametrize(
    ("method", "content_type", "body"),
    [
        pytest.param("Dispatch", "application/proto", LARGE, id="Connect"),
        pytest.param("Dispatch", "application/grpc-web+proto", web.enveloped(LARGE), id="gRPC-Web"),
        pytest.param("WatchMessages", "application/connect+proto", web.enveloped(LARGE), id="a stream"),
        pytest.param("WatchMessages", "application/connect+proto", web.enveloped(LARGE)[:-1], id="half a message"),
    ],
)
def test_large_requests_of_strangers_are_not_kept(keyed: Server, method: str, content_type: str, body: bytes) -> None:
    before = memory(keyed)
    for _ in range(TIMES):
        call(keyed, method, body, content_type=content_type)
    assert memory(keyed) - before < TIMES / 2 * len(LARGE)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks who calls."""
    folder = tmp_path_factory.mktemp("keyed")
    path = folder / "postwire.toml"
    path.write_text(declared(made_key(), ""), encoding="utf-8")
    with Server(folder, **HTTP) as running:
        yield running


def memory(server: Server) -> int:
    """How many bytes of memory the process of a server has."""
    pages = Path(f"/proc/{server.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()

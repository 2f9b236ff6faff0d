"""Requests of millions of tiny values, in every form: they are refused by name, and nothing is built of them."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import grpc
import pytest
from tests.e2e import web
from tests.e2e.calls import SENT, TIMEOUT, dispatch, refused
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.e2e.web import HTTP, call
from tests.support import floods
from tests.support.access import declared, made_key
from tests.support.wire import field

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2

METHODS: Final = "/postwire.v1.DispatchService/"
MANY: Final = 4 << 20
ROOM: Final = 96 << 20
"""Bytes of memory that one of these may cost: its own eight million, a few times over, and not hundreds for each."""

EMPTY: Final = field("attachments", b"", message_pb2.Email) * MANY
TOO_MANY: Final = field("message", field("email", EMPTY, message_pb2.OutboundMessage), pb.DispatchRequest)
FRAME: Final = field("requests", b"", pb.DispatchStreamRequest) * MANY
PATH: Final = "message.email.attachments"
PROTO: Final = "application/proto"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by the tests of this module: none of them may change it."""
    with Server(tmp_path_factory.mktemp("many"), **HTTP) as running:
        yield running


def over_grpc(server: Server, **options: Any) -> tuple[str, list[str]]:
    """The reason that such a call is refused with, and the fields that it names."""
    send: Any = server.channel().unary_unary(f"{METHODS}Dispatch")
    error = refused(lambda: send(TOO_MANY, timeout=TIMEOUT, **options))
    return str(error.reason), error.fields


def over_http(server: Server, body: bytes, **headers: str) -> tuple[str, list[str]]:
    answer = call(server, "Dispatch", body, **headers)
    assert answer.status == 400
    return answer.reason, [name for name, _ in answer.violations]


FORMS: Final[dict[str, Callable[[Server], tuple[str, list[str]]]]] = {
    "gRPC": over_grpc,
    "gRPC, compressed": lambda server: over_grpc(server, compression=grpc.Compression.Gzip),
    "HTTP": lambda server: over_http(server, TOO_MANY, content_type=PROTO),
    "HTTP, compressed": lambda server: over_http(
        server, gzip.compress(TOO_MANY, 1), content_type=PROTO, content_encoding="gzip"
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory of a process")
@pytest.mark.parametrize("form", FORMS)
def test_millions_of_values_are_refused_before_they_are_built(server: Server, form: str) -> None:
    dispatch(server)
    floods.forget_peak(server.pid)
    before = floods.resident(server.pid)
    assert FORMS[form](server) == ("MESSAGE_TOO_LARGE", [PATH])
    assert floods.resident(server.pid, peak=True) - before <= ROOM
    assert dispatch(server).state == SENT


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory of a process")
def test_a_frame_of_millions_is_refused_one_by_one_and_never_built(server: Server) -> None:
    dispatch(server)
    floods.forget_peak(server.pid)
    before = floods.resident(server.pid)
    stream: Any = server.channel().stream_stream(
        f"{METHODS}DispatchStream", response_deserializer=pb.DispatchStreamResponse.FromString
    )
    answers = stream(iter([FRAME]), timeout=TIMEOUT)
    results = [one for answer in islice(answers, 20) for one in answer.results]
    assert dispatch(server).state == SENT, "while the frame is being refused"
    answers.cancel()
    assert [one.sequence for one in results] == list(range(len(results)))
    assert {one.rejection.field_violations[0].field for one in results} == {"requests"}
    assert floods.resident(server.pid, peak=True) - before <= ROOM


def test_a_large_frame_has_its_requests_read_one_by_one(server: Server) -> None:
    """Each has its place, whether it is well formed or not."""
    asked = [pb.DispatchRequest(request_id=f"large-{number}") for number in range(4)]
    for one in asked:
        one.message.email.to.append("ada@example.com")
        one.message.email.text = "x" * (100 << 10)
    asked[1].message.email.to[0] = "nobody"
    crowded = field("request_id", b"", pb.DispatchRequest) * (1 << 20)
    parts = [one.SerializeToString() for one in asked]
    parts.insert(2, crowded)
    frame = b"".join(field("requests", part, pb.DispatchStreamRequest) for part in parts)
    stream: Any = server.channel().stream_stream(
        f"{METHODS}DispatchStream", response_deserializer=pb.DispatchStreamResponse.FromString
    )
    results = sorted(
        (one for answer in stream(iter([frame]), timeout=TIMEOUT) for one in answer.results),
        key=lambda one: int(one.sequence),
    )
    states = [one.message.state for one in results]
    assert [one.sequence for one in results] == [0, 1, 2, 3, 4]
    assert (states[0], states[3], states[4]) == (SENT,) * 3
    named = [one.rejection.field_violations[0].field for one in results[1:3]]
    assert named == ["message.email.to[0]", "request_id"]


def test_of_a_stranger_nothing_is_read(serve: Serve) -> None:
    server = serve(toml=declared(made_key(), ""))
    send: Any = server.channel().unary_unary(f"{METHODS}Dispatch")
    assert refused(lambda: send(TOO_MANY, timeout=TIMEOUT)).reason == "NO_CREDENTIALS"


def test_many_commas_in_json_are_refused_unless_they_are_in_texts(server: Server) -> None:
    many = web.sent({"message": {"email": {"to": [""] * 20_000}}})
    answer = call(server, "Dispatch", many)
    assert answer.violations == [("", "must have at most 10,000 values")]
    text = {"to": "ada@example.com", "text": ',"\\' * 50_000}
    fine = call(server, "Dispatch", {"message": {"email": {**text, "to": [text["to"]]}}})
    assert fine.json["message"]["state"] == "MESSAGE_STATE_SENT"

"""Requests in Protocol Buffers: what is counted before it is built, and what is built as ever."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from tests.support.access import access_of, bearer, declared, made_key
from tests.support.wire import field

from postwire.api import requests
from postwire.api.call import OtherStatus
from postwire.api.guard import Calls, Guard
from postwire.api.requests import LARGE, LONG, MAX_VALUES, Large, parse, read, reader_of
from postwire.core.errors import MessageTooLarge, NoCredentials, Refusal
from postwire.core.principal import Role
from postwire.telemetry.base import Metadata
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import Attachment, Email, OutboundMessage

MANY: Final = LARGE
"""Of two bytes each: no `MAX_VALUES` of them are as large as what is counted."""

DEPTH: Final = 5
"""How far messages are nested: at each level, one more is looked at."""

LEFT_OUT: Final = field(100, b"")


def email(content: bytes) -> bytes:
    """A dispatch of an email."""
    return field("message", field("email", content, OutboundMessage), pb.DispatchRequest)


def listed(content: bytes) -> bytes:
    """A list with a filter."""
    return field("filter", content, pb.ListMessagesRequest)


HEADERS: Final = b"".join(field("headers", field(1, b"%d" % number), Email) for number in range(MANY // 8))

MANY_VALUES: Final[dict[str, tuple[type[Message], bytes, str]]] = {
    "recipients": (pb.DispatchRequest, email(field("to", b"", Email) * MANY), "message.email.to"),
    "attachments": (pb.DispatchRequest, email(field("attachments", b"", Email) * MANY), "message.email.attachments"),
    "headers": (pb.DispatchRequest, email(HEADERS), "message.email.headers"),
    "what is not known": (pb.DispatchRequest, LEFT_OUT * MANY, ""),
    "one and the same": (pb.DispatchRequest, field("request_id", b"", pb.DispatchRequest) * MANY, "request_id"),
    "names": (
        pb.ListMessagesRequest,
        listed(field("provider_names", b"", pb.MessageFilter) * MANY),
        "filter.provider_names",
    ),
    "numbers": (pb.ListMessagesRequest, listed(field("states", bytes(MANY + 1), pb.MessageFilter)), "filter.states"),
    "ids": (pb.EraseMessagesRequest, field("message_ids", b"", pb.EraseMessagesRequest) * MANY, "message_ids"),
}


def never_built(message_class: type[Message]) -> Any:
    """A class of messages that none may be made of."""

    class Untouched:
        DESCRIPTOR = message_class.DESCRIPTOR

        @staticmethod
        def FromString(data: bytes) -> Message:
            raise AssertionError("it was built")

    return Untouched


@pytest.mark.parametrize("name", MANY_VALUES)
def test_millions_of_values_are_refused_and_few_of_them_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, look = 0, requests._field

    def counted(*args: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return look(*args)

    monkeypatch.setattr(requests, "_field", counted)
    message_class, data, path = MANY_VALUES[name]
    with pytest.raises(MessageTooLarge) as refused:
        parse(data, never_built(message_class))
    assert [one.field for one in refused.value.violations] == [path]
    assert "at most 20,000 values" in str(refused.value)
    assert looked_at <= MAX_VALUES + DEPTH


@pytest.mark.parametrize(
    ("message_class", "data", "path"),
    [
        pytest.param(
            pb.CancelMessageRequest, field("reason", bytes(LARGE), pb.CancelMessageRequest), "reason", id="text"
        ),
        pytest.param(
            pb.DispatchRequest, email(field("subject", bytes(LARGE), Email)), "message.email.subject", id="inside"
        ),
        pytest.param(
            pb.DispatchRequest,
            email(field("headers", field(1, bytes(LARGE)), Email)),
            "message.email.headers",
            id="key",
        ),
    ],
)
def test_a_text_that_is_far_too_long_is_not_searched(message_class: type[Message], data: bytes, path: str) -> None:
    with pytest.raises(MessageTooLarge) as refused:
        parse(data, never_built(message_class))
    assert [(one.field, one.description) for one in refused.value.violations] == [
        (path, f"must have at most {LONG:,} bytes")
    ]


def test_contents_may_be_as_large_as_a_message() -> None:
    asked = pb.DispatchRequest()
    for name in ("text", "html"):
        setattr(asked.message.email, name, "é" * LARGE)
    asked.message.email.attachments.add(data=bytes(LARGE))
    assert parse(asked.SerializeToString(), pb.DispatchRequest) == asked


def test_those_texts_are_in_the_contract() -> None:
    for name in requests._CONTENTS:
        descriptor_pool.Default().FindFieldByName(name)


def test_a_message_at_all_of_its_limits_has_few_enough_values() -> None:
    asked = pb.DispatchRequest(request_id="r" * 128)
    message = asked.message
    message.labels.update({f"label-{number}": "v" * 256 for number in range(16)})
    for number in range(1000):
        (message.email.to, message.email.cc, message.email.bcc)[number % 3].append(f"{number}@{'x' * 200}.example.com")
    message.email.headers.update({f"x-{number}": "v" * 900 for number in range(50)})
    message.email.attachments.extend(
        Attachment(file_name="a", content_type="a/b", data=bytes(1000)) for _ in range(100)
    )
    data = asked.SerializeToString()
    assert len(data) > LARGE
    assert parse(data, pb.DispatchRequest) == asked
    assert (
        requests._count(data, 0, len(data), requests._plan_of(pb.DispatchRequest.DESCRIPTOR), MAX_VALUES)
        > MAX_VALUES / 2
    )


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"\x0a", id="a key without a value"),
        pytest.param(b"\x0a\x05abc", id="a value that is cut short"),
        pytest.param(b"\x0a\xff", id="a length that is cut short"),
        pytest.param(b"\x80" * 11, id="a number without an end"),
        pytest.param(b"\x79\1\2\3", id="eight bytes that are fewer"),
        pytest.param(b"\x7d\1\2", id="four bytes that are fewer"),
        pytest.param(b"\x7b\x7c", id="a group"),
        pytest.param(b"\x7f", id="a type that there is not"),
        pytest.param(b"\x0a\x02\x1a\x05\x12\x00", id="more inside than there is outside"),
    ],
)
def test_bytes_that_are_no_message_are_refused_without_a_reason(end: bytes) -> None:
    with pytest.raises(OtherStatus):
        parse(field(100, bytes(LARGE)) + end, pb.DispatchRequest)


def test_what_is_not_known_is_passed_over() -> None:
    asked = pb.DispatchRequest(request_id="r")
    unknown = field(100, bytes(LARGE)) + b"\x78\xff\x01" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
    read = parse(unknown + asked.SerializeToString(), pb.DispatchRequest)
    assert read.request_id == "r"


def test_what_is_small_is_read_at_once() -> None:
    asked = pb.DispatchRequest(request_id="r")
    assert reader_of(pb.DispatchRequest)(asked.SerializeToString()) == asked
    assert read(asked) is asked


def frame(*parts: bytes) -> Large:
    return Large(b"".join(parts), pb.DispatchStreamRequest)


def test_a_list_is_read_part_by_part() -> None:
    asked = [pb.DispatchRequest(request_id=str(number)) for number in range(3)]
    parts = [field("requests", one.SerializeToString(), pb.DispatchStreamRequest) for one in asked]
    found = [*frame(parts[0], LEFT_OUT, *parts[1:]).parts("requests")]
    assert [one and one.read() for one in found] == [asked[0], None, *asked[1:]]


def test_a_list_is_read_as_far_as_it_can_be() -> None:
    parts = frame(field("requests", b"", pb.DispatchStreamRequest), b"\x0a\x7f").parts("requests")
    assert next(parts)
    with pytest.raises(OtherStatus):
        next(parts)


class Context:
    """Of a caller with these credentials, or without any."""

    def __init__(self, shown: Metadata | None = None) -> None:
        self._shown = shown

    def invocation_metadata(self) -> Metadata | None:
        return self._shown

    def time_remaining(self) -> None:
        pass

    def peer(self) -> str:
        return "ipv4:192.0.2.1:4711"

    def auth_context(self) -> dict[str, Any]:
        return {}

    async def abort(self, *status: Any) -> None:
        raise Ended(*status)


class Ended(Exception):
    pass


async def test_of_a_stranger_nothing_is_read() -> None:
    async def answer(request: Any, call: Any) -> None:
        raise AssertionError("he may not call")

    guard = Guard(Calls(), (), access_of(declared(made_key(), "")))
    large = Large(b"\xff" * (LARGE + 1), pb.DispatchRequest)
    with pytest.raises(Ended) as ended:
        await guard.handler("Dispatch", answer, ())(large, Context())
    assert ended.value.args[1] == str(NoCredentials())
    with pytest.raises(OtherStatus):
        large.read()


@pytest.mark.parametrize("size", [1, LARGE])
async def test_what_a_refused_call_was_about_is_kept_however_large_it_is(size: int) -> None:
    kept: list[tuple[str, str]] = []

    async def keep(method: Any, by: Any, named: str, reason: str, refusal: Refusal) -> None:
        kept.append((named, reason))

    async def answer(request: Any, call: Any) -> None:
        raise AssertionError("he may not call")

    key = made_key()
    context = Context(bearer(key))
    guard = Guard(Calls(), (), access_of(declared(key, "acme", "send")), keep)
    asked = pb.CancelMessageRequest(message_id="id", reason="why").SerializeToString() + field(100, bytes(size))
    method = "postwire.v1.DispatchService/CancelMessage"
    with pytest.raises(Ended) as ended:
        await guard.handler(method, answer, (Role.OPERATE,))(reader_of(pb.CancelMessageRequest)(asked), context)
    assert ended.value.args[0] is grpc.StatusCode.PERMISSION_DENIED
    assert kept == [("id", "why")]


async def test_others_have_their_turn_before_and_after_a_large_one_is_read() -> None:
    turns = 0
    large = Large(pb.DispatchRequest(request_id="r").SerializeToString(), pb.DispatchRequest)
    reading = asyncio.ensure_future(large.read_in_turn())
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns == 3
    assert await reading == pb.DispatchRequest(request_id="r")

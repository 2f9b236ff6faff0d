"""Between the contract's messages and the core's values, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf import timestamp_pb2

from postwire.api import convert
from postwire.core.errors import InvalidMessage, MessageTooLarge, Refusal
from postwire.core.message import (
    DEFAULT_TENANT,
    Attachment,
    Content,
    DeliveryGuarantee,
    DispatchCommand,
    DispatchOptions,
    Email,
    Media,
    Mms,
    OutboundMessage,
    Priority,
    Sms,
    WaitFor,
)
from postwire.v1 import dispatch_service_pb2 as dispatch_pb
from postwire.v1 import message_pb2 as pb

MAX = 1 << 20
UNKNOWN = "must be a value that this server knows"
BAD_TIME = "must be a time from 1970 to 9999, with nanos from 0 to 999999999"

PB_SMS = pb.Sms(to="+15005550006", body="Hi", sender="Postwire")
PB_MMS = pb.Mms(
    to="+15005550006",
    body="Hi",
    sender="12345",
    media=[
        pb.Media(url="https://a.test/x", file_name="x.png"),
        pb.Media(data=b"\x00\xff", content_type="image/png"),
    ],
)
PB_EMAIL = pb.Email(
    to=["a@a.test", "b@a.test"],
    cc=["c@a.test"],
    bcc=["d@a.test"],
    subject="S\u00fcbject",
    text="T \U0001f600",
    html="<p>",
    sender="e@a.test",
    reply_to="f@a.test",
    headers={"X-B": "2", "X-A": ""},
    attachments=[pb.Attachment(file_name="f.pdf", content_type="application/pdf", data=b"%PDF")],
)


def request(
    request_id: str = "", labels: Mapping[str, str] | None = None, **content: Any
) -> dispatch_pb.DispatchRequest:
    message = pb.OutboundMessage(**(content or {"sms": PB_SMS}), labels=labels)
    return dispatch_pb.DispatchRequest(message=message, request_id=request_id)


def options(**fields: Any) -> dispatch_pb.DispatchRequest:
    made = request()
    made.options.CopyFrom(pb.DispatchOptions(**fields))
    return made


def refusal_of(call: dispatch_pb.DispatchRequest, max_bytes: int = MAX) -> Refusal:
    with pytest.raises(Refusal) as caught:
        convert.command_from(call, max_bytes, DEFAULT_TENANT)
    return caught.value


def named(refusal: Refusal) -> list[tuple[str, str]]:
    return [(one.field, one.description) for one in refusal.violations]


@pytest.mark.parametrize(
    ("call", "content"),
    [
        (request(sms=PB_SMS), Sms("+15005550006", "Hi", "Postwire")),
        (
            request(mms=PB_MMS),
            Mms(
                "+15005550006",
                "Hi",
                "12345",
                (
                    Media(url="https://a.test/x", file_name="x.png"),
                    Media(data=b"\x00\xff", content_type="image/png"),
                ),
            ),
        ),
        (
            request(email=PB_EMAIL),
            Email(
                to=("a@a.test", "b@a.test"),
                cc=("c@a.test",),
                bcc=("d@a.test",),
                subject="S\u00fcbject",
                text="T \U0001f600",
                html="<p>",
                sender="e@a.test",
                reply_to="f@a.test",
                headers={"X-A": "", "X-B": "2"},
                attachments=(Attachment("f.pdf", "application/pdf", b"%PDF"),),
            ),
        ),
    ],
    ids=["sms", "mms", "email"],
)
def test_every_field_of_a_content_arrives(call: dispatch_pb.DispatchRequest, content: Content) -> None:
    command = convert.command_from(call, MAX, DEFAULT_TENANT)
    assert command == DispatchCommand(OutboundMessage(content), size=call.ByteSize())


def test_what_surrounds_the_content_arrives() -> None:
    call = request("r-1", {"team": "auth", "b": ""})
    call.options.CopyFrom(
        pb.DispatchOptions(
            wait_for=pb.WAIT_FOR_ACCEPTANCE,
            send_time=timestamp_pb2.Timestamp(seconds=1, nanos=2_999),
            expire_time=timestamp_pb2.Timestamp(seconds=253_402_300_799, nanos=999_999_999),
            priority=pb.PRIORITY_HIGH,
            delivery_guarantee=pb.DELIVERY_GUARANTEE_AT_MOST_ONCE,
            provider_name="sms-eu",
            max_attempts=7,
        )
    )
    command = convert.command_from(call, MAX, DEFAULT_TENANT)
    assert command.request_id == "r-1"
    assert command.message.labels == {"team": "auth", "b": ""}
    assert command.wait_for is WaitFor.ACCEPTANCE
    assert command.options == DispatchOptions(
        send_time=1_000_002,
        expire_time=253_402_300_799_999_999,
        priority=Priority.HIGH,
        delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE,
        provider_name="sms-eu",
        max_attempts=7,
    )


@pytest.mark.parametrize("call", [request(), options()], ids=["left out", "empty"])
def test_options_that_are_left_out_are_the_defaults(call: dispatch_pb.DispatchRequest) -> None:
    command = convert.command_from(call, MAX, DEFAULT_TENANT)
    assert command.options == DispatchOptions()
    assert (command.wait_for, command.request_id) == (WaitFor.OUTCOME, "")


ENUMS: list[tuple[str, Any, Mapping[int, object]]] = [
    ("wait_for", pb.WaitFor, {0: WaitFor.OUTCOME, 1: WaitFor.OUTCOME, 2: WaitFor.ACCEPTANCE}),
    ("priority", pb.Priority, {0: Priority.NORMAL, 1: Priority.HIGH, 2: Priority.NORMAL, 3: Priority.LOW}),
    (
        "delivery_guarantee",
        pb.DeliveryGuarantee,
        {
            0: DeliveryGuarantee.AT_LEAST_ONCE,
            1: DeliveryGuarantee.AT_LEAST_ONCE,
            2: DeliveryGuarantee.AT_MOST_ONCE,
        },
    ),
]


@pytest.mark.parametrize(("field", "enum", "meanings"), ENUMS, ids=[field for field, _, _ in ENUMS])
def test_every_enum_value_means_what_the_contract_says(field: str, enum: Any, meanings: Mapping[int, object]) -> None:
    assert set(enum.values()) == set(meanings)
    for value, meaning in meanings.items():
        command = convert.command_from(options(**{field: value}), MAX, DEFAULT_TENANT)
        assert (command.wait_for if field == "wait_for" else getattr(command.options, field)) is meaning


@pytest.mark.parametrize("value", [-1, 99, 2**31 - 1])
@pytest.mark.parametrize("field", [field for field, _, _ in ENUMS])
def test_an_enum_value_of_a_later_release_is_refused(field: str, value: int) -> None:
    refusal = refusal_of(options(**{field: value}))
    assert isinstance(refusal, InvalidMessage)
    assert named(refusal) == [(f"options.{field}", UNKNOWN)]


@pytest.mark.parametrize("field", ["send_time", "expire_time"])
@pytest.mark.parametrize(
    "time",
    [
        {"seconds": -1},
        {"nanos": -1},
        {"nanos": 1_000_000_000},
        {"seconds": 253_402_300_800},
        {"seconds": 2**63 - 1},
        {"seconds": -(2**63)},
    ],
    ids=str,
)
def test_a_time_out_of_range_is_refused(field: str, time: dict[str, int]) -> None:
    refusal = refusal_of(options(**{field: timestamp_pb2.Timestamp(**time)}))
    assert isinstance(refusal, InvalidMessage)
    assert named(refusal) == [(f"options.{field}", BAD_TIME)]


def test_the_epoch_is_a_time_and_not_one_that_was_left_out() -> None:
    assert (
        convert.command_from(options(send_time=timestamp_pb2.Timestamp()), MAX, DEFAULT_TENANT).options.send_time == 0
    )


@pytest.mark.parametrize("value", [-1, 101, -(2**31)])
def test_attempts_out_of_range_are_refused(value: int) -> None:
    assert named(refusal_of(options(max_attempts=value))) == [
        ("options.max_attempts", "must be from 1 to 100, or left out")
    ]


@pytest.mark.parametrize(
    "call",
    [
        dispatch_pb.DispatchRequest(),
        dispatch_pb.DispatchRequest(message=pb.OutboundMessage()),
        dispatch_pb.DispatchRequest(message=pb.OutboundMessage(labels={"a": "b"})),
    ],
    ids=["no message", "empty message", "labels alone"],
)
def test_a_message_without_content_is_refused(call: dispatch_pb.DispatchRequest) -> None:
    assert named(refusal_of(call)) == [("message.content", "must be one of sms, mms and email")]


def test_a_content_with_nothing_in_it_names_each_field_that_is_missing() -> None:
    assert [field for field, _ in named(refusal_of(request(sms=pb.Sms())))] == ["message.sms.to", "message.sms.body"]
    assert [field for field, _ in named(refusal_of(request(mms=pb.Mms())))] == ["message.mms.to", "message.mms.body"]
    assert [field for field, _ in named(refusal_of(request(email=pb.Email())))] == [
        "message.email.to",
        "message.email.text",
    ]


def test_everything_that_is_wrong_with_a_call_is_named_at_once() -> None:
    call = request("r\n", {"bad key": "x"}, sms=pb.Sms(to="1", body="x" * 1601, sender="no!"))
    call.options.CopyFrom(
        pb.DispatchOptions(
            wait_for=99,  # type: ignore[arg-type]  # on purpose
            send_time=timestamp_pb2.Timestamp(seconds=-1),
            expire_time=timestamp_pb2.Timestamp(nanos=-1),
            priority=99,  # type: ignore[arg-type]  # on purpose
            delivery_guarantee=99,  # type: ignore[arg-type]  # on purpose
            max_attempts=-1,
        )
    )
    refusal = refusal_of(call)
    assert isinstance(refusal, InvalidMessage)
    assert sorted(field for field, _ in named(refusal)) == [
        "message.labels",
        "message.sms.body",
        "message.sms.sender",
        "message.sms.to",
        "options.delivery_guarantee",
        "options.expire_time",
        "options.max_attempts",
        "options.priority",
        "options.send_time",
        "options.wait_for",
        "request_id",
    ]


def test_a_call_is_measured_whole_and_before_it_is_judged() -> None:
    call = request("r-1", sms=pb.Sms(to="bad", body="x" * 500))
    refusal = refusal_of(call, call.ByteSize() - 1)
    assert isinstance(refusal, MessageTooLarge)
    assert named(refusal) == [("message", f"must be at most {call.ByteSize() - 1:,} bytes with all that is in it")]
    assert isinstance(refusal_of(call, call.ByteSize()), InvalidMessage), "exactly the limit is allowed"


def test_maps_are_in_the_order_in_which_the_store_keeps_them() -> None:
    pairs = {f"X-{at}": "" for at in reversed(range(10, 26))}
    call = request(labels=pairs, email=pb.Email(to=["a@a.test"], text="T", headers=pairs))
    message = convert.command_from(call, MAX, DEFAULT_TENANT).message
    assert isinstance(message.content, Email)
    assert list(message.content.headers) == list(message.labels) == sorted(pairs)


def test_maps_are_copied_so_that_the_command_stays_as_it_is() -> None:
    call = request(labels={"a": "1"}, email=PB_EMAIL)
    command = convert.command_from(call, MAX, DEFAULT_TENANT)
    call.message.labels["a"] = "2"
    call.message.email.headers["X-A"] = "changed"
    assert command.message.labels == {"a": "1"}
    assert isinstance(command.message.content, Email)
    assert command.message.content.headers == {"X-A": "", "X-B": "2"}


@pytest.mark.parametrize(
    ("content", "path", "most"),
    [
        (pb.OutboundMessage(email=pb.Email(attachments=[pb.Attachment()] * 401)), "message.email.attachments", "100"),
        (pb.OutboundMessage(email=pb.Email(to=[""] * 4001)), "message.email.to", "1,000"),
        (pb.OutboundMessage(mms=pb.Mms(media=[pb.Media()] * 41)), "message.mms.media", "10"),
        (pb.OutboundMessage(labels={str(n): "" for n in range(65)}), "message.labels", "16"),
    ],
    ids=["attachments", "recipients", "media", "labels"],
)
def test_a_list_that_is_far_too_long_is_not_looked_into(content: pb.OutboundMessage, path: str, most: str) -> None:
    """Fourteen million empty attachments are 28 MB on the wire, and took 13 s and 2 GB to name one by one."""
    with pytest.raises(MessageTooLarge) as refused:
        convert.command_from(dispatch_pb.DispatchRequest(message=content), MAX, DEFAULT_TENANT)
    assert [(one.field, one.description) for one in refused.value.violations] == [
        (path, f"must have at most {most} entries")
    ]


def test_options_that_were_seen_before_are_read_as_they_were_then() -> None:
    bad = options(max_attempts=-1, priority=99, wait_for=99)
    reported = [violation.field for violation in refusal_of(bad).violations]
    assert reported == ["options.priority", "options.wait_for", "options.max_attempts"]
    for _ in range(3):
        again = options(max_attempts=-1, priority=99, wait_for=99)
        again.message.sms.body = ""
        assert [violation.field for violation in refusal_of(again).violations] == [*reported, "message.sms.body"]
    assert [violation.field for violation in refusal_of(bad).violations] == reported
    assert convert.command_from(options(max_attempts=3), MAX, DEFAULT_TENANT) == convert.command_from(
        options(max_attempts=3), MAX, DEFAULT_TENANT
    )


def test_only_options_of_the_usual_size_are_kept() -> None:
    before = convert._read_options.cache_info().currsize
    for number in range(20):
        command = convert.command_from(options(provider_name=f"{number}" + "x" * 300), MAX, DEFAULT_TENANT)
        assert command.options.provider_name == f"{number}" + "x" * 300
    assert convert._read_options.cache_info().currsize == before

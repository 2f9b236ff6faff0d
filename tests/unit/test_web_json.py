"""JSON of callers: what is read, and how what is wrong is named, without a value of theirs."""

from __future__ import annotations

import json

import pytest

from postwire.core.errors import InvalidMessage
from postwire.v1 import dispatch_service_pb2, provider_service_pb2
from postwire.web.strict_json import MAX_VALUES, read_json

CANARY = "+15005550006"

NO_OTHERS = "must have no other fields than those of the contract"
STRINGS = "must have values of its type: each must be a string"
BASE64 = "must be a string in base64"
TIME = 'must be a time such as "2030-01-31T12:00:00Z"'
WHOLE = "must be a whole number that is in range"
KNOWN = "must be a value that this server knows"


def violations(text: str | bytes) -> list[tuple[str, str]]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(InvalidMessage) as caught:
        read_json(data, dispatch_service_pb2.DispatchRequest)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.violations)
    return [(one.field, one.description) for one in caught.value.violations]


@pytest.mark.parametrize(
    "text",
    [
        '{"message": {"sms": {"to": "a", "body": "b"}}, "options": {"send_time": "2030-01-01T00:00:00Z"}}',
        '{"message": {"sms": {"to": "a", "body": "b"}}, "options": {"sendTime": "2030-01-01T01:00:00+01:00"}}',
    ],
)
def test_names_are_those_of_the_proto_or_their_camel_case(text: str) -> None:
    request = read_json(text.encode(), dispatch_service_pb2.DispatchRequest)
    assert request.message.sms.to == "a"
    assert request.options.send_time.ToJsonString() == "2030-01-01T00:00:00Z"


def test_what_is_null_is_left_out() -> None:
    request = read_json(b'{"options": null, "request_id": null}', dispatch_service_pb2.DispatchRequest)
    assert not request.HasField("options")


@pytest.mark.parametrize(
    ("text", "field", "description"),
    [
        ('{"options": {"sned_time": "x"}}', "options.sned_time", "is not known, did you mean send_time?"),
        ('{"mesage": {}}', "mesage", "is not known, did you mean message?"),
        ('{"zzz": {}}', "zzz", "is not known, known here: message, request_id, options"),
        ('{"message": {"sms": {"to": 15005550006}}}', "message.sms.to", "must be a string"),
        ('{"message": {"sms": {"to": ["+15005550006"]}}}', "message.sms.to", "must be a string"),
        ('{"message": {"sms": "+15005550006"}}', "message.sms", "must be an object"),
        ('{"message": ["+15005550006"]}', "message", "must be an object"),
        ('{"message": {"sms": {"+15005550006": 1}}}', "message.sms", NO_OTHERS),
        ('{"message": {"labels": {"+15005550006": 5}}}', "message.labels", STRINGS),
        ('{"message": {"labels": ["+15005550006"]}}', "message.labels", "must be an object"),
        ('{"message": {"labels": {"a": "b", "a": "c"}}}', "message.labels", "must have each key once"),
        ('{"message": {"email": {"to": "+15005550006"}}}', "message.email.to", "must be a list"),
        ('{"message": {"email": {"to": ["a", null]}}}', "message.email.to[1]", "must be a string"),
        ('{"message": {"mms": {"media": [{"data": "+15005550006!"}]}}}', "message.mms.media[0].data", BASE64),
        ('{"message": {"sms": {"to": "a"}, "email": {}}}', "message.email", "must be left out where there is sms"),
        ('{"message": {"sms": {"to": "a", "to": "+15005550006"}}}', "message.sms.to", "must be there once"),
        ('{"options": {"maxAttempts": 1, "max_attempts": 1}}', "options.max_attempts", "must be there once"),
        ('{"options": {"send_time": "+15005550006"}}', "options.send_time", TIME),
        ('{"options": {"send_time": 5}}', "options.send_time", TIME),
        ('{"options": {"wait_for": "+15005550006"}}', "options.wait_for", KNOWN),
        ('{"options": {"wait_for": true}}', "options.wait_for", KNOWN),
        ('{"options": {"max_attempts": 1.5}}', "options.max_attempts", WHOLE),
        ('{"options": {"max_attempts": 5000000000}}', "options.max_attempts", WHOLE),
        ('{"message": {"sms": {"to": "\\ud800"}}}', "message.sms.to", "must be a string"),
    ],
)  # fmt: skip
def test_every_mistake_is_named_by_its_path(text: str, field: str, description: str) -> None:
    assert violations(text) == [(field, description)]


def test_all_of_them_are_named_at_once() -> None:
    found = violations('{"message": {"sms": {"to": 5, "body": 5}}, "options": {"x": 1, "priority": "y"}}')
    assert [field for field, _ in found] == ["message.sms.to", "message.sms.body", "options.x", "options.priority"]
    many = violations(json.dumps({f"f{number}": 1 for number in range(30)}))
    assert len(many) == 26
    assert many[-1] == ("", "and 5 more")


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (b"", "is not JSON, from line 1, column 1 on"),
        (b'{"message": +15005550006}', "is not JSON, from line 1, column 13 on"),
        (b'{"a": 1,\n}', "is not JSON, from line 2, column 1 on"),
        (b'"+15005550006"', "must be a JSON object, {} at the least"),
        (b"[]", "must be a JSON object, {} at the least"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b'{"options": {"max_attempts": NaN}}', "is not JSON that can be read"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON that can be read"),
        (b"[" * 100_000, "is not JSON that can be read"),
        (b'{"a": [' + b"0," * MAX_VALUES + b"0]}", f"must have at most {MAX_VALUES:,} values"),
        (b"\xef\xbb\xbf{}", "is not JSON, from line 1, column 1 on"),
    ],
)
def test_what_is_no_json_is_refused_as_a_whole(data: bytes, description: str) -> None:
    assert violations(data) == [("", description)]


def test_an_enum_may_be_a_number_and_a_long_one_a_string() -> None:
    request = read_json(b'{"options": {"wait_for": 2, "max_attempts": "7"}}', dispatch_service_pb2.DispatchRequest)
    assert request.options.max_attempts == 7
    mock = read_json(b'{"name": "a", "seed": "18446744073709551615"}', provider_service_pb2.UpdateMockProviderRequest)
    assert mock.seed == 2**64 - 1

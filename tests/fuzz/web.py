"""JSON of callers over HTTP: it is a message that can be written and read again, or it is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf import json_format

from postwire.core.errors import InvalidMessage
from postwire.v1.dispatch_service_pb2 import DispatchRequest
from postwire.web.strict_json import read_json


def web_json(data: bytes) -> None:
    """A request of `Dispatch`."""
    try:
        message = read_json(data, DispatchRequest)
    except InvalidMessage as refused:
        refusal = refused
    else:
        _check_written(message)
        return
    assert 1 <= len(refusal.violations) <= 26


def _check_written(message: DispatchRequest) -> None:
    try:
        written = json_format.MessageToJson(message)
    except json_format.SerializeToJsonError:  # a time that only the binary form can have
        raise AssertionError("what JSON has said cannot be said in JSON") from None
    assert read_json(written.encode(), DispatchRequest) == message


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType({"web_json": web_json})

SEEDS: Final[Mapping[str, list[bytes]]] = MappingProxyType(
    {
        "web_json": [
            b'{"message": {"sms": {"to": "+14155550132", "body": "Hello"}}, "requestId": "r"}',
            b'{"message": {"email": {"to": ["a@b.c"], "headers": {"X": "y"}, "attachments": [{"data": "aGk="}]}}}',
            b'{"options": {"send_time": "2030-01-31T12:00:00Z", "wait_for": "WAIT_FOR_ACCEPTANCE", "max_attempts": 5}}',
            b'{"options": {"sned_time": 1, "priority": 7}, "labels": {"a": "b", "a": null}}',
        ]
    }
)

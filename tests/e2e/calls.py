"""Requests for tests to start from, and what a refused call says."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import DispatchOptions, Email, Mms, OutboundMessage, Sms

SENT: Final = message_pb2.MESSAGE_STATE_SENT
SENDING: Final = message_pb2.MESSAGE_STATE_SENDING
SUCCESS: Final = message_pb2.OUTCOME_SUCCESS
ACCEPTANCE: Final = message_pb2.WAIT_FOR_ACCEPTANCE
OUTCOME: Final = message_pb2.WAIT_FOR_OUTCOME

TIMEOUT: Final = 20.0
"""Of every call that has no other. The server answers long before, or something is wrong."""

_numbers = itertools.count(1)


def new_request_id() -> str:
    """A request id that nobody has used."""
    return f"e2e-{os.getpid()}-{next(_numbers)}"


def sms(to: str = "+14155550132", body: str = "Hello", **fields: Any) -> OutboundMessage:
    return OutboundMessage(sms=Sms(to=to, body=body, **fields))


def mms(to: str = "+14155550132", body: str = "Look", **fields: Any) -> OutboundMessage:
    return OutboundMessage(mms=Mms(to=to, body=body, **fields))


def email(*to: str, **fields: Any) -> OutboundMessage:
    return OutboundMessage(
        email=Email(**{"to": to or ("ada@example.com",), "subject": "Hi", "text": "Hello", **fields})
    )


def request(message: OutboundMessage | None = None, request_id: str = "", **options: Any) -> pb.DispatchRequest:
    """A call of `Dispatch`. Without a request id, a new one; options as `DispatchOptions` has them."""
    return pb.DispatchRequest(
        message=message or sms(),
        request_id=request_id or new_request_id(),
        options=DispatchOptions(**options) if options else None,
    )


@dataclass(frozen=True)
class Refused:
    """A refused call as its caller sees it. `violations` are paths with their descriptions."""

    code: grpc.StatusCode
    reason: str | None
    text: str
    violations: list[tuple[str, str]] = field(default_factory=list)
    retry_delay: float | None = None
    trailers: dict[str, str | bytes] = field(default_factory=dict)

    @property
    def fields(self) -> list[str]:
        return [path for path, _ in self.violations]


def refused(call: Callable[[], object]) -> Refused:
    """Make a call that has to fail, and take its error apart. Whatever details there are have to be well formed."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return refusal_of(raised.value)


def refusal_of(error: Any) -> Refused:
    """Take an error apart."""
    trailers = dict(error.trailing_metadata() or ())
    status = rpc_status.from_call(error)
    if status is None:
        return Refused(error.code(), None, error.details(), trailers=trailers)
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    unpacked = [any(detail.Unpack(one) for one in (info, bad, retry)) for detail in status.details]
    assert all(unpacked)
    assert info.domain == "postwire"
    assert status.message == error.details()
    return Refused(
        code=error.code(),
        reason=info.reason,
        text=error.details(),
        violations=[(one.field, one.description) for one in bad.field_violations],
        retry_delay=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        trailers=trailers,
    )

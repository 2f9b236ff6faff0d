"""Requests for tests to start from, and what a refused call says."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.e2e.server import Server, eventually
from tests.support.waiting import PATIENCE

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import DispatchOptions, Email, Message, Mms, OutboundMessage, Sms
from postwire.v1.provider_service_pb2 import (
    GetProviderRequest,
    ListProvidersRequest,
    Provider,
    UpdateMockProviderRequest,
)

QUEUED: Final = message_pb2.MESSAGE_STATE_QUEUED
SENDING: Final = message_pb2.MESSAGE_STATE_SENDING
SENT: Final = message_pb2.MESSAGE_STATE_SENT
FAILED: Final = message_pb2.MESSAGE_STATE_FAILED
UNCERTAIN: Final = message_pb2.MESSAGE_STATE_UNCERTAIN
SUCCESS: Final = message_pb2.OUTCOME_SUCCESS
ACCEPTANCE: Final = message_pb2.WAIT_FOR_ACCEPTANCE
OUTCOME: Final = message_pb2.WAIT_FOR_OUTCOME
AT_MOST_ONCE: Final = message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE

TIMEOUT: Final = PATIENCE
"""Of every call that has no other. The server answers long before, or something is wrong."""

NO_RETRY: Final = {"delivery__backoff_base": "1h", "delivery__backoff_max": "1h", "delivery__seed": "1"}
"""Settings under which what is queued after an attempt is not due again while a test runs."""

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


def dispatch(server: Server, message: OutboundMessage | None = None, **options: Any) -> Message:
    """Send a message, and return its record as the call has it. Options as `DispatchOptions` has them."""
    return server.dispatch.Dispatch(request(message, **options), timeout=TIMEOUT).message


def dispatch_all(server: Server, messages: Iterable[OutboundMessage], **options: Any) -> list[Message]:
    """The same for many, all at once."""
    calls = [server.dispatch.Dispatch.future(request(one, **options), timeout=TIMEOUT) for one in messages]
    return [call.result().message for call in calls]


def get(server: Server, message: Message | str) -> Message:
    """The record of a message as it now is."""
    message_id = message if isinstance(message, str) else message.message_id
    return server.dispatch.GetMessage(pb.GetMessageRequest(message_id=message_id), timeout=TIMEOUT).message


def until(server: Server, message: Message, state: message_pb2.MessageState.ValueType) -> Message:
    """Return the record once the message has reached a state."""
    eventually(lambda: get(server, message).state == state)
    return get(server, message)


def explain(server: Server, message: OutboundMessage | None = None, **options: Any) -> pb.ExplainRouteResponse:
    """Who a message would be offered to."""
    asked = pb.ExplainRouteRequest(message=message or sms(), options=DispatchOptions(**options) if options else None)
    return server.dispatch.ExplainRoute(asked, timeout=TIMEOUT)


def until_eligible(server: Server, message: OutboundMessage | None = None) -> None:
    """Return once a provider takes messages like this one: a cool-down, or another obstacle, is over."""
    eventually(lambda: any(one.eligible for one in explain(server, message).candidates))


def providers(server: Server) -> dict[str, Provider]:
    """Every provider, by its name."""
    listed = server.providers.ListProviders(ListProvidersRequest(), timeout=TIMEOUT)
    return {one.name: one for one in listed.providers}


def provider(server: Server, name: str) -> Provider:
    """One provider."""
    return server.providers.GetProvider(GetProviderRequest(name=name), timeout=TIMEOUT).provider


def in_flight(server: Server) -> int:
    """How many attempts are under way."""
    return sum(one.in_flight for one in providers(server).values())


def update(server: Server, name: str, *, latency: float | None = None, **changes: Any) -> Provider:
    """Change how a mock behaves. `latency` in seconds."""
    asked = UpdateMockProviderRequest(name=name, **changes)
    if latency is not None:
        asked.latency.CopyFrom(Duration(seconds=int(latency), nanos=int(latency % 1 * 1e9)))
    return server.providers.UpdateMockProvider(asked, timeout=TIMEOUT).provider


def release(server: Server, name: str = "sms-mms") -> None:
    """Let the attempts of a mock end, those that are under way and those that follow: of a server that is `held`."""
    update(server, name, latency=0)


def dispatch_ahead(
    server: Server,
    message: OutboundMessage | None = None,
    *,
    is_early: Callable[[Message], object] = lambda sent: True,
    expire_after: float | None = None,
    send_after: float | None = None,
    **options: Any,
) -> Message:
    """Send a message with times that lie ahead: the first of several ever later ones for which the server came early.

    How fast a machine is says nothing of the server, and no test waits for longer than it has to. Times are multiples
    of the moment that is tried; `is_early` sees what was answered.
    """
    for moment in (0.5, 2.0, 8.0, PATIENCE / 4):
        now = time.time_ns()
        for name, after in (("expire_time", expire_after), ("send_time", send_after)):
            if after is not None:
                options[name] = Timestamp()
                options[name].FromNanoseconds(now + int(after * moment * 1e9) // 1000 * 1000)
        call = server.dispatch.Dispatch.future(request(message, **options), timeout=TIMEOUT)
        if not call.exception() and is_early(call.result().message):
            break
    return call.result().message


def tried(message: Message) -> list[tuple[str, str]]:
    """A message's attempts: who was asked, and what came of it."""
    return [
        (one.provider_name, message_pb2.Outcome.Name(one.outcome).removeprefix("OUTCOME_").lower())
        for one in message.attempts
    ]


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

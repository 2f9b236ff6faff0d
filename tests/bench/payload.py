"""What goes over the wire, the same for both servers."""

from __future__ import annotations

from typing import Final

from tests.bench.jobs import BODY, RECIPIENT

from postwire.v1 import dispatch_service_pb2, message_pb2

SERVICE: Final = "postwire.v1.DispatchService"
DISPATCH: Final = "Dispatch"
DISPATCH_STREAM: Final = "DispatchStream"

REQUEST_ID: Final = "0b8f6f3e-2d52-4c7e-9a51-6c1f3f0c9d27"


def request(channel: str = "sms") -> dispatch_service_pb2.DispatchRequest:
    """An SMS to an ordinary number, or an email to an ordinary address, without a request id."""
    if channel == "email":
        email = message_pb2.Email(to=["ada@example.com"], subject="Your code", text=BODY)
        return dispatch_service_pb2.DispatchRequest(message=message_pb2.OutboundMessage(email=email))
    sms = message_pb2.Sms(to=RECIPIENT, body=BODY)
    return dispatch_service_pb2.DispatchRequest(message=message_pb2.OutboundMessage(sms=sms))


def response() -> dispatch_service_pb2.DispatchResponse:
    """A response with every field that `Dispatch` sets for such a message, so of the same size."""
    message = message_pb2.Message(
        message_id="019ab0c4-94c8-7000-8f3e-5d2a7c1b9e64",
        request_id=REQUEST_ID,
        channel=message_pb2.CHANNEL_SMS,
        state=message_pb2.MESSAGE_STATE_SENT,
        provider_name="sms-mms",
        provider_message_id="mock-019ab0c4-94c8-7000-8f3e-5d2a7c1b9e64",
        outcome=message_pb2.OUTCOME_SUCCESS,
        revision=2,
    )
    attempt = message.attempts.add(
        number=1,
        provider_name="sms-mms",
        outcome=message_pb2.OUTCOME_SUCCESS,
        provider_message_id=message.provider_message_id,
    )
    attempt.duration.FromMicroseconds(21)
    for time in (message.create_time, message.update_time, message.expire_time, attempt.start_time):
        time.FromMicroseconds(1_795_000_000_123_456)
    return dispatch_service_pb2.DispatchResponse(message=message)

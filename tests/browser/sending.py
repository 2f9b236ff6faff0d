"""Messages that a test of the console sends by gRPC, beside the page that is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from tests.support import build

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2

if TYPE_CHECKING:
    from tests.browser.console import Console

SENT: Final = "+15005550006"
REJECTED: Final = "+15005550001"
UNCERTAIN: Final = "+15005550004"

AT_MOST_ONCE: Final = message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE

_FRAME: Final = 500


def sms(
    to: str = SENT, *, request_id: str = "", labels: dict[str, str] | None = None, **options: Any
) -> pb.DispatchRequest:
    """A text message, by default one that is sent."""
    return _request(request_id, labels, options, sms=message_pb2.Sms(to=to, body="Your code is 123456"))


def email(*to: str, request_id: str = "", labels: dict[str, str] | None = None, **options: Any) -> pb.DispatchRequest:
    """An email, by default to one that is sent."""
    content = message_pb2.Email(to=to or ("success@simulator.postwire.test",), subject="Hello", text="Hello")
    return _request(request_id, labels, options, email=content)


def _request(
    request_id: str, labels: dict[str, str] | None, options: dict[str, Any], **content: Any
) -> pb.DispatchRequest:
    return pb.DispatchRequest(
        message=message_pb2.OutboundMessage(labels=labels or {}, **content),
        request_id=request_id or build.new_request_id(),
        options=message_pb2.DispatchOptions(**options),
    )


def send(console: Console, request: pb.DispatchRequest) -> message_pb2.Message:
    """Dispatch it, and return its record once its outcome is known."""
    return console.dispatch.Dispatch(request).message


def send_many(console: Console, requests: Iterable[pb.DispatchRequest]) -> int:
    """Dispatch them over one stream, and return how many there were once the outcome of each is known."""

    def frames() -> Iterator[pb.DispatchStreamRequest]:
        left = iter(requests)
        while some := list(islice(left, _FRAME)):
            yield pb.DispatchStreamRequest(requests=some)

    return sum(len(response.results) for response in console.dispatch.DispatchStream(frames()))


def later() -> Timestamp:
    """A `send_time` for which a message waits, whatever the test does meanwhile."""
    time = Timestamp()
    time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    return time

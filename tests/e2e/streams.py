"""Calls of the streams by the generated client: what is sent and read, step by step."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Self

import apsw
import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import ACCEPTANCE, TIMEOUT, Refused, refusal_of, refused, request
from tests.e2e.server import Server

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import error_reason_pb2
from postwire.v1.dispatch_service_pb2 import DispatchStreamResult, MessageFilter, WatchMessagesRequest
from postwire.v1.message_pb2 import Message


def in_time(**fields: float) -> Timestamp:
    """A time from now: `in_time(hours=1)`."""
    stamp = Timestamp()
    stamp.GetCurrentTime()
    stamp.FromNanoseconds(stamp.ToNanoseconds() + int(timedelta(**fields).total_seconds() * 1e9))
    return stamp


def later(count: int = 1) -> list[pb.DispatchRequest]:
    """Messages that are sent in an hour."""
    send_time = in_time(hours=1)
    return [request(wait_for=ACCEPTANCE, send_time=send_time) for _ in range(count)]


def stored(server: Server, source: str = "messages") -> int:
    """How many rows there are in the store of a server that is running: `source` is what follows FROM."""
    connection = apsw.Connection(str(server.store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {source}").fetchall()
    finally:
        connection.close()
    assert isinstance(count, int)
    return count


class Stream:
    """A call of `DispatchStream`; closed at the end of its context, if it still is under way."""

    def __init__(self, server: Server, *, timeout: float = TIMEOUT) -> None:
        self._frames: queue.SimpleQueue[pb.DispatchStreamRequest | None] = queue.SimpleQueue()
        self.call: Any = server.dispatch.DispatchStream(iter(self._frames.get, None), timeout=timeout)
        self._read: list[DispatchStreamResult] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.done_sending()
        self.call.cancel()

    def send(self, requests: Iterable[pb.DispatchRequest] = ()) -> None:
        """Send one frame."""
        self._frames.put(pb.DispatchStreamRequest(requests=requests))

    def done_sending(self) -> None:
        """Close our side."""
        self._frames.put(None)

    def results(self, count: int) -> list[DispatchStreamResult]:
        """The next so many results, as they come."""
        while len(self._read) < count:
            self._read += next(self.call).results
        found, self._read = self._read[:count], self._read[count:]
        return found

    def rest(self) -> list[DispatchStreamResult]:
        """Close our side, and read to the end."""
        self.done_sending()
        return self.until_end()

    def until_end(self) -> list[DispatchStreamResult]:
        """Read until the server ends the call, which has to be in good order."""
        found, self._read = self._read, []
        for response in self.call:
            found += response.results
        return found

    def end(self) -> Refused:
        """How the server ends a call that it does not end in good order."""
        assert self._read == []
        return refused(lambda: next(self.call))


def sent_through(server: Server, requests: Iterable[pb.DispatchRequest]) -> list[DispatchStreamResult]:
    """The results of one frame, in their order."""
    with Stream(server) as stream:
        stream.send(requests)
        return sorted(stream.rest(), key=lambda one: one.sequence)


def sequences(results: Iterable[DispatchStreamResult]) -> list[int]:
    return [one.sequence for one in results]


def states(results: Iterable[DispatchStreamResult]) -> list[int]:
    return [one.message.state for one in results]


def rejected(result: DispatchStreamResult) -> Refused:
    """A rejection as the error of a call would be taken apart."""
    assert result.HasField("rejection"), result
    one = result.rejection
    (code,) = [code for code in grpc.StatusCode if code.value[0] == one.code]
    return Refused(
        code=code,
        reason=error_reason_pb2.ErrorReason.Name(one.reason).removeprefix("ERROR_REASON_"),
        text=one.message,
        violations=[(violation.field, violation.description) for violation in one.field_violations],
        retry_delay=one.retry_delay.ToTimedelta().total_seconds() if one.HasField("retry_delay") else None,
    )


class Watch:
    """A call of `WatchMessages`; closed at the end of its context. `token` is the last that was read."""

    def __init__(self, server: Server, *message_ids: str, token: str = "", **chosen: Any) -> None:
        request = WatchMessagesRequest(
            message_ids=message_ids, filter=MessageFilter(**chosen) if chosen else None, resume_token=token
        )
        self.token = token
        self.call: Any = server.dispatch.WatchMessages(request, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.call.cancel()

    def begin(self) -> Self:
        """Return once it has begun: what happens from now on is shown."""
        self.token = next(self.call).resume_token
        return self

    def next(self) -> Message:
        """The next message that is shown."""
        while True:
            response = next(self.call)
            assert response.resume_token
            self.token = response.resume_token
            if response.HasField("message"):
                message: Message = response.message
                return message

    def until(self, is_last: Callable[[Message], bool]) -> list[Message]:
        """All that is shown, up to a message that is the last of interest."""
        found = [self.next()]
        while not is_last(found[-1]):
            found.append(self.next())
        return found

    def end(self) -> Refused:
        """How the server ends it; what is shown before that is passed over."""
        try:
            for response in self.call:
                self.token = response.resume_token
        except grpc.RpcError as error:
            return refusal_of(error)
        raise AssertionError("it has ended in good order")

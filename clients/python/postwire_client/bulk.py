"""Sending many messages over one stream, which is opened again where it breaks."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc

from postwire.v1.dispatch_service_pb2 import (
    DispatchRejection,
    DispatchRequest,
    DispatchStreamRequest,
)
from postwire.v1.error_reason_pb2 import ErrorReason
from postwire.v1.message_pb2 import Message
from postwire_client.errors import FieldViolation, PostwireError, TryAgain, error_of, from_rpc_error

MAX_FRAME: Final = 1_000
"""How many messages the server takes in one frame."""

MAX_TRIES: Final = 8
"""How often a stream is opened without getting any further, before that is an error."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0

OpenStream = Callable[[Iterator[DispatchStreamRequest]], Any]


@dataclass(frozen=True, slots=True)
class DispatchResult:
    """What became of one request: its record, or why it was refused. `index` is its position, from 0."""

    index: int
    request: DispatchRequest
    message: Message | None
    error: PostwireError | None


def dispatch_many(
    open_stream: OpenStream, requests: Iterable[DispatchRequest], *, frame_size: int, window: int, retry: bool
) -> Iterator[DispatchResult]:
    """The results of `requests`, each of which has a request id. See `Client.dispatch_many`."""
    source = _Source(requests, window)
    tries = 0
    while True:
        source.begin()
        feed = _Feed(source, frame_size, window)
        call = open_stream(feed.frames())
        pause = 0.0
        try:
            for response in call:
                for wire in response.results:
                    index, request = feed.answered(wire.sequence)
                    if wire.HasField("message"):
                        yield DispatchResult(index, request, wire.message, None)
                        tries = 0
                        continue
                    error = _error_from(wire.rejection)
                    if retry and isinstance(error, TryAgain) and tries < MAX_TRIES:
                        source.put_back(index, request)
                        pause = max(pause, error.retry_delay or _FIRST_PAUSE)
                    else:
                        yield DispatchResult(index, request, None, error)
        except grpc.RpcError as caught:
            error = from_rpc_error(caught)
            if not (retry and isinstance(error, TryAgain) and tries < MAX_TRIES):
                raise error from caught
            pause = max(pause, error.retry_delay or _FIRST_PAUSE)
        finally:
            call.cancel()
            feed.close()
        source.raise_failure()
        if source.exhausted:
            return
        tries += 1
        time.sleep(min(_LONGEST_PAUSE, pause * 2 ** min(tries - 1, 6)) * random.uniform(0.5, 1.0))


class _Source:
    """The requests that are still to be sent: those that an earlier stream left first."""

    def __init__(self, requests: Iterable[DispatchRequest], most_later: int) -> None:
        self._requests = enumerate(requests)
        self._most_later = most_later
        self._now: list[tuple[int, DispatchRequest]] = []
        self._later: list[tuple[int, DispatchRequest]] = []
        self._ended = False
        self._failure: Exception | None = None

    @property
    def exhausted(self) -> bool:
        return self._ended and not self._now and not self._later

    def begin(self) -> None:
        """A stream begins: what was put back is its first."""
        self._now, self._later = sorted(self._now + self._later, key=lambda one: one[0]), []

    def take(self, count: int) -> list[tuple[int, DispatchRequest]]:
        """The next ones; none where this stream is to end."""
        taken, self._now = self._now[:count], self._now[count:]
        # Where much was put back, the server has no room: go on after a pause.
        if taken or self._ended or len(self._later) >= self._most_later:
            return taken
        try:
            taken = list(itertools.islice(self._requests, count))
            self._ended = not taken
        except Exception as error:  # the caller's own, which is to have it again
            self._failure = error
        return taken

    def put_back(self, index: int, request: DispatchRequest) -> None:
        """To be sent again, over the next stream."""
        self._later.append((index, request))

    def raise_failure(self) -> None:
        """Raise what the caller's own iterable has raised."""
        if self._failure:
            raise self._failure


class _Feed:
    """One stream's frames. gRPC takes them on a thread of its own, and waits there while `window` are unanswered."""

    def __init__(self, source: _Source, frame_size: int, window: int) -> None:
        self._source = source
        self._frame_size = frame_size
        self._window = max(window, frame_size)
        self._unanswered: dict[int, tuple[int, DispatchRequest]] = {}
        self._sequence = 0
        self._changed = threading.Condition()
        self._closed = False

    def frames(self) -> Iterator[DispatchStreamRequest]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._unanswered) + self._frame_size <= self._window)
                if self._closed:
                    return
                taken = self._source.take(self._frame_size)
                if not taken:
                    return
                for one in taken:
                    self._unanswered[self._sequence] = one
                    self._sequence += 1
            yield DispatchStreamRequest(requests=[request for _, request in taken])

    def answered(self, sequence: int) -> tuple[int, DispatchRequest]:
        with self._changed:
            self._changed.notify_all()
            return self._unanswered.pop(sequence)

    def close(self) -> None:
        """Send nothing more; what was not answered is for the next stream."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for index, request in self._unanswered.values():
                self._source.put_back(index, request)
            self._unanswered.clear()


def _error_from(rejection: DispatchRejection) -> PostwireError:
    name = ErrorReason.Name(rejection.reason).removeprefix("ERROR_REASON_") if rejection.reason else None
    code = next((code for code in grpc.StatusCode if code.value[0] == rejection.code), grpc.StatusCode.UNKNOWN)
    return error_of(
        code,
        rejection.message,
        name,
        tuple(FieldViolation(one.field, one.description) for one in rejection.field_violations),
        rejection.retry_delay.ToTimedelta().total_seconds() if rejection.HasField("retry_delay") else None,
    )

"""The bookkeeping of `dispatch_many`: what is taken, sent, answered, and sent again. It does no I/O and has no clock.

Both clients report to it what happens (`put`, `answered`, `ended`, …) and ask what is to be done (`room`, `next_frame`,
`wake_at`, …). `now` is in seconds, on a clock that does not step back.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Final

import grpc

from postwire.v1.dispatch_service_pb2 import (
    DispatchRejection,
    DispatchRequest,
    DispatchStreamRequest,
    DispatchStreamResult,
)
from postwire.v1.error_reason_pb2 import ErrorReason
from postwire.v1.message_pb2 import Message
from postwire_client.errors import FieldViolation, PostwireError, TryAgain, error_of
from postwire_client.reopening import Reopening
from postwire_client.request_ids import new_request_id

MAX_FRAME: Final = 1_000
"""How many messages the server takes in one frame."""

MAX_FRAME_BYTES: Final = 4 << 20
"""From how many bytes on a frame takes no more messages: what a server takes in one piece is limited."""

MAX_UNANSWERED_BYTES: Final = 64 << 20
"""From how many bytes on no more messages are taken, however few they are: they are all kept in memory."""

LINGER: Final = 0.01
"""How long (s) a message waits for others to fill its frame."""

_Item = tuple[int, DispatchRequest, int]
"""A request with its position and its size in bytes."""


@dataclass(frozen=True, slots=True)
class DispatchResult:
    """What became of one request: its record, or why it was refused. `index` is its position, from 0."""

    index: int
    request: DispatchRequest
    message: Message | None
    error: PostwireError | None


class Bulk:
    """At most `window` requests are taken and not answered. `timeout` (s) is how long an answer may take to come."""

    def __init__(self, *, frame_size: int, window: int, timeout: float, reopening: Reopening) -> None:
        if not 1 <= frame_size <= MAX_FRAME:
            raise ValueError(f"frame_size must be from 1 to {MAX_FRAME}")
        if window < 1:
            raise ValueError("window must be at least 1")
        self._frame_size = min(frame_size, window)
        self._window = window
        self._timeout = timeout
        self._reopening = reopening
        self._count = 0
        self._fresh: deque[_Item] = deque()
        self._again: list[_Item] = []  # a heap: the first that was taken is the first to be sent again
        self._sent: dict[int, _Item] = {}  # by its sequence in the stream
        self._sequence = 0
        self._bytes = 0
        self._fresh_bytes = 0
        self._full_at = 0.0
        self._not_before = 0.0
        self._heard_at: float | None = None
        self._ended = False
        self._failure: BaseException | None = None

    # The requests.

    @property
    def room(self) -> int:
        """How many requests may be taken now."""
        if self._ended or self._bytes >= MAX_UNANSWERED_BYTES:
            return 0
        return self._window - len(self._fresh) - len(self._again) - len(self._sent)

    def put(self, request: DispatchRequest, now: float) -> bool:
        """One was taken. Whether this changes what `next_frame` gives, or when. Raises TypeError for anything else."""
        if not isinstance(request, DispatchRequest):
            raise TypeError(f"requests must be of DispatchRequest, not {type(request).__name__}")
        if not request.request_id:
            given, request = request, DispatchRequest(request_id=new_request_id())
            request.MergeFrom(given)
        size = request.ByteSize()
        if not self._fresh:
            self._full_at = now + LINGER
        self._fresh.append((self._count, request, size))
        self._count += 1
        self._bytes += size
        self._fresh_bytes += size
        return len(self._fresh) == 1 or self._is_full

    def no_more(self, failure: BaseException | None = None) -> None:
        """There are no more, or they cannot be had: `finish` will raise that."""
        self._ended, self._failure = True, failure

    # The stream.

    @property
    def is_done(self) -> bool:
        """Whether everything is answered, and nothing will come."""
        return self._ended and not (self._fresh or self._again or self._sent)

    @property
    def wake_at(self) -> float | None:
        """When there is a frame to send, if nothing else happens; None: not before something does."""
        if not (self._fresh or self._again):
            return None
        return max(self._not_before, 0.0 if self._again or self._is_full else self._full_at)

    def opened(self) -> None:
        """A stream is opened."""
        self._sequence = 0
        self._reopening.opened()

    def next_frame(self, now: float) -> DispatchStreamRequest | None:
        """What to send now, if there is anything."""
        if (at := self.wake_at) is None or now < at:
            return None
        if not self._sent and self._heard_at is not None:
            self._heard_at = now
        frame, size = DispatchStreamRequest(), 0
        while len(frame.requests) < self._frame_size and (self._again or self._fresh):
            item = (self._again or self._fresh)[0]
            if frame.requests and size + item[2] > MAX_FRAME_BYTES:
                break
            if self._again:
                heapq.heappop(self._again)
            else:
                self._fresh.popleft()
                self._fresh_bytes -= item[2]
            size += item[2]
            frame.requests.append(item[1])
            self._sent[self._sequence] = item
            self._sequence += 1
        self._full_at = now + LINGER  # for those that are left
        return frame

    def listening(self, now: float) -> None:
        """The stream is read, from now until the next `answered` or `ended`."""
        self._heard_at = now

    @property
    def deadline(self) -> float | None:
        """Until when something has to be heard; None while nobody listens, or there is nothing to be heard."""
        is_owed = self._sent or self.is_done  # an answer, or the end of the stream
        return self._heard_at + self._timeout if self._heard_at is not None and is_owed else None

    def answered(self, result: DispatchStreamResult, now: float) -> DispatchResult | None:
        """Take one result. Returns what to yield for it: nothing, where it is to be sent again."""
        self._heard_at = None
        item = self._sent.pop(result.sequence, None)
        if item is None:
            return None  # has been answered
        index, request, size = item
        error = None if result.HasField("message") else _error_from(result.rejection)
        # Where a field is named, there is no room for this message, and that may be so for hours: others go on.
        if isinstance(error, TryAgain) and not error.violations:
            is_pausing = now < self._not_before  # and so this was sent before the pause began
            if is_pausing or self._reopening.allows(error):
                heapq.heappush(self._again, item)
                if not is_pausing:
                    self._not_before = now + self._reopening.pause(error)
                return None
        else:
            self._reopening.got_further()
        self._bytes -= size
        return DispatchResult(index, request, None if error else result.message, error)

    def ended(self, error: PostwireError | None, now: float) -> None:
        """The stream has ended, in good order or with an error, which is raised if it is not to be opened again."""
        self._heard_at = None
        if self.is_done:
            return
        if error is None:
            error = TryAgain(grpc.StatusCode.UNAVAILABLE, "the stream has ended before everything was answered")
        if not self._reopening.allows(error):
            raise error
        for item in self._sent.values():
            heapq.heappush(self._again, item)
        self._sent.clear()
        self._not_before = now + self._reopening.pause(error)

    def finish(self) -> None:
        """Raise what came instead of the rest of the requests, if anything did."""
        if self._failure is not None:
            raise self._failure

    @property
    def _is_full(self) -> bool:
        return self._ended or len(self._fresh) >= self._frame_size or self._fresh_bytes >= MAX_FRAME_BYTES


def _error_from(rejection: DispatchRejection) -> PostwireError:
    is_known = rejection.reason in ErrorReason.values()  # or it is newer than we are
    name = ErrorReason.Name(rejection.reason).removeprefix("ERROR_REASON_") if rejection.reason and is_known else None
    code = next((code for code in grpc.StatusCode if code.value[0] == rejection.code), grpc.StatusCode.UNKNOWN)
    return error_of(
        code,
        rejection.message,
        name,
        tuple(FieldViolation(one.field, one.description) for one in rejection.field_violations),
        rejection.retry_delay.ToTimedelta().total_seconds() if rejection.HasField("retry_delay") else None,
    )

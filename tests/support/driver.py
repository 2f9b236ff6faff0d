"""A caller that does as the docs say: with request ids of its own, it repeats whatever was not answered with OK."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.support.waiting import PATIENCE

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import error_reason_pb2, message_pb2
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import Message

QUEUED: Final = message_pb2.MESSAGE_STATE_QUEUED
UNSETTLED: Final = frozenset({QUEUED, message_pb2.MESSAGE_STATE_SENDING})
REPORTED: Final = frozenset({message_pb2.MESSAGE_STATE_DELIVERED, message_pb2.MESSAGE_STATE_UNDELIVERED})
"""What a settled message may become later."""
AT_MOST_ONCE: Final = message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE

TIMEOUT: Final = PATIENCE
"""Seconds of every call. The server answers long before, or is gone, or something is wrong."""

BROKEN: Final = "UNAVAILABLE"
SHUTTING_DOWN: Final = "UNAVAILABLE SHUTTING_DOWN"
CANCELLED: Final = "CANCELLED"
"""What gRPC makes of a call that reaches a server in the moment in which it stops."""
CUT: Final = "INTERNAL, cut in a write"
"""What gRPC for asyncio makes of the end of a stream while the caller writes, whatever the server has said."""
CUT_IN_A_WRITE: Final = "Internal error from Core"
OVERLOADED: Final = "RESOURCE_EXHAUSTED OVERLOADED"
REUSED: Final = "ALREADY_EXISTS REQUEST_ID_REUSED"

ROOM: Final = 0.05
"""Seconds after which to come back to a server that has no room."""

OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


@dataclass(slots=True, eq=False)
class Shot:
    """A request, and what was heard of it. `settled` is the state that an answer has told, if it was a settled one."""

    request: pb.DispatchRequest
    message_id: str = ""
    settled: int = 0
    tries: int = 0

    def heard(self, message: Message) -> None:
        """An answer: it never contradicts an earlier one."""
        assert message.message_id
        assert message.request_id == self.request.request_id
        assert self.message_id in ("", message.message_id), "one request id is two messages"
        assert self.settled in (0, message.state) or message.state in REPORTED, "a settled message has become another"
        self.message_id = message.message_id
        if message.state not in UNSETTLED:
            self.settled = message.state


@dataclass
class Book:
    """Every request that was made. `make` gives the next one, by its number.

    `seen` are the revision and state that a watch has shown last, by message id; it has run since `watched_since` (ns).
    """

    make: Callable[[int], pb.DispatchRequest]
    repeats: float = 0.02
    shots: list[Shot] = field(default_factory=list)
    unanswered: deque[Shot] = field(default_factory=deque)
    failures: Counter[str] = field(default_factory=Counter)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    resume_token: str = ""
    watched_since: int = 0
    _shown: asyncio.Event = field(default_factory=asyncio.Event)
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def answered(self) -> list[Shot]:
        return [shot for shot in self.shots if shot.message_id]

    def next(self) -> Shot:
        """What to send next: what has no answer, now and then what has one, else something new."""
        if self.unanswered:
            shot = self.unanswered.popleft()
        elif self.shots and self._random.random() < self.repeats:
            shot = self._random.choice(self.shots)
        else:
            shot = Shot(self.make(len(self.shots)))
            self.shots.append(shot)
        shot.tries += 1
        return shot

    def again(self, shot: Shot) -> None:
        """It has had no answer, or none that says that it is owned."""
        if not shot.message_id:
            self.unanswered.append(shot)

    def failed(self, kind: str, error: grpc.aio.AioRpcError) -> str:
        """A call was broken off; returns why. Anything that does not ask to repeat is a fault."""
        why = why_of(error)
        assert why in (BROKEN, CUT, SHUTTING_DOWN, OVERLOADED, CANCELLED), error
        self.failures[f"{kind}: {why}"] += 1
        return why

    def saw(self, message: Message) -> None:
        """A watch has shown it."""
        revision, _ = self.seen.get(message.message_id, (0, 0))
        if message.revision >= revision:
            self.seen[message.message_id] = message.revision, message.state
        self._shown.set()

    async def until_seen(self, enough: Callable[[], bool]) -> None:
        """Return once a watch has shown enough."""
        async with asyncio.timeout(TIMEOUT):
            while not enough():
                self._shown.clear()
                await self._shown.wait()


def why_of(error: grpc.aio.AioRpcError) -> str:
    """The status of a call that failed, and the reason of our `ErrorInfo` if it has one."""
    if (error.details() or "").startswith(CUT_IN_A_WRITE):
        return CUT
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # its types know no asyncio
    info = error_details_pb2.ErrorInfo()
    ours = status and any(one.Unpack(info) for one in status.details)
    return f"{error.code().name} {info.reason}" if ours else error.code().name


def connect(address: str) -> grpc.aio.Channel:
    """A connection of its own."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)


async def drive(
    address: str, book: Book, gone: asyncio.Event, *, callers: int = 24, streams: int = 2, frame: int = 20
) -> None:
    """Send for as long as the server lasts. Returns once it is gone, and every call has ended."""
    async with connect(address) as channel:
        stub: Any = DispatchServiceStub(channel)
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(_call(stub, book, gone))
            for _ in range(streams):
                group.create_task(_stream(stub, book, gone, frame))
            group.create_task(watch(stub, book))


async def _call(stub: Any, book: Book, gone: asyncio.Event) -> None:
    while not gone.is_set():
        shot = book.next()
        try:
            answer = await stub.Dispatch(shot.request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            book.again(shot)
            if book.failed("call", error) != OVERLOADED:
                return
            await asyncio.sleep(ROOM)
        else:
            shot.heard(answer.message)


async def _stream(stub: Any, book: Book, gone: asyncio.Event, frame: int) -> None:
    """Keeps three frames without an answer under way."""
    sent: list[Shot] = []
    waiting: set[int] = set()
    call = stub.DispatchStream()
    try:
        while not gone.is_set():
            while len(waiting) <= 2 * frame:
                shots = [book.next() for _ in range(frame)]
                waiting.update(range(len(sent), len(sent) + frame))
                sent.extend(shots)
                await call.write(pb.DispatchStreamRequest(requests=[shot.request for shot in shots]))
            response = await call.read()
            assert response is not grpc.aio.EOF, "a stream has ended well though its caller has not"
            for result in response.results:
                waiting.remove(result.sequence)
                shot = sent[result.sequence]
                if result.HasField("message"):
                    shot.heard(result.message)
                else:
                    assert result.rejection.reason in _WELCOME_LATER, result
                    book.again(shot)
    except grpc.aio.AioRpcError as error:
        book.failed("stream", error)
    except asyncio.InvalidStateError:  # it has ended before we could write
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        call.cancel()
    for sequence in waiting:
        book.again(sent[sequence])


_WELCOME_LATER: Final = (error_reason_pb2.ERROR_REASON_SHUTTING_DOWN, error_reason_pb2.ERROR_REASON_OVERLOADED)


async def watch(stub: Any, book: Book) -> None:
    """Watches everything, and goes on where the watch of the boot before was broken off."""
    call = stub.WatchMessages(pb.WatchMessagesRequest(resume_token=book.resume_token))
    try:
        async for response in call:
            if response.HasField("message"):
                book.saw(response.message)
            book.resume_token = response.resume_token
            book.watched_since = book.watched_since or time.time_ns()
    except grpc.aio.AioRpcError as error:
        book.failed("watch", error)


def in_seconds(seconds: float) -> Timestamp:
    """A time from now."""
    stamp = Timestamp()
    stamp.FromMicroseconds(time.time_ns() // 1000 + int(seconds * 1e6))
    return stamp

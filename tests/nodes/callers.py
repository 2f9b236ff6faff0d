"""Callers of several nodes, that do as the docs say: what was not answered with OK is repeated, at whatever node."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from tests.nodes.cluster import Cluster, Node
from tests.nodes.ledger import Acknowledged, Cancelled, Ledger
from tests.support.driver import OPTIONS, why_of

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import Message

PATIENT: Final = 8.0
"""Seconds until a caller gives a node up that does not answer: it may be stopped."""

ROOM: Final = 0.1
"""Seconds after which to come again where nobody was there, or had room."""

AGAIN: Final = frozenset(
    {
        "UNAVAILABLE",
        "UNAVAILABLE SHUTTING_DOWN",
        "UNAVAILABLE STORE_UNAVAILABLE",
        "UNAVAILABLE OVERLOADED",
        "RESOURCE_EXHAUSTED OVERLOADED",
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "INTERNAL, cut in a write",
    }
)
"""How a call may fail. Anything else is a fault."""

EXPIRED: Final = "OUT_OF_RANGE RESUME_TOKEN_EXPIRED"
REPEATS: Final = 0.03
"""How often something is sent that was answered already."""

RECENT: Final = 300
MIXED: Final = (1, 1, 1, 10)


class Callers:
    """Whoever calls. `make` gives the next request, by its number. `faults` are answers that must not be."""

    def __init__(
        self,
        cluster: Cluster,
        ledger: Ledger,
        make: Callable[[int], pb.DispatchRequest],
        *,
        seed: int,
    ) -> None:
        self.faults: list[str] = []
        self.failures: Counter[str] = Counter()
        self.made = 0
        self.resume_token = ""
        self.is_paused = False
        self._cluster = cluster
        self._ledger = ledger
        self._make = make
        self._random = random.Random(seed)
        self._unanswered: deque[pb.DispatchRequest] = deque()
        self._recent: deque[pb.DispatchRequest] = deque(maxlen=RECENT)
        self._open = 0
        self._scheduled: deque[str] = deque(maxlen=RECENT)
        self._channels: dict[str, tuple[grpc.aio.Channel, Any]] = {}

    @property
    def left(self) -> int:
        """How many requests have no answer yet."""
        return len(self._unanswered) + self._open

    async def call(self, pause: float) -> None:
        """Call for ever, with pauses of so many seconds: one request, or a frame of a stream."""
        while True:
            requests = self._next(self._random.choice(MIXED))
            await self._send(requests)
            await asyncio.sleep(pause if requests else ROOM)

    async def offer(self, rate: float, frame: int, most: int) -> None:
        """Send frames of so many requests for ever, at so many requests a second, whether those before are answered or
        not; but no more than so many frames at once."""
        room, loop = asyncio.Semaphore(most), asyncio.get_running_loop()
        when = loop.time()
        async with asyncio.TaskGroup() as sending:
            while True:
                await room.acquire()
                requests = self._next(frame)
                sent = sending.create_task(self._send(requests))
                sent.add_done_callback(lambda _: room.release())
                when = max(when + (len(requests) / rate or ROOM), loop.time())
                await asyncio.sleep(when - loop.time())

    def _next(self, count: int) -> list[pb.DispatchRequest]:
        """What has no answer, now and then what has one, else something new, unless no more is to be made."""
        requests: list[pb.DispatchRequest] = []
        while len(requests) < count:
            if self._unanswered:
                requests.append(self._unanswered.popleft())
            elif self.is_paused:
                break
            elif self._recent and self._random.random() < REPEATS:
                requests.append(self._random.choice(self._recent))
            else:
                requests.append(self._make(self.made))
                self.made += 1
        unique = {one.request_id: one for one in requests}
        return list(unique.values())

    async def _send(self, requests: list[pb.DispatchRequest]) -> None:
        if not requests:
            return
        self._open += len(requests)
        left = dict(enumerate(requests))
        try:
            async with self._node() as (_, stub):
                if len(requests) == 1:
                    answer = await stub.Dispatch(requests[0], timeout=PATIENT)
                    self._answered(left.pop(0), answer.message)
                else:
                    await self._stream(stub, requests, left)
        except grpc.aio.AioRpcError as error:
            self._failed("call", error)
            await asyncio.sleep(ROOM)
        except NobodyThereError:
            await asyncio.sleep(ROOM)
        finally:
            self._open -= len(requests)
            self._unanswered.extend(left.values())

    async def _stream(self, stub: Any, requests: list[pb.DispatchRequest], left: dict[int, pb.DispatchRequest]) -> None:
        frame = pb.DispatchStreamRequest(requests=requests)
        async for response in stub.DispatchStream(iter((frame,)), timeout=PATIENT):
            for result in response.results:
                if result.HasField("message"):
                    self._answered(left.pop(result.sequence), result.message)
                else:
                    reason = result.rejection.reason
                    self.failures[f"frame: {reason}"] += 1

    def _answered(self, request: pb.DispatchRequest, message: Message) -> None:
        if message.request_id != request.request_id:
            self.faults.append(f"{request.request_id} was answered with {message.request_id}")
        self._ledger.acknowledged.append(Acknowledged(request.request_id, message.message_id, time.time_ns()))
        self._recent.append(request)
        if message.state == message_pb2.MESSAGE_STATE_QUEUED and request.options.HasField("send_time"):
            self._ledger.other["scheduled"] += 1
            self._scheduled.append(message.message_id)

    async def cancel(self, pause: float) -> None:
        """Cancel for ever what waits for its time, now and then."""
        while True:
            await asyncio.sleep(pause)
            if not self._scheduled:
                continue
            message_id = self._scheduled.pop()
            try:
                async with self._node() as (_, stub):
                    answer = await stub.CancelMessage(pb.CancelMessageRequest(message_id=message_id), timeout=PATIENT)
            except NobodyThereError:
                continue
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    self._failed("cancel", error)
                continue
            state = message_pb2.MessageState.Name(answer.message.state)
            self._ledger.cancelled.append(Cancelled(message_id, state, time.time_ns()))

    async def watch(self) -> None:
        """Watch all messages for ever, and go on at another node where one is broken off."""
        while True:
            try:
                async with self._node() as (node, stub):
                    await self._watch(node, stub)
            except NobodyThereError:
                await asyncio.sleep(ROOM)
            except grpc.aio.AioRpcError as error:
                if why_of(error) == EXPIRED:
                    self._ledger.other["resume token refused"] += 1
                    self.resume_token, self._ledger.watched_since = "", 0
                else:
                    self._failed("watch", error)
                await asyncio.sleep(ROOM)

    async def _watch(self, node: Node, stub: Any) -> None:
        call = stub.WatchMessages(pb.WatchMessagesRequest(resume_token=self.resume_token))
        try:
            while node.serves:
                reading = asyncio.ensure_future(call.read())
                while not (await asyncio.wait((reading,), timeout=ROOM))[0]:
                    if not node.serves:
                        call.cancel()
                response = await reading
                if response is grpc.aio.EOF:
                    return
                if response.HasField("message"):
                    message = response.message
                    seen = self._ledger.seen
                    seen[message.message_id] = max(seen.get(message.message_id, 0), message.revision)
                self.resume_token = response.resume_token
                self._ledger.watched_since = self._ledger.watched_since or time.time_ns()
        except asyncio.CancelledError:
            if not call.cancelled():
                call.cancel()
                raise  # it was we who were cancelled, and not the call
        finally:
            call.cancel()

    def _failed(self, kind: str, error: grpc.aio.AioRpcError) -> None:
        why = why_of(error)
        self.failures[f"{kind}: {why}"] += 1
        if why not in AGAIN:
            self.faults.append(f"{kind}: {why}: {error.details()}")

    @asynccontextmanager
    async def _node(self) -> AsyncIterator[tuple[Node, Any]]:
        """A node that serves, by chance, and a connection to it."""
        serving = self._cluster.serving
        if not serving:
            raise NobodyThereError
        node = self._random.choice(serving)
        yield node, self._stub(node.address)

    def _stub(self, address: str) -> Any:
        """One connection to each address. What is gone is forgotten with all others at the end."""
        if address not in self._channels:
            channel = grpc.aio.insecure_channel(address, options=OPTIONS)
            self._channels[address] = channel, DispatchServiceStub(channel)
        return self._channels[address][1]

    async def stop(self) -> None:
        """End all connections."""
        for channel, _ in self._channels.values():
            await channel.close()


class NobodyThereError(Exception):
    """No node serves just now."""

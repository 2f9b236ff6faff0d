"""Callers of the streams: each step of theirs is taken when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import apsw
from tests.support import build
from tests.support.harness import Harness
from tests.support.providers import FakeProvider
from tests.support.waiting import PATIENCE, within

from postwire.api.stream import Stream
from postwire.core.admission import Share
from postwire.core.errors import Refusal
from postwire.core.message import DEFAULT_TENANT, DispatchCommand, MessageRecord, OutboundMessage, Sms, WaitFor
from postwire.core.outcome import DispatchResult
from postwire.delivery import Frame
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.handover import Handover
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2

Result = tuple[int, MessageRecord | Refusal | None]


class FrameCaller:
    """A frame, and what its caller is told: (position, result), in the order of the telling."""

    def __init__(self, harness: Harness, commands: Sequence[DispatchCommand], stream: Share | None = None) -> None:
        self.results: list[Result] = []
        self._news = asyncio.Event()
        self.frame = Frame(harness.delivery, commands, self._on_result, stream or Share())

    def _on_result(self, index: int, result: MessageRecord | Refusal | None) -> None:
        self.results.append((index, result))
        self._news.set()

    async def until(self, count: int) -> list[Result]:
        """Return once so many have been told."""
        async with asyncio.timeout(PATIENCE):
            while len(self.results) < count:
                self._news.clear()
                await self._news.wait()
        return self.results

    @property
    def order(self) -> list[int]:
        return [index for index, _ in self.results]

    @property
    def records(self) -> list[MessageRecord]:
        """The records that it was told, in the order of the frame."""
        found = sorted(self.results, key=lambda result: result[0])
        return [record for _, record in found if isinstance(record, MessageRecord)]

    @property
    def refusals(self) -> dict[int, type[Refusal]]:
        """Why which of them were refused."""
        return {index: type(result) for index, result in self.results if isinstance(result, Refusal)}


async def accept_frame(harness: Harness, commands: Sequence[DispatchCommand]) -> FrameCaller:
    """Have a frame accepted."""
    caller = FrameCaller(harness, commands)
    await within(caller.frame.accept())
    return caller


class Choosy(FakeProvider):
    """Ends each call when it is told to, by the text of its message."""

    def __init__(self, name: str = "choosy", **fields: Any) -> None:
        super().__init__(name, **fields)
        self._go_on: dict[str, asyncio.Event] = {}

    def free(self, text: str) -> asyncio.Event:
        """What the call for a text waits for."""
        return self._go_on.setdefault(text, asyncio.Event())

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        result = await super().send(message, handover)
        assert isinstance(message.content, Sms)
        await self.free(message.content.body).wait()
        return result


class Commits:
    """Counts the commits of a store that is in a file: reads make none."""

    def __init__(self, outbox: SqliteOutbox) -> None:
        self.count = 0
        connection: apsw.Connection = outbox._writing
        connection.set_commit_hook(self._committing)

    def _committing(self) -> bool:
        self.count += 1
        return False


def commands(count: int, *, wait_for: WaitFor = WaitFor.ACCEPTANCE, **options: Any) -> list[DispatchCommand]:
    """So many messages, whose texts are their positions."""
    return [
        build.command(build.sms(str(number)), request_id=build.new_request_id(), wait_for=wait_for, **options)
        for number in range(count)
    ]


def wire(
    body: str = "Hello", request_id: str | None = None, to: str = "+15005550100", **options: Any
) -> pb.DispatchRequest:
    """One request of a stream, which waits for its acceptance unless it says otherwise."""
    options.setdefault("wait_for", message_pb2.WAIT_FOR_ACCEPTANCE)
    return pb.DispatchRequest(
        message=message_pb2.OutboundMessage(sms=message_pb2.Sms(to=to, body=body)),
        request_id=build.new_request_id() if request_id is None else request_id,
        options=message_pb2.DispatchOptions(**options),
    )


class Caller:
    """Calls `DispatchStream`. Nothing is read before `read`, and no frame is there to be taken before `send`."""

    def __init__(self, harness: Harness, *, max_wait: float = 3600.0, max_message_bytes: int = 1 << 20) -> None:
        self.taken = 0
        self.responses: list[pb.DispatchStreamResponse] = []
        self._frames: asyncio.Queue[pb.DispatchStreamRequest | None] = asyncio.Queue()
        self.stream = Stream(harness.delivery, DEFAULT_TENANT, max_message_bytes=max_message_bytes, max_wait=max_wait)
        self._run = self.stream.run(self._iterate())

    async def _iterate(self) -> AsyncGenerator[pb.DispatchStreamRequest, None]:
        while (frame := await self._frames.get()) is not None:
            self.taken += 1
            yield frame

    def send(self, *requests: pb.DispatchRequest) -> None:
        """Send one frame."""
        self._frames.put_nowait(pb.DispatchStreamRequest(requests=requests))

    def done_sending(self) -> None:
        """Close our side."""
        self._frames.put_nowait(None)

    async def read(self) -> list[pb.DispatchStreamResult]:
        """Read one response; its results. Nothing at the end of the call."""
        response = await within(anext(self._run, None))
        if response is None:
            return []
        self.responses.append(response)
        return list(response.results)

    async def results(self, count: int) -> list[pb.DispatchStreamResult]:
        """Read until there are so many results; there may not be more."""
        found: list[pb.DispatchStreamResult] = []
        while len(found) < count:
            more = await self.read()
            assert more, f"the call has ended after {len(found)} results"
            found += more
        assert len(found) == count
        return found

    async def rest(self) -> list[pb.DispatchStreamResult]:
        """Close our side, and read everything until the call ends."""
        self.done_sending()
        found: list[pb.DispatchStreamResult] = []
        while more := await self.read():
            found += more
        return found

    async def hang_up(self) -> None:
        """Go away."""
        await self._run.aclose()

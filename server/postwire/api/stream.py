"""`DispatchStream`: frames in, results out, and no more under way than the caller reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Final

from postwire.api import convert, errors
from postwire.api.requests import Large, read
from postwire.core.admission import Share
from postwire.core.errors import FieldViolation, InvalidMessage, Refusal, ShuttingDown
from postwire.core.message import DispatchCommand, MessageRecord
from postwire.delivery import Delivery, Frame
from postwire.telemetry.base import CallObserver
from postwire.v1 import dispatch_service_pb2 as pb

MAX_FRAME: Final = 1_000
"""How many requests a frame may have, and how many results one has."""

LONGEST_TURN: Final = 0.005
"""For how many seconds the requests of a frame are read before others have their turn."""

WINDOW: Final = 4_000
"""How many requests of a stream may be without an answer that was read, before the next frame is not taken."""

MAX_RESPONSE_BYTES: Final = 2 * 1024 * 1024
"""From how many bytes on a response takes no more results: gRPC's clients take 4 MiB by default."""


class Stream:
    """One call of a tenant.

    `max_message_bytes` is how large a request may be, `max_wait` how long (s) an outcome is waited for.
    """

    def __init__(
        self,
        delivery: Delivery,
        tenant: str,
        *,
        max_message_bytes: int,
        max_wait: float,
        observers: Sequence[CallObserver] = (),
    ) -> None:
        self._delivery = delivery
        self._tenant = tenant
        self._max_message_bytes = max_message_bytes
        self._max_wait = max_wait
        self._observers = observers
        self._share = Share()
        self._results: deque[tuple[int, MessageRecord | Refusal | None]] = deque()
        self._unanswered = 0
        self._sequence = 0
        self._frames: set[Frame] = set()
        self._changed = asyncio.Event()  # there are results, or there will be none
        self._read_on = asyncio.Event()  # results have been read

    async def run(
        self, frames: AsyncIterator[pb.DispatchStreamRequest | Large]
    ) -> AsyncGenerator[pb.DispatchStreamResponse, None]:
        """The results.

        Raises:
            ShuttingDown: no more is taken; what has no result is to be sent again.
        """
        reader = asyncio.ensure_future(self._read(frames))
        reader.add_done_callback(lambda _: self._changed.set())
        try:
            while True:
                self._changed.clear()
                if self._results:
                    response = self._next_response()
                    yield response
                    self._unanswered -= len(response.results)
                    self._read_on.set()
                    continue
                if reader.done() and (reader.exception() or not self._unanswered):
                    break
                await self._changed.wait()
            if error := reader.exception():
                raise error
        finally:
            reader.cancel()
            for frame in self._frames:
                frame.close()

    def _next_response(self) -> pb.DispatchStreamResponse:
        response, filled = pb.DispatchStreamResponse(), 0
        while self._results and len(response.results) < MAX_FRAME and filled < MAX_RESPONSE_BYTES:
            sequence, result = self._results.popleft()
            wire = response.results.add(sequence=sequence)
            if isinstance(result, MessageRecord):
                convert.fill_message(wire.message, result)
            else:
                errors.fill_rejection(wire.rejection, result)
            filled += wire.ByteSize()
        return response

    async def _read(self, frames: AsyncIterator[pb.DispatchStreamRequest | Large]) -> None:
        draining = asyncio.ensure_future(self._delivery.until_draining())
        try:
            while True:
                next_frame = asyncio.ensure_future(anext(frames, None))
                try:
                    await asyncio.wait((next_frame, draining), return_when=asyncio.FIRST_COMPLETED)
                    if not next_frame.done():
                        break
                finally:
                    next_frame.cancel()
                wire = next_frame.result()
                if wire is None:
                    return
                await self._accept_frame(wire)
                await self._until_unanswered_below(WINDOW)
            await self._until_unanswered_below(1)
            raise ShuttingDown
        finally:
            draining.cancel()

    async def _until_unanswered_below(self, count: int) -> None:
        while self._unanswered >= count:
            self._read_on.clear()
            await self._read_on.wait()

    async def _accept_frame(self, wire: pb.DispatchStreamRequest | Large) -> None:
        """Accept one frame. The requests in one that is large are read one by one."""
        requests = [*islice(_requests_of(wire), MAX_FRAME + 1)]
        if len(requests) > MAX_FRAME:
            await self._refuse(_requests_of(wire))
            return
        requests = [request for request in requests if request is not None]
        first = self._sequence
        self._sequence += len(requests)
        self._unanswered += len(requests)
        sequences: list[int] = []
        commands: list[DispatchCommand] = []
        malformed: deque[tuple[int, Refusal]] = deque()
        loop = asyncio.get_running_loop()
        convert_one = partial(
            convert.read_command, max_bytes=self._max_message_bytes, tenant=self._tenant, needs_request_id=True
        )
        pause = loop.time() + LONGEST_TURN
        for sequence, request in enumerate(requests, first):
            try:
                if loop.time() >= pause:
                    await asyncio.sleep(0)
                    pause = loop.time() + LONGEST_TURN
                commands.append(await convert_one(read(request)))
                sequences.append(sequence)
            except Refusal as refusal:
                malformed.append((sequence, refusal.with_traceback(None)))

        def answer(index: int, result: MessageRecord | Refusal | None) -> None:
            while malformed and malformed[0][0] < sequences[index]:  # each in its place
                self._answer(*malformed.popleft())
            self._answer(sequences[index], result)

        frame = Frame(self._delivery, commands, answer, self._share)
        self._frames.add(frame)
        await frame.accept()
        while malformed:
            self._answer(*malformed.popleft())
        if frame.done:
            self._frames.discard(frame)
        else:
            asyncio.get_running_loop().call_later(self._max_wait, partial(self._give_up, frame))

    async def _refuse(self, requests: Iterable[object]) -> None:
        """Refuse a frame that is too large: no faster than its caller reads, since its requests may be millions."""
        too_many = FieldViolation("requests", f"must have at most {MAX_FRAME:,} entries in one frame")
        refusal = InvalidMessage(f"{too_many.field}: {too_many.description}", [too_many])
        for index, request in enumerate(requests):
            if not index % MAX_FRAME:
                await asyncio.sleep(0)
            if request is None:
                continue
            await self._until_unanswered_below(WINDOW)
            self._unanswered += 1
            self._answer(self._sequence, refusal)
            self._sequence += 1

    def _give_up(self, frame: Frame) -> None:
        frame.give_up()
        self._frames.discard(frame)

    def _answer(self, sequence: int, result: MessageRecord | Refusal | None) -> None:
        if isinstance(result, Refusal):
            for observer in self._observers:
                observer.request_refused(result.reason, self._tenant)
        self._results.append((sequence, result))
        self._changed.set()


def _requests_of(frame: pb.DispatchStreamRequest | Large) -> Iterable[pb.DispatchRequest | Large | None]:
    return frame.parts("requests") if isinstance(frame, Large) else frame.requests

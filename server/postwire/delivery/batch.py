"""Frames of messages: accepted together, and each answered in its own time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from postwire.core.admission import Share
from postwire.core.errors import Refusal
from postwire.core.message import DispatchCommand, MessageRecord, WaitFor
from postwire.delivery.service import Delivery
from postwire.delivery.waiters import Waiter
from postwire.telemetry.logs import EventLog

OnResult = Callable[[int, MessageRecord | Refusal | None], None]

_log = EventLog()


class Frame:
    """Sees the messages of one frame accepted. `on_result` is called once for each, by its position in the frame.

    It is given the record, or why the message was refused, or None for a fault of ours. Those that wait for acceptance
    are reported in their order, the others as they complete.
    """

    def __init__(
        self, delivery: Delivery, commands: Sequence[DispatchCommand], on_result: OnResult, stream: Share
    ) -> None:
        """`stream` is what the frame's stream has in flight."""
        self._delivery = delivery
        self._stream = stream
        self._commands = commands
        self._on_result = on_result
        self._waiters: dict[int, Waiter] = {}
        self._following: set[asyncio.Task[None]] = set()

    async def accept(self) -> None:
        """Return once all are accepted or refused: in one commit, but for those that there is no room for at first."""
        waiting = deque(range(len(self._commands)))
        while waiting:
            taken = await self._delivery.admit_all([self._commands[index] for index in waiting], self._stream)
            open_queues: set[str] = set()
            for verdict in taken:
                index = waiting.popleft()
                if isinstance(verdict, Waiter):
                    self._reported(index, verdict, open_queues)
                else:
                    await self._refused(index, verdict)
                    open_queues.clear()
        self._commands = ()  # which may be large, and the frame stays until its last message has an outcome

    def give_up(self) -> None:
        """Answer all that have not ended with how they stand."""
        for index, waiter in list(self._waiters.items()):
            self._delivery.detach(waiter)
            self._completed(index, waiter)

    def close(self) -> None:
        """Report nothing more: nobody listens."""
        for waiter in self._waiters.values():
            self._delivery.detach(waiter)
        self._waiters.clear()
        for task in self._following:
            task.cancel()

    @property
    def done(self) -> bool:
        """Whether all results have been reported."""
        return not self._waiters and not self._following

    def _reported(self, index: int, waiter: Waiter, open_queues: set[str]) -> None:
        verdict = waiter.verdict
        assert verdict is not None
        if isinstance(verdict, Refusal):
            self._on_result(index, verdict)
        elif not verdict.created:
            self._follow(index, verdict.record)
        elif self._commands[index].wait_for is WaitFor.ACCEPTANCE:
            self._on_result(index, self._delivery.shown(verdict.record, open_queues))
        else:
            self._waiters[index] = waiter
            waiter.on_completion(partial(self._completed, index, waiter))

    async def _refused(self, index: int, refusal: Refusal) -> None:
        try:
            known = await self._delivery.repeated(self._commands[index], refusal)
        except Refusal as why:
            self._on_result(index, why)
        else:
            self._follow(index, known)

    def _completed(self, index: int, waiter: Waiter) -> None:
        if self._waiters.pop(index, None) and waiter.record:
            self._on_result(index, self._delivery.shown(waiter.record))

    def _follow(self, index: int, known: MessageRecord) -> None:
        wait_for = self._commands[index].wait_for
        if wait_for is WaitFor.ACCEPTANCE or known.settled:
            self._on_result(index, self._delivery.shown(known))
            return

        async def follow() -> None:
            try:
                self._on_result(index, await self._delivery.follow(known, wait_for))
            except Refusal as refusal:
                self._on_result(index, refusal)
            except Exception as error:
                _log.fault(error)
                self._on_result(index, None)

        task = asyncio.get_running_loop().create_task(follow())
        self._following.add(task)
        task.add_done_callback(self._following.discard)

"""A message on its way, as those see it who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from postwire.core.errors import Refusal
from postwire.core.message import MessageRecord
from postwire.outbox.base import Accepted

ANSWER_MARGIN: Final = 0.1
"""Seconds before the caller's deadline at which it gets its answer, so that the answer can still arrive."""

ROUNDED_UP: Final = 0.01
"""By what part of itself the time that is left may be reported too long: gRPC's C core rounds it up to a few digits."""


def time_to_answer(max_wait: float, time_left: float | None) -> float:
    """For how many seconds a caller is let wait who has so much time left; None: as much as there is."""
    if time_left is None:
        return max_wait
    return max(min(max_wait, time_left * (1 - ROUNDED_UP) - ANSWER_MARGIN), 0.0)


class Waiter:
    """A message on its way: what is known of it, and who waits to know more.

    `verdict` is the result of its accept commit, `record` its last durable state. Each who waits has a future of its
    own, so that one who is cancelled takes nothing from the others. `active` while a task works on it.
    """

    __slots__ = ("_completed", "_for_completion", "_for_verdict", "_on_completion", "active", "record", "verdict")

    def __init__(self) -> None:
        self.verdict: Accepted | Refusal | None = None
        self.record: MessageRecord | None = None
        self.active = False
        self._completed = False
        self._for_verdict: list[asyncio.Future[None]] = []
        self._for_completion: list[asyncio.Future[None]] = []
        self._on_completion: list[Callable[[], None]] = []

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self._for_verdict or self._for_completion or self._on_completion)

    def accept(self, verdict: Accepted | Refusal) -> None:
        """The accept commit is done, or refused."""
        if self.verdict is None:
            self.verdict = verdict
            if isinstance(verdict, Accepted):
                self.record = verdict.record
            _wake_all(self._for_verdict)

    def complete(self) -> None:
        """There is nothing more to wait for."""
        self._completed = True
        _wake_all(self._for_completion)
        for callback in self._on_completion:
            callback()
        self._on_completion.clear()

    def on_completion(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once there is nothing more to wait for; at once if that is so already."""
        if self._completed:
            callback()
        else:
            self._on_completion.append(callback)

    def detach(self) -> None:
        """Call nobody back."""
        self._on_completion.clear()

    async def until_verdict(self, loop: asyncio.AbstractEventLoop) -> Accepted | Refusal:
        """The result of the accept commit, however long it takes: without it there is nothing true to say."""
        while self.verdict is None:
            future = loop.create_future()
            self._for_verdict.append(future)
            await future
        return self.verdict

    async def until_completed(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Return when there is nothing more to wait for, or so many seconds have passed."""
        if self._completed or seconds <= 0:
            return
        future = loop.create_future()
        self._for_completion.append(future)
        timer = loop.call_later(seconds, _wake, future)
        try:
            await future
        finally:
            timer.cancel()
            if not self._completed:
                self._for_completion.remove(future)


class WaiterRegistry:
    """The waiters of messages that are not settled: of those that a task works on, and of those that are queued and
    that somebody waits for."""

    def __init__(self) -> None:
        self._by_id: dict[str, Waiter] = {}
        self._by_queue: dict[str, dict[str, Waiter]] = {}  # of those that are queued
        self._closed = False
        self.on_attach: Callable[[Waiter], None] | None = None
        """Called with each waiter of a message that no task of this node works on, where another node might."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    @property
    def queued(self) -> int:
        """How many are those of messages that are queued."""
        return sum(map(len, self._by_queue.values()))

    def get(self, message_id: str) -> Waiter | None:
        """The waiter of a message, if it has one."""
        return self._by_id.get(message_id)

    def activate(self, record: MessageRecord, waiter: Waiter) -> None:
        """A task works on the message, until `finish`. Whoever has come since the message was taken out of its queue,
        not knowing of that, is told by this waiter."""
        other = self._by_id.get(record.message_id)
        if other is not None and other is not waiter and self.remove(record):
            waiter.on_completion(partial(_pass_on, waiter, other))
        self._by_id[record.message_id] = waiter
        waiter.active = True

    def finish(self, record: MessageRecord, waiter: Waiter) -> None:
        """The task has ended, and nobody is to wait for it any longer. Another may work on the message already."""
        waiter.active = False
        if self._by_id.get(record.message_id) is waiter:
            del self._by_id[record.message_id]
        waiter.complete()

    def attach(self, record: MessageRecord, waiter: Waiter) -> None:
        """Have a waiter be that of a message that is queued. After `close` it is completed at once."""
        waiter.record = record
        if self._closed:
            waiter.complete()
            return
        self._by_id[record.message_id] = waiter
        self._by_queue.setdefault(record.queue, {})[record.message_id] = waiter
        if self.on_attach:
            self.on_attach(waiter)

    def is_idle(self, waiter: Waiter) -> bool:
        """Whether somebody waits for a message by this waiter that no task works on."""
        record = waiter.record
        return record is not None and not waiter.active and self._by_id.get(record.message_id) is waiter

    def remove(self, record: MessageRecord) -> Waiter | None:
        """Take out the waiter of a message that is, or was, queued, if it has one. That of a task which has not heard
        yet that it is queued stays the task's."""
        if queued := self._by_queue.get(record.queue):
            queued.pop(record.message_id, None)
            if not queued:
                del self._by_queue[record.queue]
        waiter = self._by_id.get(record.message_id)
        if waiter is None or waiter.active:
            return None
        del self._by_id[record.message_id]
        return waiter

    def discard_idle(self, waiter: Waiter) -> None:
        """Take out the waiter of a message that is queued, if nobody waits for it any more."""
        record = waiter.record
        if record and not waiter.active and not waiter.awaited and self._by_id.get(record.message_id) is waiter:
            self.remove(record)

    def complete_queue(self, queue_key: str) -> None:
        """Have nobody wait any longer for what is in a queue."""
        for message_id, waiter in self._by_queue.pop(queue_key, {}).items():
            self._by_id.pop(message_id, None)
            waiter.complete()

    def close(self) -> None:
        """Have nobody wait for what is queued, from now on: nothing is taken out of a queue any more."""
        self._closed = True
        for waiters in list(self._by_queue.values()):
            for waiter in list(waiters.values()):
                waiter.complete()


def _pass_on(waiter: Waiter, other: Waiter) -> None:
    other.record = waiter.record or other.record
    other.complete()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wake_all(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        _wake(future)
    futures.clear()

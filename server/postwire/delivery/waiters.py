"""A message on its way, as those see it who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from postwire.core.errors import Refusal
from postwire.core.message import MessageRecord
from postwire.outbox.base import Accepted


class Flight:
    """A message on its way: what is known of it, and who waits to know more.

    `verdict` is the result of its accept commit, `record` its last durable state. Each who waits has a future of its
    own, so that one who is cancelled takes nothing from the others. `airborne` while a task has it in hand.
    """

    __slots__ = ("_for_landing", "_for_verdict", "_landed", "_on_landing", "airborne", "record", "verdict")

    def __init__(self) -> None:
        self.verdict: Accepted | Refusal | None = None
        self.record: MessageRecord | None = None
        self.airborne = False
        self._landed = False
        self._for_verdict: list[asyncio.Future[None]] = []
        self._for_landing: list[asyncio.Future[None]] = []
        self._on_landing: list[Callable[[], None]] = []

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self._for_verdict or self._for_landing or self._on_landing)

    def take_off(self, verdict: Accepted | Refusal) -> None:
        """The accept commit is done, or refused."""
        if self.verdict is None:
            self.verdict = verdict
            if isinstance(verdict, Accepted):
                self.record = verdict.record
            _wake_all(self._for_verdict)

    def land(self) -> None:
        """There is nothing more to wait for."""
        self._landed = True
        _wake_all(self._for_landing)
        for callback in self._on_landing:
            callback()
        self._on_landing.clear()

    def on_landing(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once there is nothing more to wait for; at once if that is so already."""
        if self._landed:
            callback()
        else:
            self._on_landing.append(callback)

    def let_go(self) -> None:
        """Call nobody back."""
        self._on_landing.clear()

    async def until_verdict(self, loop: asyncio.AbstractEventLoop) -> Accepted | Refusal:
        """The result of the accept commit, however long it takes: without it there is nothing true to say."""
        while self.verdict is None:
            waiter = loop.create_future()
            self._for_verdict.append(waiter)
            await waiter
        return self.verdict

    async def until_landed(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Return when it has landed, or so many seconds have passed."""
        if self._landed or seconds <= 0:
            return
        waiter = loop.create_future()
        self._for_landing.append(waiter)
        timer = loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            if not self._landed:
                self._for_landing.remove(waiter)


class WaiterRegistry:
    """The waiters of messages that are not settled: of those that a task has in hand, and of those that are queued and
    that somebody waits for."""

    def __init__(self) -> None:
        self._by_id: dict[str, Flight] = {}
        self._by_queue: dict[str, dict[str, Flight]] = {}  # of those that are queued

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    @property
    def queued(self) -> int:
        """How many are those of messages that are queued."""
        return sum(map(len, self._by_queue.values()))

    def get(self, message_id: str) -> Flight | None:
        """The waiter of a message, if it has one."""
        return self._by_id.get(message_id)

    def activate(self, record: MessageRecord, waiter: Flight) -> None:
        """A task has the message in hand, until `finish`."""
        self._by_id[record.message_id] = waiter
        waiter.airborne = True

    def finish(self, record: MessageRecord, waiter: Flight) -> None:
        """No task has it in hand any more, and nobody is to wait for it any longer."""
        waiter.airborne = False
        self._by_id.pop(record.message_id, None)
        waiter.land()

    def attach(self, record: MessageRecord, waiter: Flight) -> None:
        """The message is queued."""
        self._by_id[record.message_id] = waiter
        self._by_queue.setdefault(record.queue, {})[record.message_id] = waiter

    def remove(self, record: MessageRecord) -> Flight | None:
        """Take out the waiter of a message that is, or was, queued, if it has one."""
        if queued := self._by_queue.get(record.queue):
            queued.pop(record.message_id, None)
            if not queued:
                del self._by_queue[record.queue]
        return self._by_id.pop(record.message_id, None)

    def discard_idle(self, waiter: Flight) -> None:
        """Take out the waiter of a message that is queued, if nobody waits for it any more."""
        record = waiter.record
        if record and not waiter.airborne and not waiter.awaited and self._by_id.get(record.message_id) is waiter:
            self.remove(record)

    def complete_queue(self, queue_key: str) -> None:
        """Have nobody wait any longer for what is in a queue."""
        for message_id, waiter in self._by_queue.pop(queue_key, {}).items():
            self._by_id.pop(message_id, None)
            waiter.land()

    def complete_queued(self) -> None:
        """Have nobody wait any longer for what is queued."""
        for waiters in list(self._by_queue.values()):
            for waiter in list(waiters.values()):
                waiter.land()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _wake_all(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        _wake(waiter)
    waiters.clear()

"""A message on its way, as those see it who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _wake_all(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        _wake(waiter)
    waiters.clear()

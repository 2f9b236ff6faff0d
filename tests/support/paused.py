"""An outbox that takes its time, as one behind a network may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from postwire.core.message import Priority
from postwire.outbox.base import Decide, QueuedMessage, QueueKey
from postwire.outbox.sqlite import SqliteOutbox


class Paused:
    """Hands everything on to `inner`; but while it is held, what is asked of `methods` waits until `released`.

    `reached` is set once something waits. What is let go of is done late, even if who asked has gone.
    """

    def __init__(self, inner: SqliteOutbox, *methods: str, held: bool = False) -> None:
        self._inner = inner
        self._methods = methods
        self._go_on = asyncio.Event()
        self.reached = asyncio.Event()
        self.counts = dict.fromkeys(methods, 0)
        if not held:
            self._go_on.set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._methods:
            return method

        async def later(*arguments: Any, **more: Any) -> object:
            self.counts[name] += 1
            if not self._go_on.is_set():
                if name == "take":
                    arguments = await self._decided(*arguments)
                self.reached.set()
                await self._go_on.wait()
            return await method(*arguments, **more)

        return later

    async def _decided(
        self, queue: QueueKey, now: int, limits: Mapping[Priority, int], decide: Decide, ahead: int = 0
    ) -> tuple[object, ...]:
        """Have it be decided now what is to be taken, so that it is on its way to the disk while it is held."""
        found: list[QueuedMessage] = []
        await self._inner.take(queue, now, limits, found.append, ahead)
        decided = {one.record.message_id: decide(one) for one in found}
        return queue, now, limits, lambda one: decided.get(one.record.message_id), ahead

    def hold(self) -> None:
        self._go_on.clear()
        self.reached.clear()

    def release(self) -> None:
        self._go_on.set()

    def let_others_pass(self) -> Callable[[], None]:
        """Hold only what waits now; it goes on when what is returned is called."""
        held, self._go_on = self._go_on, asyncio.Event()
        self._go_on.set()
        return held.set

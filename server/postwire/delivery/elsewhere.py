"""Waiting for messages that another node may take, and settle: nobody tells of these, so the store is asked, once for
all that are waited for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from postwire.clock import Clock
from postwire.core.message import MessageRecord, MessageState
from postwire.delivery.waiters import Waiter, WaiterRegistry
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import MessageStore

FIRST_LOOK: Final = 0.1
"""Seconds after which a message is looked at for the first time. Doubled with each look."""

LAST_LOOK: Final = 1.0
"""Seconds from one look at a message to the next, at the most."""

AT_ONCE: Final = 1_000
"""How many messages are looked at in one read."""


class Elsewhere:
    """Asks for messages that somebody waits for and no task of this node works on."""

    def __init__(self, *, messages: MessageStore, waiters: WaiterRegistry, clock: Clock) -> None:
        self._messages = messages
        self._waiters = waiters
        self._clock = clock
        self._due: dict[Waiter, tuple[float, float]] = {}  # when (monotonic) to look, and how long after that again
        self._next = math.inf  # when it looks by itself
        self._wakeable = WakeableTask(self._look, outbox=messages, clock=clock)

    def start(self) -> None:
        """Begin. Whoever waits is told of by `WaiterRegistry.on_attach`."""
        self._waiters.on_attach = self._expect
        self._wakeable.start()

    async def stop(self) -> None:
        """Ask for nothing more."""
        await self._wakeable.stop()

    def _expect(self, waiter: Waiter) -> None:
        time = self._clock.monotonic() + FIRST_LOOK
        self._due[waiter] = time, 2 * FIRST_LOOK
        if time < self._next:
            self._next = time
            self._wakeable.wake()

    async def _look(self) -> float:
        now = self._clock.monotonic()
        for waiter in [one for one in self._due if not self._waiters.is_idle(one)]:
            del self._due[waiter]
            self._replaced(waiter)
        soon = now + FIRST_LOOK / 2  # what is due soon is looked at with what is due now
        chosen = [waiter for waiter, (time, _) in self._due.items() if time <= soon][:AT_ONCE]
        for waiter in chosen:
            pause = self._due[waiter][1]
            self._due[waiter] = now + pause, min(2 * pause, LAST_LOOK)
        by_tenant = sorted((one.record for one in chosen if one.record), key=lambda record: record.tenant)
        for tenant, records in groupby(by_tenant, key=lambda record: record.tenant):
            self._found(await self._messages.records([one.message_id for one in records], tenant))
        self._next = min((time for time, _ in self._due.values()), default=math.inf)
        return self._next - self._clock.monotonic()

    def _replaced(self, waiter: Waiter) -> None:
        """A waiter is none of a message that waits any more. Where another has taken its place, nobody else would tell
        those who wait by it."""
        if waiter.record and (current := self._waiters.get(waiter.record.message_id)) and current is not waiter:
            waiter.record = current.record or waiter.record
            waiter.complete()

    def _found(self, records: Iterable[MessageRecord]) -> None:
        for record in records:
            waiter = self._waiters.get(record.message_id)
            if waiter is None or waiter.active or waiter.record is None:
                continue
            before = waiter.record
            if record.state is MessageState.SENDING or record.revision <= before.revision:
                continue  # somebody works on it, or nothing has happened
            self._waiters.remove(before)
            waiter.record = record
            waiter.complete()

"""Watching messages: what has changed, out of the store, so that a restart makes no gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from postwire.clock import Clock
from postwire.core.errors import MessageNotFound, ResumeTokenExpired, ShuttingDown
from postwire.core.listing import MessageFilter, ResumePoint
from postwire.core.message import MessageRecord
from postwire.outbox.base import ChangeFeed, MessageStore

BATCH: Final = 500
"""How many changes are read at once."""

HEARTBEAT_INTERVAL: Final = 15.0
"""Seconds in which nothing was shown after which there is a sign of life."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A record that has changed, or none as a sign of life; and where to go on behind it."""

    record: MessageRecord | None
    point: ResumePoint


class Watchers:
    """Those who watch messages."""

    def __init__(
        self, messages: MessageStore, feed: ChangeFeed, clock: Clock, shown: Callable[[MessageRecord], MessageRecord]
    ) -> None:
        self._messages = messages
        self._feed = feed
        self._clock = clock
        self._shown = shown
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Let go of all of them: they go on at another server, or when this one is back."""
        self._ending.set()

    async def watch(
        self, message_ids: Sequence[str], chosen: MessageFilter, resume: ResumePoint | None, tenant: str
    ) -> AsyncGenerator[Sequence[WatchEvent], None]:
        """What becomes of messages of a tenant: those of `message_ids`, or all that `chosen` admits if there are none.

        It goes on at `resume`; without that, ids begin with these messages as they are, a filter with a sign of life.

        Raises:
            MessageNotFound: one of the ids is of no message.
            ResumeTokenExpired: what came after that is not known any more, or is another store's.
            ShuttingDown: watch again, at another server or later.
            StoreUnavailable: the store cannot be read.
        """
        if self._ending.is_set():
            raise ShuttingDown
        ids = frozenset(message_ids)
        store = await self._feed.store_name()
        if resume and resume.store != store:
            raise ResumeTokenExpired
        revisions: dict[str, int] = {}
        after = resume.position if resume else None
        if after is None:
            after = await self._feed.last_position()
            if ids:
                records = await self._messages.records(list(ids), tenant)
                if len(records) < len(ids):
                    raise MessageNotFound
                revisions = {record.message_id: record.revision for record in records}
                events = [WatchEvent(self._shown(record), ResumePoint(store, None)) for record in records]
                events[-1] = WatchEvent(events[-1].record, ResumePoint(store, after))
                yield events
            else:  # what to go on with is there from the start, or one that is cut off before a change would miss it
                yield [WatchEvent(None, ResumePoint(store, after))]
        is_silent = asyncio.Event()
        alarm = self._clock.call_later(HEARTBEAT_INTERVAL, is_silent.set)
        try:
            while not self._ending.is_set():
                changes = await self._feed.changes(after, BATCH, tenant)
                events = [
                    WatchEvent(self._shown(record), ResumePoint(store, position))
                    for position, record in changes.entries
                    if (record.message_id in ids if ids else chosen.admits(record))
                    # What it began with may have been read after some of these.
                    and record.revision > revisions.get(record.message_id, 0)
                ]
                is_behind = changes.last > after
                after = changes.last
                if not events and is_silent.is_set():  # though others may have changed all the while
                    events = [WatchEvent(None, ResumePoint(store, after))]
                if events:
                    yield events
                    alarm.cancel()
                    is_silent.clear()
                    alarm = self._clock.call_later(HEARTBEAT_INTERVAL, is_silent.set)
                elif not is_behind:
                    await _first_of(self._feed.wait_changes(after), self._ending.wait(), is_silent.wait())
        finally:
            alarm.cancel()
        raise ShuttingDown


async def _first_of(*happenings: Coroutine[Any, Any, object]) -> None:
    """Return once one of them has happened."""
    tasks = [asyncio.ensure_future(one) for one in happenings]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()

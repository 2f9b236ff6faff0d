"""Who serves a store that one process owns: that process. See `outbox.base.Membership`."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Sequence
from typing import Final

from postwire import __version__
from postwire.core.message import MAX_TIME
from postwire.outbox.base import Announcement, Heartbeat, Member, StoredMessage


class LoneMember:
    """The part of the outbox that is about that."""

    boot: int
    is_shared: Final = False
    _announced = Announcement()
    _start_time: int
    """µs."""

    @property
    def number(self) -> int:
        """See `Outbox.number`."""
        return self.boot

    async def heartbeat(self, announcement: Announcement, gap: int) -> Heartbeat:
        """See `Outbox.heartbeat`."""
        self._announced = announcement
        now = time.time_ns() // 1000
        return Heartbeat(self.boot, (self._member(),), now, False, 0, {}, not_dead=(self.boot,))

    async def members(self) -> Sequence[Member]:
        """See `Outbox.members`."""
        return (self._member(),)

    async def reap(self, expected: int, tolerance: int) -> Sequence[int]:
        """See `Outbox.reap`."""
        return ()

    async def strays(self, carried: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """See `Outbox.strays`: what is left behind is found at the next opening."""
        return ()

    async def keep_unsettled(self, count: int) -> None:
        """See `Outbox.keep_unsettled`: nobody else is to know."""

    def fence(self, is_fenced: bool) -> None:
        """See `Outbox.fence`: nobody else can hold it."""

    async def leave(self) -> None:
        """See `Outbox.leave`: the store is left by closing it."""

    def _member(self) -> Member:
        said = self._announced
        return Member(
            number=self.boot,
            name=socket.gethostname(),
            version=__version__,
            start_time=self._start_time,
            lease_until_time=MAX_TIME,
            rank=0,
            is_leader=True,
            queue_keys=tuple(said.queue_keys),
            config_digest=said.config_digest,
            seen=self.boot,
            acknowledged=said.acknowledged,
            shares=tuple(said.shares),
        )

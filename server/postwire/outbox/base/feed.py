"""What has changed, in an order that those who watch go on in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from postwire.core.message import MessageRecord
from postwire.outbox.base.availability import Availability


@dataclass(frozen=True, slots=True)
class Changes:
    """Messages that have changed, each with the number of its change, in their order; and up to which all are told."""

    numbered: tuple[tuple[int, MessageRecord], ...]
    last: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Records, and the number of the last change of any message, at one moment."""

    records: Sequence[MessageRecord]
    last: int


class ChangeFeed(Availability, Protocol):
    """Tells what has changed."""

    async def last_change(self) -> int:
        """The number of the last change of any message."""
        ...

    async def changes(self, after: int, limit: int) -> Changes:
        """What became of the next `limit` changes behind one.

        A message that has changed several times is given once, and not yet where more of its changes come behind these:
        so whoever goes on from there sees each revision once at the most.

        Raises:
            ResumeTokenExpired: what came behind it is not known any more, or never was.
        """
        ...

    async def wait_changes(self, after: int) -> None:
        """Return once there is a change behind one."""
        ...

    async def snapshot(self, message_ids: Sequence[str]) -> Snapshot:
        """The records of those messages that there are, in any order, and which change was the last then."""
        ...

    async def remove_changes(self, keep: int, limit: int) -> int:
        """Forget old changes, but for the last `keep`, and at most `limit`; returns how many."""
        ...

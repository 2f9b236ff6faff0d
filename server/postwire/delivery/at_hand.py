"""What was accepted just now and waits in a queue, kept at hand so that it need not be read back from the store.

The store decides about the order and about what there is. What is at hand is some of it: messages that follow one upon
the other in a queue. Once the store offers the first of them, nothing waits before it, and from then on they are taken
without a look at the store. Wherever any of that is in doubt, it is dropped, and read. So is what comes to wait after
others that have been due for less long, as what was accepted while a retry came due: its place is not behind them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from postwire.core.message import OutboundMessage, Priority
from postwire.core.values import frozen
from postwire.outbox.base import QueuedMessage

MAX_COUNT: Final = 4_096
"""How many messages are at hand of all queues together."""

MAX_BYTES: Final = 4 * 1024 * 1024
"""And how many bytes."""


@frozen(repr=False)
class Fresh:
    """A message that was just accepted, of `size` bytes."""

    queued: QueuedMessage
    message: OutboundMessage
    size: int


class Room:
    """What is left for all queues together."""

    __slots__ = ("bytes", "count")

    def __init__(self, count: int = MAX_COUNT, size: int = MAX_BYTES) -> None:
        self.count = count
        self.bytes = size

    def enter(self, size: int) -> bool:
        """Take room, if there is."""
        if not self.count or size > self.bytes:
            return False
        self.count -= 1
        self.bytes -= size
        return True

    def leave(self, one: Fresh) -> None:
        """Give it back."""
        self.count += 1
        self.bytes += one.size


class _Line:
    """Those of one priority. Nothing waits before them where `is_first`, and nothing behind them unless `is_cut`. What
    else may wait, at hand or not, is due by `latest` (µs, due clock)."""

    __slots__ = ("is_cut", "is_first", "latest", "messages")

    def __init__(self) -> None:
        self.latest: float = 0
        self.messages: deque[Fresh] = deque()
        self.is_first = False
        self.is_cut = False


class AtHand:
    """The messages of one queue that are at hand."""

    __slots__ = ("_lines", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._lines = {priority: _Line() for priority in Priority}

    @property
    def has_any(self) -> bool:
        """Whether anything is at hand."""
        return any(line.messages for line in self._lines.values())

    def put(self, priority: Priority, due: float, one: Fresh | None) -> None:
        """One more waits, and has come `due` (µs, due clock): one that was just accepted, or another."""
        line = self._lines[priority]
        if one is None or due < line.latest:
            self._drop(line, due)
            return
        line.latest = due
        if not line.is_cut:
            if self._room.enter(one.size):
                line.messages.append(one)
            else:
                line.is_cut = True

    def take(self, limits: Mapping[Priority, int]) -> list[Fresh]:
        """Take out what is next: as many of each priority as `limits` says, or all that wait. Nothing where that is not
        at hand."""
        lines = [(self._lines[priority], limits[priority]) for priority in Priority if limits.get(priority)]
        if not all(
            line.is_first and line.messages and (len(line.messages) >= count or not line.is_cut)
            for line, count in lines
        ):
            return []
        return [self._pop(line) for line, count in lines for _ in range(min(count, len(line.messages)))]

    def offered(self, priority: Priority, message_id: str) -> None:
        """The store has offered a message, the next of its priority."""
        line = self._lines[priority]
        if line.messages and line.messages[0].queued.record.message_id == message_id:
            line.is_first = True
            self._pop(line)

    def drop(self, now: float) -> None:
        """It is in doubt what waits, and is due by `now`."""
        for line in self._lines.values():
            self._drop(line, now)

    def _pop(self, line: _Line) -> Fresh:
        one = line.messages.popleft()
        self._room.leave(one)
        if not line.messages and line.is_cut:  # what is behind it is in the store
            line.is_first = line.is_cut = False
        return one

    def _drop(self, line: _Line, latest: float) -> None:
        line.latest = max(line.latest, latest)
        line.is_first = line.is_cut = False
        self._leave(line.messages)
        line.messages.clear()

    def _leave(self, messages: Iterable[Fresh]) -> None:
        for one in messages:
            self._room.leave(one)

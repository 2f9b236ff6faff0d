"""How much may be going on at once."""

from __future__ import annotations


class Admission:
    """Counts the messages in flight, and their bytes, against what is allowed."""

    __slots__ = ("_bytes", "_count", "_max_bytes", "_max_count")

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._count = 0
        self._bytes = 0

    @property
    def count(self) -> int:
        """How many messages are in flight."""
        return self._count

    def enter(self, size: int) -> bool:
        """Let a message of `size` bytes in, if there is room. One larger than all the room gets in when it is alone."""
        if self._count >= self._max_count or (self._count and self._bytes + size > self._max_bytes):
            return False
        self._count += 1
        self._bytes += size
        return True

    def leave(self, size: int) -> None:
        """Note that a message which was let in is done."""
        self._count -= 1
        self._bytes -= size

"""Writes the lines of a log to a file descriptor, so that only its own thread waits for the reader."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

from postwire.descriptors import UNREAD_TIME, leave_unread

CAPACITY: Final = 1 << 20
"""Bytes that may wait to be written. What comes while there is no more room is dropped."""

GATHER_TIME: Final = 0.02
"""Seconds that a line may wait for others, so that they are written at once. Urgent ones do not wait."""

RETRY_TIME: Final = 1.0
"""Seconds between two attempts to write where the last one failed: a full disk may have room again."""

_PIECE: Final = 64 * 1024
"""Bytes that are written at once, so that room is freed piece by piece."""


class LineWriter:
    """Writes to `descriptor` whole lines, in the order in which they came.

    The thread is a daemon that writes with `os.write`, which holds no lock of Python's: stuck in a pipe that nobody
    reads, it holds up neither those who log nor the end of the process. What cannot be written (a full disk, a closed
    pipe) is kept and tried again.

    `report` makes the line that says how many were dropped; it is written once the others flow again.
    """

    def __init__(
        self,
        descriptor: int,
        report: Callable[[int], str],
        *,
        encoding: str = "utf-8",
        capacity: int = CAPACITY,
        retry_time: float = RETRY_TIME,
    ) -> None:
        self._descriptor = descriptor
        self._report = report
        self._encoding = encoding
        self._capacity = capacity
        self._retry_time = retry_time
        self._lock = threading.RLock()  # a condition enters and leaves its own in Python
        self._changed = threading.Condition(self._lock)
        self._waiting: list[bytes] = []
        self._size = 0  # bytes that wait or are being written
        self._is_urgent = False
        self._is_closing = False
        self._dropped = 0
        self._reported = 0
        self._thread = threading.Thread(target=self._run, name="postwire-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were dropped, because there was no room for them."""
        return self._dropped

    def put(self, line: str, *, urgent: bool = False) -> None:
        """Have a line written, with its end. On any thread; it waits for nothing."""
        data = line.encode(self._encoding, "backslashreplace")
        with self._lock:
            if self._size + len(data) > self._capacity:
                self._dropped += 1
                return
            self._waiting.append(data)
            self._size += len(data)
            self._is_urgent |= urgent
            if urgent or len(self._waiting) == 1:
                self._changed.notify()

    def close(self, timeout: float = UNREAD_TIME) -> None:
        """Write what waits, for at most `timeout` seconds. If nobody reads until then, the descriptor is left."""
        end = time.monotonic() + timeout
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout)
        leave_unread(self._descriptor, max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while batch := self._take():
            rest = memoryview(batch)
            while rest:
                try:
                    written = os.write(self._descriptor, rest[:_PIECE])
                except BlockingIOError:  # somebody who shares it has made it so
                    _wait_writable(self._descriptor)
                    continue
                except OSError:
                    if self._pause():
                        return
                    continue
                rest = rest[written:]
                with self._changed:
                    self._size -= written

    def _take(self) -> bytes:
        """Wait for lines, and for a moment more for others; nothing once there are none and it is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._dropped > self._reported or self._is_closing)
            self._changed.wait_for(lambda: self._is_urgent or self._is_closing, GATHER_TIME)
            self._is_urgent = False
            batch, self._waiting = self._waiting, []
            missing, self._reported = self._dropped - self._reported, self._dropped
            if missing:
                batch.append(self._encoded(self._report(missing)))
                self._size += len(batch[-1])
        return b"".join(batch)

    def _pause(self) -> bool:
        """Wait for the next attempt, with the room that there is. Returns whether it is the end instead."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_closing, self._retry_time)

    def _encoded(self, line: str) -> bytes:
        return line.encode(self._encoding, errors="backslashreplace")


def _wait_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()

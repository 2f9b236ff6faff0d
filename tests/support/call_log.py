"""What a server under test has asked of its providers. It is on record before and after each call, whatever ends it.

A line is one `write` to a file that is opened for appending, so that it is there as a whole once the call has returned,
though the process is killed in the next moment.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OPENED: Final = "opened"
"""The store is open, under a boot's number."""
BEGUN: Final = "begun"
"""A provider is being called, and its outcome is not drawn yet."""
ENDED: Final = "ended"
"""It has answered, and nobody has heard of it yet."""
GIVEN_UP: Final = "given-up"
"""The outcome of a call that was cancelled: its time was over, or the grace was."""
RECEIVED: Final = "received"
"""A receipt is on disk, and whoever brought it is about to be answered. The key is by what it is known."""
KILLED: Final = "killed"
"""The process ends itself, at a failpoint."""


@dataclass(frozen=True, slots=True)
class Line:
    """What happened at `time` (ns since the epoch). `key` is the idempotency key, or the name of a failpoint."""

    time: int
    boot: int
    event: str
    provider: str = "-"
    key: str = "-"
    outcome: str = "-"


class CallLog:
    """Writes it. `boot` is the one that is noted with each line."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.boot = 0

    def note(self, event: str, provider: str = "-", key: str = "-", outcome: str = "-") -> None:
        """Put it on record."""
        os.write(self._fd, f"{time.time_ns()} {self.boot} {event} {provider} {key} {outcome}\n".encode())


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a provider. `outcome` is None, and `ended_at` 0, where it had no end."""

    boot: int
    provider: str
    key: str
    begun_at: int
    ended_at: int = 0
    outcome: str | None = None


def read_lines(path: Path) -> list[Line]:
    """All of the log."""
    lines = []
    for text in path.read_text(encoding="ascii").splitlines():
        time_ns, boot, *rest = text.split(" ")
        lines.append(Line(int(time_ns), int(boot), *rest))
    return lines


def calls_in(lines: list[Line]) -> list[Call]:
    """The calls, in the order in which they began."""
    calls: list[Call] = []
    open_calls: dict[tuple[int, str, str], int] = {}
    for line in lines:
        call = (line.boot, line.provider, line.key)
        if line.event == BEGUN:
            assert call not in open_calls, "a provider has one message twice at once"
            open_calls[call] = len(calls)
            calls.append(Call(*call, begun_at=line.time))
        elif line.event == ENDED:
            index = open_calls.pop(call)
            calls[index] = Call(*call, calls[index].begun_at, line.time, line.outcome)
    return calls

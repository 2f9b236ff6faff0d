"""One session of SMPP, from the request to bind to its end, as a machine: no I/O, and every method takes `now`.

It hands out sequence numbers, keeps the window, and knows until when what was asked has to be answered. Of PDUs it sees
no more than the sequence number; what stands in them is read elsewhere. Times are in seconds, from any beginning.

https://smpp.org/SMPP_v3_4_Issue1_2.pdf: sections 2.2 (states), 2.7 (windows), 2.9 (timers), 3.2 (sequence numbers).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

FIRST_SEQUENCE: Final = 1
"""That of the request to bind."""

LAST_SEQUENCE: Final = 0x7FFFFFFF
"""After it comes 1 again (section 3.2). A session does not live to see it, or what it asked then is long forgotten."""

LEAVE: Final = 1.0
"""Seconds that are waited for answers before a session is unbound, unless there is more time, and then for the answer
to that."""


class Phase(enum.Enum):
    """Where a session is."""

    BINDING = "binding"
    """It has asked to be bound."""
    BOUND = "bound"
    LEAVING = "leaving"
    """It asks for nothing more, and waits for what it has asked for, to unbind then."""
    UNBINDING = "unbinding"
    """It has asked to be unbound."""
    DISMISSED = "dismissed"
    """The other side has asked for that, and is answered once what was asked is answered."""
    ENDED = "ended"


class Ending(enum.Enum):
    """Why a session is to be ended: the connection is closed then."""

    SILENT = "silent"
    """The other side gives no sign of life, or has not answered the request to bind."""
    LEFT = "left"
    """As was asked for, by either side."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for a session; times in seconds."""

    window: int
    enquire_link: float
    """For how long the other side may be silent before it is asked for a sign of life."""
    response_timeout: float


@dataclass(slots=True)
class Due:
    """What is to be done now: the sequence numbers of what is not waited for any longer, and of what is to be sent."""

    expired: tuple[int, ...] = ()
    enquire: int | None = None
    """Of an `enquire_link`."""
    unbind: int | None = None
    """Of an `unbind`."""
    unbound: int | None = None
    """Of the `unbind` that is to be answered."""
    ending: Ending | None = None


class Session:
    """See the module. Begins with the request to bind, whose sequence number is `FIRST_SEQUENCE`."""

    __slots__ = ("_asked", "_deadline", "_enquired", "_heard", "_limits", "_next", "_unbinding", "phase")

    def __init__(self, limits: Limits, now: float) -> None:
        self.phase = Phase.BINDING
        self._limits = limits
        self._heard = now
        self._next = FIRST_SEQUENCE + 1
        self._asked: dict[int, float] = {}  # by when it has to be answered, the first first
        self._enquired: float | None = None  # by when there has to be a sign of life
        self._deadline = now + limits.response_timeout  # of the phase
        self._unbinding = 0  # of the `unbind`, ours or theirs

    @property
    def waiting(self) -> int:
        """How many submissions wait for their answers."""
        return len(self._asked)

    @property
    def room(self) -> int:
        """How many submissions may be made now: none while the other side owes a sign of life."""
        if self.phase is not Phase.BOUND or self._enquired is not None:
            return 0
        return self._limits.window - len(self._asked)

    def submit(self, now: float) -> int:
        """Return the sequence number of a submission, for which there has to be `room`."""
        sequence = self._sequence()
        self._asked[sequence] = now + self._limits.response_timeout
        return sequence

    def heard(self, now: float) -> None:
        """A PDU has come, whichever: a sign of life."""
        self._heard = now
        self._enquired = None

    def bound(self, sequence: int) -> bool:
        """The other side has answered that it is bound. Returns whether this was asked."""
        if self.phase is not Phase.BINDING or sequence != FIRST_SEQUENCE:
            return False
        self.phase = Phase.BOUND
        return True

    def answered(self, sequence: int) -> bool:
        """A submission was answered. Returns whether that was waited for: it may come too late, or twice."""
        return self._asked.pop(sequence, None) is not None

    def leave(self, now: float, patience: float = LEAVE) -> None:
        """Begin to end the session, in good order: answers are waited for, for `patience` seconds."""
        if self.phase is Phase.BOUND:
            self.phase, self._deadline, self._enquired = Phase.LEAVING, now + patience, None
        elif self.phase is Phase.LEAVING:
            self._deadline = min(self._deadline, now + patience)
        elif self.phase is Phase.BINDING:
            self.phase = Phase.ENDED

    def dismissed(self, sequence: int, now: float) -> None:
        """The other side wants to end the session."""
        if self.phase is not Phase.DISMISSED:
            self.phase, self._deadline, self._enquired = Phase.DISMISSED, now + LEAVE, None
        self._unbinding = sequence

    def unbound(self, sequence: int) -> bool:
        """The other side has answered that it is unbound. Returns whether this was asked: the session has ended."""
        if self.phase is not Phase.UNBINDING or sequence != self._unbinding:
            return False
        self.phase = Phase.ENDED
        return True

    def end(self) -> tuple[int, ...]:
        """The connection is gone. Returns what will never be answered."""
        self.phase, self._enquired = Phase.ENDED, None
        left = tuple(self._asked)
        self._asked.clear()
        return left

    def due(self, now: float) -> Due:
        """Return what is to be done now."""
        due = Due()
        if self._asked:
            due.expired = self._expire(now)
        phase = self.phase
        if phase is Phase.BOUND:
            if self._enquired is None:
                # Who has been silent since before what was not answered may be gone: that is found out at once.
                silent = bool(due.expired) and self._heard <= now - self._limits.response_timeout
                if silent or now >= self._heard + self._limits.enquire_link:
                    self._enquired = now + self._limits.response_timeout
                    due.enquire = self._sequence()
            elif now >= self._enquired:
                due.ending = Ending.SILENT
        elif phase is Phase.LEAVING:
            if not self._asked or now >= self._deadline:
                self.phase, self._deadline = Phase.UNBINDING, now + LEAVE
                due.unbind = self._unbinding = self._sequence()
        elif phase is Phase.DISMISSED:
            if not self._asked or now >= self._deadline:
                self.phase = Phase.ENDED
                due.unbound, due.ending = self._unbinding, Ending.LEFT
        elif phase is not Phase.ENDED and now >= self._deadline:
            due.ending = Ending.SILENT if phase is Phase.BINDING else Ending.LEFT
        return due

    def next_due(self) -> float | None:
        """Return when `due` is to be asked next, if nothing else happens; None once the session has ended."""
        phase = self.phase
        if phase is Phase.ENDED:
            return None
        if phase is Phase.BOUND:
            at = self._heard + self._limits.enquire_link if self._enquired is None else self._enquired
        elif not self._asked and phase in _WAITING:
            at = self._deadline - max(LEAVE, self._limits.response_timeout)  # which has been
        else:
            at = self._deadline
        return min(at, next(iter(self._asked.values()))) if self._asked else at

    def _expire(self, now: float) -> tuple[int, ...]:
        expired = []
        for sequence, deadline in self._asked.items():
            if deadline > now:
                break
            expired.append(sequence)
        for sequence in expired:
            del self._asked[sequence]
        return tuple(expired)

    def _sequence(self) -> int:
        sequence = self._next
        self._next = sequence + 1 if sequence < LAST_SEQUENCE else FIRST_SEQUENCE
        return sequence


_WAITING: Final = frozenset({Phase.LEAVING, Phase.DISMISSED})

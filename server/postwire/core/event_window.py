"""The events of one hook that are on their way: which goes next, what follows from its answer, and what is to be kept.

    read from the feed --> FRESH -- next --> ACTIVE -- taken --> done
                             ^                 |
                             |                 +-- failed --> ASIDE -- its time has come --> ACTIVE
           a newer change of the message takes the place of one that is FRESH or ASIDE
                                                                |
                                                                +-- failed for long, or refused often --> given up

**Order.** Of a message, one event at most is ACTIVE, and a newer one waits for its end: so revisions rise. Between
messages there is no order.

**What is kept.** After each event that is done, a `Checkpoint`: where to go on in the feed, and which changes before
that are still to be told. Whoever keeps it before another event is begun in the place of the one that is done repeats,
after a crash, at most what was ACTIVE.

**An event that its receiver does not take.** A receiver that is down takes none, and waiting for it costs nothing: the
feed keeps what comes. A receiver that takes others and not this one hardly ever will: it is tried again while there is
hope, with others going on beside it, and then given up and counted. So nothing is given up while nothing is taken, but
for what is refused for an hour: one that says no to a whole kind of message must not keep the other kinds from coming.

Pure: `now` is in seconds on a monotonic clock, and comes with each call.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from postwire.core import backoff
from postwire.core.listing import Position
from postwire.core.message import EMPTY, MessageState

WINDOW: Final = 1_000
"""How many events are held at most, before no more are read."""

BACKOFF_BASE: Final = 1.0
BACKOFF_MAX: Final = 300.0
"""Seconds until an event that was not taken is tried again: the first time, and at most."""

MAX_PAUSE: Final = 300.0
"""Seconds for which a receiver may ask to be left alone."""

MAX_REFUSALS: Final = 5
"""How often an event is refused before it is given up, if others are taken meanwhile."""

REFUSED_FOR: Final = 3600.0
"""Seconds for which an event is refused before it is given up in any case."""

FAILED_FOR: Final = 86_400.0
"""Seconds for which an event fails in other ways before it is given up, if others are taken meanwhile."""


@dataclass(frozen=True, slots=True)
class StateEvent:
    """What became of a message, as one change of it says. `position` is the change's; `time` is in µs."""

    position: Position
    message_id: str
    revision: int
    state: MessageState
    time: int
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)

    @property
    def id(self) -> str:
        """What tells it from all others, and is the same each time it is told. Without a dot: it is signed."""
        return f"{self.message_id}-{self.revision}"


@dataclass(frozen=True, slots=True)
class ChangedMessage:
    """That a message has changed, and the event that tells of it; None where its hook does not want to know."""

    position: Position
    message_id: str
    event: StateEvent | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a hook stands: reading goes on behind `after`, and of the changes up to `begun`, those of `left` are still
    to be told, and no others."""

    after: Position
    begun: Position
    left: frozenset[Position] = frozenset()

    @classmethod
    def at(cls, position: Position) -> Checkpoint:
        """That of a hook that has told all up to a position."""
        return cls(position, position)

    def encode(self) -> str:
        """As it is kept."""
        return json.dumps({"after": self.after, "begun": self.begun, "left": sorted(self.left)}, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Checkpoint:
        """What `encode` has made."""
        value = json.loads(text)
        return cls(tuple(value["after"]), tuple(value["begun"]), frozenset(map(tuple, value["left"])))


@dataclass(slots=True)
class _Entry:
    """An event that is not done. `before` is a position that leads to it when reading goes on there."""

    event: StateEvent
    before: Position
    superseded: bool = False
    tries: int = 0
    refusals: int = 0
    failing_since: float = math.inf
    due: float = -math.inf


class EventWindow:
    """See the module. `draw` gives numbers in [0, 1), for jitter."""

    def __init__(self, checkpoint: Checkpoint, draw: Callable[[], float]) -> None:
        self._read = checkpoint.after
        self._begun = checkpoint.begun
        self._left = set(checkpoint.left)
        self._draw = draw
        self._fresh: dict[str, _Entry] = {}
        self._aside: dict[str, _Entry] = {}
        self._active: dict[str, _Entry] = {}
        self._taken_at = -math.inf
        self._paused_until = -math.inf
        self._throttled = 0
        self._asides_turn = False

    @property
    def read_to(self) -> Position:
        """Up to where the feed is read."""
        return self._read

    @property
    def room(self) -> int:
        """How many more events may be read."""
        return WINDOW - len(self._fresh) - len(self._aside) - len(self._active)

    @property
    def oldest(self) -> int | None:
        """The time of the oldest event that is not done, in µs; None where there is none. On any thread."""
        entries = [*self._fresh.values(), *self._aside.values(), *self._active.values()]
        return min((entry.event.time for entry in entries), default=None)

    def add(self, changes: Iterable[ChangedMessage], last: Position) -> None:
        """What the feed has had behind `read_to`, up to `last`."""
        before = self._read
        for one in changes:
            if one.position > self._begun or one.position in self._left:
                self._supersede(one.message_id)
                if one.event:
                    self._fresh[one.message_id] = _Entry(one.event, before)
            before = one.position
        self._read = last
        self._left = {position for position in self._left if position > last}

    def skip(self, to: Position, dropped: int) -> int:
        """Go on behind `to`, before which the feed has nothing any more; `dropped` of those were not read before.

        Returns how many are lost.
        """
        lost = {position for position in self._left if position <= to}
        self._left -= lost
        self._read = max(self._read, to)
        self._begun = max(self._begun, to) if dropped else self._begun
        return len(lost) + dropped

    @property
    def known_to(self) -> Position:
        """Up to where each change is either told, or held here, or named in what was kept."""
        return max(self._read, self._begun)

    # What goes next.

    def is_due(self, now: float) -> bool:
        """Whether `next` would give an event."""
        return now >= self._paused_until and (self._first_fresh() is not None or self._first_due(now) is not None)

    def next(self, now: float) -> StateEvent | None:
        """Begin the next event, which one of those below ends; None where there is none now."""
        if now < self._paused_until:
            return None
        # By turns, so that neither those that come nor those that come again keep the others waiting.
        fresh, due = self._first_fresh(), self._first_due(now)
        entry = due if fresh is None or (due is not None and self._asides_turn) else fresh
        if entry is None:
            return None
        self._asides_turn = entry is fresh
        message_id = entry.event.message_id
        del (self._fresh if entry is fresh else self._aside)[message_id]
        self._active[message_id] = entry
        self._begun = max(self._begun, entry.event.position)
        return entry.event

    def next_time(self, now: float) -> float | None:
        """When `next` may give an event that it does not give now; None if time alone changes nothing."""
        waiting = [entry.due for entry in self._aside.values()]
        if self._first_fresh() is not None:
            waiting.append(-math.inf)
        if not waiting:
            return None
        time = max(min(waiting), self._paused_until)
        return time if time > now else None

    # What came of it.

    def done(self, event: StateEvent, now: float) -> None:
        """The receiver has taken it."""
        del self._active[event.message_id]
        self._taken_at = now
        self._throttled = 0

    def back(self, event: StateEvent) -> None:
        """It was not tried after all, or nobody knows what came of it: it is to be told again."""
        entry = self._active.pop(event.message_id)
        if not entry.superseded:
            self._aside[event.message_id] = entry

    def throttled(self, event: StateEvent, now: float, retry_after: float | None) -> None:
        """The receiver asks for less: nothing goes to it for a while. That says nothing of the event."""
        self._throttled += 1
        self.pause(now, self._delay(self._throttled) if retry_after is None else retry_after)
        self.back(event)

    def failed(self, event: StateEvent, now: float, *, refused: bool) -> bool:
        """It was not taken; `refused` if the receiver said so of this event. Returns whether it is given up."""
        entry = self._active.pop(event.message_id)
        if entry.superseded:
            return False  # what came after it is told
        entry.tries += 1
        entry.refusals += refused
        entry.failing_since = min(entry.failing_since, now)
        if self._is_hopeless(entry, now, refused):
            return True
        entry.due = now + self._delay(entry.tries)
        self._aside[event.message_id] = entry
        return False

    def pause(self, now: float, seconds: float) -> None:
        """Give nothing for so many seconds, or `MAX_PAUSE`."""
        self._paused_until = max(self._paused_until, now + min(max(seconds, 0.0), MAX_PAUSE))

    def resume(self) -> None:
        """Give everything at once that waits for a time."""
        self._paused_until = -math.inf
        for entry in self._aside.values():
            entry.due = -math.inf

    def checkpoint(self) -> Checkpoint:
        """What is to be kept."""
        if not self._fresh and self._read > self._begun:
            self._begun = self._read  # what nobody wants to know
        entries = [*self._fresh.values(), *self._aside.values(), *self._active.values()]
        left = [entry for entry in entries if entry.event.position <= self._begun and not entry.superseded]
        after = min([min(self._read, self._begun), *(entry.before for entry in left)])
        return Checkpoint(after, self._begun, frozenset({entry.event.position for entry in left} | self._left))

    def _supersede(self, message_id: str) -> None:
        self._fresh.pop(message_id, None)
        self._aside.pop(message_id, None)
        if active := self._active.get(message_id):
            active.superseded = True

    def _first_fresh(self) -> _Entry | None:
        return next((entry for key, entry in self._fresh.items() if key not in self._active), None)

    def _first_due(self, now: float) -> _Entry | None:
        due = [entry for entry in self._aside.values() if entry.due <= now]
        return min(due, key=lambda entry: entry.due, default=None)

    def _is_hopeless(self, entry: _Entry, now: float, refused: bool) -> bool:
        failing, others_are_taken = now - entry.failing_since, self._taken_at > entry.failing_since
        if refused and failing >= REFUSED_FOR:
            return True
        return others_are_taken and (entry.refusals >= MAX_REFUSALS or failing >= FAILED_FOR)

    def _delay(self, tries: int) -> float:
        """Seconds: of exponential backoff, the upper half, so that several tries take their time."""
        return backoff.delay(tries, base=BACKOFF_BASE, most=BACKOFF_MAX, draw=(1 + self._draw()) / 2)

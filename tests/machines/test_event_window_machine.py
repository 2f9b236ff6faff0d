"""The window of a hook against a plain model: a feed, a receiver, and crashes at any time.

Whatever happens: of a message, revisions that the receiver sees rise, but for repeats after a crash; a crash repeats no
more than was on its way; and in the end the receiver has the last state of each message that the hook wants to know of,
or it is counted as lost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.examples import examples

from postwire.core.event_window import WINDOW, ChangedMessage, Checkpoint, EventWindow, StateEvent
from postwire.core.message import MessageState

MOST = 3
"""How many events may be on their way."""

IDS = st.sampled_from(["a", "b", "c"])


@dataclass
class Row:
    """One change, as the feed has it."""

    position: int
    message_id: str
    revision: int
    wanted: bool


class Machine(RuleBasedStateMachine):
    """`feed` is what there was, `known` where it begins; `seen` what the receiver took, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.feed: list[Row] = []
        self.known = 1
        self.kept = Checkpoint.at((0,))
        self.window = EventWindow(self.kept, lambda: 0.5)
        self.active: list[StateEvent] = []
        self.seen: list[tuple[str, int]] = []
        self.repeats_allowed = 0
        self.given_up: set[tuple[str, int]] = set()
        self.lost = 0

    def latest(self, message_id: str) -> Row:
        return [row for row in self.feed if row.message_id == message_id][-1]

    @rule(message_id=IDS, wanted=st.booleans(), step=st.integers(1, 3))
    def change(self, message_id: str, wanted: bool, step: int) -> None:
        revisions = [row.revision for row in self.feed if row.message_id == message_id]
        self.feed.append(Row(len(self.feed) + 1, message_id, max(revisions, default=0) + step, wanted))

    @rule(limit=st.integers(1, 6))
    def read(self, limit: int) -> None:
        after = self.window.read_to[0]
        if after < self.known - 1:
            dropped = max(self.known - 1 - self.window.known_to[0], 0)
            self.lost += self.window.skip((self.known - 1,), dropped)
            return
        stretch = [row for row in self.feed if row.position > after][:limit]
        changes = []
        for row in stretch:
            if row is self.latest(row.message_id):  # as the feed does: what was overtaken is left to the later change
                position = (row.position,)
                event = StateEvent(position, row.message_id, row.revision, MessageState.SENT, row.position)
                changes.append(ChangedMessage(position, row.message_id, event if row.wanted else None))
        self.window.add(changes, (stretch[-1].position,) if stretch else (after,))

    @precondition(lambda self: len(self.active) < MOST)
    @rule()
    def begin(self) -> None:
        due = self.window.is_due(self.now)
        event = self.window.next(self.now)
        assert due == (event is not None)
        if event:
            assert event.message_id not in [one.message_id for one in self.active], "one of a message at a time"
            self.active.append(event)
        elif (time := self.window.next_time(self.now)) is not None:
            assert time > self.now

    @precondition(lambda self: self.active)
    @rule(data=st.data(), end=st.sampled_from(["taken", "failed", "refused", "throttled", "back", "unanswered"]))
    def end(self, data: st.DataObject, end: str) -> None:
        event = self.active.pop(data.draw(st.integers(0, len(self.active) - 1)))
        if end in ("taken", "unanswered"):  # of the latter, nobody hears that it was taken
            self.take(event)
        if end == "taken":
            self.window.done(event, self.now)
            self.kept = self.window.checkpoint()
        elif end == "back":
            self.window.back(event)
        elif end == "throttled":
            self.window.throttled(event, self.now, None)
        else:
            self.repeats_allowed += end == "unanswered"
            if self.window.failed(event, self.now, refused=end == "refused"):
                self.given_up.add((event.message_id, event.revision))
                self.kept = self.window.checkpoint()

    def take(self, event: StateEvent) -> None:
        one = (event.message_id, event.revision)
        earlier = [revision for message_id, revision in self.seen if message_id == event.message_id]
        if one in self.seen:
            self.repeats_allowed -= 1
            assert self.repeats_allowed >= 0, "more repeats than were on their way"
        elif earlier:
            assert event.revision > max(earlier), "revisions rise"
        self.seen.append(one)

    @rule(seconds=st.sampled_from([0.1, 2.0, 400.0, 4000.0, 90_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(answered=st.booleans())
    def crash(self, answered: bool) -> None:
        """What was on its way may have been taken, and nobody knows."""
        for event in self.active:
            if answered:
                self.take(event)
                self.repeats_allowed += 1
        self.active = []
        assert Checkpoint.decode(self.kept.encode()) == self.kept
        self.window = EventWindow(self.kept, lambda: 0.5)

    @rule()
    def keep_without_an_event(self) -> None:
        self.kept = self.window.checkpoint()

    @rule(count=st.integers(1, 5))
    def drop(self, count: int) -> None:
        self.known = min(self.known + count, max(len(self.feed), 1))

    @invariant()
    def room_is_what_is_left(self) -> None:
        assert 0 <= self.window.room <= WINDOW
        assert WINDOW - self.window.room >= len(self.active)

    def teardown(self) -> None:
        """The receiver is well from now on: in the end it has all that it is to have."""
        for event in self.active:
            self.window.back(event)
        self.active = []
        self.now += 1_000_000.0
        while True:
            before = self.window.read_to
            self.read(50)
            while found := self.window.next(self.now):
                self.take(found)
                self.window.done(found, self.now)
            if self.window.read_to == before:
                break
        assert self.window.room == WINDOW
        end = Checkpoint.at((len(self.feed),))
        assert self.window.checkpoint() == end
        reported = Counter(message_id for message_id, _ in {*self.seen, *self.given_up})
        missing = 0
        for message_id in {row.message_id for row in self.feed}:
            last = self.latest(message_id)
            if last.wanted and (message_id, last.revision) not in {*self.seen, *self.given_up}:
                missing += 1
        assert missing <= self.lost, f"{missing} are neither reported nor counted as lost, of {reported}"


Machine.TestCase.settings = examples(150, stateful_step_count=60)
TestEventWindow = Machine.TestCase

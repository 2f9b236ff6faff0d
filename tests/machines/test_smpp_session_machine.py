"""Sessions of SMPP against a model that keeps a list of all that was ever asked, in whatever order things happen."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.examples import examples

from postwire.providers.smpp import session as sessions
from postwire.providers.smpp.session import FIRST_SEQUENCE, LEAVE, Ending, Limits, Phase, Session

LIMITS = Limits(window=3, enquire_link=30.0, response_timeout=10.0)
STEPS = st.sampled_from([0.0, 0.5, 1.0, 5.0, 9.5, 10.0, 29.0, 30.0, 31.0])


class Machine(RuleBasedStateMachine):
    """`asked` has every submission that still waits, by its number, and until when; `used` every number there was."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.session = Session(LIMITS, self.now)
        self.phase = Phase.BINDING
        self.asked: dict[int, float] = {}
        self.used = {FIRST_SEQUENCE}
        self.heard_at = self.now
        self.enquired_at: float | None = None
        self.phase_ends = self.now + LIMITS.response_timeout
        self.unbinding = 0

    def take_number(self, sequence: int) -> None:
        assert sequence not in self.used, "a sequence number was used twice"
        assert 0 < sequence <= sessions.LAST_SEQUENCE
        self.used.add(sequence)

    # What this side does.

    @precondition(lambda self: self.session.room > 0)
    @rule()
    def submit(self) -> None:
        sequence = self.session.submit(self.now)
        self.take_number(sequence)
        self.asked[sequence] = self.now + LIMITS.response_timeout

    @rule()
    def leave(self) -> None:
        self.session.leave(self.now)
        if self.phase is Phase.BOUND:
            self.phase, self.phase_ends, self.enquired_at = Phase.LEAVING, self.now + LEAVE, None
        elif self.phase is Phase.BINDING:
            self.phase = Phase.ENDED

    @rule(step=STEPS)
    def time_passes(self, step: float) -> None:
        self.now += step
        self.look()

    @rule()
    def time_passes_until_something_is_due(self) -> None:
        at = self.session.next_due()
        if at is not None:
            self.now = max(self.now, at)
            self.look()

    def look(self) -> None:
        due = self.session.due(self.now)
        expired = {sequence for sequence, until in self.asked.items() if until <= self.now}
        assert set(due.expired) == expired
        oldest = min((self.asked.pop(sequence) for sequence in expired), default=None)
        if self.phase is Phase.BOUND:
            is_silent = oldest is not None and self.heard_at <= self.now - LIMITS.response_timeout
            if self.enquired_at is None:
                assert (due.enquire is not None) == (is_silent or self.now >= self.heard_at + LIMITS.enquire_link)
                if due.enquire is not None:
                    self.take_number(due.enquire)
                    self.enquired_at = self.now
            else:
                assert due.enquire is None
                is_over = self.now >= self.enquired_at + LIMITS.response_timeout
                assert due.ending is (Ending.SILENT if is_over else None)
                if is_over:
                    self.connection_ends()
            return
        assert due.enquire is None
        if self.phase is Phase.LEAVING:
            is_time = not self.asked or self.now >= self.phase_ends
            assert (due.unbind is not None) == is_time
            if due.unbind is not None:
                self.take_number(due.unbind)
                self.phase, self.phase_ends, self.unbinding = Phase.UNBINDING, self.now + LEAVE, due.unbind
        elif self.phase is Phase.DISMISSED:
            is_time = not self.asked or self.now >= self.phase_ends
            assert due.unbound == (self.unbinding if is_time else None)
            assert due.ending is (Ending.LEFT if is_time else None)
            if is_time:
                self.phase = Phase.ENDED
        elif self.phase is Phase.ENDED:
            assert (due.unbind, due.unbound, due.ending) == (None, None, None)
        else:
            expected = Ending.SILENT if self.phase is Phase.BINDING else Ending.LEFT
            assert due.ending is (expected if self.now >= self.phase_ends else None)
            if due.ending:
                self.connection_ends()

    # What the other side does.

    def hear(self) -> None:
        self.session.heard(self.now)
        self.heard_at, self.enquired_at = self.now, None

    @rule(off=st.sampled_from([0, 0, 0, 1, 7]))
    def is_bound(self, off: int) -> None:
        self.hear()
        asked = self.phase is Phase.BINDING and off == 0
        assert self.session.bound(FIRST_SEQUENCE + off) == asked
        if asked:
            self.phase = Phase.BOUND

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        self.hear()
        sequence = data.draw(st.sampled_from(sorted(self.asked)))
        assert self.session.answered(sequence)
        del self.asked[sequence]

    @rule(data=st.data())
    def answers_too_late_or_what_nobody_asked(self, data: st.DataObject) -> None:
        self.hear()
        strange = sorted(self.used - self.asked.keys())
        sequence = data.draw(st.sampled_from([*strange, 0, sessions.LAST_SEQUENCE]))
        assert not self.session.answered(sequence)

    @rule()
    def gives_a_sign_of_life(self) -> None:
        self.hear()

    @rule(sequence=st.integers(1, 5))
    def unbinds(self, sequence: int) -> None:
        self.hear()
        self.session.dismissed(sequence, self.now)
        if self.phase is not Phase.DISMISSED:
            self.phase_ends = self.now + LEAVE
        self.phase, self.unbinding = Phase.DISMISSED, sequence

    @rule(off=st.sampled_from([0, 1]))
    def is_unbound(self, off: int) -> None:
        self.hear()
        asked = self.phase is Phase.UNBINDING and off == 0
        assert self.session.unbound(self.unbinding + off) == asked
        if asked:
            self.phase = Phase.ENDED

    @precondition(lambda self: self.phase in (Phase.ENDED, Phase.BOUND, Phase.LEAVING))
    @rule()
    def connection_ends(self) -> None:
        assert set(self.session.end()) == self.asked.keys()
        self.__init__()  # type: ignore[misc]  # another session

    # What always holds.

    @invariant()
    def they_agree(self) -> None:
        assert self.session.phase is self.phase
        assert self.session.waiting == len(self.asked) <= LIMITS.window
        may_ask = self.phase is Phase.BOUND and self.enquired_at is None
        assert self.session.room == (LIMITS.window - len(self.asked) if may_ask else 0)

    @invariant()
    def it_is_looked_at_in_time(self) -> None:
        at = self.session.next_due()
        assert (at is None) == (self.phase is Phase.ENDED)
        if at is None:
            return
        if self.asked:
            assert at <= min(self.asked.values())
        if self.phase is Phase.BOUND and self.enquired_at is not None:
            assert at <= self.enquired_at + LIMITS.response_timeout
        elif self.phase is Phase.BOUND:
            assert at <= self.heard_at + LIMITS.enquire_link
        else:
            assert at <= self.phase_ends


Machine.TestCase.settings = examples(100, stateful_step_count=40)
TestSession = Machine.TestCase


def test_numbers_begin_anew_after_the_last() -> None:
    session = Session(LIMITS, 0.0)
    session.bound(FIRST_SEQUENCE)
    session._next = sessions.LAST_SEQUENCE
    assert [session.submit(1.0), session.submit(1.0)] == [sessions.LAST_SEQUENCE, FIRST_SEQUENCE]


def test_who_is_silent_takes_nothing_more_until_it_gives_a_sign_of_life() -> None:
    session = Session(LIMITS, 0.0)
    session.bound(FIRST_SEQUENCE)
    session.heard(0.0)
    sequence = session.submit(1.0)
    due = session.due(11.0)
    assert due.expired == (sequence,)
    assert due.enquire is not None
    assert session.room == 0
    session.heard(12.0)
    assert session.room == LIMITS.window
    assert not session.answered(sequence), "an answer that comes too late is nobody's"


def test_a_slow_answer_among_others_says_nothing_of_the_connection() -> None:
    session = Session(LIMITS, 0.0)
    session.bound(FIRST_SEQUENCE)
    session.submit(1.0)
    session.heard(5.0)
    assert session.due(11.0).enquire is None
    assert session.room == LIMITS.window

"""Admission against a plain model: streams and calls of any priority come and go, in any order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from postwire.core.admission import SHARE, Admission, Share, WaitingStreams
from postwire.core.queue_keys import QueueKey

QUEUES = st.sampled_from([QueueKey("a", "sms"), QueueKey("a", "email"), QueueKey("b", "sms"), QueueKey("b", "@a")])
LIMIT = 8
"""Of the tenant b."""

STREAMS = st.integers(0, 3)
SIZES = st.sampled_from([0, 1, 10, 40])


@dataclass(frozen=True)
class Inside:
    """A message that was let in: `stream` is its number, or None where it came by a call of its own."""

    queue: QueueKey
    stream: int | None
    size: int


class AdmissionMachine(RuleBasedStateMachine):
    @initialize(max_count=st.sampled_from([1, 5, 9, 10, 11, 30, 100]), max_bytes=st.sampled_from([60, 300, 10_000]))
    def begin(self, max_count: int, max_bytes: int) -> None:
        self.max_count, self.max_bytes = max_count, max_bytes
        self.admission = Admission(max_count=max_count, max_bytes=max_bytes, tenant_limits={"b": LIMIT})
        self.waiting = WaitingStreams(self.admission)
        self.shares = [Share() for _ in range(4)]
        self.inside: list[Inside] = []
        self.tenants: list[str] = []  # of the streams that wait, in their turn
        self.line: list[tuple[int, int, QueueKey]] = []  # stream, size, queue

    def limits(self, stream: int | None, urgent: bool) -> tuple[int, int]:
        """How much may be in flight at all, once a message of this class is in."""
        tenths = 0 if self.max_count < 10 or (urgent and stream is None) else 4 if stream is not None else 1
        return self.max_count - tenths * self.max_count // 10, self.max_bytes - tenths * self.max_bytes // 10

    def expected(self, size: int, queue: QueueKey, stream: int | None, urgent: bool) -> bool:
        max_count, max_bytes = self.limits(stream, urgent)
        taken, taken_bytes = len(self.inside), sum(one.size for one in self.inside)
        if taken >= max_count:
            return False
        if taken and taken_bytes + size > max_bytes:
            return False
        if queue.tenant == "b" and sum(one.queue.tenant == "b" for one in self.inside) >= LIMIT:
            return False
        holders = [[one for one in self.inside if one.queue == queue]]
        if stream is not None:
            holders.append([one for one in self.inside if one.stream == stream])
        return all(
            len(held) < SHARE * (max_count - taken)
            and (not (sum_ := sum(one.size for one in held)) or sum_ < SHARE * (max_bytes - taken_bytes))
            for held in holders
        )

    @rule(
        queue=QUEUES, stream=STREAMS | st.none(), size=SIZES, urgent=st.booleans(), count=st.sampled_from([1, 1, 3, 50])
    )
    def come(self, queue: QueueKey, stream: int | None, size: int, urgent: bool, count: int) -> None:
        share = None if stream is None else self.shares[stream]
        for _ in range(count):
            expected = self.expected(size, queue, stream, urgent)
            holds_nothing = not any(one.queue == queue or one.stream == stream for one in self.inside)
            if holds_nothing and not expected and not self.admission.is_full_for(queue.tenant):
                max_count, max_bytes = self.limits(stream, urgent)
                taken_bytes = sum(one.size for one in self.inside)
                assert len(self.inside) >= max_count or taken_bytes + size > max_bytes, "its class is full"
            assert self.admission.has_room(size, queue, share, urgent=urgent) is expected
            assert self.admission.enter(size, queue, share, urgent=urgent) is expected
            if not expected:
                return
            self.inside.append(Inside(queue, stream, size))

    @rule(positions=st.lists(st.integers(0, 99), max_size=20))
    def go(self, positions: list[int]) -> None:
        for position in positions:
            if self.inside:
                one = self.inside.pop(position % len(self.inside))
                share = None if one.stream is None else self.shares[one.stream]
                self.admission.leave(one.size, one.queue, share)

    @rule(stream=STREAMS, size=SIZES, queue=QUEUES)
    def wait(self, stream: int, size: int, queue: QueueKey) -> None:
        if all(stream != one for one, _, _ in self.line):
            self.waiting.add(self.shares[stream], size, queue)
            self.line.append((stream, size, queue))
            if queue.tenant not in self.tenants:
                self.tenants.append(queue.tenant)

    def first(self) -> tuple[int, int, QueueKey] | None:
        """Whose turn it is: of the first tenant that has any with room, the first of those."""
        in_turn = [one for tenant in self.tenants for one in self.line if one[2].tenant == tenant]
        return next((one for one in in_turn if self.expected(one[1], one[2], one[0], False)), None)

    @rule(stream=STREAMS)
    def wait_no_more(self, stream: int) -> None:
        self.waiting.remove(self.shares[stream])
        gone = [queue.tenant for one, _, queue in self.line if one == stream]
        self.line = [one for one in self.line if one[0] != stream]
        for tenant in gone:
            self.tenants.remove(tenant)
            if any(queue.tenant == tenant for _, _, queue in self.line):
                self.tenants.append(tenant)

    @rule()
    def take_turns(self) -> None:
        """Each whose turn it is takes one message and leaves the line."""
        while (share := self.waiting.next()) is not None:
            first = self.first()
            assert first is not None
            stream, size, queue = first
            assert share is self.shares[stream]
            self.wait_no_more(stream)
            self.come(queue, stream, size, False, 1)

    @invariant()
    def never_over_what_is_allowed(self) -> None:
        if not hasattr(self, "admission"):
            return
        assert self.admission.count == len(self.inside) <= self.max_count
        sizes = sum(one.size for one in self.inside)
        assert sizes <= self.max_bytes or len([one for one in self.inside if one.size]) == 1
        for number, share in enumerate(self.shares):
            held = [one for one in self.inside if one.stream == number]
            assert (share.count, share.bytes) == (len(held), sum(one.size for one in held))
        assert bool(self.waiting) is bool(self.line)
        first = self.first()
        assert self.waiting.next() is (None if first is None else self.shares[first[0]])

    @invariant()
    def idle_costs_nothing(self) -> None:
        if hasattr(self, "admission"):
            assert set(self.admission._queues) == {one.queue for one in self.inside}

    def teardown(self) -> None:
        if hasattr(self, "admission"):
            self.go(list(range(len(self.inside))))
            assert self.admission.count == 0
            assert not self.admission._queues
            assert self.admission.enter(self.max_bytes, QueueKey("a", "sms"), urgent=True)


def test_admission_is_as_the_rules_say() -> None:
    run_state_machine_as_test(
        AdmissionMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )


@pytest.mark.long
def test_admission_is_as_the_rules_say_at_length() -> None:
    run_state_machine_as_test(
        AdmissionMachine, settings=settings(max_examples=2_000, stateful_step_count=60, deadline=None)
    )

"""Messages that wait for receipts: which come early, late or never, while providers fail, hang, are drained, and the
server ends without notice. A plain model says who has been asked, and that what was sent stays so."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of, route
from tests.support.receipts import REFERENCES

from postwire.core.audit import AuditEvent
from postwire.core.breaker import BreakerSettings
from postwire.core.ids import MessageIds
from postwire.core.message import DEFAULT_TENANT, Channel, MessageState
from postwire.core.outcome import UNCOUNTED, DispatchResult, Outcome
from postwire.core.receipts import Receipt, ReceiptState
from postwire.outbox.sqlite import SqliteOutbox

T = TypeVar("T")

NAMES: Final = ("a", "b", "c", "d")
REPORTING: Final = ("a", "b", "d")
WITHIN: Final = 45_000_000
MAX_ATTEMPTS: Final = 3
OUTCOMES: Final = [one for one in Outcome if one is not Outcome.MISCONFIGURED]
LIFE: Final = 300_000_000
EVENT: Final = AuditEvent(0, DEFAULT_TENANT, "ops", "postwire.v1.DispatchService/EraseMessages")


@dataclass
class Modelled:
    """A message as it has to be. `due` is when somebody else is asked; None where nobody is any more."""

    message_id: str
    sent: int
    state: MessageState = MessageState.SENT
    attempts: list[tuple[str, Outcome | None]] = field(default_factory=lambda: [("a", Outcome.SUCCESS)])
    due: int | None = None
    receipts: list[tuple[int, ReceiptState]] = field(default_factory=list)
    is_put_off: bool = False

    @property
    def is_open(self) -> bool:
        return self.attempts[-1][1] is None

    def left(self) -> list[str]:
        tried = [name for name, _ in self.attempts]
        return [name for name in NAMES if name not in tried]

    def may_follow(self, at: int) -> bool:
        counted = sum(outcome not in UNCOUNTED for _, outcome in self.attempts)
        return (
            self.state is MessageState.SENT and counted < MAX_ATTEMPTS and bool(self.left()) and at < self.sent + LIFE
        )


class FollowUpMachine(RuleBasedStateMachine):
    """One route of four providers. The first takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.ids = MessageIds(random.Random(1).getrandbits)  # no boot gives the ids of another
        self.model: list[Modelled] = []
        self.events = 0
        self.answers = dict.fromkeys(NAMES, Outcome.SUCCESS)
        self.held: set[str] = set()
        self.drained: set[str] = set()

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return self.runner.run(wait())

    @initialize()
    def begin(self) -> None:
        self.run(self.boot())

    async def boot(self) -> None:
        self.outbox = await SqliteOutbox.open(str(Path(self.folder.name) / "postwire.db"))
        self.providers = {name: FakeProvider(name, held=name in self.held) for name in NAMES}
        self.gates = {
            name: gate_of(
                name, max_concurrent=1000, breaker=BreakerSettings(minimum_calls=100_000, window_calls=100_000)
            )
            for name in NAMES
        }
        for name in self.drained:
            self.gates[name].breaker.force_open(0.0)
        for name, outcome in self.answers.items():
            self.providers[name].answer = DispatchResult(outcome)
        registry = registry_of(
            *self.providers.values(),
            gates=self.gates,
            routes={Channel.SMS: [route(*NAMES, delivered_within=WITHIN / 1e6)]},
            attempt_timeout=1e6,
        )
        self.harness = Harness(
            self.outbox,
            registry=registry,
            clock=self.clock,
            ids=self.ids,
            receipts_of=REPORTING,
            expire_after=dict.fromkeys(Channel, LIFE),
        )
        await self.harness.boot()

    # What happens.

    @rule(count=st.integers(1, 3))
    def send(self, count: int) -> None:
        for _ in range(count):
            now = self.clock.due()
            of = build.command(max_attempts=MAX_ATTEMPTS)
            record = self.run(self.harness.send(of))
            made = Modelled(record.message_id, sent=now)
            made.due = now + WITHIN if made.may_follow(now + WITHIN) else None
            self.model.append(made)

    @rule(outcomes=st.tuples(*[st.sampled_from(OUTCOMES)] * 3))
    def answer(self, outcomes: tuple[Outcome, ...]) -> None:
        for name, outcome in zip(NAMES[1:], outcomes, strict=True):
            self.answers[name] = outcome
            self.providers[name].answer = DispatchResult(outcome)

    @rule(name=st.sampled_from(NAMES[1:]))
    def hold(self, name: str) -> None:
        """From now on it does not answer."""
        self.held.add(name)
        self.providers[name]._free.clear()

    @rule(name=st.sampled_from(NAMES[1:]))
    def release(self, name: str) -> None:
        async def release() -> None:
            self.providers[name].release()
            await self.harness.calm()

        self.held.discard(name)
        self.run(release())
        for one in self.model:
            if one.is_open and one.attempts[-1][0] == name:
                self.ends(one, self.answers[name])

    @rule(name=st.sampled_from(NAMES[1:]), drains=st.booleans())
    def steer(self, name: str, drains: bool) -> None:
        breaker, now = self.gates[name].breaker, self.clock.monotonic()
        if drains:
            self.drained.add(name)
            breaker.force_open(now)
        elif name in self.drained:
            self.drained.discard(name)
            breaker.resume(now)

    @rule()
    def send_and_wait(self) -> None:
        self.send(1)
        self.pass_time(45.0, 0.0)

    @rule(
        seconds=st.sampled_from([1.0, 20.0, 44.0, 45.0, 46.0, 130.0]),
        step=st.sampled_from([0.0, 0.0, 0.0, -7200.0, 7200.0]),
    )
    def pass_time(self, seconds: float, step: float) -> None:
        """The wall clock may be set, which nobody notices."""

        async def advance() -> None:
            await self.harness.calm()
            if step:
                self.clock.step_wall(step)
            self.clock.advance(seconds)
            await self.harness.calm()

        self.run(advance())
        for one in self.model:
            self.comes_due(one)

    @rule(
        position=st.integers(0, 20),
        attempt=st.integers(1, 3),
        state=st.sampled_from([ReceiptState.DELIVERED, ReceiptState.UNDELIVERED, ReceiptState.ACCEPTED]),
    )
    def receipt(self, position: int, attempt: int, state: ReceiptState) -> None:
        """It may come while another attempt is under way; then it counts once that has ended."""
        if position >= len(self.model):
            return
        one = self.model[position]
        if attempt > len(one.attempts) or one.attempts[attempt - 1][0] not in REPORTING:
            return
        self.run(self.report(one, attempt, state))
        one.receipts.append((attempt, state))
        self.applies(one)

    async def report(self, one: Modelled, attempt: int, state: ReceiptState) -> None:
        self.events += 1
        receipt = Receipt(state, reference=REFERENCES.make(one.message_id, attempt), event_id=f"event-{self.events}")
        await self.harness.inbox.keep(one.attempts[attempt - 1][0], [receipt])
        await self.harness.calm()

    @rule(position=st.integers(0, 20))
    def erase(self, position: int) -> None:
        if position >= len(self.model):
            return
        one = self.model[position]
        self.run(self.outbox.erase([one.message_id], DEFAULT_TENANT, EVENT))
        if not one.is_open:
            one.due = None

    @rule()
    def crash(self) -> None:
        """What was under way is, to those who come after, `uncertain`: nobody knows who has had it."""

        async def crash() -> None:
            await self.harness.calm()
            await self.outbox.close()
            await self.harness.drain(0.0)
            shift = self.clock.wall() - self.clock.due()
            self.clock = ManualClock(self.clock.wall())  # a boot's due clock begins where the other stands
            for one in self.model:
                one.sent += shift
                one.due = None if one.due is None else one.due + shift
            await self.boot()
            await self.harness.calm()

        self.run(crash())
        for one in self.model:
            if one.is_open:
                self.ends(one, Outcome.UNCERTAIN)
            self.comes_due(one)

    # The model.

    def applies(self, one: Modelled) -> None:
        """`delivered` of any attempt wins; `undelivered` counts where no other is successful."""
        if one.is_open or one.state is MessageState.DELIVERED:
            return
        states = {(number, state) for number, state in one.receipts}
        undelivered = {number for number, state in states if state is ReceiptState.UNDELIVERED}
        taken = {
            number
            for number, (_, outcome) in enumerate(one.attempts, 1)
            if outcome is Outcome.SUCCESS or (number, ReceiptState.ACCEPTED) in states
        }
        if any(state is ReceiptState.DELIVERED for _, state in states):
            one.state, one.due = MessageState.DELIVERED, None
        elif undelivered and not taken - undelivered:
            one.state, one.due = MessageState.UNDELIVERED, None

    def comes_due(self, one: Modelled) -> None:
        now = self.clock.due()
        if one.due is None or one.due > now:
            return
        if not one.may_follow(now):
            one.due = None
            return
        self.follows_up(one)

    def follows_up(self, one: Modelled) -> None:
        now = self.clock.due()
        name = next((name for name in one.left() if name not in self.drained), None)
        if name is None:
            one.due, one.is_put_off = now + 30_000_000, True  # at the latest
            return
        one.attempts.append((name, None))
        one.due = None
        if name not in self.held:
            self.ends(one, self.answers[name])

    def ends(self, one: Modelled, outcome: Outcome) -> None:
        name, now = one.attempts[-1][0], self.clock.due()
        one.attempts[-1] = (name, outcome)
        self.applies(one)
        if one.state is not MessageState.SENT:
            return
        if outcome is Outcome.UNCERTAIN or (outcome is Outcome.SUCCESS and name in REPORTING):
            one.due = now + WITHIN if one.may_follow(now + WITHIN) else None
        elif outcome in (Outcome.SUCCESS, Outcome.REJECTED) or not one.may_follow(now):
            one.due = None
        else:
            self.follows_up(one)

    # What holds.

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        if not self.model:
            return
        self.run(self.harness.calm())
        for one in self.model:
            self.run(self.compare(one))

    async def compare(self, one: Modelled) -> None:
        record = await self.harness.kept(one.message_id)
        assert record.state is one.state
        assert [(it.provider_name, it.outcome) for it in record.attempts] == one.attempts
        assert [it.receipt_overdue for it in record.attempts] == [it.number > 1 for it in record.attempts]
        if one.is_put_off and one.due is not None:
            one.is_put_off = False
            time = record.follow_up_time
            assert time is None or one.due - 29_000_000 <= time <= one.due
            if time is None:
                assert not one.may_follow(one.due), "it is too late soon"
            one.due = time
        has_content = await self.outbox.content(one.message_id, DEFAULT_TENANT) is not None
        assert has_content is (one.due is not None or one.is_open)
        if not one.is_open:
            assert record.follow_up_time == one.due

    @invariant()
    def nobody_has_a_message_twice(self) -> None:
        for one in self.model:
            names = [name for name, _ in one.attempts]
            assert len(set(names)) == len(names)

    def teardown(self) -> None:
        async def close() -> None:
            with suppress(AttributeError):
                for provider in self.providers.values():
                    provider.release()
                await self.harness.completed()
                assert self.harness.left() == []
                await self.outbox.close()

        try:
            self.run(close())
        finally:
            self.runner.close()
            self.folder.cleanup()


def test_nobody_is_asked_twice_and_what_was_sent_stays_so() -> None:
    run(FollowUpMachine, settings=settings(max_examples=8, stateful_step_count=25, deadline=None))


@pytest.mark.long
def test_the_same_for_longer() -> None:
    run(FollowUpMachine, settings=settings(max_examples=150, stateful_step_count=50, deadline=None))

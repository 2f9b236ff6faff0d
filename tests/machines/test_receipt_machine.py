"""What providers report against a model: while an attempt is open, before our own commit, between attempts, after an
uncertain one with a later success, doubled, shuffled and over a crash, in any order.

Nothing is sent past a receipt that says it was delivered, no result of an attempt is lost, and no receipt that was
received is.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.harness import Harness
from tests.support.outboxes import open_postgres
from tests.support.providers import FakeProvider, registry_of
from tests.support.receipts import REFERENCES, pending
from tests.support.waiting import within

from postwire.core.message import DEFAULT_TENANT, DeliveryGuarantee, MessageRecord, MessageState, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import Receipt, ReceiptState
from postwire.outbox.base import Decide, Outbox, QueuedMessage, TakenMessage
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.handover import Handover

T = TypeVar("T")
S, R = MessageState, ReceiptState

NAMES: Final = ("one", "two")
FINAL: Final = {S.FAILED, S.EXPIRED, S.CANCELLED}
OUTCOMES: Final = st.sampled_from(
    [Outcome.SUCCESS, Outcome.SUCCESS, Outcome.ERROR, Outcome.UNCERTAIN, Outcome.RATE_LIMITED, Outcome.REJECTED]
)
STATES: Final = st.sampled_from([R.DELIVERED, R.UNDELIVERED, R.ACCEPTED, R.COMPLAINED])
REPORTS: Final = st.fixed_dictionaries(
    {
        "message": st.integers(0, 20),
        "attempt": st.integers(0, 4),
        "state": STATES,
        "code": st.sampled_from(["", "c"]),
        "by_id": st.booleans(),
        "times": st.integers(1, 3),
    }
)

Key = tuple[str, int]
"""A message id and the number of an attempt."""


class Scripted(FakeProvider):
    """A provider whose every call waits until the test says how it ends. `asked` is called with each."""

    def __init__(self, name: str, asked: Callable[[Key], None]) -> None:
        super().__init__(name)
        self.pending: dict[Key, asyncio.Future[DispatchResult]] = {}
        self._asked = asked

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        key = REFERENCES.read(handover.reference)
        assert key is not None
        self._asked(key)
        self.pending[key] = asyncio.get_running_loop().create_future()
        try:
            return await self.pending[key]
        finally:
            self.pending.pop(key, None)


@dataclass
class Model:
    """What has happened, as those see it who made it happen."""

    asked: set[Key] = field(default_factory=set)
    ended: dict[Key, Outcome] = field(default_factory=dict)
    """What a provider has answered, and nobody has crashed before that was on record."""
    received: dict[Key, set[tuple[ReceiptState, str]]] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)
    """Of what was received that it was delivered."""

    def note_opened(self, message_id: str) -> None:
        assert message_id not in self.delivered, "it is sent once more, though it was delivered"

    def check(self, record: MessageRecord) -> None:
        """Whether a record, none of whose attempts is open, is one that this may have led to."""
        of = {one.number: self.received.get((record.message_id, one.number), set()) for one in record.attempts}
        states = {number: {state for state, _ in found} for number, found in of.items()}
        listed = [(one.attempt_number, one.state, one.error_code) for one in record.receipts]
        assert len(listed) == len(set(listed)), "each is listed once"
        assert set(listed) == {(number, *one) for number, found in of.items() for one in found}
        for one in record.attempts:
            if outcome := self.ended.get((record.message_id, one.number)):
                assert one.outcome is outcome, "its result is lost"
        some = set().union(*states.values())
        if record.state in FINAL:
            return
        if R.DELIVERED in some:
            assert record.state is S.DELIVERED
            return
        assert record.state is not S.DELIVERED
        undelivered = {number for number, found in states.items() if R.UNDELIVERED in found}
        others = [one for one in record.attempts if one.number not in undelivered]
        is_alive = any(one.outcome is Outcome.SUCCESS or R.ACCEPTED in states[one.number] for one in others)
        if undelivered and not is_alive:
            assert record.state is S.UNDELIVERED
        elif R.ACCEPTED in some:
            assert record.state in (S.SENT, S.UNDELIVERED)
        if record.state is S.UNDELIVERED:
            assert undelivered


class Watched:
    """An outbox that has the model hear of each attempt that is about to be opened and kept."""

    def __init__(self, inner: Outbox, model: Model) -> None:
        self.inner = inner
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def advance(self, before: MessageRecord, after: MessageRecord, *rest: Any, **reported: Any) -> bool:
        was_delivered = before.message_id in self.model.delivered
        kept = await self.inner.advance(before, after, *rest, **reported)
        if kept and was_delivered and len(after.attempts) > len(before.attempts):
            self.model.note_opened(before.message_id)
        return kept

    async def take(self, queue: Any, now: int, limits: Any, decide: Decide, ahead: int = 0) -> Sequence[TakenMessage]:
        delivered: set[str] = set()

        def decided(queued: QueuedMessage) -> MessageRecord | None:
            after = decide(queued)
            if after and queued.record.message_id in self.model.delivered:
                delivered.add(queued.record.message_id)
            return after

        taken = await self.inner.take(queue, now, limits, decided, ahead)
        for one in taken:
            if one.record.state is S.SENDING and one.record.message_id in delivered:
                self.model.note_opened(one.record.message_id)
        return taken


class ReceiptMachine(RuleBasedStateMachine):
    """Messages that go to one provider and then the other, both of which report."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.model = Model()
        self.ids: list[str] = []
        self.clock = ManualClock()
        self.calls: list[asyncio.Task[MessageRecord]] = []

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return self.runner.run(wait())

    @initialize()
    def begin(self) -> None:
        self.run(self.open())

    async def open_outbox(self, folder: Path) -> Outbox:
        return await SqliteOutbox.open(str(folder / "postwire.db"), sync="normal")

    async def open(self) -> None:
        self.outbox = Watched(await self.open_outbox(Path(self.folder.name)), self.model)
        self.providers = [Scripted(name, self.model.asked.add) for name in NAMES]
        self.harness = Harness(self.outbox, registry=registry_of(*self.providers), receipts_of=NAMES, clock=self.clock)
        await self.harness.boot()

    async def shut_down(self) -> None:
        for call in self.calls:
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)
        self.calls.clear()
        await self.harness.drain(0.0)
        await self.harness.inbox.close()
        await self.harness.delivery.close()
        await self.outbox.inner.close()

    def settle_down(self) -> None:
        """Return once nothing goes on by itself. A store in a file takes its time, so it is asked again."""

        async def settle() -> None:
            assert self.harness.tracker
            while True:
                await self.harness.calm()
                for _ in range(2):  # the first may be over as the pass that is under way ends
                    await self.harness.tracker.until_looked_at()
                if not await self.why_busy():
                    return
                await asyncio.sleep(0.01)

        try:
            self.run(within(settle()))
        except TimeoutError:
            raise AssertionError(self.run(self.why_busy())) from None

    async def why_busy(self) -> str:
        """What is not as it is to be once all is quiet."""
        records = await self.outbox.inner.records(self.ids, DEFAULT_TENANT)
        is_open = {one.message_id for one in records if one.attempts and one.attempts[-1].outcome is None}
        if left := set(await pending(self.outbox.inner)) - is_open:
            return f"{len(left)} messages have receipts that are not applied"
        counts = await self.outbox.inner.unsettled_counts(self.clock.wall())
        found, expected = self.harness.delivery.backlog.queues, dict(counts.queues)
        return "" if found == expected else f"the backlog is {found}, the store has {expected}"

    @property
    def pending(self) -> list[tuple[Scripted, Key]]:
        return [(provider, key) for provider in self.providers for key in provider.pending]

    @rule(guarantees=st.lists(st.sampled_from(DeliveryGuarantee), min_size=1, max_size=3))
    def send(self, guarantees: list[DeliveryGuarantee]) -> None:
        async def start() -> None:
            for guarantee in guarantees:
                command = build.command(request_id=build.new_request_id(), delivery_guarantee=guarantee)
                self.calls.append(asyncio.create_task(self.harness.delivery.dispatch(command)))

        self.run(start())
        self.settle_down()
        self.ids += sorted({message_id for message_id, _ in self.model.asked} - set(self.ids))

    def give(self, position: int, outcome: Outcome) -> None:
        """End an attempt that is open."""
        if found := self.pending:
            provider, key = found[position % len(found)]
            result = DispatchResult(outcome, f"id-{key[0]}-{key[1]}" if outcome is Outcome.SUCCESS else "")
            answer = provider.pending[key]
            if not answer.done():
                answer.set_result(result)
                self.model.ended[key] = outcome

    @rule(ends=st.lists(st.tuples(st.integers(0, 9), OUTCOMES), min_size=1, max_size=3))
    def end(self, ends: list[tuple[int, Outcome]]) -> None:
        async def end() -> None:
            for position, outcome in ends:
                self.give(position, outcome)

        self.run(end())
        self.settle_down()

    def key_of(self, spec: Mapping[str, Any]) -> Key | None:
        """The attempt that a report is about: one whose provider was asked."""
        if not self.ids:
            return None
        message_id = self.ids[int(spec["message"]) % len(self.ids)]
        keys = sorted(key for key in self.model.asked if key[0] == message_id)
        return keys[int(spec["attempt"]) % len(keys)]

    async def report(self, spec: Mapping[str, Any]) -> None:
        if (key := self.key_of(spec)) is None:
            return
        record = await self.outbox.inner.get(key[0], DEFAULT_TENANT)
        assert record is not None
        if len(record.attempts) < key[1]:
            return
        provider_name = record.attempts[key[1] - 1].provider_name
        by_id = spec["by_id"] and self.model.ended.get(key) is Outcome.SUCCESS
        receipt = Receipt(
            spec["state"],
            reference="" if by_id else REFERENCES.make(*key),
            provider_message_id=f"id-{key[0]}-{key[1]}" if by_id else "",
            code=spec["code"],
        )
        for _ in range(spec["times"]):
            await self.harness.inbox.keep(provider_name, [receipt])
        self.model.received.setdefault(key, set()).add((spec["state"], spec["code"]))
        if spec["state"] is R.DELIVERED:
            self.model.delivered.add(key[0])

    @rule(specs=st.lists(REPORTS, min_size=1, max_size=4))
    def report_alone(self, specs: list[dict[str, Any]]) -> None:
        async def report() -> None:
            await asyncio.gather(*map(self.report, specs))

        self.run(report())
        self.settle_down()

    @rule(
        specs=st.lists(REPORTS, min_size=1, max_size=3),
        ends=st.lists(st.tuples(st.integers(0, 9), OUTCOMES), min_size=1, max_size=2),
        turns=st.lists(st.integers(0, 6), min_size=2, max_size=2),
        seconds=st.sampled_from([0.0, 0.0, 10.0]),
    )
    def report_in_a_race(
        self, specs: list[dict[str, Any]], ends: list[tuple[int, Outcome]], turns: list[int], seconds: float
    ) -> None:
        """Just before, with or just after the end of attempts, and of what waits."""

        async def race() -> None:
            reports = [asyncio.create_task(self.report(spec)) for spec in specs]
            for _ in range(turns[0]):
                await asyncio.sleep(0)
            for position, outcome in ends:
                self.give(position, outcome)
            for _ in range(turns[1]):
                await asyncio.sleep(0)
            if seconds:
                self.clock.advance(seconds)
            await asyncio.gather(*reports)

        self.run(race())
        self.settle_down()

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        async def advance() -> None:
            self.clock.advance(seconds)

        self.run(advance())
        self.settle_down()

    @rule(specs=st.lists(REPORTS, max_size=2))
    def crash(self, specs: list[dict[str, Any]]) -> None:
        """The server ends in the middle of whatever it does, and just after it has received something."""

        async def crash() -> None:
            await asyncio.gather(*map(self.report, specs))
            await self.shut_down()
            await self.open()

        self.run(crash())
        self.settle_down()

    @invariant()
    def every_message_is_what_was_reported_of_it(self) -> None:
        if not hasattr(self, "harness"):
            return
        records = self.run(self.outbox.inner.records(self.ids, DEFAULT_TENANT))
        assert len(records) == len(self.ids)
        for record in records:
            if record.attempts and record.attempts[-1].outcome is None:
                assert record.state is S.SENDING
                continue
            self.model.check(record)

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            self.run(self.shut_down())
        self.runner.close()
        self.folder.cleanup()


class InPostgres(ReceiptMachine):
    async def open_outbox(self, folder: Path) -> Outbox:
        return await open_postgres(folder)


MACHINES = pytest.mark.parametrize(
    ("machine", "examples"), [(ReceiptMachine, 4), (InPostgres, 1)], ids=["file", "postgres"]
)


@MACHINES
def test_what_is_reported_is_applied_whenever_it_comes(machine: type[ReceiptMachine], examples: int) -> None:
    run(machine, settings=settings(max_examples=examples, stateful_step_count=20, deadline=None))


@pytest.mark.long
@MACHINES
def test_what_is_reported_is_applied_whenever_it_comes_at_length(machine: type[ReceiptMachine], examples: int) -> None:
    run(machine, settings=settings(max_examples=examples * 76, stateful_step_count=40, deadline=None))

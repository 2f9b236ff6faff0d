"""The delivery path as a whole: arrivals, failures, throttling, drains, resumes, cancels and passing time in any order.

No more is in flight than allowed, nothing goes on by itself for ever, and once all is allowed every message settles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run
from tests.support import build
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of, route

from postwire.core.admission import Share
from postwire.core.breaker import BreakerSettings
from postwire.core.errors import MessageNotQueued, Refusal
from postwire.core.message import Channel, Content, MessageRecord, OutboundMessage, Priority, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.delivery.waiters import Waiter
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.handover import Handover

T = TypeVar("T")

NAMES: Final = ("one", "two")
CONTENTS: Final[dict[Channel, Content]] = {
    Channel.SMS: build.sms(),
    Channel.MMS: build.mms(),
    Channel.EMAIL: build.email(),
}
ANSWERS: Final = st.sampled_from(
    [
        build.SUCCESS,
        DispatchResult(Outcome.ERROR),
        DispatchResult(Outcome.RATE_LIMITED, retry_after=3.0),
        DispatchResult(Outcome.RATE_LIMITED),
        DispatchResult(Outcome.UNCERTAIN),
        DispatchResult(Outcome.REJECTED),
    ]
)
LIMITS: Final = st.fixed_dictionaries(
    {
        "max_concurrent": st.sampled_from([1, 2, 5]),
        "rate": st.sampled_from([None, None, 1.0, 7.0]),
        "burst": st.sampled_from([None, 1, 3]),
    }
)
MESSAGES: Final = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(Channel),
        "priority": st.sampled_from(Priority),
        "provider_name": st.sampled_from([None, None, None, *NAMES]),
        "wait_for": st.sampled_from(WaitFor),
        "after": st.sampled_from([0, 0, 0, 2, 40]),
        "expires": st.sampled_from([0, 0, 0, 50]),
    }
)
SPIN: Final = 400
"""More reads than any one thing that happens leads to here."""


class Scripted(FakeProvider):
    """A provider whose every call waits until the test says how it ends."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.pending: list[asyncio.Future[DispatchResult]] = []
        self.is_free = False

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        if self.is_free:
            return build.SUCCESS
        answer: asyncio.Future[DispatchResult] = asyncio.get_running_loop().create_future()
        self.pending.append(answer)
        return await answer

    def end(self, position: int, result: DispatchResult) -> None:
        if self.pending:
            answer = self.pending.pop(position % len(self.pending))
            if not answer.done():
                answer.set_result(result)


class Counting:
    """An outbox that counts what is asked of it by queues."""

    def __init__(self, inner: SqliteOutbox) -> None:
        self.inner = inner
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("take", "heads", "expired"):
            self.reads += 1
        return getattr(self.inner, name)


class DeliveryMachine(RuleBasedStateMachine):
    """Three routes and those of pinned providers share two providers."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ids: list[str] = []
        self.calls: list[asyncio.Task[MessageRecord]] = []
        self.streams = [Share() for _ in range(2)]
        self.frames: dict[int, asyncio.Task[list[Waiter | Refusal]]] = {}

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return self.runner.run(wait())

    @initialize(
        one=LIMITS,
        two=LIMITS,
        probes=st.sampled_from([1, 2]),
        overflow=st.booleans(),
        strict=st.booleans(),
        room=st.sampled_from([6, 20]),
    )
    def begin(
        self, one: dict[str, Any], two: dict[str, Any], probes: int, overflow: bool, strict: bool, room: int
    ) -> None:
        async def make() -> Harness:
            self.outbox = Counting(await SqliteOutbox.open(":memory:"))
            self.providers = [Scripted(name) for name in NAMES]
            breaker = BreakerSettings(minimum_calls=3, open_for=5.0, probe_calls=probes, close_after=probes)
            self.max_concurrent = {"one": one["max_concurrent"], "two": two["max_concurrent"]}
            self.gates = {
                name: gate_of(name, breaker=breaker, **limits) for name, limits in (("one", one), ("two", two))
            }
            routes = {
                Channel.SMS: [route("one", "two", key="sms", overflow=overflow)],
                Channel.MMS: [route({"one": 3, "two": 1}, key="mms", strict_weights=strict)],
                Channel.EMAIL: [route("two", key="email")],
            }
            registry = registry_of(*self.providers, routes=routes, gates=self.gates)
            harness = Harness(self.outbox, registry=registry, max_in_flight=room)
            self.room = room
            await harness.boot()
            return harness

        self.harness = self.run(make())

    def settle_down(self) -> None:
        """Return once nothing goes on by itself; it does not go on for ever."""
        before = self.outbox.reads
        self.run(self.harness.calm())
        assert self.outbox.reads - before < SPIN, "it spins"

    @rule(specs=st.lists(MESSAGES, min_size=1, max_size=6))
    def send(self, specs: list[dict[str, Any]]) -> None:
        async def start() -> None:
            for spec in specs:
                self.calls.append(asyncio.create_task(self.harness.delivery.dispatch(self.command(spec))))

        self.run(start())
        self.settle_down()

    @rule(specs=st.lists(MESSAGES, min_size=1, max_size=12), position=st.integers(0, 1))
    def stream(self, specs: list[dict[str, Any]], position: int) -> None:
        if position in self.frames and not self.frames[position].done():
            return

        async def all_of(commands: list[Any]) -> list[Waiter | Refusal]:
            found: list[Waiter | Refusal] = []
            while len(found) < len(commands):
                found += await self.harness.delivery.admit_all(commands[len(found) :], self.streams[position])
            return found

        async def start() -> None:
            self.frames[position] = asyncio.create_task(all_of([self.command(spec) for spec in specs]))

        self.run(start())
        self.settle_down()

    @rule(position=st.integers(0, 1))
    def break_off_a_stream(self, position: int) -> None:
        if position in self.frames:
            self.frames[position].cancel()
            self.settle_down()

    def command(self, spec: dict[str, Any]) -> Any:
        now = self.harness.clock.wall()
        return build.command(
            CONTENTS[spec["channel"]],
            request_id=build.new_request_id(),
            wait_for=spec["wait_for"],
            priority=spec["priority"],
            provider_name=spec["provider_name"],
            send_time=now + spec["after"] * 1_000_000 if spec["after"] else None,
            expire_time=now + spec["expires"] * 1_000_000 if spec["expires"] else None,
        )

    @rule(name=st.integers(0, 1), ends=st.lists(st.tuples(st.integers(0, 9), ANSWERS), min_size=1, max_size=5))
    def end(self, name: int, ends: list[tuple[int, DispatchResult]]) -> None:
        async def end() -> None:
            for position, result in ends:
                self.providers[name].end(position, result)

        self.run(end())
        self.settle_down()

    @rule(name=st.sampled_from(NAMES), action=st.sampled_from(["drain", "drain", "resume", "resume", "reset"]))
    def steer(self, name: str, action: str) -> None:
        async def steer() -> None:
            breaker, now = self.gates[name].breaker, self.harness.clock.monotonic()
            if action == "drain":
                breaker.force_open(now)
            elif action == "resume":
                breaker.resume(now)
                self.gates[name].end_cool_down()
            else:
                with suppress(ValueError):
                    breaker.reset(now)

        self.run(steer())
        self.settle_down()

    @rule(position=st.integers(0, 50), race=st.booleans())
    def cancel(self, position: int, race: bool) -> None:
        """Alone, or while a provider comes back."""
        known = list(self.harness.noted.states)
        if not known:
            return

        async def cancel() -> None:
            with suppress(MessageNotQueued):
                cancelling = asyncio.create_task(self.harness.delivery.cancel(known[position % len(known)], by=LOCAL))
                if race:
                    for gate in self.gates.values():
                        gate.breaker.resume(self.harness.clock.monotonic())
                await cancelling

        self.run(cancel())
        self.settle_down()

    @rule(seconds=st.sampled_from([0.2, 1.0, 4.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        async def advance() -> None:
            self.harness.clock.advance(seconds)

        self.run(advance())
        self.settle_down()

    @invariant()
    def no_more_is_in_flight_than_allowed(self) -> None:
        for name, gate in self.gates.items():
            assert 0 <= gate.in_flight <= self.max_concurrent[name]
        admission = self.harness.delivery._acceptance.admission
        assert 0 <= admission.count <= self.room
        assert sum(share.count for share in admission._queues.values()) == admission.count
        assert sum(share.count for share in self.streams) <= admission.count

    @invariant()
    def no_grant_is_kept(self) -> None:
        for gate in self.harness.delivery._router._gates.values():
            assert gate._arbiter.granted == 0, "all is quiet, so each was used or given back"

    @invariant()
    def the_backlog_is_what_the_store_holds(self) -> None:
        counts = self.run(self.outbox.inner.unsettled_counts(self.harness.clock.wall()))
        assert self.harness.delivery.backlog.queues == dict(counts.queues)

    @invariant()
    def whoever_is_due_waits_for_somebody_who_is_not_free(self) -> None:
        """No wake-up was lost: what is due has nobody who would take it."""
        now = self.harness.clock.monotonic()
        for queue in self.harness.delivery._worker._queues.values():
            heads = self.run(self.outbox.inner.heads([queue.key], self.harness.clock.due(), 100))
            if any(any(head.due.values()) for head in heads.values()) and not queue.route.strict_weights:
                assert self.harness.delivery._router.look(queue.route, now).chosen is None, queue.route.key

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            try:
                self.allow_everything()
            finally:
                self.run(self.close())
        self.runner.close()

    def allow_everything(self) -> None:
        async def free() -> None:
            for provider in self.providers:
                provider.is_free = True
                while provider.pending:
                    provider.end(0, build.SUCCESS)
            for gate in self.gates.values():
                gate.breaker.resume(self.harness.clock.monotonic())
                gate.end_cool_down()

        async def advance() -> None:
            self.harness.clock.advance(7.0)

        self.run(free())
        for _ in range(200):
            self.settle_down()
            if not self.run(self.outbox.inner.stats()).unsettled and all(call.done() for call in self.calls):
                break
            self.run(advance())
        assert self.run(self.outbox.inner.stats()).unsettled == 0
        self.settle_down()
        assert self.harness.left() == []
        assert [share.count for share in self.streams] == [0, 0]
        assert self.harness.delivery._acceptance.admission._queues == {}
        assert self.harness.delivery.backlog.total == 0
        before = self.outbox.reads
        self.run(self.harness.calm())
        assert self.outbox.reads == before, "there is nothing to do, and nobody looks for it"

    async def close(self) -> None:
        for task in (*self.calls, *self.frames.values()):
            task.cancel()
        await asyncio.gather(*self.calls, *self.frames.values(), return_exceptions=True)
        for provider in self.providers:
            provider.is_free = True
            while provider.pending:
                provider.end(0, build.SUCCESS)
        await self.harness.drain(1.0)
        await self.outbox.inner.close()


def test_whatever_happens_all_messages_settle_and_nothing_is_left() -> None:
    run(DeliveryMachine, settings=settings(max_examples=5, stateful_step_count=18, deadline=None))


@pytest.mark.long
def test_whatever_happens_all_messages_settle_and_nothing_is_left_at_length() -> None:
    run(DeliveryMachine, settings=settings(max_examples=300, stateful_step_count=60, deadline=None))

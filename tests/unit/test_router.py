"""Who takes a message now, by weight and by door; when to look again; and what is told of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.gates import fail
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of, route

from postwire.core.breaker import BreakerSettings, Verdict
from postwire.core.errors import InvalidMessage, InvalidProvider, InvalidRouting
from postwire.core.gate import Gate
from postwire.core.message import DEFAULT_TENANT, Attempt, Channel
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import Outcome
from postwire.core.routing import Match, PassedOver, Route, TierOrder
from postwire.core.splitmix import stream
from postwire.delivery.router import Candidate, Router
from postwire.outbox.sqlite import SqliteOutbox

NAMES = ("a", "b", "c")
SECOND = 1_000_000
WEIGHTED = route({"a": 5, "b": 3, "c": 2})


class GateModels:
    """A router for the providers `a`, `b` and `c`, whose breakers open with one failure, for 5 s."""

    def __init__(self, *routes: Route, seed: int = 1, **limits: dict[str, Any]) -> None:
        self.clock = ManualClock()
        settings = BreakerSettings(minimum_calls=1, open_for=5.0)
        self.gates: dict[str, Gate] = {name: gate_of(name, breaker=settings, **limits.get(name, {})) for name in NAMES}
        providers = [FakeProvider(name) for name in NAMES]
        self.registry = registry_of(*providers, gates=self.gates, routes={Channel.SMS: routes})
        self.router = Router(self.registry, self.clock, seed)

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def picked(self, plan: Route, count: int = 1, attempts: tuple[Attempt, ...] = ()) -> list[str | None]:
        """Who takes so many messages, each given back at once."""
        found: list[str | None] = []
        for _ in range(count):
            permit = self.router.pick(self.router.begin(plan, attempts))
            found.append(permit.entry.provider.name if permit else None)
            if permit:
                permit.gate_permit.close(Verdict.SUCCESS, self.now)
        return found


# Weights.


def test_members_of_a_tier_share_its_messages_by_weight() -> None:
    counts = Counter(GateModels().picked(WEIGHTED, 10_000))
    assert {name: round(count / 1000) for name, count in counts.items()} == {"a": 5, "b": 3, "c": 2}


def test_the_same_seed_makes_the_same_choices_and_another_one_others() -> None:
    assert GateModels(seed=7).picked(WEIGHTED, 100) == GateModels(seed=7).picked(WEIGHTED, 100)
    assert GateModels(seed=7).picked(WEIGHTED, 100) != GateModels(seed=8).picked(WEIGHTED, 100)


def test_each_route_draws_from_a_generator_of_its_own() -> None:
    other = route({"a": 1, "b": 1}, key="sms#2")
    alone, together = GateModels(), GateModels()
    expected = alone.picked(WEIGHTED, 50)
    mixed = []
    for index in range(50):
        together.picked(other, index % 3)
        mixed += together.picked(WEIGHTED)
    assert mixed == expected
    draws = stream(1, "weights sms")
    assert expected == [next(iter(TierOrder(WEIGHTED.tiers[0], draws.next_unit()))) for _ in range(50)]


def test_a_route_without_weights_takes_no_draw() -> None:
    gate_models = GateModels()
    assert gate_models.picked(route("b", "a"), 5) == ["b"] * 5
    assert gate_models.picked(WEIGHTED, 20) == GateModels().picked(WEIGHTED, 20)


def test_looking_and_telling_take_no_draw() -> None:
    gate_models = GateModels()
    gate_models.router.look(WEIGHTED)
    gate_models.router.explain(WEIGHTED, build.command().message, DEFAULT_TENANT)
    gate_models.router.is_open(WEIGHTED)
    assert gate_models.picked(WEIGHTED, 20) == GateModels().picked(WEIGHTED, 20)


async def test_what_is_sent_replays_with_the_seed() -> None:
    async def sent(seed: int) -> list[str]:
        outbox = await SqliteOutbox.open(":memory:")
        registry = registry_of(*map(FakeProvider, NAMES), routes={Channel.SMS: [WEIGHTED]})
        harness = Harness(outbox, registry=registry, seed=seed)
        names = [(await harness.send()).attempts[0].provider_name for _ in range(30)]
        await harness.completed()
        await outbox.close()
        return names

    assert await sent(3) == await sent(3)
    assert await sent(3) != await sent(4)


def test_a_member_that_is_down_leaves_its_share_to_the_others() -> None:
    gate_models = GateModels()
    fail(gate_models.gates["a"], 1, gate_models.now)
    counts = Counter(gate_models.picked(WEIGHTED, 5_000))
    assert counts["a"] == 0
    assert round(counts["b"] / 1000) == 3


# Passes.


def test_nobody_is_picked_twice_in_a_pass() -> None:
    gate_models = GateModels()
    plan = gate_models.router.begin(route("a", {"b": 1, "c": 1}))
    permits = [gate_models.router.pick(plan) for _ in range(4)]
    names = [permit.entry.provider.name if permit else None for permit in permits]
    assert names[0] == "a"
    assert sorted(names[1:3], key=str) == ["b", "c"]
    assert names[3] is None
    assert plan.choice.passed_over == ()


def test_a_provider_that_had_the_message_before_is_asked_within_its_retry_budget() -> None:
    gate_models = GateModels()
    settings = BreakerSettings(minimum_calls=100)
    gate_models.gates["a"] = gate_of("a", breaker=settings)
    registry = registry_of(*map(FakeProvider, NAMES), gates=gate_models.gates, routes={Channel.SMS: [route("a", "b")]})
    router = Router(registry, gate_models.clock, 1)
    fail(gate_models.gates["a"], 3, gate_models.now)
    before = (Attempt(1, "a", START, Outcome.ERROR, 1),)
    names = []
    for attempts in ((), before, before, ()):
        permit = router.pick(router.begin(route("a", "b"), attempts))
        names.append(permit.entry.provider.name if permit else None)
    assert names == ["a", "a", "b", "a"], "one repeat a second"


def test_the_same_provider_once_more_needs_leave_like_any_other() -> None:
    gate_models = GateModels(a={"max_concurrent": 1})
    plan = gate_models.router.begin(route("a"))
    permit = gate_models.router.pick(plan)
    assert permit
    assert gate_models.router.again(plan, permit.entry) is None, "its one slot is taken"
    permit.gate_permit.close(Verdict.NONE, gate_models.now)
    again = gate_models.router.again(plan, permit.entry)
    assert again
    assert gate_models.gates["a"].in_flight == 1


def test_looking_takes_nothing() -> None:
    gate_models = GateModels(a={"max_concurrent": 1, "rate": 1.0, "burst": 1})
    for _ in range(3):
        assert gate_models.router.look(route("a", "b")).chosen == "a"
    assert gate_models.gates["a"].in_flight == 0
    assert gate_models.picked(route("a", "b"), 2) == ["a", None]


# When to look again.


def test_a_route_opens_when_the_first_of_its_doors_does() -> None:
    gate_models = GateModels(c={"rate": 0.1, "burst": 1})
    plan = route("a", "b", "c")
    fail(gate_models.gates["a"], 1, gate_models.now)
    gate_models.gates["b"].cool_down(gate_models.now, 3.0)
    gate_models.gates["c"].enter(gate_models.now)
    assert gate_models.router.opens_at(plan, gate_models.now) == gate_models.now + 3.0
    assert not gate_models.router.look(plan).chosen
    assert gate_models.router.look(plan).waits_for == ("c",)
    assert gate_models.router.is_open(plan)
    gate_models.clock.advance(3.0)
    assert gate_models.router.look(plan).chosen == "b"


def test_of_a_route_that_only_an_operator_can_open_it_is_not_known_when() -> None:
    gate_models = GateModels()
    gate_models.gates["a"].breaker.force_open(gate_models.now)
    assert gate_models.router.opens_at(route("a"), gate_models.now) is None
    assert not gate_models.router.is_open(route("a"))


# What is told.


def test_a_route_is_explained_door_by_door() -> None:
    gate_models = GateModels(b={"max_concurrent": 1})
    plan = route("a", {"b": 3, "c": 1})
    fail(gate_models.gates["a"], 1, gate_models.now)
    gate_models.gates["b"].enter(gate_models.now)
    gate_models.gates["c"].cool_down(gate_models.now, 2.5)
    assert gate_models.router.explain(plan, build.command().message, DEFAULT_TENANT).candidates == (
        Candidate("a", 1, 1, Obstacle.OPEN, START + 5 * SECOND),
        Candidate("b", 2, 3, Obstacle.CONCURRENCY, None),
        Candidate("c", 2, 1, Obstacle.COOLING_DOWN, START + 5 * SECOND // 2),
    )
    assert gate_models.router.look(plan).passed_over == (
        PassedOver("a", Obstacle.OPEN),
        PassedOver("c", Obstacle.COOLING_DOWN),
    )


async def test_a_message_is_told_who_would_get_it_and_nothing_is_sent(outbox: SqliteOutbox) -> None:
    rules = [route("a", key="sms#1", match=Match(labels={"x": "y"})), route("b", "a", key="sms#2")]
    providers = [FakeProvider("a", [Channel.SMS]), FakeProvider("b", [Channel.SMS])]
    harness = Harness(outbox, registry=registry_of(*providers, routes={Channel.SMS: rules}))
    for command, key, names in (
        (build.command(labels={"x": "y"}), "sms#1", ["a"]),
        (build.command(), "sms#2", ["b", "a"]),
        (build.command(provider_name="a"), "@a", ["a"]),
    ):
        explanation = harness.delivery.explain(command)
        assert explanation.route.key == key
        assert [(one.provider_name, one.obstacle) for one in explanation.candidates] == [(name, None) for name in names]
    with pytest.raises(InvalidRouting):
        harness.delivery.explain(build.command(build.email()))
    with pytest.raises(InvalidProvider):
        harness.delivery.explain(build.command(provider_name="nobody"))
    with pytest.raises(InvalidMessage):
        harness.delivery.explain(build.command(expire_time=START))
    await harness.calm()
    assert [one.keys for one in providers] == [[], []]
    assert harness.left() == []
    assert harness.noted.events == []

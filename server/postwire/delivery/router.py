"""Routing, with the gates of this server's providers: which of them takes a message now, and when to look again."""

from __future__ import annotations

from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from postwire.clock import Clock
from postwire.core.gate import GatePermit
from postwire.core.message import Attempt, OutboundMessage, Priority, Sms
from postwire.core.obstacles import WAITED_FOR, Obstacle
from postwire.core.routing import Choice, Condition, Order, Route, choose
from postwire.core.splitmix import SplitMix64, stream
from postwire.core.turns import Flow
from postwire.core.values import frozen
from postwire.delivery.shared_gate import SharedGate, WaitingQueue
from postwire.providers.registry import ProviderEntry, Registry
from postwire.providers.sms.encoding import SmsEncoding, segments

Grants = MutableMapping[SharedGate, int]
"""How many slots of which provider were granted to a queue."""

_NOBODY: Final[frozenset[str]] = frozenset()


@frozen
class ProviderPermit:
    """What a message needs for one attempt: a provider, and leave to ask it."""

    entry: ProviderEntry
    gate_permit: GatePermit


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider of a route. Tiers count from 1; `eligible_time` is in µs since the epoch."""

    provider_name: str
    tier: int
    weight: int
    obstacle: Obstacle | None
    eligible_time: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A route, what of its match a message meets (see `Match.met_by`), and how each of its providers stands."""

    route: Route
    matched_on: tuple[Condition, ...]
    candidates: tuple[Candidate, ...]
    segments: tuple[SmsEncoding, int] | None = None
    """How the message is encoded, and how many segments it takes, where it is an SMS."""


class RoutePlan:
    """One pass of a message along its route: nobody is tried twice in it."""

    __slots__ = ("choice", "order", "priority", "repeats", "route", "tried", "unsuitable")

    def __init__(
        self, route: Route, order: Order, attempts: Collection[Attempt] = (), priority: Priority = Priority.NORMAL
    ) -> None:
        self.route = route
        self.priority = priority
        self.order = order
        self.repeats = frozenset(attempt.provider_name for attempt in attempts) if attempts else _NOBODY
        self.tried: set[str] = set()
        self.unsuitable: Collection[str] = ()  # since others than at its beginning are left
        self.choice = Choice(None)


class Router:
    """Picks providers. Draws for weights come from generators of their own, one a route."""

    def __init__(self, registry: Registry, clock: Clock, seed: int) -> None:
        self._registry = registry
        self._entries = {entry.provider.name: entry for entry in registry}
        self._clock = clock
        self._seed = seed
        self._no_depths = {route.key: 0 for route in registry.all_routes()}
        self._weights: dict[str, SplitMix64] = {}
        self._drawn: dict[str, float] = {}  # by route with strict weights: the draw that is the next message's
        self._gates = {name: SharedGate(entry.gate, clock) for name, entry in self._entries.items()}
        self._waiting: set[WaitingQueue] = set()

    @property
    def no_depths(self) -> dict[str, int]:
        """The keys of all routes, as they are shown, but those of pinned providers, each with 0."""
        return self._no_depths

    def shown_key(self, queue_key: str) -> str:
        """The key that is shown of a queue; its own where it is no route's."""
        route = self.route_by_queue_key(queue_key)
        return queue_key if route is None else route.key

    def route(
        self, message: OutboundMessage, tenant: str, pinned: str | None, positions: tuple[int, ...] | None = None
    ) -> Route:
        """See `Registry.route`."""
        return self._registry.route(message, tenant, pinned, positions)

    def route_to_explain(self, message: OutboundMessage, tenant: str, pinned: str | None) -> Route:
        """See `Registry.route_to_explain`."""
        return self._registry.route_to_explain(message, tenant, pinned)

    def route_by_queue_key(self, queue_key: str) -> Route | None:
        """See `Registry.route_by_queue_key`."""
        return self._registry.route_by_queue_key(queue_key)

    def begin(
        self, route: Route, attempts: Collection[Attempt] = (), priority: Priority = Priority.NORMAL
    ) -> RoutePlan:
        """A plan for a message that has had `attempts`. Takes one draw where the route has weights."""
        if not route.weighted:
            return RoutePlan(route, route.order(0.0), attempts, priority)
        return RoutePlan(route, route.order(self._draw(route)), attempts, priority)

    def _draw(self, route: Route) -> float:
        """The next draw of a route with weights.

        Where they are strict, it stays the next until a message has used it: what waits for one goes to no other.
        """
        if (draw := self._drawn.get(route.queue_key)) is not None:
            return draw
        if (weights := self._weights.get(route.key)) is None:
            weights = self._weights[route.key] = stream(self._seed, f"weights {route.key}")
        draw = weights.next_unit()
        if route.strict_weights:
            self._drawn[route.queue_key] = draw
        return draw

    def pick(self, plan: RoutePlan, grants: Grants | None = None) -> ProviderPermit | None:
        """Leave to ask the next provider of a plan, if there is one; `plan.choice` says why, or why not.

        Those who wait for a provider go first, but for one of whose slots is in `grants`, which is taken from there.
        """
        now = self._clock.monotonic()
        gates, repeats, priority = self._gates, plan.repeats, plan.priority

        def obstacle(name: str) -> Obstacle | None:
            if name in plan.unsuitable:
                return Obstacle.UNSUITABLE
            gate = gates[name]
            if grants and grants.get(gate):
                return gate.gate.obstacle(now, repeat=name in repeats)
            return gate.obstacle(now, priority, repeat=name in repeats)

        route = plan.route
        choice = plan.choice = choose(
            plan.order, overflow=route.overflow, strict=route.strict_weights, obstacle=obstacle, tried=plan.tried
        )
        if choice.chosen is None:
            return None
        if not plan.tried:
            self._drawn.pop(route.queue_key, None)
        plan.tried.add(choice.chosen)
        gate = gates[choice.chosen]
        if grants and grants.get(gate):
            grants[gate] -= 1
            gate.end_grants()
        else:
            gate.note_passed(priority)
        return ProviderPermit(self._entries[choice.chosen], gate.gate.enter(now, repeat=choice.chosen in repeats))

    def settling(self, plan: RoutePlan) -> SharedGate | None:
        """Who of those that a plan waits for has most of its slots in commits, and will soon have one free."""
        gates = map(self._gates.__getitem__, plan.choice.waits_for)
        return next((gate for gate in gates if gate.is_settling), None)

    def wake_streams(self) -> None:
        """Have the streams that wait for a slot look again, whether or not there is one."""
        for gate in self._gates.values():
            gate.wake_streams()

    def narrow(self, plan: RoutePlan, message: OutboundMessage, positions: tuple[int, ...] | None) -> bool:
        """Go on with a plan for the recipients at `positions` alone; returns whether anybody can carry it to these."""
        route = plan.route.whole or plan.route
        if route is not plan.route:  # who could not carry it to all may carry it to some
            plan.route, plan.order = route, route.declared
        plan.unsuitable = self._registry.unsuitable(route, message, positions)
        return len(plan.unsuitable) < len(route.names)

    def can_carry(self, entry: ProviderEntry, message: OutboundMessage, positions: tuple[int, ...] | None) -> bool:
        """Whether a provider can carry a message to the recipients at `positions`."""
        return self._registry.why_unsuitable(entry, message, positions) is None

    def again(self, plan: RoutePlan, entry: ProviderEntry) -> ProviderPermit | None:
        """Leave to ask the same provider once more, unless others wait for it."""
        now = self._clock.monotonic()
        gate = self._gates[entry.provider.name]
        if gate.obstacle(now, plan.priority, repeat=True) is not None:
            return None
        gate.note_passed(plan.priority)
        return ProviderPermit(entry, entry.gate.enter(now, repeat=True))

    def look(self, route: Route, now: float | None = None) -> Choice:
        """Who would take a message that has had no attempt; takes nothing. `now` as for `opens_at`."""
        now = self._clock.monotonic() if now is None else now
        return choose(
            route.declared, overflow=route.overflow, obstacle=lambda name: self._entries[name].gate.obstacle(now)
        )

    def is_open(self, route: Route, now: float | None = None) -> bool:
        """Whether anybody would take a message now, or would if he were less busy. `now` as for `opens_at`."""
        now = self._clock.monotonic() if now is None else now
        for name in route.names:
            found = self._entries[name].gate.obstacle(now)
            if found is None or found in WAITED_FOR:
                return True
        return False

    def opens_at(self, route: Route, now: float) -> float | None:
        """When (monotonic) the first obstacle of a route will be gone by itself; None where none is known to be.

        `now` is when the route was looked at: an obstacle may be gone since, and then there would be none to show.
        """
        times = [self._entries[name].gate.until(now) for name in route.names]
        return min((time for time in times if time is not None), default=None)

    def explain(self, route: Route, message: OutboundMessage, tenant: str) -> Explanation:
        """Why the route is that of a tenant's message, and how each of its providers stands."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        candidates = []
        for number, tier in enumerate((route.whole or route).tiers, 1):
            for name, weight in tier.members:
                if name not in route.members:
                    candidates.append(Candidate(name, number, weight, Obstacle.UNSUITABLE, None))
                    continue
                gate = self._entries[name].gate
                until = gate.until(now)
                eligible_time = None if until is None else wall + int((until - now) * 1e6)
                candidates.append(Candidate(name, number, weight, gate.obstacle(now), eligible_time))
        content = message.content
        taken = segments(content.body) if isinstance(content, Sms) else None
        return Explanation(route, route.match.met_by(message, tenant), tuple(candidates), taken)

    def wait(self, waiter: WaitingQueue, route: Route, flows: Sequence[Flow], now: float) -> bool:
        """Have the flows of a route's queue wait for whoever would take a message of theirs, now or once he is less
        busy, and for none else. Grants nothing: see `offer`. Tells whether there is anybody to wait for.
        """
        if not flows:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                for name in route.names:
                    self._gates[name].forget(waiter)
            return True
        self._waiting.add(waiter)
        reach: list[SharedGate] = []
        for tier in route.order(self._draw(route)) if route.strict_weights else route.declared:
            in_service = [gate for name in tier if not (gate := self._gates[name]).is_blocked(now)]
            reach += in_service[:1] if route.strict_weights else in_service
            if reach and not route.overflow:
                break
        served = {*reach}
        for name in route.names:
            gate = self._gates[name]
            gate.wait(waiter, flows if gate in served else (), now)
        return bool(reach)

    def offer(self, route: Route, now: float) -> None:
        """Have the providers of a route grant what is free to those who wait."""
        if self._waiting:  # nearly always there is nobody, and a route may have many providers
            for name in route.names:
                self._gates[name].offer(now)

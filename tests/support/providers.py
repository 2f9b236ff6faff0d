"""A provider that does what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from tests.support.build import SUCCESS
from tests.support.waiting import within

from postwire.core.breaker import Breaker, BreakerSettings, Transition
from postwire.core.errors import FieldViolation
from postwire.core.gate import Gate, GateSettings
from postwire.core.message import Channel, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.core.routing import Match, Route, Tier
from postwire.providers.base import Provider, ProviderHealth
from postwire.providers.capabilities import Carries
from postwire.providers.handover import Handover
from postwire.providers.registry import ProviderEntry, Registry

Unsuitable = Callable[[OutboundMessage, tuple[int, ...] | None], Collection[str]]
"""The names of the providers that cannot carry a message to some recipients."""


class FakeProvider:
    """Ends each call with `answer`, but not before `released` while it is held; `answers` go first, one a call.

    `keys` are the idempotency keys it was given, in order; `calls(n)` waits until there were n. `meanwhile` is awaited
    in each call, with its key.
    """

    kind = "fake"
    selective = False

    def __init__(
        self,
        name: str = "fake",
        channels: Sequence[Channel] = tuple(Channel),
        *,
        answer: DispatchResult | BaseException = SUCCESS,
        answers: Sequence[DispatchResult | BaseException] = (),
        meanwhile: Callable[[str], Awaitable[object]] | None = None,
        held: bool = False,
        dedup_window: float = 0.0,
    ) -> None:
        self.name = name
        self.channels = tuple(channels)
        self.answer = answer
        self.answers = list(answers)
        self.meanwhile = meanwhile
        self.dedup_window = dedup_window
        self.keys: list[str] = []
        self.positions: list[tuple[int, ...] | None] = []
        self.messages: list[OutboundMessage] = []
        self.traceparents: list[str] = []
        self.handovers: list[Handover] = []
        self.cancelled = 0
        self.closed = 0
        self._free = asyncio.Event()
        if not held:
            self._free.set()
        self._called = asyncio.Condition()

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        self.keys.append(handover.key)
        self.positions.append(handover.positions)
        self.messages.append(message)
        self.traceparents.append(handover.traceparent)
        self.handovers.append(handover)
        async with self._called:
            self._called.notify_all()
        try:
            if self.meanwhile:
                await self.meanwhile(handover.key)
            await self._free.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        answer = self.answers.pop(0) if self.answers else self.answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None = None) -> FieldViolation | None:
        return None

    async def open(self) -> None:
        pass

    async def check(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None:
        self.closed += 1

    def release(self) -> None:
        self._free.set()

    async def calls(self, count: int = 1) -> None:
        async with self._called:
            await within(self._called.wait_for(lambda: len(self.keys) >= count))


def gate_of(
    name: str,
    *,
    breaker: BreakerSettings | None = None,
    transitions: list[Transition] | None = None,
    **limits: object,
) -> Gate:
    """A gate whose jitter is none at all: cool-downs without a Retry-After end at once."""

    def changed(transition: Transition) -> None:
        gate.changed()
        if transitions is not None:
            transitions.append(transition)

    gate = Gate(
        name,
        GateSettings(**limits),  # type: ignore[arg-type]  # the caller's to get right
        Breaker(breaker or BreakerSettings(), listener=changed),
        jitter=lambda: 0.0,
    )
    return gate


def short_routes(*providers: Provider) -> dict[Channel, list[Route]]:
    """For each channel one route, whose tiers are the providers that carry it, one after the other."""
    return {
        channel: [Route(channel.value, tuple(Tier(((name, 1),)) for name in names))]
        for channel in Channel
        if (names := [provider.name for provider in providers if channel in provider.channels])
    }


def route(
    *tiers: str | Mapping[str, int],
    key: str = "sms",
    overflow: bool = False,
    match: Match | None = None,
    strict_weights: bool = False,
    delivered_within: float | None = None,
) -> Route:
    """A route; a tier is a name, or a weight for each name."""
    members = [((tier, 1),) if isinstance(tier, str) else tuple(tier.items()) for tier in tiers]
    return Route(
        key,
        tuple(map(Tier, members)),
        match or Match(),
        overflow,
        strict_weights=strict_weights,
        delivered_within=delivered_within,
    )


def registry_of(
    *providers: Provider,
    attempt_timeout: float = 60.0,
    routes: Mapping[Channel, Sequence[Route]] | None = None,
    gates: Mapping[str, Gate] | None = None,
    unsuitable: Unsuitable | None = None,
) -> Registry:
    """A registry in which every provider is on the route of each of its channels, with a gate that stands open."""
    made = {provider.name: gate_of(provider.name, max_concurrent=10_000) for provider in providers} | dict(gates or {})
    entries = [ProviderEntry(provider, made[provider.name], attempt_timeout=attempt_timeout) for provider in providers]
    if unsuitable:
        for entry in entries:
            entry.carries = _carries(entry.provider.name, unsuitable)
    return Registry(entries, short_routes(*providers) if routes is None else routes)


def _carries(name: str, unsuitable: Unsuitable) -> Carries:
    def carries(message: OutboundMessage, positions: tuple[int, ...] | None = None) -> FieldViolation | None:
        return FieldViolation("message", f"is not for {name}") if name in unsuitable(message, positions) else None

    return carries

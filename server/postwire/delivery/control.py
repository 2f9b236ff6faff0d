"""Steering providers: taking them out of service and putting them back, and watching them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final

from postwire.clock import Clock
from postwire.core.breaker import BreakerSnapshot, BreakerState
from postwire.core.errors import ProviderDrained
from postwire.outbox.base import Outbox
from postwire.providers.base import Provider
from postwire.providers.registry import Registry, Slot

WATCH_INTERVAL: Final = 0.25
"""Seconds between two looks of those who watch: changes in between arrive as one."""


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How a provider stands. `next_probe_time` is in µs since the epoch; `touched` counts what was done to it."""

    provider: Provider
    breaker: BreakerSnapshot
    in_flight: int
    touched: int
    next_probe_time: int | None = field(compare=False)  # the breaker's own, on another clock


class Control:
    """What operators do with providers."""

    def __init__(self, *, registry: Registry, outbox: Outbox, clock: Clock) -> None:
        self._registry = registry
        self._outbox = outbox
        self._clock = clock
        self._touched: Counter[str] = Counter()
        self._ending = False
        self._watching: set[asyncio.Event] = set()

    async def restore(self) -> None:
        """Drain the providers that were drained when the server last stopped."""
        drained = await self._outbox.drained()
        for slot in self._registry:
            if slot.provider.name in drained:
                slot.gate.breaker.force_open(self._clock.monotonic())

    def list(self) -> Sequence[ProviderStatus]:
        """Every provider, in the order of declaration."""
        return [self._status(slot) for slot in self._registry]

    def get(self, name: str) -> ProviderStatus:
        """One provider.

        Raises:
            ProviderNotFound: there is none of that name.
        """
        return self._status(self._registry.slot(name))

    async def drain(self, name: str) -> ProviderStatus:
        """Take a provider out of service; done once that is durable.

        Raises:
            ProviderNotFound: there is none of that name.
            StoreUnavailable: it could not be kept; nothing has changed.
        """
        slot = self._registry.slot(name)
        await self._outbox.set_drained(name, True)
        slot.gate.breaker.force_open(self._clock.monotonic())
        return self._status(slot)

    async def resume(self, name: str) -> ProviderStatus:
        """Put a drained provider into service again; done once that is durable. Raises as `drain` does."""
        slot = self._registry.slot(name)
        await self._outbox.set_drained(name, False)
        if slot.gate.breaker.state is BreakerState.FORCED_OPEN:
            slot.gate.breaker.resume(self._clock.monotonic())
            slot.gate.end_cool_down()
        return self._status(slot)

    def reset(self, name: str) -> ProviderStatus:
        """Close a provider's breaker, and end its cool-down.

        Raises:
            ProviderNotFound: there is none of that name.
            ProviderDrained: it is to be resumed instead.
        """
        slot = self._registry.slot(name)
        if slot.gate.breaker.state is BreakerState.FORCED_OPEN:
            raise ProviderDrained
        slot.gate.breaker.reset(self._clock.monotonic())
        slot.gate.end_cool_down()
        return self._status(slot)

    def touch(self, name: str) -> None:
        """Something about the provider itself was changed: those who watch are to see it."""
        self._touched[name] += 1

    async def watch(self) -> AsyncGenerator[Sequence[ProviderStatus], None]:
        """Every provider, then those that have changed, until the server ends."""
        shown: dict[str, ProviderStatus] = {}
        look = asyncio.Event()
        self._watching.add(look)
        try:
            while not self._ending:
                look.clear()
                changed = [one for one in self.list() if shown.get(one.provider.name) != one]
                if changed:
                    yield changed
                    shown |= {one.provider.name: one for one in changed}
                alarm = self._clock.call_later(WATCH_INTERVAL, look.set)
                try:
                    await look.wait()
                finally:
                    alarm.cancel()
        finally:
            self._watching.discard(look)

    def end_watches(self) -> None:
        """Let go of all who watch."""
        self._ending = True
        for look in self._watching:
            look.set()

    def _status(self, slot: Slot) -> ProviderStatus:
        now = self._clock.monotonic()
        snapshot = slot.gate.breaker.snapshot(now)
        probe = snapshot.next_probe_time
        return ProviderStatus(
            provider=slot.provider,
            breaker=snapshot,
            next_probe_time=None if probe is None else self._clock.wall() + int((probe - now) * 1e6),
            in_flight=slot.gate.in_flight,
            touched=self._touched[slot.provider.name],
        )

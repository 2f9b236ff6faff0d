"""A provider that does what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.support.build import SUCCESS

from postwire.core.message import Channel, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers.base import ProviderHealth
from postwire.providers.registry import Registry, Slot


class Puppet:
    """Ends each call with `answer`, but not before `let_go` while it is held.

    `keys` are the idempotency keys it was given, in order; `calls(n)` waits until there were n.
    """

    kind = "puppet"

    def __init__(
        self,
        name: str = "puppet",
        channels: Sequence[Channel] = tuple(Channel),
        *,
        answer: DispatchResult | BaseException = SUCCESS,
        held: bool = False,
    ) -> None:
        self.name = name
        self.channels = tuple(channels)
        self.answer = answer
        self.keys: list[str] = []
        self.messages: list[OutboundMessage] = []
        self.cancelled = 0
        self.closed = 0
        self._free = asyncio.Event()
        if not held:
            self._free.set()
        self._called = asyncio.Condition()

    async def send(self, message: OutboundMessage, *, idempotency_key: str) -> DispatchResult:
        self.keys.append(idempotency_key)
        self.messages.append(message)
        async with self._called:
            self._called.notify_all()
        try:
            await self._free.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def check(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None:
        self.closed += 1

    def let_go(self) -> None:
        self._free.set()

    async def calls(self, count: int = 1) -> None:
        async with self._called:
            await self._called.wait_for(lambda: len(self.keys) >= count)


def registry_of(*providers: Puppet, attempt_timeout: float = 60.0) -> Registry:
    """A registry in which every provider is on the route of each of its channels."""
    routes = {channel: [provider.name for provider in providers if channel in provider.channels] for channel in Channel}
    return Registry([Slot(provider, attempt_timeout=attempt_timeout) for provider in providers], routes)

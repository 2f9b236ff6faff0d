"""The delivery path with real parts behind it, but for a clock that stands still and a provider that obeys."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from tests.support import build
from tests.support.clock import ManualClock
from tests.support.providers import Puppet, registry_of

from postwire.core import canonical
from postwire.core.ids import MessageIds
from postwire.core.message import Channel, DispatchCommand, MessageRecord
from postwire.delivery import Delivery, Limits
from postwire.outbox.base import Outbox
from postwire.providers.registry import Registry
from postwire.telemetry.base import Observer, SilentObserver

LIMITS: Mapping[str, Any] = {
    "max_wait": 3600.0,
    "max_in_flight": 1000,
    "max_in_flight_bytes": 1 << 30,
    "expire_after": dict.fromkeys(Channel, 4 * build.HOUR),
}


class Noted(SilentObserver):
    """Keeps what it is told, as (event, what)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def state_reached(self, record: MessageRecord) -> None:
        self.told.append(("state", record.state.value))

    def attempt_ended(self, record: MessageRecord) -> None:
        outcome = record.attempts[-1].outcome
        assert outcome is not None
        self.told.append(("attempt", outcome.value))

    def routing_invalid(self, channel: Channel) -> None:
        self.told.append(("routing", channel.value))


class Rig:
    """A `Delivery` and its parts. `limits` are changes to `LIMITS`."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        provider: Puppet | None = None,
        registry: Registry | None = None,
        attempt_timeout: float = 60.0,
        observer: Observer | None = None,
        ids: MessageIds | None = None,
        clock: ManualClock | None = None,
        **limits: Any,
    ) -> None:
        self.outbox = outbox
        self.clock = clock or ManualClock()
        self.provider = provider or Puppet()
        self.registry = registry or registry_of(self.provider, attempt_timeout=attempt_timeout)
        self.noted = Noted()
        self.delivery = Delivery(
            registry=self.registry,
            outbox=outbox,
            clock=self.clock,
            ids=ids or MessageIds(random.Random(1).getrandbits),
            observer=observer or self.noted,
            limits=Limits(**{**LIMITS, **limits}),
        )

    async def send(self, command: DispatchCommand | None = None, **options: Any) -> MessageRecord:
        """One call, waited for."""
        return await self.delivery.dispatch(command or build.command(), **options)

    def start(self, command: DispatchCommand | None = None, **options: Any) -> asyncio.Task[MessageRecord]:
        """One call, in a task of its own."""
        return asyncio.create_task(self.send(command, **options))

    async def kept(self, message_id: str) -> MessageRecord:
        """What the store has."""
        record = await self.outbox.get(message_id)
        assert record is not None
        return record

    async def kept_of(self, command: DispatchCommand) -> MessageRecord | None:
        """What the store has for a request id."""
        content = canonical.encode_message(command.message)
        digest = canonical.payload_hash(content, canonical.encode_options(command.options))
        return await self.outbox.find(command.request_id, digest)

    async def landed(self) -> None:
        """Return once nothing is in flight, with an end of its own for everything that was."""
        assert await self.delivery.drain(60.0) == 0

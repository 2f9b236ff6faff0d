"""A route whose providers are asked one after the other where no receipt comes, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tests.support import build
from tests.support.clock import ManualClock
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of, route
from tests.support.receipts import REFERENCES

from postwire.core.gate import Gate
from postwire.core.message import (
    DEFAULT_TENANT,
    Channel,
    Content,
    MessageRecord,
    MessageState,
)
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import Receipt, ReceiptState
from postwire.outbox.base import Outbox

SENT, DELIVERED = MessageState.SENT, MessageState.DELIVERED
ERROR, MAYBE = DispatchResult(Outcome.ERROR), DispatchResult(Outcome.UNCERTAIN)
REJECTED, LIMITED = DispatchResult(Outcome.REJECTED), DispatchResult(Outcome.RATE_LIMITED)
WITHIN = 45.0
TICK = 1.0


class Setting:
    """A route of three providers, of which some send receipts."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        reporting: Collection[str] = ("a", "b", "c"),
        gates: dict[str, Gate] | None = None,
        clock: ManualClock | None = None,
        within: float | None = WITHIN,
        **limits: Any,
    ) -> None:
        self.a, self.b, self.c = FakeProvider("a"), FakeProvider("b"), FakeProvider("c")
        routes = {channel: [route("a", "b", "c", key=channel.value, delivered_within=within)] for channel in Channel}
        self.outbox = outbox
        self.harness = Harness(
            outbox,
            registry=registry_of(self.a, self.b, self.c, routes=routes, gates=gates),
            receipts_of=reporting,
            clock=clock,
            **limits,
        )

    async def start(self) -> Setting:
        await self.harness.boot()
        return self

    async def pass_time(self, seconds: float) -> None:
        await self.harness.calm()
        self.harness.clock.advance(seconds)
        await self.harness.calm()

    async def send(self, content: Content | None = None, **options: Any) -> MessageRecord:
        record = await self.harness.send(build.command(content, **options))
        assert record.state is SENT
        return record

    async def kept(self, record: MessageRecord) -> MessageRecord:
        return await self.harness.kept(record.message_id)

    async def receipt(self, record: MessageRecord, state: ReceiptState, attempt: int = 1) -> None:
        """A receipt of an attempt comes in."""
        name = (await self.kept(record)).attempts[attempt - 1].provider_name
        await self.harness.inbox.keep(name, [Receipt(state, reference=REFERENCES.make(record.message_id, attempt))])
        await self.harness.calm()

    async def names(self, record: MessageRecord) -> list[str]:
        kept = await self.kept(record)
        return [one.provider_name for one in kept.attempts]

    async def content(self, record: MessageRecord) -> bytes | None:
        return await self.outbox.content(record.message_id, DEFAULT_TENANT)

    async def end(self) -> None:
        """Nothing is left over."""
        await self.harness.completed()
        assert self.harness.left() == []
        assert self.harness.noted.events.count(("delivery", "started")) == self.harness.noted.events.count(
            ("delivery", "ended")
        )

"""The delivery path with real parts behind it, but for a clock that stands still and a provider that obeys."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tests.support import build
from tests.support.clock import ManualClock
from tests.support.idle import until_idle
from tests.support.providers import FakeProvider, registry_of
from tests.support.receipts import KEY, REFERENCES, hash_of
from tests.support.waiting import within

from postwire.core import canonical
from postwire.core.ids import MessageIds
from postwire.core.message import DEFAULT_TENANT, Channel, DispatchCommand, MessageRecord, MessageState
from postwire.core.receipts import MessageReceipt
from postwire.core.routing import PassedOver
from postwire.delivery import Addresses, Delivery, Limits, Suppressions
from postwire.delivery.executor import Retries
from postwire.delivery.receipts import ReceiptAddresses, ReceiptTracker, RecipientHashes
from postwire.maintenance import Maintenance
from postwire.outbox.base import Outbox
from postwire.providers.registry import Registry
from postwire.receipts.applier import OnReported, ReceiptApplier
from postwire.receipts.inbox import ReceiptInbox
from postwire.telemetry.base import Observer, SilentObserver

LIMITS: Mapping[str, Any] = {
    "max_wait": 3600.0,
    "max_in_flight": 1000,
    "max_in_flight_bytes": 1 << 30,
    "expire_after": dict.fromkeys(Channel, 4 * build.HOUR),
    "retries": Retries(max_attempts=5, backoff_base=1.0, backoff_max=300.0),
    "max_unsettled": 1_000_000,
    "max_unsettled_per_queue": 0,
    "max_scheduled": 0,
    "retention": 7 * 24 * build.HOUR,
    "content_retention": 0,
    "audit_retention": 365 * 86_400_000_000,
}


class Noted(SilentObserver):
    """Keeps what it is told, as (event, what); and the last state of each message, which can be waited for."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.states: dict[str, MessageState] = {}
        self._news = asyncio.Event()

    def delivery_started(self, accept_trace: str) -> None:
        self.events.append(("delivery", "started"))

    def delivery_ended(self, started: Any, record: MessageRecord) -> None:
        self.events.append(("delivery", "ended"))

    def state_reached(self, record: MessageRecord) -> None:
        self.events.append(("state", record.state.value))
        self.states[record.message_id] = record.state
        self._news.set()

    def passed_over(self, record: MessageRecord, passed_over: Sequence[PassedOver]) -> None:
        self.events += [("passed over", f"{one.provider_name} {one.obstacle.value}") for one in passed_over]

    def attempt_ended(self, record: MessageRecord) -> None:
        outcome = record.attempts[-1].outcome
        assert outcome is not None
        self.events.append(("attempt", outcome.value))

    def result_refused(self, record: MessageRecord) -> None:
        outcome = record.attempts[-1].outcome
        assert outcome is not None
        self.events.append(("result refused", outcome.value))

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        self.events.append(("receipt", receipt.state.value))

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        self.events.append(("receipt refused", f"{provider_name} {reason}"))

    def routing_invalid(self, channel: Channel) -> None:
        self.events.append(("routing", channel.value))

    async def reached(self, message_id: str, *states: MessageState) -> None:
        """Return once the last that was told of a message is one of `states`."""
        while self.states.get(message_id) not in states:
            self._news.clear()
            await within(self._news.wait())


class Harness:
    """A `Delivery` and its parts. `limits` are changes to `LIMITS`."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        provider: FakeProvider | None = None,
        registry: Registry | None = None,
        attempt_timeout: float = 60.0,
        observer: Observer | None = None,
        ids: MessageIds | None = None,
        clock: ManualClock | None = None,
        seed: int = 1,
        receipts_of: Collection[str] = (),
        on_reported: OnReported | None = None,
        notes_refusals: bool = False,
        is_shared: bool = False,
        may_act: Callable[[], bool] | None = None,
        **limits: Any,
    ) -> None:
        """`receipts_of` are the names of the providers that take receipts. `is_shared`: others have the outbox, too."""
        self.outbox = outbox
        self.clock = clock or ManualClock()
        self.provider = provider or FakeProvider()
        self.registry = registry or registry_of(self.provider, attempt_timeout=attempt_timeout)
        self.noted = Noted()
        self.suppressions = Suppressions(outbox, self.clock, Addresses(KEY), notes_refusals=notes_refusals)
        tracker = None
        if receipts_of:
            deduplicating = {one.provider.name for one in self.registry if one.dedup_window}
            addresses = ReceiptAddresses(REFERENCES, "https://example.com", receipts_of, deduplicating)
            tracker = ReceiptTracker(addresses, is_shared=is_shared)
        self.delivery = Delivery(
            tracker=tracker,
            recipient_hashes=RecipientHashes(
                self.suppressions.addresses, frozenset(receipts_of), of_all=on_reported is not None
            )
            if tracker
            else None,
            registry=self.registry,
            outbox=outbox,
            clock=self.clock,
            ids=ids or MessageIds(random.Random(1).getrandbits),
            observer=observer or self.noted,
            limits=Limits(**{**LIMITS, **limits}),
            seed=seed,
            suppressions=self.suppressions,
            is_shared=is_shared,
            may_act=may_act,
        )
        self.maintenance = Maintenance(
            self.delivery,
            registry=self.registry,
            outbox=outbox,
            clock=self.clock,
            observer=observer or self.noted,
            limits=Limits(**{**LIMITS, **limits}),
        )
        self.tracker = tracker
        if tracker:
            self.inbox = ReceiptInbox(
                outbox=outbox,
                tracker=tracker,
                clock=self.clock,
                observer=observer or self.noted,
                address_hash=hash_of,
                reports=on_reported is not None,
            )
            self.applier = ReceiptApplier(
                outbox=outbox,
                tracker=tracker,
                clock=self.clock,
                observer=observer or self.noted,
                ended_in_queue=self.delivery.settled_in_queue,
                on_reported=on_reported,
            )

    async def boot(self) -> None:
        """Go on with what an earlier boot has left."""
        if self.tracker:
            await self.applier.load()
        await self.maintenance.start()
        if self.tracker:
            self.applier.start()

    async def drain(self, grace: float) -> int:
        """End, as a server does; returns how many messages were cut short."""
        cut_short = await self.delivery.drain(grace)
        await self.maintenance.stop()
        if self.tracker:
            await self.applier.stop()
        return cut_short

    async def send(self, command: DispatchCommand | None = None, **options: Any) -> MessageRecord:
        """One call, waited for."""
        return await within(self.delivery.dispatch(command or build.command(), **options))

    def start(self, command: DispatchCommand | None = None, **options: Any) -> asyncio.Task[MessageRecord]:
        """One call, in a task of its own."""
        return asyncio.create_task(self.send(command, **options))

    async def kept(self, message_id: str) -> MessageRecord:
        """What the store has."""
        record = await self.outbox.get(message_id, DEFAULT_TENANT)
        assert record is not None
        return record

    async def kept_of(self, command: DispatchCommand) -> MessageRecord | None:
        """What the store has for a request id."""
        content = canonical.encode_message(command.message)
        digest = canonical.payload_hash(content, canonical.encode_options(command.options))
        return await self.outbox.find_by_request_id(command.request_id, DEFAULT_TENANT, digest)

    async def calm(self) -> None:
        """Return once nothing goes on by itself any more: what is left waits for a provider, a door or a clock."""
        await until_idle(self.outbox)

    def left(self) -> list[object]:
        """What is not given back or forgotten: of messages on their way, of those waited for, and of permits."""
        delivery, acceptance = self.delivery, self.delivery._acceptance
        gates = [entry.provider.name for entry in self.registry if entry.gate.in_flight]
        room = [acceptance.admission.count] if acceptance.admission.count else []
        return [*delivery._waiters, *delivery._tasks._tasks, *gates, *room]

    @property
    def waited_for(self) -> int:
        """How many messages that wait are remembered for those who wait for them."""
        return self.delivery._waiters.queued

    async def completed(self) -> None:
        """Return once nothing is in flight, with an end of its own for everything that was."""
        assert await self.drain(60.0) == 0

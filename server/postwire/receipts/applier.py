"""The one that has receipts applied to their messages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.core import receipt_states
from postwire.core.errors import StoreUnavailable
from postwire.core.message import MessageRecord, MessageState
from postwire.core.receipts import KeptReceipt
from postwire.delivery.receipts import ReceiptTracker
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import MessageStore, ReceiptStore, ReportedMessage
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

AT_ONCE: Final = 64
"""How many messages are seen to at once."""

PAGE: Final = 10_000
"""How many receipts that were left are read at once."""

AFTER_A_FAULT: Final = 5.0
"""Seconds after which what could not be reported is reported again."""

OnReported = Callable[[str, bytes | None, str, KeptReceipt], Awaitable[None]]
"""Called with the tenant, the `address_hash` of the recipient (None where that is not known any more), the sender that
the message names, and a receipt of it that is applied. It may be called again for one."""

_log = EventLog()


class Messages(MessageStore, ReceiptStore, Protocol):
    """What it needs of a store."""


class ReceiptApplier:
    """Applies what providers report, message by message: the change of a record and the mark that its receipts are
    applied are one commit, fenced by the revision; where somebody else was faster it begins anew.

    It leaves a message alone while an attempt is open, since the result of that belongs to the revision that it was
    opened at. It is woken when that has ended, as it is by every receipt. No message waits for another: a batch is done
    side by side, and what fails in one of them is put aside.
    """

    def __init__(
        self,
        *,
        outbox: Messages,
        tracker: ReceiptTracker,
        clock: Clock,
        observer: Observer,
        ended_in_queue: Callable[[MessageRecord, MessageRecord], None],
        on_reported: OnReported | None = None,
    ) -> None:
        """`ended_in_queue` is called where a message was queued and is settled."""
        self._outbox = outbox
        self._tracker = tracker
        self._clock = clock
        self._observer = observer
        self._ended_in_queue = ended_in_queue
        self._on_reported = on_reported
        self._postponed: dict[str, float] = {}  # what could not be reported, and when (monotonic) to try again
        self._wakeable = WakeableTask(self._work, outbox=outbox, clock=clock)

    async def load(self) -> None:
        """Find out what an earlier boot has left, before anything is delivered.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        if not self._tracker.is_shared:  # else whoever holds them knows, and one who looks at all
            self._tracker.expect(await self._outbox.held_keys())
        after = 0
        while page := await self._outbox.pending_receipts(after, PAGE):
            self._tracker.kept(dict.fromkeys(one.message_id for one in page))
            if self._tracker.is_shared:  # the rest is for who looks at what is left by anybody
                break
            after = page[-1].number

    def start(self) -> None:
        """Begin, once the delivery has."""
        self._tracker.wake = self._wakeable.wake
        self._wakeable.start()

    async def stop(self) -> None:
        """Apply nothing more."""
        await self._wakeable.stop()
        self._tracker.close()

    async def _work(self) -> float:
        now = self._clock.monotonic()
        if due := [message_id for message_id, time in self._postponed.items() if time <= now]:
            for message_id in due:
                del self._postponed[message_id]
            self._tracker.kept(due)
        if keys := self._tracker.pop_turned_up():
            try:
                self._tracker.kept(await self._outbox.release_held(keys))
            except StoreUnavailable:
                self._tracker.put_back_turned_up(keys)
                raise
        batch = self._tracker.pop_ready(AT_ONCE)
        if batch:
            await self._see_to(batch)
        self._tracker.looked()
        if self._tracker.has_ready:
            return 0.0
        return min(self._postponed.values(), default=math.inf) - self._clock.monotonic()

    async def _see_to(self, batch: dict[str, int]) -> None:
        """Apply what there is of some messages, each with the count of `ReceiptTracker.pop_ready`."""
        try:
            found = await self._read(list(batch))
        except StoreUnavailable:
            self._tracker.put_back(batch)
            raise
        for message_id in batch.keys() - {one.record.message_id for one in found}:  # it was removed meanwhile
            self._tracker.applied(message_id, batch[message_id])
        each = [self._apply(one, batch[one.record.message_id]) for one in found]
        ends = await asyncio.gather(*each, return_exceptions=True)
        unavailable: StoreUnavailable | None = None
        for one, end in zip(found, ends, strict=True):
            if isinstance(end, Exception) and not isinstance(end, StoreUnavailable):
                _log.fault(end)
                end = await self._pass_over(one, batch[one.record.message_id])
            if isinstance(end, StoreUnavailable):
                self._tracker.put_back([one.record.message_id])
                unavailable = end
            elif end:
                raise end
        if unavailable:
            raise unavailable

    async def _read(self, message_ids: Sequence[str]) -> Sequence[ReportedMessage]:
        """What was reported of some messages; one that cannot be read is passed over."""
        try:
            return await self._outbox.reported(message_ids)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(message_ids) == 1:
                _log.fault(error)
                return ()
        return [one for message_id in message_ids for one in await self._read([message_id])]

    async def _pass_over(self, message: ReportedMessage, count: int) -> StoreUnavailable | None:
        """Have receipts count as applied that led to a fault of ours: they keep no message from being sent. Returns why
        that could not be kept, if so."""
        fresh = [one.number for one in message.receipts if not one.is_applied]
        try:
            await self._outbox.finish_receipts(fresh, self._clock.wall())
        except StoreUnavailable as error:
            return error
        self._tracker.applied(message.record.message_id, count)
        return None

    async def _apply(self, message: ReportedMessage, count: int) -> None:
        before = message.record
        if receipt_states.has_open_attempt(before):
            return  # whoever closes it says so
        fresh = [one for one in message.receipts if not one.is_applied]
        if fresh and not await self._keep(before, message.receipts, fresh):
            self._tracker.put_back([before.message_id])  # somebody else has changed it
            return
        self._tracker.applied(before.message_id, count)
        if to_report := [one for one in message.receipts if one.to_report]:
            await self._report(message, to_report)

    async def _keep(self, before: MessageRecord, receipts: Sequence[KeptReceipt], fresh: Sequence[KeptReceipt]) -> bool:
        """Have a message become what its receipts say; False where somebody else has changed it."""
        now = self._clock.wall()
        numbers = [one.number for one in fresh]
        after = self._tracker.applied_to(before, receipts, now)
        if after is before:
            await self._outbox.finish_receipts([one.number for one in fresh if not one.to_report], now)
            await self._outbox.finish_receipts([one.number for one in fresh if one.to_report], None)
            self._notify(after, fresh)
            return True
        if not await self._outbox.advance(before, after, receipts=numbers):
            return False
        if before.state is MessageState.QUEUED and after.settled:
            self._ended_in_queue(before, after)
        elif after.state is not before.state:
            self._observer.state_reached(after)
        self._notify(after, fresh)
        return True

    def _notify(self, record: MessageRecord, receipts: Sequence[KeptReceipt]) -> None:
        for one in receipts:
            self._observer.receipt_applied(record, one.listed)

    async def _report(self, message: ReportedMessage, receipts: Sequence[KeptReceipt]) -> None:
        """Have whoever suppresses hear of receipts that are applied."""
        try:
            if self._on_reported:
                for one in receipts:
                    await self._on_reported(message.record.tenant, _hash_of(message, one), message.sender, one)
        except StoreUnavailable:
            raise
        except Exception as error:
            _log.fault(error)
            self._postponed[message.record.message_id] = self._clock.monotonic() + AFTER_A_FAULT
        else:
            await self._outbox.finish_receipts([one.number for one in receipts], self._clock.wall())


def _hash_of(message: ReportedMessage, receipt: KeptReceipt) -> bytes | None:
    """The hash of the recipient that a receipt is about: as the message has it, not as the receipt says."""
    hashes = message.recipient_hashes
    if receipt.is_unmatched:
        return None
    if receipt.recipient_index is None:
        return hashes[0] if len(hashes) == 1 else None
    return hashes[receipt.recipient_index] if receipt.recipient_index < len(hashes) else None

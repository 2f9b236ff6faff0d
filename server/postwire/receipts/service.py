"""All that there is of receipts in one server, but for the listener."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set

from postwire.clock import Clock
from postwire.config.receipts import ReceiptsConfig
from postwire.core.message import MessageRecord
from postwire.core.reference import References
from postwire.delivery import Addresses
from postwire.delivery.receipts import ReceiptAddresses, ReceiptTracker, RecipientHashes
from postwire.receipts.applier import Messages, OnReported, ReceiptApplier
from postwire.receipts.duties import ReceiptDuties
from postwire.receipts.inbox import OnInbound, ReceiptInbox
from postwire.receipts.sweeps import LeftReceipts, OwnReceipts
from postwire.receipts.upkeep import ReceiptUpkeep
from postwire.telemetry.base import Observer

_MICROSECONDS = 1_000_000


class Receipts:
    """Keeps what comes in by `inbox`, and applies it between `start` and `stop`.

    The delivery is given `tracker` and `recipient_hashes`, and is made before `connect`.
    """

    def __init__(
        self,
        config: ReceiptsConfig,
        references: References,
        addresses: Addresses,
        *,
        providers: Set[str],
        deduplicating: Collection[str],
        outbox: Messages,
        clock: Clock,
        observer: Observer,
        on_reported: OnReported | None = None,
        on_inbound: OnInbound | None = None,
        is_shared: bool = False,
    ) -> None:
        """`providers` are the names of those whose receipts are taken, as it is when they are asked for. Where other
        nodes share the store (`is_shared`), somebody else says when this one is to do the `duties`."""
        public_url = config.public_url or "" if config.listen else ""
        addressing = ReceiptAddresses(references, public_url, providers, deduplicating)
        self.tracker = ReceiptTracker(addressing, is_shared=is_shared)
        self.recipient_hashes = RecipientHashes(addresses, providers, of_all=on_reported is not None)
        self.inbox = ReceiptInbox(
            outbox=outbox,
            tracker=self.tracker,
            clock=clock,
            observer=observer,
            address_hash=addresses.hash,
            reports=on_reported is not None,
            on_inbound=on_inbound,
        )
        upkeep = ReceiptUpkeep(
            outbox=outbox,
            tracker=self.tracker,
            clock=clock,
            observer=observer,
            hold_unknown=int(config.hold_unknown * _MICROSECONDS),
            wait=int(config.wait * _MICROSECONDS),
            is_shared=is_shared,
        )
        left = LeftReceipts(outbox=outbox, tracker=self.tracker, clock=clock) if is_shared else None
        self.duties = ReceiptDuties(upkeep, left)
        """What one node does for all."""
        self._own = OwnReceipts(outbox=outbox, tracker=self.tracker, clock=clock)
        self._is_shared = is_shared
        self._outbox = outbox
        self._clock = clock
        self._observer = observer
        self._on_reported = on_reported
        self._applier: ReceiptApplier | None = None

    async def connect(self, ended_in_queue: Callable[[MessageRecord, MessageRecord], None]) -> None:
        """Find out what an earlier boot has left, before anything is delivered. `ended_in_queue` is called where a
        message was queued and is settled.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        self._applier = ReceiptApplier(
            outbox=self._outbox,
            tracker=self.tracker,
            clock=self._clock,
            observer=self._observer,
            ended_in_queue=ended_in_queue,
            on_reported=self._on_reported,
        )
        await self._applier.load()

    def start(self) -> None:
        """Begin, once the delivery has."""
        if self._applier:
            self._applier.start()
            (self._own if self._is_shared else self.duties).start()

    async def held(self) -> int:
        """How many are held whose message is not known.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        return len(await self._outbox.held_keys()) if self.tracker.has_held else 0

    async def stop(self) -> None:
        """Apply nothing more. What has come in is kept, and applied by the next boot."""
        if self._applier:
            await self._own.stop()
            await self.duties.stop()
            await self._applier.stop()
        await self.inbox.close()

"""What is kept of receipts, in which order, and without holding others up."""

from __future__ import annotations

import asyncio
from typing import cast

from tests.support.clock import ManualClock
from tests.support.receipts import REFERENCES, hash_of

from postwire.core.receipts import Receipt, ReceiptState
from postwire.delivery.receipts import ReceiptAddresses, ReceiptTracker
from postwire.outbox.base import KeptAs, ReceiptFate, ReceiptReport, ReceiptStore
from postwire.receipts.inbox import AT_ONCE, ReceiptInbox
from postwire.telemetry.base import Observer


async def test_thousands_are_made_ready_for_one_commit_at_a_time() -> None:
    """That of a MiB of them takes a third of a second, in which nothing would be sent if it were done at once."""
    hashed: list[str] = []
    before: list[int] = []

    class Store:
        async def keep_receipts(self, reports: list[ReceiptReport], max_held: int) -> list[KeptAs]:
            before.append(len(hashed))
            await asyncio.sleep(0)
            return [KeptAs(ReceiptFate.KEPT, one.message_id) for one in reports]

    def address_hash(address: str) -> bytes:
        hashed.append(address)
        return hash_of(address)

    inbox = ReceiptInbox(
        outbox=cast(ReceiptStore, Store()),
        tracker=ReceiptTracker(ReceiptAddresses(REFERENCES, "", (), ())),
        clock=ManualClock(),
        observer=cast(Observer, None),
        address_hash=address_hash,
    )
    addresses = [f"a{at}@example.com" for at in range(2 * AT_ONCE + 1)]
    await inbox.keep("acme", [Receipt(ReceiptState.DELIVERED, recipient=one, event_id=one) for one in addresses])
    assert before == [AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 1]
    assert hashed == addresses

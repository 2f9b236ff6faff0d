"""What one node does about receipts for all that share the store."""

from __future__ import annotations

from postwire.receipts.sweeps import LeftReceipts
from postwire.receipts.upkeep import ReceiptUpkeep


class ReceiptDuties:
    """Lets go of what is kept of receipts, and has those seen to that others have `left`; there are none of these where
    nobody else has the store. It may be started again once it is stopped."""

    def __init__(self, upkeep: ReceiptUpkeep, left: LeftReceipts | None) -> None:
        self._parts = (upkeep, left) if left else (upkeep,)

    def start(self) -> None:
        """Begin."""
        for part in self._parts:
            part.start()

    async def stop(self) -> None:
        """Do nothing more."""
        for part in self._parts:
            await part.stop()

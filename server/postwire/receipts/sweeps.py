"""Looks at receipts again where several nodes share a store: what one of them has kept may be of a message that another
carries, and nobody tells of the end of that."""

from __future__ import annotations

from typing import Final

from postwire.clock import Clock
from postwire.delivery.receipts import ReceiptTracker
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import ReceiptStore

BETWEEN_OWN: Final = 1.0
"""Seconds from one look at what this node has kept to the next."""

BETWEEN_ALL: Final = 10.0
"""Seconds from one look at what is in the store to the next."""

AT_ONCE: Final = 500
"""How many keys are looked at in one commit."""

PAGE: Final = 1_000
"""How many receipts are read at once; and how many messages of those are handed over in one look, give or take a page:
each is then looked at every second until all of it is applied."""


class OwnReceipts:
    """Has what this node has kept looked at again, for as long as it is not applied; and what it has come to hold, for
    a few seconds."""

    def __init__(self, *, outbox: ReceiptStore, tracker: ReceiptTracker, clock: Clock) -> None:
        self._tracker = tracker
        self._wakeable = WakeableTask(self._look, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._wakeable.stop()

    async def _look(self) -> float:
        self._tracker.look_again()
        return BETWEEN_OWN


class LeftReceipts:
    """Has receipts looked at that nobody seems to work on: what a node has kept that is gone, and what is held and has
    come to be known at another node than the one that holds it."""

    def __init__(self, *, outbox: ReceiptStore, tracker: ReceiptTracker, clock: Clock) -> None:
        self._outbox = outbox
        self._tracker = tracker
        self._after = 0  # the number of the receipt up to which all are handed over in this round
        self._newest = 0  # that of the newest there was at the end of the last one
        self._wakeable = WakeableTask(self._look, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._wakeable.stop()

    async def _look(self) -> float:
        if not await self._hand_over():
            return BETWEEN_OWN
        keys = list(dict.fromkeys(await self._outbox.held_keys()))
        for at in range(0, len(keys), AT_ONCE):
            self._tracker.kept(await self._outbox.release_held(keys[at : at + AT_ONCE]))
        return BETWEEN_ALL

    async def _hand_over(self) -> bool:
        """Hand over a few of the receipts that were there in the last round: they are left by somebody, or their
        message is on its way still. Return whether the round has come to its end."""
        messages: dict[str, None] = {}
        while page := await self._outbox.pending_receipts(self._after, PAGE):
            messages.update(dict.fromkeys(one.message_id for one in page if one.number <= self._newest))
            self._after = page[-1].number
            if len(page) < PAGE or len(messages) >= PAGE:
                break
        self._tracker.kept(messages)
        if len(page) == PAGE:
            return False
        self._newest, self._after = self._after, 0
        return True

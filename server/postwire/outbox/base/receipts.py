"""What providers report later: kept before it is believed to be known, and applied with the change that it leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from postwire.core.message import MessageRecord
from postwire.core.receipts import KeptReceipt, ReceiptState
from postwire.core.values import Word
from postwire.outbox.base.availability import Availability
from postwire.outbox.base.messages import Cursor

MAX_PER_MESSAGE: Final = 20_000
"""How many receipts of one message are kept."""


@dataclass(frozen=True, slots=True)
class ReceiptReport:
    """A receipt that is about to be kept. Times are in µs since the epoch.

    `event` is by what it is known when it comes again. It belongs to the attempt `attempt_number` of `message_id`, as
    its reference names it, where that was at this provider; or else to that from which this provider has the id
    `provider_message_id`. `recipient_hash` is the `address_hash` of the recipient that it is about; empty where that is
    not said. `to_report`: whoever suppresses is to hear of it.
    """

    provider_name: str
    event: bytes
    state: ReceiptState
    receive_time: int
    message_id: str = ""
    attempt_number: int = 0
    provider_message_id: str = ""
    recipient_hash: bytes = field(default=b"", repr=False)
    code: str = ""
    time: int | None = None
    permanent: bool = False
    to_report: bool = False


class ReceiptFate(Word):
    """What became of a receipt that was to be kept."""

    KEPT = "kept"
    DOUBLE = "double"
    """It was there already."""
    HELD = "held"
    """Its message is not known, or its attempt: it is kept apart, in case they turn up."""
    REFUSED = "refused"
    """It names an attempt that was at another provider, or its message has too many."""


class KeptAs(NamedTuple):
    """The fate of a receipt, and the message that it is kept for; empty where it is not. `dropped` names the provider
    that had one dropped for it, which was held for the longest; empty where none was."""

    fate: ReceiptFate
    message_id: str = ""
    dropped: str = ""


class HeldKey(NamedTuple):
    """By what a receipt may be found whose message is not known: the id that a provider gave, or (without a provider) a
    message id."""

    provider_name: str
    name: str


class PendingReceipt(NamedTuple):
    """A receipt with which something is left to be done, and its message. Numbers rise as receipts come in."""

    number: int
    message_id: str


@dataclass(frozen=True, slots=True)
class ReportedMessage:
    """A message with all that is kept of what was reported of it, in the order in which it came.

    `recipient_hashes` are there as long as they are kept, and `sender` is what the message says of it.
    """

    record: MessageRecord
    receipts: tuple[KeptReceipt, ...]
    recipient_hashes: tuple[bytes, ...] = field(default=(), repr=False)
    sender: str = ""


class ReceiptStore(Availability, Protocol):
    """Keeps what providers report. Its messages are of all tenants.

    A receipt that is not applied stands in the way of the next attempt: no change that opens one is kept, but for one
    that applies it (`MessageStore.advance`).
    """

    async def keep_receipts(self, reports: Sequence[ReceiptReport], max_held: int) -> Sequence[KeptAs]:
        """Keep receipts in one commit; returns the fate of each. They are resolved in that commit, so that none is
        taken for unknown whose attempt has ended before.

        No more than `max_held` are held in all; of too many, the oldest of the provider goes that has most.
        """
        ...

    async def release_held(self, keys: Sequence[HeldKey]) -> Sequence[str]:
        """Look again at what is held under these keys, and keep what is known by now; returns the messages' ids."""
        ...

    async def held_keys(self) -> Sequence[HeldKey]:
        """Under what receipts are held, each as often as there are."""
        ...

    async def drop_held(self, before: int, limit: int) -> Mapping[str, int]:
        """Forget what has been held since before a time (µs), at most `limit` of it; returns how many, by provider."""
        ...

    async def pending_receipts(self, after: int, limit: int) -> Sequence[PendingReceipt]:
        """At most `limit` of the receipts that are not applied, or not reported: in the order of their numbers, behind
        the number `after`."""
        ...

    async def reported(self, message_ids: Sequence[str]) -> Sequence[ReportedMessage]:
        """Those of these messages that there are, in any order, as they were at one moment."""
        ...

    def finish_receipts(self, numbers: Sequence[int], now: int | None) -> Awaitable[None]:
        """Receipts have led to nothing that changes their message, or were reported: nothing is left to be done. With
        None they are still to be reported."""
        ...

    async def remove_receipts(self, before: int, limit: int) -> int:
        """Forget receipts with which all was done before a time (µs), and at most `limit`; returns how many."""
        ...

    async def is_inbound_known(self, provider_name: str, event: bytes) -> bool:
        """Whether `keep_inbound` has kept this one."""
        ...

    def keep_inbound(self, provider_name: str, event: bytes, now: int) -> Awaitable[None]:
        """Keep that a message of somebody has come in by a provider, and has led to something (µs)."""
        ...

    async def remove_inbound(self, before: int, limit: int) -> int:
        """Forget those that came in before a time (µs), and at most `limit`; returns how many."""
        ...

    async def erase_hashes(self, after: Cursor, before: int, limit: int) -> Cursor | None:
        """Look at `limit` messages in the order of acceptance, behind `after`, and erase the hashes of recipients of
        those that were settled before a time (µs).

        Returns how far they reach; None where there is nothing more to be found.
        """
        ...

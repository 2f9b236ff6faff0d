"""Receipts for tests to start from."""

from __future__ import annotations

import itertools
from typing import Any, Final

from tests.support.clock import START

from postwire.core.message import MessageRecord
from postwire.core.receipts import KeptReceipt, ReceiptState
from postwire.core.reference import References
from postwire.core.suppression import address_hash
from postwire.outbox.base import NewMessage, ReceiptReport, ReceiptStore

KEY: Final = b"k" * 32
"""What addresses are hashed with."""

REFERENCES: Final = References(b"r" * 32)

MOST: Final = 10_000
"""How many receipts are held, if nothing else is said."""

_numbers = itertools.count(1)


def hash_of(address: str) -> bytes:
    return address_hash(address, KEY)


def kept(state: ReceiptState, attempt: int = 1, **fields: Any) -> KeptReceipt:
    """A receipt that is not applied yet, of an attempt at `p`."""
    given: dict[str, Any] = {"provider_name": "p", "receive_time": START + 1} | fields
    return KeptReceipt(number=next(_numbers), attempt_number=attempt, state=state, **given)


async def pending(outbox: ReceiptStore) -> list[str]:
    """The messages with receipts with which something is left to be done, in the order in which that came."""
    found: dict[str, None] = {}
    after = 0
    while page := await outbox.pending_receipts(after, 2):
        found.update(dict.fromkeys(one.message_id for one in page))
        after = page[-1].number
    return list(found)


def report(state: ReceiptState = ReceiptState.DELIVERED, **fields: Any) -> ReceiptReport:
    """A receipt that was not seen before, of a provider `p`."""
    given: dict[str, Any] = {"provider_name": "p", "event": b"event-%d" % next(_numbers), "receive_time": START}
    return ReceiptReport(**(given | fields), state=state)


def report_of(
    message: NewMessage | MessageRecord, state: ReceiptState = ReceiptState.DELIVERED, **fields: Any
) -> ReceiptReport:
    """The same, with a reference to attempt 1 of a message."""
    record = message.record if isinstance(message, NewMessage) else message
    return report(state, **({"message_id": record.message_id, "attempt_number": 1} | fields))

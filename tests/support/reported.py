"""A delivery whose providers report later, and what they report."""

from __future__ import annotations

from typing import Any

from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of
from tests.support.receipts import REFERENCES
from tests.support.waiting import within

from postwire.core.message import MessageRecord
from postwire.core.receipts import Receipt, ReceiptState
from postwire.outbox.sqlite import SqliteOutbox


def receipt(record: MessageRecord | str, state: ReceiptState = ReceiptState.DELIVERED, **fields: Any) -> Receipt:
    """A receipt that quotes the reference of an attempt, the first if nothing else is said."""
    message_id = record if isinstance(record, str) else record.message_id
    return Receipt(state, reference=REFERENCES.make(message_id, fields.pop("attempt", 1)), **fields)


async def booted(outbox: SqliteOutbox, *providers: FakeProvider, **given: Any) -> Harness:
    providers = providers or (FakeProvider("one"),)
    names = [one.name for one in providers]
    harness = Harness(outbox, registry=registry_of(*providers), **{"receipts_of": names} | given)
    await harness.boot()
    return harness


async def came(harness: Harness, *receipts: Receipt, provider_name: str = "one") -> None:
    await within(harness.inbox.keep(provider_name, receipts))

"""What is copied from one kind of store to another: see docs/adr/0045.

A store is read in messages, and in tables of what there is beside them, whose rows are of plain values: `TABLES` says
of what. Ids of messages are their texts, times are in µs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from postwire.outbox.base import QueuedMessage

Row = tuple[Any, ...]

TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "provider_ids": ("provider_name", "provider_message_id", "message_id", "attempt", "recipient"),
    "receipts": (
        "receipt", "provider_name", "event", "message_id", "attempt", "recipient", "state", "code", "part", "time",
        "permanent", "receive_time", "applied", "to_report", "done_time",
    ),
    "held_receipts": (
        "held", "provider_name", "event", "message_id", "attempt", "provider_message_id", "recipient_hash", "state",
        "code", "time", "permanent", "receive_time", "to_report",
    ),
    "inbound_events": ("provider_name", "event", "receive_time"),
    "suppressions": (
        "suppression", "tenant", "address_hash", "sender", "reason", "source", "create_time", "expire_time", "key_id",
    ),
    "guard_counts": ("counter", "steps", "gone_time"),
    "events": ("event", "time", "tenant", "principal", "method", "target", "result", "reason"),
    "provider_states": ("provider_name", "drained", "resets", "note", "change"),
    "encryption_keys": ("key_id", "proof"),
    "lookup_key": ("id", "wrapped"),
}  # fmt: skip
"""The columns of each table beside messages, in the order in which they are copied."""


@dataclass(frozen=True, slots=True, repr=False)
class CopiedMessage:
    """A message with all that belongs to it. Its times are by the wall clock, from which another due clock goes on.

    `key` is its place in the order of acceptance; `content` is as it is kept, and empty where it is erased;
    `payload_hash` is the keyed one. `unapplied` is how many of its receipts are not applied.
    """

    key: int
    queued: QueuedMessage
    payload_hash: bytes
    content: bytes = b""
    hashes: bytes | None = None
    sender: str = ""
    unapplied: int = 0


@dataclass(slots=True)
class Sum:
    """How many rows there are, and a checksum of them that does not hang on their order."""

    count: int = 0
    checksum: int = field(default=0, repr=False)

    def add(self, rows: Iterable[Iterable[Any]]) -> None:
        """Count rows in. One is taken for what it says, whichever driver it comes from."""
        for row in rows:
            text = repr([str(value) if isinstance(value, UUID) else value for value in row])
            digest = hashlib.sha256(text.encode()).digest()
            self.checksum = (self.checksum + int.from_bytes(digest)) % 2**256
            self.count += 1

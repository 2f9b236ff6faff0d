"""The seam to the outbox, in parts: who uses it asks for no more than the part that it needs.

Whatever is behind it passes `tests/conformance/test_outbox*.py`.
"""

from postwire.core.queue_keys import QueueKey
from postwire.outbox.base.admin import AdminState, ProviderState
from postwire.outbox.base.audit import AuditLog
from postwire.outbox.base.availability import Availability
from postwire.outbox.base.encryption import EncryptedStore, Rekey
from postwire.outbox.base.feed import ChangeFeed, Changes, FeedLag
from postwire.outbox.base.membership import Announcement, Heartbeat, Member, Membership, NodeDead, NodeShare
from postwire.outbox.base.messages import (
    BEGINNING,
    NO_TENANTS,
    Accepted,
    Counts,
    Cursor,
    ErasureCounts,
    KeyLacking,
    MessageStore,
    NewMessage,
    NotAccepted,
    OutboxStats,
    ProviderMessageId,
    StoredMessage,
    StoreLoad,
)
from postwire.outbox.base.outbox import Outbox, OutboxError
from postwire.outbox.base.receipts import (
    HeldKey,
    KeptAs,
    PendingReceipt,
    ReceiptFate,
    ReceiptReport,
    ReceiptStore,
    ReportedMessage,
)
from postwire.outbox.base.suppressions import SuppressionStore
from postwire.outbox.base.work import Decide, Head, QueuedMessage, TakenMessage, WorkQueue

__all__ = [
    "BEGINNING",
    "NO_TENANTS",
    "Accepted",
    "AdminState",
    "Announcement",
    "AuditLog",
    "Availability",
    "ChangeFeed",
    "Changes",
    "Counts",
    "Cursor",
    "Decide",
    "EncryptedStore",
    "ErasureCounts",
    "FeedLag",
    "Head",
    "Heartbeat",
    "HeldKey",
    "KeptAs",
    "KeyLacking",
    "Member",
    "Membership",
    "MessageStore",
    "NewMessage",
    "NodeDead",
    "NodeShare",
    "NotAccepted",
    "Outbox",
    "OutboxError",
    "OutboxStats",
    "PendingReceipt",
    "ProviderMessageId",
    "ProviderState",
    "QueueKey",
    "QueuedMessage",
    "ReceiptFate",
    "ReceiptReport",
    "ReceiptStore",
    "Rekey",
    "ReportedMessage",
    "StoreLoad",
    "StoredMessage",
    "SuppressionStore",
    "TakenMessage",
    "WorkQueue",
]

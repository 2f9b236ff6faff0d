"""All parts of the seam in one."""

from __future__ import annotations

from typing import Protocol

from postwire.outbox.base.admin import AdminState
from postwire.outbox.base.audit import AuditLog
from postwire.outbox.base.encryption import EncryptedStore
from postwire.outbox.base.feed import ChangeFeed
from postwire.outbox.base.membership import Membership
from postwire.outbox.base.messages import MessageStore
from postwire.outbox.base.receipts import ReceiptStore
from postwire.outbox.base.suppressions import SuppressionStore
from postwire.outbox.base.work import WorkQueue


class OutboxError(Exception):
    """The store cannot be opened: locked, unwritable, not ours, newer than this program, or a key that it may need is
    not there. One line for people."""


class Outbox(
    MessageStore,
    WorkQueue,
    ChangeFeed,
    AdminState,
    AuditLog,
    EncryptedStore,
    ReceiptStore,
    SuppressionStore,
    Membership,
    Protocol,
):
    """All of it, for who opens one and for who makes the parts that use it.

    All of it is called on the event loop that the outbox was opened on. Every write is durable when its awaitable is
    done. Writes that are started together may share one commit. Reads see every write that is done. Every method may
    raise `StoreUnavailable`; a write that did is unknown: it may turn up after a restart.
    """

    async def close(self) -> None:
        """Finish what was started, and close."""
        ...

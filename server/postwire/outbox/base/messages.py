"""Messages: accepting, changing and reading them, and deleting what is long settled."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from postwire.core.audit import AuditEvent
from postwire.core.errors import GuardExceeded, RequestIdReused
from postwire.core.guards import Guarded
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import DispatchOptions, MessageRecord
from postwire.core.queue_keys import QueueKey
from postwire.core.values import frozen
from postwire.outbox.base.availability import Availability

Cursor = tuple[int, ...]
"""How far somebody has come who goes through the messages in the order of acceptance; only the store can read it."""

BEGINNING: Final[Cursor] = ()

NO_TENANTS: Final[Mapping[str, Any]] = MappingProxyType({})


class ProviderMessageId(NamedTuple):
    """An id that a provider gave an attempt, or the part of it that is for one recipient."""

    provider_name: str
    provider_message_id: str
    attempt_number: int
    recipient_index: int | None = None


@frozen(repr=False)
class NewMessage:
    """A message about to be accepted: its record (queued, or with attempt 1 open), and what the record does not show.

    `content` is the message in canonical form and `payload_hash` what its request id is held to, both as
    `core.canonical` makes them. `content` is somebody's data: it is kept, and never shown. A short one can be found
    from its hash by trying, so that is kept as `canonical.keyed_hash` gives it. `accept_trace` is the span that it is
    accepted under, as a W3C traceparent. `guarded` says in which counts it is, if in any.

    `recipient_hashes` are the `address_hash` of each recipient, by their positions, where anybody needs them. They are
    kept, and with them the `sender` that the message names, where `keeps_hashes`. Where an attempt is open, `scope` is
    what it is sent from (`core.suppression`): it is not opened, or not for all, where recipients are suppressed.
    """

    record: MessageRecord
    content: bytes
    payload_hash: bytes
    options: DispatchOptions
    accept_trace: str = ""
    recipient_hashes: tuple[bytes, ...] = ()
    keeps_hashes: bool = False
    sender: str = ""
    scope: str = ""
    guarded: Guarded | None = None


@frozen(repr=False)
class StoredMessage:
    """A message out of the store, with all that is needed to go on with it. Its `expire_time` is that of the record.

    The `content` is empty where it is damaged.
    """

    record: MessageRecord
    options: DispatchOptions
    content: bytes
    accept_trace: str = ""


@frozen
class Accepted:
    """What `accept` made of a message: its own record (`created`), or that of the message that has its request id."""

    record: MessageRecord
    created: bool


class KeyLacking(ValueError):
    """This node has not the key that something is encrypted with, and another has."""


NotAccepted = RequestIdReused | GuardExceeded
"""Why a message was not accepted that others may have been accepted with."""


@frozen
class OutboxStats:
    """What is not settled: how many messages, and when the oldest was accepted (µs since the epoch)."""

    unsettled: int
    oldest_create_time: int | None


@frozen
class StoreLoad:
    """How many messages are due, and since when the longest of them is (µs, due clock); and how large the store is, in
    bytes."""

    due: int
    oldest_due_time: int | None
    size: int


@frozen
class Counts:
    """What is not settled, by its queue; and what is queued for a later time than now that its caller has given, by its
    tenant and the second (since the epoch) in which it is due."""

    queues: Mapping[QueueKey, int]
    scheduled: Mapping[tuple[str, int], int]


@frozen
class ErasureCounts:
    """How many messages something is erased of, and how many are not, since they are not settled."""

    erased: int
    unsettled: int


class MessageStore(Availability, Protocol):
    """Keeps messages.

    What is asked for somebody is asked for one tenant, and nobody else's messages are there for it; a change applies to
    the message of the record's tenant. What goes through the whole store, such as retention, is for all of them.
    """

    def accept(self, new: NewMessage) -> Awaitable[Accepted]:
        """Keep a new message and its open attempt in one commit, which counts it where it is `guarded`. To recipients
        who are suppressed nothing is sent: see `suppressing.suppress`.

        Raises:
            RequestIdReused: the request id belongs to a message with another payload.
            GuardExceeded: there is no room for it; it is in no count.
        """
        ...

    async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | NotAccepted]:
        """Accept several messages in one commit; for each, what `accept` would have given or raised in its turn."""
        ...

    def advance(
        self,
        before: MessageRecord,
        after: MessageRecord,
        tried: Sequence[MessageRecord] = (),
        event: AuditEvent | None = None,
        *,
        receipts: Sequence[int] = (),
        provider_ids: Sequence[ProviderMessageId] = (),
    ) -> Awaitable[bool]:
        """Keep a change of a record in one commit: the end of its open attempt, its next attempt, its new state.

        Where it settles the message, its content is erased in the same commit, unless the outbox keeps contents.
        Applies where the message still is at the revision of `before` (fencing); returns whether it did. If so, the
        `event` is kept in the same commit. So are `provider_ids`, which a provider gave the message, and that the
        `receipts` with these numbers are applied. A change that opens an attempt does not apply where there are others
        that are not.

        Whoever tries again after `StoreUnavailable` says what was `tried` from `before`. If it has been kept after all
        the message is there already, which is true as well; `get` returns at which of them.
        """
        ...

    def advance_all(self, changes: Sequence[tuple[MessageRecord, MessageRecord]]) -> Awaitable[Sequence[bool]]:
        """Keep changes of several messages in one commit; returns of each whether it did apply, as `advance` does."""
        ...

    def get(self, message_id: str, tenant: str) -> Awaitable[MessageRecord | None]:
        """The record of a message."""
        ...

    async def records(self, message_ids: Sequence[str], tenant: str) -> Sequence[MessageRecord]:
        """The records of those messages that there are, in any order, as they were at one moment."""
        ...

    def find_by_request_id(
        self, request_id: str, tenant: str, payload_hash: bytes | None = None
    ) -> Awaitable[MessageRecord | None]:
        """The record of the message that has a request id.

        Raises:
            RequestIdReused: it has another payload than the one that is asked for, if one is.
        """
        ...

    async def content(self, message_id: str, tenant: str) -> bytes | None:
        """The content of a message, as it was accepted; None once it is erased.

        Raises:
            ValueError: what is kept of it is damaged.
            KeyLacking: it is not, as far as is known; another node has the key that it is encrypted with.
        """
        ...

    async def list(self, chosen: MessageFilter, size: int, after: str | None, tenant: str) -> Page:
        """At most `size` records that `chosen` admits, newest first, going on after the message id `after`.

        Looks at no more than `SCAN_LIMIT` messages, so it may give fewer, or none, though more follow.
        """
        ...

    async def stats(self) -> OutboxStats:
        """What is not settled now."""
        ...

    async def load(self, now: int, ahead: int = 0) -> StoreLoad:
        """What is due in all queues, and how large the store is. It takes long where much is due. `now` and `ahead` are
        as `WorkQueue.take` has them."""
        ...

    async def unsettled_counts(self, now: int) -> Counts:
        """What is not settled, counted in whole. It takes long where much waits."""
        ...

    async def remove_settled(self, after: Cursor, before: int, limit: int) -> Cursor | None:
        """Look at `limit` messages in the order of acceptance, behind `after`, and remove those that were
        settled before a time (µs), with all that belongs to them.

        Returns how far they reach; None where there is nothing more to be found.
        """
        ...

    async def erase_contents(
        self, after: Cursor, before: int, limit: int, of_tenants: Mapping[str, int] = NO_TENANTS
    ) -> Cursor | None:
        """Look at `limit` messages in the order of acceptance, behind `after`, and erase the contents of
        those that were settled before a time (µs); of `of_tenants`, before other times. Their records stay.

        Returns how far they reach; None where there is nothing more to be found.
        """
        ...

    async def erasable(self, message_ids: Sequence[str], tenant: str) -> ErasureCounts:
        """What `erase` would do."""
        ...

    def erase(self, message_ids: Sequence[str], tenant: str, event: AuditEvent) -> Awaitable[ErasureCounts]:
        """Erase the contents and the labels of those of these messages that are settled; their records stay.

        For each of which there was anything left to erase, the event is kept in the same commit, with its id as the
        target, and its revision rises: so whoever watches it learns of it, and nobody who has read it before can bring
        anything back. Where contents are large, it takes several commits, so that others get their turn.
        """
        ...

    async def remove_counts(self, now: int, limit: int) -> int:
        """Remove at most `limit` counts of guards of which nothing is left, and return how many. `now` is by the due
        clock."""
        ...

    async def purge_erased(self) -> bool:
        """Have copies of erased contents gone from wherever a write leaves them before it reaches its place.

        Returns whether none is left; False where somebody reads who may still need them, so that it is to be tried
        again.
        """
        ...

"""The seam to the outbox. Whatever is behind it passes `tests/conformance/test_outbox*.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import DEFAULT_TENANT, DispatchOptions, MessageRecord, Note, Priority


class OutboxError(Exception):
    """The store cannot be opened: locked, unwritable, not ours, or newer than this program. One line for people."""


@dataclass(frozen=True, slots=True, repr=False)
class NewMessage:
    """A message about to be accepted: its record (queued, or with attempt 1 open), and what the record does not show.

    `content` is the message in canonical form and `payload_hash` what its request id is held to, both as
    `core.canonical` makes them. `content` is somebody's data: it is kept, and never shown. `accept_trace` is the span
    that it is accepted under, as a W3C traceparent.
    """

    record: MessageRecord
    content: bytes
    payload_hash: bytes
    options: DispatchOptions
    accept_trace: str = ""
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True, repr=False)
class StoredMessage:
    """A message out of the store, with all that is needed to go on with it. Its `expire_time` is that of the record."""

    record: MessageRecord
    options: DispatchOptions
    content: bytes
    accept_trace: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What `accept` made of a message: its own record (`created`), or that of the message that has its request id."""

    record: MessageRecord
    created: bool


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What is not settled: how many messages, and when the oldest was accepted (µs since the epoch)."""

    unsettled: int
    oldest_create_time: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What is not settled, by the key of its queue; and what is queued for a later time than now that its caller has
    given, by the second (since the epoch) in which it is due."""

    queues: Mapping[str, int]
    scheduled: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Changes:
    """Messages that have changed, each with the number of its change, in their order; and up to which all are told."""

    numbered: tuple[tuple[int, MessageRecord], ...]
    last: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Records, and the number of the last change of any message, at one moment."""

    records: Sequence[MessageRecord]
    last: int


class Outbox(Protocol):
    """Keeps messages. Every write is durable when its awaitable is done.

    All of it is called on the event loop that the outbox was opened on. Writes that are started together may share one
    commit. Reads see every write that is done. Every method may raise `StoreUnavailable`; a write that did is unknown:
    it may turn up after a restart.
    """

    @property
    def boot(self) -> int:
        """This opening's number; attempts of a lower one are left from a process that is gone."""
        ...

    @property
    def available(self) -> bool:
        """Whether the store can commit, as far as is known."""
        ...

    def accept(self, new: NewMessage) -> Awaitable[Accepted]:
        """Keep a new message and its open attempt in one commit.

        Raises:
            RequestIdReused: the request id belongs to a message with another payload.
        """
        ...

    async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | RequestIdReused]:
        """Accept several messages in one commit; for each, what `accept` would have given or raised."""
        ...

    def advance(self, before: MessageRecord, after: MessageRecord) -> Awaitable[bool]:
        """Keep a change of a record in one commit: the end of its open attempt, its next attempt, its new state.

        Where it settles the message, its content is erased in the same commit, unless the outbox keeps contents.
        Applies where the message still is at the revision of `before` (fencing); tells whether it did.
        """
        ...

    def get(self, message_id: str) -> Awaitable[MessageRecord | None]:
        """The record of a message."""
        ...

    async def get_by_request_id(self, request_id: str, tenant: str = DEFAULT_TENANT) -> MessageRecord | None:
        """The record of the message that has a request id."""
        ...

    async def content(self, message_id: str) -> bytes | None:
        """The content of a message, as it was accepted; None once it is erased."""
        ...

    def find(
        self, request_id: str, payload_hash: bytes, tenant: str = DEFAULT_TENANT
    ) -> Awaitable[MessageRecord | None]:
        """The record of the message that has a request id.

        Raises:
            RequestIdReused: it has another payload.
        """
        ...

    async def list(self, chosen: MessageFilter, size: int, after: str | None, tenant: str = DEFAULT_TENANT) -> Page:
        """At most `size` records that `chosen` admits, newest first, going on after the message id `after`.

        Looks at no more than `SCAN_LIMIT` messages, so it may give fewer, or none, though more follow.
        """
        ...

    async def due(
        self, queue: str, now: int, limit: int, ahead: int = 0, only: Priority | None = None
    ) -> Sequence[StoredMessage]:
        """At most `limit` messages that wait in `queue` and are due: by priority, then longest due first.

        `now` is by the due clock. Here and below, the wall clock is `ahead` µs ahead of it: see `core.waiting`. `only`
        those of one priority, if it is given. Fewer than are there where their contents are large, but none only where
        there is none.
        """
        ...

    async def due_counts(self, queue: str, now: int, most: int, ahead: int = 0) -> Mapping[Priority, int]:
        """How many messages of each priority wait in `queue` and are due; counted up to `most` or a little more."""
        ...

    async def next_due(self, queue: str, ahead: int = 0, after: int | None = None) -> int | None:
        """When the next message of `queue` is due (µs, due clock; it may be past), if any waits there.

        Of those that are due later than `after`, if it is given.
        """
        ...

    async def queues(self) -> Sequence[str]:
        """The keys of the queues that anything waits in."""
        ...

    async def expired(self, now: int, limit: int, ahead: int = 0) -> Sequence[MessageRecord]:
        """Queued messages whose time has run out, longest ago first. `now` is by the due clock."""
        ...

    async def next_expiry(self, ahead: int = 0) -> int | None:
        """When the time of the next queued message runs out (due clock)."""
        ...

    def keep_ahead(self, ahead: int) -> Awaitable[None]:
        """Keep by how much the wall clock has come to be ahead of the due clock, for `realign` at the next boot."""
        ...

    def realign(self, now: int, latest: int) -> Awaitable[None]:
        """Bring the times of what waits onto the due clock of this boot, which shows `now`; before all else is done.

        What an earlier boot has kept by `keep_ahead` is added to them. Nobody waits for the next attempt beyond
        `latest`, nor for the first one beyond `now`, unless it is scheduled.
        """
        ...

    async def orphans(self, limit: int) -> Sequence[StoredMessage]:
        """Messages with an open attempt, oldest first: at boot these are left from a process that is gone."""
        ...

    async def scan_queued(
        self, after: int, limit: int, queues: Collection[str] | None = None
    ) -> tuple[Sequence[StoredMessage], int]:
        """At most `limit` queued messages in the order of acceptance, behind the position `after`; and the position of
        the last.

        Those that wait in one of `queues`, or all of them where that is None.
        """
        ...

    def reassign(self, moves: Sequence[tuple[MessageRecord, str]]) -> Awaitable[int]:
        """Put queued messages into other queues, in one commit; returns how many were.

        Each applies where the message still is at the revision of its record, and in the queue of it (fencing). The
        revision stays: nothing has changed that a caller can see.
        """
        ...

    async def last_change(self) -> int:
        """The number of the last change of any message."""
        ...

    async def changes(self, after: int, limit: int) -> Changes:
        """What became of the next `limit` changes behind one.

        A message that has changed several times is given once, and not yet where more of its changes come behind these:
        so whoever goes on from there sees each revision once at the most.

        Raises:
            ResumeTokenExpired: what came behind it is not known any more, or never was.
        """
        ...

    async def wait_changes(self, after: int) -> None:
        """Return once there is a change behind one."""
        ...

    async def snapshot(self, message_ids: Sequence[str]) -> Snapshot:
        """The records of those messages that there are, in any order, and which change was the last then."""
        ...

    async def remove_settled(self, after: int, before: int, limit: int) -> int | None:
        """Look at `limit` messages in the order of acceptance, behind the position `after`, and remove those that were
        settled before a time (µs), with all that belongs to them.

        Returns the position they reach to; None where there is nothing more to be found.
        """
        ...

    async def erase_contents(self, after: int, before: int, limit: int) -> int | None:
        """Look at `limit` messages in the order of acceptance, behind the position `after`, and erase the contents of
        those that were settled before a time (µs). Their records stay.

        Returns the position they reach to; None where there is nothing more to be found.
        """
        ...

    async def empty_log(self) -> bool:
        """Have copies of erased contents gone from wherever a write leaves them before it reaches its place.

        Returns whether none is left; False where somebody reads who may still need them, so that it is to be tried
        again.
        """
        ...

    async def remove_changes(self, keep: int, limit: int) -> int:
        """Forget old changes, but for the last `keep`, and at most `limit`; returns how many."""
        ...

    async def drained(self) -> frozenset[str]:
        """The names of the providers that are drained."""
        ...

    def set_drained(self, provider_name: str, drained: bool, note: Note | None = None) -> Awaitable[None]:
        """Keep whether a provider is drained; and with it a note, where there is one."""
        ...

    async def provider_notes(self) -> Mapping[str, Note]:
        """What was noted last of each provider."""
        ...

    def keep_provider_note(self, provider_name: str, note: Note) -> Awaitable[None]:
        """Keep a note of a provider."""
        ...

    async def fact(self, name: str) -> str | None:
        """A fact about the store as a whole. `store` is there from the start: its name, which no other store has."""
        ...

    def keep_fact(self, name: str, value: str) -> Awaitable[None]:
        """Keep a fact."""
        ...

    async def stats(self) -> OutboxStats:
        """What is not settled now."""
        ...

    async def unsettled_counts(self, now: int) -> Counts:
        """What is not settled, counted in whole. For a boot: it takes long where much waits."""
        ...

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        """Have `listener` called, on the loop, whenever `available` changes."""
        ...

    async def wait_available(self) -> None:
        """Return once the store can commit."""
        ...

    async def close(self) -> None:
        """Finish what was started, and let go of the file."""
        ...

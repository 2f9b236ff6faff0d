"""The seam to the outbox. Whatever is behind it passes `tests/conformance/test_outbox.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from postwire.core.listing import MessageFilter, Page
from postwire.core.message import DEFAULT_TENANT, DispatchOptions, MessageRecord


class OutboxError(Exception):
    """The store cannot be opened: locked, unwritable, not ours, or newer than this program. One line for people."""


@dataclass(frozen=True, slots=True, repr=False)
class NewMessage:
    """A message about to be accepted: its record, with attempt 1 open, and what the record does not show.

    `content` is the message in canonical form and `payload_hash` what its request id is held to, both as
    `core.canonical` makes them. `content` is somebody's data: it is kept, and never shown.
    """

    record: MessageRecord
    content: bytes
    payload_hash: bytes
    options: DispatchOptions
    tenant: str = DEFAULT_TENANT


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

    def record(self, record: MessageRecord) -> Awaitable[bool]:
        """Keep the end of the record's last attempt, and the record, in one commit.

        Applies where that attempt is the message's latest and is still open (fencing); tells whether it did.
        """
        ...

    def get(self, message_id: str) -> Awaitable[MessageRecord | None]:
        """The record of a message."""
        ...

    async def content(self, message_id: str) -> bytes | None:
        """The content of a message, as it was accepted."""
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

    async def stats(self) -> OutboxStats:
        """What is not settled now."""
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

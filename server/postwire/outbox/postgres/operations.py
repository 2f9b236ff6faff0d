"""What is asked of the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from postwire.core.audit import AuditEvent
from postwire.core.message import MessageRecord
from postwire.outbox.base import Accepted, NewMessage, NotAccepted, ProviderMessageId

Future = asyncio.Future[Any]

Pair = tuple[MessageRecord, MessageRecord]
"""A record before and after a change."""


@dataclass(slots=True, eq=False)
class New:
    """A message that is to be accepted: as it was `asked` for, and as it is, once those are out who are suppressed."""

    asked: NewMessage
    message: NewMessage = field(init=False)
    result: Accepted | NotAccepted | None = None

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Have nothing be done."""
        self.message, self.result = self.asked, None


@dataclass(slots=True, eq=False)
class Accept:
    """Some that are handed over together. The result is a list for `several`, or that of the one."""

    news: Sequence[New]
    several: bool
    future: Future
    result: object = None

    @property
    def count(self) -> int:
        """How many messages it is about."""
        return len(self.news)

    @property
    def size(self) -> int:
        """How large their contents are."""
        return sum(len(new.asked.content) for new in self.news)


@dataclass(slots=True, eq=False)
class Change:
    """Changes of records that are kept together. The result is a list of whether each was, or that of the one.

    `event` is kept with it if it is. The one applies the `receipts` with these numbers, and comes with what a provider
    has given as its ids.
    """

    pairs: Sequence[Pair]
    several: bool
    future: Future
    event: AuditEvent | None = None
    receipts: Sequence[int] = ()
    provider_ids: Sequence[ProviderMessageId] = ()
    result: object = None
    message_ids: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.message_ids = frozenset(before.message_id for before, _ in self.pairs)
        if len(self.message_ids) != len(self.pairs):
            raise ValueError("two changes of one message are kept one after the other")

    @property
    def count(self) -> int:
        """How many messages it is about."""
        return len(self.pairs)

    @property
    def size(self) -> int:
        """How large the contents are that it brings: none."""
        return 0


Operation = Accept | Change

"""What is asked of the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from postwire.outbox import operations
from postwire.outbox.base import Accepted, NewMessage, NotAccepted
from postwire.outbox.operations import Future


@dataclass(slots=True, eq=False)
class New:
    """A message that is to be accepted: as it was `asked` for, and as it is, once those are out who are suppressed."""

    asked: NewMessage
    message: NewMessage = field(init=False)
    result: Accepted | NotAccepted | None = None
    tries: int = 0

    def __post_init__(self) -> None:
        self.message = self.asked

    def begin(self) -> None:
        """Have nothing be done, as far as is known: an earlier try may have come to a commit."""
        self.message, self.result = self.asked, None
        self.tries += 1


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
class Change(operations.Change):
    """See there. Each of its changes is of another message."""

    message_ids: frozenset[str] = field(init=False)
    give_up: float | None = field(default=None, init=False)
    """When (of the loop) it is waited for no longer, once somebody else was in its way."""

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

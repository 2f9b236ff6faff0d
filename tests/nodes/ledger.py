"""What everybody but the nodes has seen of them: providers, callers, watchers.

How a node ends changes nothing of it.

Times are in ns since the epoch, by the clock of the machine that all of them share.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from postwire.core.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Handed:
    """A message as it came to a provider. `answers` are what it said to each recipient that it was for, by position;
    None where whoever had handed it over was gone before there was an answer."""

    message_id: str
    attempt: int
    provider: str
    request_id: str
    time: int
    answers: Mapping[int, Outcome | None]
    node: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A call that was answered with OK, at `time`: whose request id is which message."""

    request_id: str
    message_id: str
    time: int = 0


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A cancel that was answered with OK, at `time`, with the state that the message had then."""

    message_id: str
    state: str
    time: int


@dataclass(frozen=True, slots=True)
class Reported:
    """A receipt that was answered with OK. `state` is what it said of the attempt."""

    provider: str
    message_id: str
    attempt: int
    state: str


@dataclass
class Ledger:
    """All of it. `seen` are the last revisions that a watch has shown, by message id; `watched_since` is when it began,
    and begins anew where its token was refused. `aged` are the ids of messages that were made old, and may be
    gone. `other` counts what else is worth to know."""

    handed: list[Handed] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    cancelled: list[Cancelled] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    watched_since: int = 0
    aged: set[str] = field(default_factory=set)
    other: Counter[str] = field(default_factory=Counter)


def attempt_of(reference: str) -> tuple[str, int]:
    """The message id and the number of the attempt that a reference stands for, whatever key it was made with."""
    data = urlsafe_b64decode(reference)
    return str(UUID(bytes=data[:16])), int.from_bytes(data[16:18], "big")


def accepted_at(message_id: str) -> int:
    """When a message was accepted (ns since the epoch, to the millisecond), as its id says: RFC 9562, section 5.7."""
    return (UUID(message_id).int >> 80) * 1_000_000

"""Which messages a list is about, and how it is cut into pages.

Messages are listed newest first, in the order of their ids (UUIDs of version 7 sort by acceptance). A page's token says
after which id to go on, and which filter it belongs to: with another filter it would skip what nobody has seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from postwire.core.ids import is_message_id
from postwire.core.message import EMPTY, Channel, MessageRecord, MessageState

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1_000

SCAN_LIMIT: Final = 10_000
"""How many messages one page looks at, whatever the filter."""

_DIGEST_SIZE: Final = 8


_RESUME: Final = re.compile(r"change ([0-9a-f]{32}) ([0-9]{1,18}(?:\.[0-9]{1,18}){0,3}|first)")


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages are meant. What is empty, or None, does not narrow the choice.

    `create_time_from` and `create_time_to` are in µs since the epoch: the first included, the second not.
    """

    channels: frozenset[Channel] = frozenset()
    states: frozenset[MessageState] = frozenset()
    provider_names: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)
    create_time_from: int | None = None
    create_time_to: int | None = None
    request_ids: frozenset[str] = frozenset()

    def admits(self, record: MessageRecord) -> bool:
        """Whether `record` is meant."""
        return (
            (not self.channels or record.channel in self.channels)
            and (not self.states or record.state in self.states)
            and (
                not self.provider_names
                or (bool(record.attempts) and record.attempts[-1].provider_name in self.provider_names)
            )
            and self.labels.items() <= record.labels.items()
            and (self.create_time_from is None or record.create_time >= self.create_time_from)
            and (self.create_time_to is None or record.create_time < self.create_time_to)
            and (not self.request_ids or record.request_id in self.request_ids)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, and after which message id the next page goes on; None where this is the last."""

    records: tuple[MessageRecord, ...]
    next_after: str | None


def asked_for(chosen: MessageFilter, message_ids: Sequence[str] = ()) -> bytes:
    """32 bytes that tell what was asked for from everything else: messages by their ids, or a filter."""
    return hashlib.sha256(repr((list(message_ids), _parts(chosen))).encode()).digest()


def page_token(after: str, chosen: MessageFilter) -> str:
    """The token of the page that goes on after the message id `after`."""
    return token_of(after, _digest(chosen))


def parse_page_token(token: str, chosen: MessageFilter) -> str:
    """The message id that a page goes on after.

    Raises:
        ValueError: the token is not one of ours, or belongs to another filter.
    """
    return place_in(token, _digest(chosen), is_message_id)


def token_of(place: str, asked: bytes) -> str:
    """The token of a page that goes on behind a place, of what has the hash `asked`: its first bytes are kept in it."""
    return base64.urlsafe_b64encode(asked[:_DIGEST_SIZE] + place.encode()).decode()


def place_in(token: str, asked: bytes, is_place: Callable[[str], object]) -> str:
    """The place that `token_of` has put into a token. `is_place` says whether a text can be one.

    Raises:
        ValueError: the token is not one of ours, or belongs to another filter.
    """
    try:
        data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        place = data[_DIGEST_SIZE:].decode()
    except (binascii.Error, UnicodeError):
        raise ValueError("must be a token that a page before gave, or left out") from None
    if not is_place(place):
        raise ValueError("must be a token that a page before gave, or left out")
    if data[:_DIGEST_SIZE] != asked[:_DIGEST_SIZE]:
        raise ValueError("belongs to another filter: keep the filter from page to page")
    return place


Position = tuple[int, ...]
"""A place in the order of a store's changes. A later one is greater; only the store knows what else there is to it."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Up to where a watch has reported changes; `position` is None before it has shown all that it begins with.

    It is a position in the store that `store` names, and in another one it would be that of another change.
    """

    store: str
    position: Position | None


def resume_token(point: ResumePoint) -> str:
    """The token with which a watch goes on."""
    position = "first" if point.position is None else ".".join(map(str, point.position))
    return base64.urlsafe_b64encode(f"change {point.store} {position}".encode()).decode()


def parse_resume_token(token: str) -> ResumePoint:
    """Where a watch goes on.

    Raises:
        ValueError: the token is not one of ours.
    """
    try:
        found = _RESUME.fullmatch(base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode())
    except (binascii.Error, UnicodeError):
        found = None
    if not found:
        raise ValueError("must be a token that a watch gave, or left out")
    return ResumePoint(found[1], None if found[2] == "first" else tuple(map(int, found[2].split("."))))


def _digest(chosen: MessageFilter) -> bytes:
    return hashlib.sha256(repr(_parts(chosen)).encode()).digest()


def _parts(chosen: MessageFilter) -> tuple[object, ...]:
    return (
        sorted(channel.value for channel in chosen.channels),
        sorted(state.value for state in chosen.states),
        sorted(chosen.provider_names),
        sorted(chosen.labels.items()),
        chosen.create_time_from,
        chosen.create_time_to,
        *sorted(chosen.request_ids),
    )

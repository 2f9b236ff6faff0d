"""What simulated providers took, for people who look and tests that wait: the last messages, in memory alone.

Adding one is on the path of every message that a mock takes, so it does next to nothing: what is over a bound goes a
hundred at a time, and all else is done when somebody reads.

Times are in µs since the epoch, and `now` is in seconds, on a clock that does not step.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from operator import itemgetter
from sys import getsizeof
from typing import Final

from postwire.core.listing import place_in, token_of
from postwire.core.message import Channel, Email, Mms, OutboundMessage, Sms
from postwire.core.values import Private, frozen

MAX_MESSAGES: Final = 1_000
"""How many messages are kept, of all tenants."""

MAX_BYTES: Final = 64 << 20
"""About how much memory they take at the most, without SMS: those are short."""

MAX_AGE: Final = 3600.0
"""Seconds for which one is kept."""

MAX_TEXT: Final = 250_000
"""How many characters of a text are kept. With all that is in it a message is well below the 4 MiB that gRPC's clients
take."""

SURPLUS: Final = 100
"""How many may be there beyond `MAX_MESSAGES` until somebody reads."""

_FREED: Final = 1 / 16
"""The part of `MAX_BYTES` that is freed when it is reached, so that not every message has to find something to drop."""

_OVERHEAD: Final = 1_000
"""Bytes that a message takes beside its texts."""

_PART: Final = 150
"""Bytes that a recipient, a header or a file takes, beside its own text."""


def inbox_asked_for(chosen: InboxFilter) -> bytes:
    """32 bytes that tell what was asked for from everything else."""
    channels = sorted(channel.value for channel in chosen.channels)
    parts = "inbox", channels, chosen.to.casefold(), chosen.match.casefold(), chosen.time_from
    return hashlib.sha256(repr(parts).encode()).digest()


def inbox_token(name: str, chosen: InboxFilter) -> str:
    """The token of the page that goes on behind the message of this name, as those of `core.listing`."""
    return token_of(name, inbox_asked_for(chosen))


def parse_inbox_token(token: str, chosen: InboxFilter, number_of: Callable[[str], int | None]) -> int:
    """The number of the message behind which a page goes on. `number_of` finds it by the name of the message.

    Raises:
        ValueError: the token is not one of ours, or belongs to another filter.
    """
    number = number_of(place_in(token, inbox_asked_for(chosen), number_of))
    assert number is not None
    return number


@frozen(repr=False)
class InboxFile(Private):
    """An attachment, or a medium, of which the data was not kept."""

    file_name: str
    content_type: str
    size: int


@frozen(repr=False)
class InboxMessage(Private):
    """What a provider took. `number` rises; `positions` are those of the recipients of an email that it went to, empty
    for all of them. `files` are those that `message` is without. `truncated`: a text of it was longer."""

    number: int
    message_id: str
    provider_name: str
    time: int
    message: OutboundMessage
    positions: tuple[int, ...]
    files: tuple[InboxFile, ...]
    truncated: bool

    @property
    def recipients(self) -> tuple[str, ...]:
        """Those that it went to."""
        content = self.message.content
        if not isinstance(content, Email):
            return (content.to,)
        addresses = content.recipients
        return tuple(addresses[position] for position in self.positions) if self.positions else addresses

    @property
    def texts(self) -> tuple[str, ...]:
        """Those that a search looks through."""
        content = self.message.content
        return (content.subject, content.text, content.html) if isinstance(content, Email) else (content.body,)

    @property
    def has_html(self) -> bool:
        """Whether there is anything to show in a browser."""
        content = self.message.content
        return isinstance(content, Email) and bool(content.html)


@dataclass(frozen=True, slots=True, repr=False)
class InboxFilter(Private):
    """Which messages are meant. What is empty, or None, does not narrow the choice. Letters may be in any case."""

    channels: frozenset[Channel] = frozenset()
    to: str = ""
    match: str = ""
    time_from: int | None = None

    def admits(self, one: InboxMessage) -> bool:
        """Whether a message is meant. It looks through its texts last: they may be long."""
        return (
            (not self.channels or one.message.channel in self.channels)
            and (self.time_from is None or one.time >= self.time_from)
            and (not self.to or self.to.casefold() in map(str.casefold, one.recipients))
            and (not self.match or any(self.match.casefold() in text.casefold() for text in one.texts))
        )


_Kept = tuple[int, float, int, str, str, int, OutboundMessage, tuple[int, ...], tuple[InboxFile, ...], bool]
"""A message as it is kept: its number, when it was added, how many bytes it takes, and the rest of an `InboxMessage`.
Making a tuple takes a fifth of the time, and most are never read."""

_NUMBER: Final = 0
_ADDED: Final = 1
_SIZE: Final = 2
_REST: Final = 3
_MESSAGE_ID: Final = 3


@dataclass(slots=True, repr=False)
class _Box(Private):
    """What is kept of one tenant, oldest first; `size` is that of all but SMS."""

    messages: deque[_Kept]
    size: int = 0


class Inbox:
    """Keeps the last messages. Where there are too many, the oldest go of the tenant who has the most."""

    def __init__(self, *, most: int = MAX_MESSAGES, most_bytes: int = MAX_BYTES, surplus: int = SURPLUS) -> None:
        self._most = most
        self._surplus = surplus
        self._most_bytes = most_bytes
        self._boxes: dict[str, _Box] = {}
        self._size = 0
        self._look_at = most + surplus
        self.last_number = 0
        """That of the message that was added last."""

    def __len__(self) -> int:
        return sum(len(box.messages) for box in self._boxes.values())

    def add(
        self,
        tenant: str,
        message_id: str,
        provider_name: str,
        message: OutboundMessage,
        positions: tuple[int, ...],
        time: int,
        now: float,
    ) -> None:
        """Keep a message that a provider took at a `time`."""
        number = self.last_number + 1
        self.last_number = number
        box = self._boxes.get(tenant)
        if box is None:
            box = self._boxes[tenant] = _Box(deque())
        if type(message.content) is Sms:
            box.messages.append((number, now, 0, message_id, provider_name, time, message, positions, (), False))
        else:
            light, files, truncated, size = _without_data(message)
            box.messages.append(
                (number, now, size, message_id, provider_name, time, light, positions, files, truncated)
            )
            box.size += size
            self._size += size
            if self._size > self._most_bytes:
                for _ in self._drops(lambda box: box.size):
                    if self._size <= self._most_bytes * (1 - _FREED):
                        break
        if number >= self._look_at:
            self._drop_surplus()

    def newest(self, tenant: str, now: float, before: int | None = None) -> list[InboxMessage]:
        """The messages of a tenant, newest first; where `before` is given, those with a lower number."""
        self.prune(now)
        box = self._boxes.get(tenant)
        kept = reversed(box.messages) if box else ()
        return [_shown(one) for one in kept if before is None or one[_NUMBER] < before]

    def get(self, tenant: str, number: int, now: float) -> InboxMessage | None:
        """The message with a number, if it is still there."""
        self.prune(now)
        box = self._boxes.get(tenant)
        kept = box.messages if box else ()
        place = bisect_left(kept, number, key=itemgetter(_NUMBER))
        return _shown(kept[place]) if place < len(kept) and kept[place][_NUMBER] == number else None

    def numbers(self, now: float) -> set[int]:
        """Those of all messages that are still there."""
        self.prune(now)
        return {one[_NUMBER] for box in self._boxes.values() for one in box.messages}

    def since(self, tenant: str, after: int) -> list[InboxMessage]:
        """Those with a higher number than `after`, oldest first."""
        box = self._boxes.get(tenant)
        kept = reversed(box.messages) if box else ()
        found = [_shown(one) for one in takewhile(lambda one: one[_NUMBER] > after, kept)]
        found.reverse()
        return found

    def prune(self, now: float) -> float | None:
        """Drop what is too old or too much. Returns when (s) the next is too old; None where nothing is left."""
        for box in self._boxes.values():
            while box.messages and box.messages[0][_ADDED] <= now - MAX_AGE:
                self._drop_oldest(box)
        self._boxes = {tenant: box for tenant, box in self._boxes.items() if box.messages}
        self._drop_surplus()
        return min((box.messages[0][_ADDED] + MAX_AGE for box in self._boxes.values()), default=None)

    def clear(self, tenant: str, now: float) -> int:
        """Drop all of a tenant. Returns how many there were."""
        self.prune(now)
        box = self._boxes.pop(tenant, None)
        if box is None:
            return 0
        self._size -= box.size
        return len(box.messages)

    def held(self, tenant: str, message_ids: Collection[str]) -> list[str]:
        """Which of these messages are there."""
        box = self._boxes.get(tenant)
        there = {one[_MESSAGE_ID] for one in box.messages} if box else frozenset[str]()
        return [message_id for message_id in message_ids if message_id in there]

    def forget(self, tenant: str, message_ids: Collection[str]) -> None:
        """Drop these messages, each as often as it was taken."""
        if (box := self._boxes.pop(tenant, None)) is None:
            return
        gone = frozenset(message_ids)
        left = deque(one for one in box.messages if one[_MESSAGE_ID] not in gone)
        size = sum(one[_SIZE] for one in left)
        self._size += size - box.size
        if left:
            self._boxes[tenant] = _Box(left, size)

    def _drop_surplus(self) -> None:
        """Drop what is over the bound of messages. As many as the surplus may come until that is looked at again."""
        count = len(self)
        self._look_at = self.last_number + self._surplus + max(self._most - count, 0)
        if count > self._most:
            for _ in zip(range(count - self._most), self._drops(lambda box: len(box.messages)), strict=False):
                pass

    def _drops(self, share: Callable[[_Box], int]) -> Iterator[None]:
        """Drop the oldest message of the tenant whose share is the largest, each time that one asks for the next."""
        heap = [(-share(box), box.messages[0][_NUMBER], tenant) for tenant, box in self._boxes.items()]
        heapq.heapify(heap)
        while heap:
            tenant = heap[0][2]
            box = self._boxes[tenant]
            self._drop_oldest(box)
            if not box.messages:
                heapq.heappop(heap)
                del self._boxes[tenant]
            elif len(heap) > 1:
                heapq.heapreplace(heap, (-share(box), box.messages[0][_NUMBER], tenant))
            yield

    def _drop_oldest(self, box: _Box) -> None:
        size = box.messages.popleft()[_SIZE]
        if size:
            box.size -= size
            self._size -= size


def _shown(kept: _Kept) -> InboxMessage:
    return InboxMessage(kept[_NUMBER], *kept[_REST:])


def _without_data(message: OutboundMessage) -> tuple[OutboundMessage, tuple[InboxFile, ...], bool, int]:
    """A message as it is kept, its files, whether a text was too long, and about how many bytes it takes."""
    content = message.content
    if isinstance(content, Mms):
        files = tuple(InboxFile(one.file_name, one.content_type, len(one.data)) for one in content.media)
        size = _OVERHEAD + getsizeof(content.body) + sum(_PART + len(one.url) for one in content.media)
        media = tuple(replace(one, data=b"") if one.data else one for one in content.media)
        return replace(message, content=replace(content, media=media)), files, False, size
    assert isinstance(content, Email)
    files = ()
    if content.attachments:
        files = tuple(InboxFile(one.file_name, one.content_type, len(one.data)) for one in content.attachments)
        content = replace(content, attachments=tuple(replace(one, data=b"") for one in content.attachments))
    truncated = len(content.text) > MAX_TEXT or len(content.html) > MAX_TEXT
    if truncated:
        content = replace(content, text=content.text[:MAX_TEXT], html=content.html[:MAX_TEXT])
    parts = len(content.recipients) + len(content.headers) + len(files)
    size = _OVERHEAD + sum(map(getsizeof, (content.subject, content.text, content.html))) + _PART * parts
    size += sum(map(len, content.headers.values()))
    return (message if content is message.content else replace(message, content=content)), files, truncated, size

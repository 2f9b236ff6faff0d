"""Bodies of requests: no larger than they may be, in time, and no more of them at once than there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from postwire.core.admission import Room

SMALL_BODY: Final = 16 << 10
"""Bytes of a body that there is room for in any case, and most have less: else a few who are slow with large ones, of
whom nobody knows yet who they are, would keep all of the others' from being taken."""

BODY_TIME: Final = 5.0
"""Seconds that a body may take to come in, and as many more as its bytes take at `LEAST_RATE`."""

LEAST_RATE: Final = 64 << 10
"""Bytes a second."""

_MOST_DIGITS: Final = 15

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""As ASGI has it."""


class BodyTooLarge(Exception):
    """It is larger than it may be."""


class BodyTooSlow(Exception):
    """It did not come in time."""


class NoRoom(Exception):
    """There are too many bytes of others."""


class Disconnected(Exception):
    """The caller is gone."""


class BodyRoom:
    """Counts the bytes of bodies that are held at once, by whose they are."""

    def __init__(self, most: int) -> None:
        """`most`: bytes of one and the same."""
        self.most = most
        self._rooms: dict[Hashable, Room] = {}  # those in which anything is held

    @contextmanager
    def reserve(self, whose: Hashable, tenant: str | None = None) -> Iterator[Body]:
        """Have a body that is held until the end of the block, or until it is released. Where it is of a `tenant`, that
        one shares the room with the others.
        """
        body = Body(self, whose, tenant)
        try:
            yield body
        finally:
            body.release()

    def _hold(self, whose: Hashable, tenant: str | None, count: int) -> bool:
        """Returns whether it is too much."""
        room = self._rooms.get(whose)
        if room is None:
            room = self._rooms[whose] = Room(self.most)
        room.hold(count, tenant)
        if not room:
            del self._rooms[whose]
        return room.is_over(tenant)


class Body:
    """One body. It is read once."""

    __slots__ = ("_held", "_room", "_tenant", "_whose")

    def __init__(self, room: BodyRoom, whose: Hashable, tenant: str | None) -> None:
        self._room = room
        self._whose = whose
        self._tenant = tenant
        self._held = 0

    async def read(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive, most: int) -> bytes:
        """Return all of it.

        Raises:
            BodyTooLarge: it has more than `most` bytes, by what its headers say of it or in fact.
            BodyTooSlow, NoRoom, Disconnected
        """
        length = next((value for name, value in headers if name == b"content-length"), b"")
        if length.isdigit() and (len(length) > _MOST_DIGITS or int(length) > most):
            raise BodyTooLarge
        read = bytearray()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(BODY_TIME) as limit:
                while True:
                    event = await receive()
                    if event["type"] != "http.request":
                        raise Disconnected
                    chunk: bytes = event.get("body", b"")
                    self._held += len(chunk)
                    is_over = self._room._hold(self._whose, self._tenant, len(chunk))
                    read += chunk
                    if len(read) > most:
                        raise BodyTooLarge
                    if is_over and len(read) > SMALL_BODY:
                        raise NoRoom
                    if not event.get("more_body"):
                        return bytes(read)
                    limit.reschedule(begun + BODY_TIME + len(read) / LEAST_RATE)
        except TimeoutError:
            raise BodyTooSlow from None
        finally:
            read.clear()  # an error may stay in a cycle with this until the collector comes

    def release(self) -> None:
        """It is not held any more."""
        self._room._hold(self._whose, self._tenant, -self._held)
        self._held = 0

"""The inbox as it is used: filled by simulated providers, listed, watched, waited for and cleared."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from postwire.clock import Alarm, Clock
from postwire.config.providers import PRODUCTION
from postwire.config.schema import Config
from postwire.core.errors import Overloaded, ShuttingDown
from postwire.core.inbox import MAX_MESSAGES, Inbox, InboxFilter, InboxMessage
from postwire.core.message import Email, OutboundMessage
from postwire.delivery.waiters import time_to_answer
from postwire.delivery.watch import HEARTBEAT_INTERVAL
from postwire.providers.base import ToInbox
from postwire.providers.handover import Handover

PREVIEWS: Final = "/console/preview/"
"""Where a browser finds emails, at the listener of `http.listen`: behind it comes what stands for one of them."""

MAX_LISTENERS: Final = 1_000
"""How many calls of a tenant may watch the inbox or wait for a message at once."""

LONGEST_TURN: Final = 0.005
"""For how many seconds messages are looked through before others have their turn."""


_NUMBER: Final = re.compile("[1-9][0-9]{0,17}")


def inbox_of(config: Config, clock: Clock, token: Callable[[int], str]) -> InboxAccess | None:
    """The inbox of a server; None where it is in production. `token` gives the hex digits of so many random bytes."""
    if config.server.environment == PRODUCTION:
        return None
    random_token = (lambda: token(16)) if config.http.listen and config.console.enabled else None
    return InboxAccess(clock, max_wait=config.server.max_wait, boot=token(4), random_token=random_token)


class _Listeners:
    """Those of a tenant who watch or wait, by the recipient whose messages they want; "" for all."""

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, to: str) -> asyncio.Event:
        """One more."""
        event = asyncio.Event()
        self._events.setdefault(to.casefold(), set()).add(event)
        self._count += 1
        return event

    def discard(self, to: str, event: asyncio.Event) -> None:
        """One less."""
        events = self._events[to.casefold()]
        events.remove(event)
        self._count -= 1
        if not events:
            del self._events[to.casefold()]

    def wake(self, message: OutboundMessage) -> None:
        """Wake whoever may want a message: however many wait for others, they cost nothing."""
        content = message.content
        addresses = content.recipients if isinstance(content, Email) else (content.to,)
        for to in {"", *map(str.casefold, addresses)} & self._events.keys():
            for event in self._events[to]:
                event.set()

    def wake_all(self) -> None:
        """Wake them all."""
        for events in self._events.values():
            for event in events:
                event.set()


class InboxAccess:
    """What simulated providers took, for those who call."""

    def __init__(
        self,
        clock: Clock,
        *,
        max_wait: float,
        boot: str,
        random_token: Callable[[], str] | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        """`boot` tells names of messages from those of other boots. `random_token` gives 128 random bits, where emails
        are shown in a browser."""
        self._clock = clock
        self._max_wait = max_wait
        self._boot = boot
        self._random_token = random_token
        self._inbox = Inbox() if inbox is None else inbox
        self._listeners: dict[str, _Listeners] = {}
        self._expiry: Alarm | None = None
        self._is_ending = False
        self._previews: dict[str, tuple[str, int]] = {}
        self._tokens: dict[int, str] = {}

    def of_provider(self, name: str) -> ToInbox:
        """What a provider of that name is to call with each message that it takes."""
        add, monotonic, listeners = self._inbox.add, self._clock.monotonic, self._listeners

        def take(message: OutboundMessage, handover: Handover, positions: tuple[int, ...]) -> None:
            tenant = handover.tenant
            add(tenant, handover.message_id, name, message, positions, handover.now, monotonic())
            if tenant in listeners:
                listeners[tenant].wake(message)
            if self._expiry is None:
                self._expire()

        return take

    def name_of(self, one: InboxMessage) -> str:
        """What a message is called within the inbox."""
        return f"{self._boot}-{one.number}"

    def number_of(self, name: str) -> int | None:
        """The number of the message that has this name, or had it; None where there was none since the boot."""
        boot, _, number = name.partition("-")
        is_ours = boot == self._boot and _NUMBER.fullmatch(number) is not None
        return int(number) if is_ours else None

    async def find(self, chosen: InboxFilter, count: int, before: int | None, tenant: str) -> list[InboxMessage]:
        """Up to so many messages, newest first; where `before` is given, those with a lower number."""
        found = []
        async for one in self._admitted(chosen, self._inbox.newest(tenant, self._clock.monotonic(), before)):
            found.append(one)
            if len(found) == count:
                break
        return found

    async def watch(self, chosen: InboxFilter, tenant: str) -> AsyncGenerator[InboxMessage | None, None]:
        """What is taken from now on; None at first, and as a sign of life now and then.

        Raises:
            Overloaded: too many watch, or wait.
            ShuttingDown: watch again, at another server or later.
        """
        with self._listening(tenant, chosen.to) as event:
            shown = self._inbox.last_number
            yield None
            is_silent = True
            heartbeat_at = self._clock.monotonic() + HEARTBEAT_INTERVAL
            while not self._is_ending:
                event.clear()
                is_silent = True
                new = self._inbox.since(tenant, shown)
                shown = self._inbox.last_number
                async for one in self._admitted(chosen, new):
                    is_silent = False
                    yield one
                now = self._clock.monotonic()
                if is_silent and now >= heartbeat_at:
                    is_silent = False
                    yield None
                if not is_silent:
                    heartbeat_at = self._clock.monotonic() + HEARTBEAT_INTERVAL
                await self._until(event, heartbeat_at)
        raise ShuttingDown

    async def wait(self, chosen: InboxFilter, tenant: str, time_left: float | None) -> InboxMessage | None:
        """The newest message that is meant, or the next; None where none comes in time.

        `time_left` is the caller's, in seconds.

        Raises:
            Overloaded: too many wait, or watch.
            ShuttingDown: wait again, at another server or later.
        """
        deadline = self._clock.monotonic() + time_to_answer(self._max_wait, time_left)
        with self._listening(tenant, chosen.to) as event:
            seen = self._inbox.last_number
            if found := await self.find(chosen, 1, None, tenant):
                return found[0]
            while not self._is_ending:
                event.clear()
                new = self._inbox.since(tenant, seen)
                seen = self._inbox.last_number
                async for one in self._admitted(chosen, new):
                    return one
                if self._clock.monotonic() >= deadline:
                    return None
                await self._until(event, deadline)
        raise ShuttingDown

    def clear(self, tenant: str) -> int:
        """Remove all messages of a tenant. Returns how many there were."""
        return self._inbox.clear(tenant, self._clock.monotonic())

    def held(self, tenant: str, message_ids: Collection[str]) -> list[str]:
        """Which of these messages are there."""
        return self._inbox.held(tenant, message_ids)

    def forget(self, tenant: str, message_ids: Collection[str]) -> None:
        """Remove messages, each as often as it was taken."""
        self._inbox.forget(tenant, message_ids)

    def preview_path(self, one: InboxMessage, tenant: str) -> str:
        """Where the HTML of a message is shown to whoever knows this path; empty where it has none, or is not shown."""
        if self._random_token is None or not one.has_html:
            return ""
        if one.number not in self._tokens:
            if len(self._tokens) >= 2 * MAX_MESSAGES:  # most of them are of messages that have gone
                self._forget_tokens()
            token = self._tokens[one.number] = self._random_token()
            self._previews[token] = tenant, one.number
        return PREVIEWS + self._tokens[one.number]

    def previewed(self, token: str) -> InboxMessage | None:
        """The message that the end of such a path stands for, if it is still there."""
        if token not in self._previews:
            return None
        return self._inbox.get(*self._previews[token], self._clock.monotonic())

    def end(self) -> None:
        """Let go of all who watch or wait: they go on at another server, or when this one is back."""
        self._is_ending = True
        for listeners in self._listeners.values():
            listeners.wake_all()

    def _expire(self) -> None:
        """Drop what is too old, also where nobody reads any more."""
        now = self._clock.monotonic()
        at = self._inbox.prune(now)
        self._expiry = None if at is None else self._clock.call_later(max(at - now, 1.0), self._expire)

    def _forget_tokens(self) -> None:
        there = self._inbox.numbers(self._clock.monotonic())
        self._previews = {token: where for token, where in self._previews.items() if where[1] in there}
        self._tokens = {number: token for token, (_, number) in self._previews.items()}

    @contextmanager
    def _listening(self, tenant: str, to: str) -> Iterator[asyncio.Event]:
        """An event that is set with each new message of a tenant to a recipient ("": to anybody), and at the end."""
        if self._is_ending:
            raise ShuttingDown
        listeners = self._listeners.setdefault(tenant, _Listeners())
        if len(listeners) >= MAX_LISTENERS:
            raise Overloaded(text="too many watch the inbox or wait for a message: end some, and try again")
        event = listeners.add(to)
        try:
            yield event
        finally:
            listeners.discard(to, event)
            if not listeners:
                del self._listeners[tenant]

    async def _until(self, event: asyncio.Event, time: float) -> None:
        """Return once the event is set, or at about a `time` (monotonic)."""
        alarm = self._clock.call_later(max(time - self._clock.monotonic(), 0.0), event.set)
        try:
            await event.wait()
        finally:
            alarm.cancel()

    async def _admitted(
        self, chosen: InboxFilter, messages: Iterable[InboxMessage]
    ) -> AsyncGenerator[InboxMessage, None]:
        """Those that are meant. Texts may be long: others have their turn meanwhile."""
        pause = self._clock.monotonic() + LONGEST_TURN
        for one in messages:
            if chosen.admits(one):
                yield one
            if chosen.match and self._clock.monotonic() >= pause:
                await asyncio.sleep(0)
                pause = self._clock.monotonic() + LONGEST_TURN

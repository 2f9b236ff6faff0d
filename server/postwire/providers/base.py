"""The seam to the providers. Whatever is behind it passes the suite in `postwire.testing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from postwire.config.providers import CONNECT_TIMEOUT
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.core.receipts import Inbound, Receipt
from postwire.providers.handover import Handover
from postwire.providers.receipts.base import ReceiptSupport


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """Whether a provider could be reached, and what to look at if not. `detail` is free of secrets.

    `misconfigured`: it could, and refuses our account or key.
    """

    ok: bool
    detail: str = ""
    misconfigured: bool = False


class Provider(Protocol):
    """One way out.

    `send` translates: it hands the message over, and says what the vendor's answer means in one of the outcomes. It
    tries once, and neither waits nor retries; limits, time-outs and routes are decided above it.

    This is what every provider has. What it may have beside that are the protocols below.
    """

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        ...

    @property
    def kind(self) -> str:
        """What it is: the name of its kind."""
        ...

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What it carries, in the order of declaration."""
        ...

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """Hand `message` to the vendor, once.

        Where the result tells recipients apart, it has one entry for each of those that `handover` is for. A fault of
        the vendor or of the network is a result, not an exception: `ERROR` where the message was surely not sent,
        `UNCERTAIN` where it may have been. An exception that escapes is taken as `UNCERTAIN`, unless it came out of
        `handover.connecting()`. A cancelled call leaves nothing behind, and is never swallowed.
        """
        ...

    async def check(self) -> ProviderHealth:
        """Whether the vendor can be reached, without sending anything. It is cancelled after `checks.CHECK_TIMEOUT`.

        It may be called before `open` has succeeded, or without it.
        """
        ...


# What follows is optional: a provider has it by having its attributes. `providers.capabilities` looks them up.


class Deduplicating(Provider, Protocol):
    """A provider whose vendor looks at the idempotency key. One that has no `dedup_window` is taken to do so never."""

    @property
    def dedup_window(self) -> float:
        """For how many seconds the vendor sends a message once only, however often it is handed over with one key; 0
        if it never looks at the key."""
        ...


class Selective(Provider, Protocol):
    """A provider that cannot carry every message of its channels."""

    @property
    def selective(self) -> bool:
        """Whether `carries` is to be asked at all. One that has no such attribute is asked."""
        ...

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None = None) -> FieldViolation | None:
        """Why this provider can never carry a message, or never to the recipients at `positions` alone; None if it can.

        Asked before any attempt, of every message: it has to be quick, and always gives the same answer.
        """
        ...


class Opening(Provider, Protocol):
    """A provider that has to be opened before it can be used."""

    async def open(self) -> ProviderHealth | None:
        """Make connections and log in, where that is to be done ahead. None is as good as `ok`.

        Called beside the boot, and again after a pause until it succeeds. Nothing is sent before it has.
        """
        ...


class Closing(Provider, Protocol):
    """A provider that has something to close at the end."""

    async def close(self) -> None:
        """Let go of connections. Called once; nothing is called after it."""
        ...


class Renewable(Provider, Protocol):
    """A provider that can go on with other secrets. Those of one that cannot are taken over by a restart."""

    def renew(self, settings: Any) -> None:
        """Use these settings from the next attempt on: an instance of its kind's settings class, in which only secrets
        differ from those that it was made of.

        Called on the event loop, where other attempts may be under way. It neither waits nor does any I/O.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Preview:
    """What a provider would hand over: lines about it, and what follows them. Secrets are struck out."""

    lines: tuple[str, ...]
    body: bytes


class Previewing(Provider, Protocol):
    """A provider that can show what it would hand over."""

    def preview(self, message: OutboundMessage, handover: Handover) -> Preview:
        """Show what `send` would hand over, for a message that it can carry. It does no I/O."""
        ...


class Simulated(Provider, Protocol):
    """A provider that sends nothing. The boot warns of the channels that it carries."""

    @property
    def simulated(self) -> bool:
        """True."""
        ...


class Updatable(Simulated, Protocol):
    """A simulated provider whose behaviour can change while the server runs: by `UpdateMockProvider`."""

    def prepare_update(self, changes: Mapping[str, Any]) -> Callable[[], None]:
        """See that settings, by their names, can be changed so; returns what changes them, from the next attempt on.

        Raises:
            ValueError: a setting's name, a colon and what is wrong with it.
        """
        ...


class Seeded(Simulated, Protocol):
    """A simulated provider whose outcomes are drawn from a seed of 64 bits."""

    @property
    def seed(self) -> int:
        """The one in use."""
        ...

    @property
    def seeded(self) -> bool:
        """Whether it was chosen; otherwise it is random."""
        ...


class Reporting(Provider, Protocol):
    """A provider that is told of receipts itself, and has them kept by `Context.report`."""

    @property
    def reports(self) -> bool:
        """Whether it does so now: messages that it takes then are given a reference, and found by its ids. For one that
        is `Updatable`, that changes with an update alone."""
        ...


Report = Callable[[Sequence[Receipt | Inbound]], Awaitable[None]]
"""Has what a provider reports kept; it is on disk when that is done. Raises StoreUnavailable where it cannot be."""


async def unheard(reported: Sequence[Receipt | Inbound]) -> None:
    """Where nobody takes receipts."""


ToInbox = Callable[[OutboundMessage, Handover, tuple[int, ...]], None]
"""Has a message that a simulated provider took shown in the inbox; the numbers are the positions of those of its
recipients that it went to, none where it went to all. It neither waits nor raises."""


def no_inbox(message: OutboundMessage, handover: Handover, positions: tuple[int, ...]) -> None:
    """Where nothing is shown."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a provider is made of, beside its own settings."""

    name: str
    channels: tuple[Channel, ...]
    random_seed: Callable[[], int]
    """Gives 64 random bits, for what was left without a seed."""
    connect_timeout: float = CONNECT_TIMEOUT
    """Seconds that it may take to connect, TLS included."""
    report: Report = unheard
    """For a provider that is told of receipts itself, and not by a call of the vendor's."""
    to_inbox: ToInbox = no_inbox
    """For a provider that is `Simulated`: to be called with what it would have sent, or may have."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of provider, declared once, in the file that has its code: `KIND = Kind(…)`.

    `providers.builtin` names those of Postwire's own. A package adds one by an entry point of the group
    `postwire.providers`, whose name is the kind's: see docs/providers.md.
    """

    settings: type[Any]
    """A frozen dataclass, as `postwire.config.bind` describes it."""
    make: Callable[[Context, Any], Provider]
    """Makes a provider of its context and an instance of `settings`. It does no I/O."""
    channels: tuple[Channel, ...]
    """What it can carry. A configuration may declare less."""
    summary: str
    """One line for people who choose among kinds."""
    connect_timeout: float | None = field(default=None, kw_only=True)
    """Its own default of that key, in seconds; None for the common one. So with the two below."""
    attempt_timeout: float | None = field(default=None, kw_only=True)
    max_concurrent: int | None = field(default=None, kw_only=True)
    max_concurrent_of: Callable[[Any], int] | None = field(default=None, kw_only=True)
    """The same where it follows from the kind's own settings: `max_concurrent` is then that of their defaults."""
    receipts: ReceiptSupport | None = field(default=None, kw_only=True)
    """How its receipts are read; None where it sends none."""
    for_tests_only: bool = field(default=False, kw_only=True)
    """Whether a server whose `server.environment` is "production" refuses to start with it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or not all(isinstance(channel, Channel) for channel in self.channels):
            raise TypeError("channels must be members of Channel, one at least")

"""Who must not be written to: asked before every attempt, and changed by operators, receipts and recipients."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from postwire.clock import Clock
from postwire.core import audit
from postwire.core.audit import AuditedMethod
from postwire.core.errors import StoreUnavailable
from postwire.core.message import Content, DispatchOptions, Email, MessageRecord, OutboundMessage
from postwire.core.principal import Principal
from postwire.core.suppression import (
    ANY_SENDER,
    Suppression,
    SuppressionPage,
    SuppressionPosition,
    SuppressionReason,
    address_hash,
    derived_key,
    fingerprint,
    hashes_of,
    scope_of,
    suppressed_positions,
)
from postwire.outbox.base import AdminState, Outbox, SuppressionStore

MOST_ADDRESSES: Final = 1_000
"""How many addresses are added, removed or looked up at once."""

ASKED_AGAIN: Final = 30 * 86_400_000_000
"""µs after which a vendor is asked again that has refused somebody who had opted out."""

MANY_RECIPIENTS: Final = 100
"""From how many recipients on an email's are hashed on another thread."""

_FINGERPRINT: Final = "suppression_key"
"""The metadata that says with which key addresses were hashed."""


class WrongKey(Exception):
    """The store's suppressions were made with another key than the one that is given. One line for people."""


class Addresses:
    """Makes hashes of addresses."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.key_id: Final = fingerprint(key)

    @classmethod
    async def of(cls, store: AdminState, key: str | None) -> Addresses:
        """With the key of the configuration, or else that of the store."""
        return cls(derived_key(await store.lookup_key()) if key is None else key.encode())

    def hash(self, address: str) -> bytes:
        """That of an address."""
        return address_hash(address, self._key)

    async def hashes(self, content: Content) -> tuple[bytes, ...]:
        """Those of a message's recipients, by their positions. Many are not for the event loop."""
        if isinstance(content, Email) and len(content.recipients) > MANY_RECIPIENTS:
            return await asyncio.to_thread(hashes_of, content, self._key)
        return hashes_of(content, self._key)


async def check_key(store: AdminState, suppressions: SuppressionStore, addresses: Addresses) -> None:
    """Make sure that what is in the store was made with this key; where nothing is, it will be.

    Raises:
        WrongKey: it was made with another one, and would count for nobody.
        StoreUnavailable: the store cannot be read, or cannot commit.
    """
    known = await store.metadata(_FINGERPRINT)
    if known == addresses.key_id:
        return
    if known is not None and suppressions.has_suppressions:
        is_own = known == fingerprint(derived_key(await store.lookup_key()))
        remedy = (
            "leave it out, they were made without one" if is_own else f"put back the one with the fingerprint {known}"
        )
        raise WrongKey(
            "suppression.key: is not the one that the store's suppressions were made with, which would all be lost: "
            f"{remedy}; the fingerprint of this one is {addresses.key_id}"
        )
    await store.keep_metadata(_FINGERPRINT, addresses.key_id)


@dataclass(frozen=True, slots=True)
class NewSuppression:
    """An address that is to be suppressed."""

    address: str = field(repr=False)
    reason: SuppressionReason = SuppressionReason.MANUAL
    source: str = ""
    expire_time: int | None = None
    sender: str = ANY_SENDER


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A look that is about to be taken, at all who are asked about until then."""

    hashes: set[bytes]
    task: asyncio.Task[Sequence[Suppression]]


class Looks:
    """Looks up for many attempts at once: those who ask while a look is under way share the next one. Each alone would
    be a turn of the reading thread, which costs as much as the rest of an attempt where many come out of a queue."""

    def __init__(self, store: SuppressionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._next: dict[str, _Look] = {}  # by tenant
        self._one_at_a_time = asyncio.Lock()

    async def look(self, hashes: Sequence[bytes], tenant: str) -> Sequence[Suppression]:
        """What is suppressed of these addresses of a tenant, and perhaps of others.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        look = self._next.get(tenant)
        if look is None:
            task = asyncio.get_running_loop().create_task(self._take(tenant))
            task.add_done_callback(_retrieve)
            look = self._next[tenant] = _Look(set(), task)
        look.hashes.update(hashes)
        return await asyncio.shield(look.task)

    async def _take(self, tenant: str) -> Sequence[Suppression]:
        async with self._one_at_a_time:
            look = self._next.pop(tenant)
            return await self._store.suppressions([*look.hashes], tenant, self._clock.wall())


def _retrieve(task: asyncio.Task[Sequence[Suppression]]) -> None:
    """Whoever asked may be gone, and then a failure is nobody's."""
    if not task.cancelled():
        task.exception()


class Suppressions:
    """Asks and changes them."""

    def __init__(
        self, store: SuppressionStore, clock: Clock, addresses: Addresses, *, notes_refusals: bool = False
    ) -> None:
        """`notes_refusals`: see `opted_out`."""
        self._notes_refusals = notes_refusals
        self._looks = Looks(store, clock)
        self._store = store
        self._clock = clock
        self.addresses = addresses

    @classmethod
    async def open(cls, outbox: Outbox, clock: Clock, key: str | None, *, notes_refusals: bool) -> Suppressions:
        """Those of a store, with the key of the configuration, or else one of the store's. `notes_refusals`: see
        `opted_out`.

        Raises:
            WrongKey: they were made with another one.
            StoreUnavailable: the store cannot be read, or cannot commit.
        """
        addresses = await Addresses.of(outbox, key)
        await check_key(outbox, outbox, addresses)
        return cls(outbox, clock, addresses, notes_refusals=notes_refusals)

    def now(self) -> int:
        """The time (µs since the epoch) by which they expire."""
        return self._clock.wall()

    async def add(self, new: Sequence[NewSuppression], by: Principal) -> int:
        """Suppress addresses, for the tenant; returns how many of them were not.

        Raises:
            StoreUnavailable: whether they are suppressed is unknown.
        """
        now = self._clock.wall()
        made = [
            Suppression(
                self.addresses.hash(one.address),
                one.reason,
                one.source,
                now,
                self.addresses.key_id,
                one.expire_time,
                scope_of(one.sender, ANY_SENDER),
            )
            for one in new
        ]
        event = audit.event(AuditedMethod.ADD_SUPPRESSIONS, by, audit.addresses(len(new)), now=now)
        return await self._store.add_suppressions({by.tenant: made}, event)

    async def remove(self, addresses: Sequence[str], by: Principal) -> int:
        """Have addresses suppressed no longer; returns how many were.

        Raises:
            StoreUnavailable: whether they are is unknown.
        """
        now = self._clock.wall()
        event = audit.event(AuditedMethod.REMOVE_SUPPRESSIONS, by, audit.addresses(len(addresses)), now=now)
        return await self._store.remove_suppressions([*map(self.addresses.hash, addresses)], [by.tenant], now, event)

    async def check(self, addresses: Sequence[str], tenant: str) -> list[tuple[int, Suppression]]:
        """What is suppressed of addresses, each with its index, in their order, and for one by the sender.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        hashes = [*map(self.addresses.hash, addresses)]
        found: dict[bytes, list[Suppression]] = {}
        for one in await self._store.suppressions(hashes, tenant, self._clock.wall()):
            found.setdefault(one.address_hash, []).append(one)
        return [
            (index, one)
            for index, of in enumerate(hashes)
            for one in sorted(found.get(of, ()), key=lambda one: one.sender)
        ]

    async def page(self, size: int, after: SuppressionPosition | None, tenant: str) -> SuppressionPage:
        """A page of suppressions: see `SuppressionStore.list_suppressions`."""
        return await self._store.list_suppressions(size, after, tenant, self._clock.wall())

    def concerns(self, options: DispatchOptions) -> bool:
        """Whether anybody may be suppressed for whom a message with these options is."""
        return self._store.has_suppressions and not options.ignore_suppression

    async def positions(self, record: MessageRecord, message: OutboundMessage) -> frozenset[int]:
        """The positions of the recipients of an open attempt who are suppressed.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        hashes = await self.addresses.hashes(message.content)
        found = await self._looks.look(hashes, record.tenant)
        scope = scope_of(message.content.sender, record.attempts[-1].provider_name)
        return suppressed_positions(hashes, found, scope, self._clock.wall())

    async def opted_out(self, record: MessageRecord, message: OutboundMessage) -> None:
        """A provider has refused the last attempt of a message, since its recipient wants no more of them: he is
        suppressed for its scope. But not for good, since that he wants them again is told to the vendor, and perhaps
        not to us.
        """
        if not self._notes_refusals:
            return
        name, now = record.attempts[-1].provider_name, self._clock.wall()
        made = [
            Suppression(
                one,
                SuppressionReason.OPT_OUT,
                f"receipt:{name}",
                now,
                self.addresses.key_id,
                now + ASKED_AGAIN,
                scope_of(message.content.sender, name),
            )
            for one in await self.addresses.hashes(message.content)
        ]
        with suppress(StoreUnavailable):  # then the vendor says it again
            await self._store.add_suppressions({record.tenant: made}, only_new=True)

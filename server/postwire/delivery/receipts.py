"""Receipts, as far as the delivery has to do with them: what providers are to quote, and what waits to be applied."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from postwire.core import receipt_states
from postwire.core.errors import StoreUnavailable
from postwire.core.message import Content, Email, MessageRecord, MessageState
from postwire.core.receipts import KeptReceipt
from postwire.core.reference import References
from postwire.core.retries import first_same_attempt
from postwire.core.routing import Route
from postwire.core.suppression import scope_of
from postwire.delivery.suppressions import Addresses
from postwire.outbox.base import HeldKey, NewMessage, ProviderMessageId, ReceiptStore

NOTHING: Final = ("", "")

LOOKS: Final = 8
"""How often it is looked whether what is held has come to be known at another node, by the one that holds it."""


@dataclass(frozen=True, slots=True)
class ReceiptAddresses:
    """What providers are given that their receipts are to quote. `providers` are the names of those that take receipts;
    `public_url` is under which address vendors reach us, without a slash at the end; empty where none do. Those that
    are `deduplicating` send a message once, however often they are given it under one key.
    """

    references: References
    public_url: str
    providers: Collection[str]
    deduplicating: Collection[str] = frozenset()

    def of(self, record: MessageRecord) -> tuple[str, str]:
        """The reference and the callback address of the open attempt of a message; both are empty where its provider
        takes no receipts.

        To a vendor that deduplicates, what repeats an earlier attempt is to be the same in every byte.
        """
        attempt = record.attempts[-1]
        if attempt.provider_name not in self.providers:
            return NOTHING
        repeats = attempt.provider_name in self.deduplicating
        number = first_same_attempt(record).number if repeats else attempt.number
        reference = self.references.make(record.message_id, number)
        if not self.public_url:
            return reference, ""
        return reference, f"{self.public_url}/receipts/{attempt.provider_name}/{reference}"


class ReceiptTracker:
    """Knows, without asking the store, for which messages there are receipts that are not applied, and under what
    others are held. Where there are none, asking costs nothing.

    `wake` is called when there is something to be done about them. Where other nodes share the store (`is_shared`), it
    knows of what has come in here, and of what it has come upon: see `look_again`.
    """

    def __init__(self, addresses: ReceiptAddresses, *, is_shared: bool = False) -> None:
        self.addresses: Final = addresses
        self.is_shared: Final = is_shared
        self._held_here: dict[HeldKey, int] = {}  # how often there is still to be a look at what has come to be held
        self.wake: Callable[[], None] = lambda: None
        self._pending: dict[str, int] = {}  # how many receipts of a message have come, since any was left to be applied
        self._ready: dict[str, None] = {}  # of these, those that are to be looked at
        self._held: Counter[HeldKey] = Counter()
        self._turned_up: dict[HeldKey, None] = {}
        self._since: Counter[HeldKey] | None = None  # what has come to be held while that is being read anew
        self._passes: list[asyncio.Future[None]] = []
        self._closed = False

    def is_pending(self, message_id: str) -> bool:
        """Whether there may be receipts of a message that are not applied."""
        return message_id in self._pending

    def kept(self, message_ids: Iterable[str]) -> None:
        """There are receipts of messages."""
        for message_id in message_ids:
            self._pending[message_id] = self._pending.get(message_id, 0) + 1
            self._ready[message_id] = None
        if self._ready:
            self.wake()

    def refused(self, message_ids: Iterable[str]) -> None:
        """The store has refused to have attempts opened, perhaps for receipts that came in at another node."""
        if self.is_shared:
            self.kept(message_ids)

    def expect(self, keys: Collection[HeldKey]) -> None:
        """Receipts are about to be held under these keys, or are: what they wait for may come at any time."""
        self._held.update(keys)
        if self._since is not None:
            self._since.update(keys)

    def forget(self, keys: Collection[HeldKey]) -> None:
        """Receipts that were expected to be held under these keys are not."""
        for counts in (self._held, self._since):
            if counts is not None:
                counts.subtract(keys)
                for key in keys:
                    if counts[key] <= 0:
                        del counts[key]

    def held(self, keys: Iterable[HeldKey]) -> None:
        """Receipts have come to be held under these keys, as was expected."""
        if self.is_shared:
            self._held_here.update(dict.fromkeys(keys, LOOKS))

    def look_again(self) -> None:
        """Have all that is not applied looked at, and what has come to be held here: another node may have changed the
        messages, and nobody tells of that. What is held for long is left to whoever looks at all of it."""
        self._ready.update(dict.fromkeys(self._pending))
        for key, looks in list(self._held_here.items()):
            self._held_here[key] = looks - 1
            if looks and key in self._held:
                self._turned_up[key] = None
            else:
                del self._held_here[key]
                self._held.pop(key, None)
        if self.has_ready:
            self.wake()

    def changed(self, record: MessageRecord, ids: Sequence[ProviderMessageId] = ()) -> None:
        """A change of a message is durable, with what its provider has given as its ids."""
        if self._held:
            keys = [HeldKey(one.provider_name, one.provider_message_id) for one in ids]
            found = [key for key in (*keys, HeldKey("", record.message_id)) if key in self._held]
            if found:
                self._turned_up.update(dict.fromkeys(found))
                self.wake()
        if self._pending and record.message_id in self._pending:
            self._ready[record.message_id] = None
            self.wake()

    async def until_looked_at(self) -> None:
        """Return once what is ready has been looked at. It is about to be."""
        if self._closed:
            return
        future = asyncio.get_running_loop().create_future()
        self._passes.append(future)
        self.wake()
        await future

    async def reported(self, record: MessageRecord, outbox: ReceiptStore) -> Sequence[KeptReceipt]:
        """All that is kept of what was reported of a message, if any of it is not applied."""
        if record.message_id not in self._pending:
            return ()
        try:
            found = await outbox.reported([record.message_id])
        except StoreUnavailable:  # it is applied later: no attempt is opened before
            return ()
        return found[0].receipts if found else ()

    def applied_to(self, record: MessageRecord, receipts: Sequence[KeptReceipt], now: int) -> MessageRecord:
        """The record after these: see `receipt_states.apply`."""
        return receipt_states.apply(record, receipts, now=now, deduplicating=self.addresses.deduplicating)

    def ids_given(self, before: MessageRecord, after: MessageRecord) -> Sequence[ProviderMessageId]:
        """The ids by which a provider may report later, as `ids_given`; none where it does not."""
        return ids_given(before, after) if before.attempts[-1].provider_name in self.addresses.providers else ()

    # For whoever applies them.

    def pop_turned_up(self) -> list[HeldKey]:
        """The keys of what is held and may be known by now."""
        found, self._turned_up = list(self._turned_up), {}
        return found

    def put_back_turned_up(self, keys: Iterable[HeldKey]) -> None:
        """They are to be looked at again."""
        self._turned_up.update(dict.fromkeys(keys))

    def put_back(self, message_ids: Iterable[str]) -> None:
        """Messages are to be looked at again."""
        self._ready.update(dict.fromkeys(message_ids))

    def pop_ready(self, most: int) -> dict[str, int]:
        """At most so many of the messages that are to be looked at, each with a count for `applied`."""
        found = list(self._ready)[:most]
        for message_id in found:
            del self._ready[message_id]
        return {message_id: self._pending.get(message_id, 0) for message_id in found}

    def applied(self, message_id: str, count: int) -> None:
        """Nothing is left to be applied of what had come of a message when it was looked at."""
        if self._pending.get(message_id) == count:
            del self._pending[message_id]

    def looked(self) -> None:
        """What was ready has been looked at."""
        passes, self._passes = self._passes, []
        for future in passes:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Nothing is taken out of queues any more, so nobody is to wait for that."""
        self._closed = True
        self.looked()

    @property
    def has_held(self) -> bool:
        """Whether anything may be held."""
        return bool(self._held)

    @property
    def has_ready(self) -> bool:
        """Whether anything is to be looked at."""
        return bool(self._ready or self._turned_up)

    def begin_recount(self) -> None:
        """What is held is about to be read anew."""
        self._since = Counter()

    def end_recount(self, keys: Iterable[HeldKey]) -> None:
        """It is held under these keys, and under those that came meanwhile."""
        self._held = Counter(keys)
        self._held.update(self._since or ())
        self._since = None


class RecipientHashes:
    """Has the hashes of a message's recipients kept, by which what is reported of an address finds its recipient.

    Kept of emails to several, for which one of `providers` may be asked; of all messages for which one may be, where
    `of_all`, since whoever suppresses has to know whose address it is. With these goes the address of the sender,
    without a name: it is from that sender that somebody may want no more.
    """

    def __init__(self, addresses: Addresses, providers: Set[str], *, of_all: bool) -> None:
        self._addresses = addresses
        self._providers = providers
        self._of_all = of_all

    def concerns(self, content: Content, route: Route) -> bool:
        """Whether the hashes of a message's recipients are to be kept."""
        has_several = isinstance(content, Email) and len(content.recipients) > 1
        return (has_several or self._of_all) and not self._providers.isdisjoint(route.members)

    async def add(self, new: NewMessage, content: Content) -> NewMessage:
        """The message with the hashes of its recipients."""
        hashes = new.recipient_hashes or await self._addresses.hashes(content)
        sender = scope_of(content.sender, "") if self._of_all else ""
        return replace(new, recipient_hashes=hashes, keeps_hashes=True, sender=sender)


def ids_given(before: MessageRecord, after: MessageRecord) -> list[ProviderMessageId]:
    """The ids that the provider of the last attempt has given, which was open `before` and is closed `after`: one for
    each part, or for each recipient where it tells them apart."""
    attempt = after.attempts[-1]
    found: dict[str, int | None] = {}
    if before.recipients:
        tried = [one.index for one in before.recipients if one.state is MessageState.SENDING]
        own = [(after.recipients[index].provider_message_id, index) for index in tried]
        counts = Counter(one for one, _ in own)
        found = {one: index if counts[one] == 1 else None for one, index in own if one}
        parts = [attempt.provider_message_id] if attempt.provider_message_id else []
    else:
        parts = [part for part in attempt.provider_message_id.split(",") if part]
    found |= dict.fromkeys(parts)
    return [ProviderMessageId(attempt.provider_name, one, attempt.number, index) for one, index in found.items()]

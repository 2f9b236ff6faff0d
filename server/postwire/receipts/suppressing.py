"""Suppressions that nobody has to add: of those whom receipts report, and of those who write so themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from postwire.clock import Clock
from postwire.core.inbound import Wish, Words
from postwire.core.message import DEFAULT_TENANT
from postwire.core.receipts import Inbound, KeptReceipt
from postwire.core.suppression import ANY_SENDER, Suppression, SuppressionReason, reason_of, scope_of
from postwire.core.validation import is_phone, is_short_code
from postwire.delivery import Addresses
from postwire.outbox.base import SuppressionStore


class AutomaticSuppressions:
    """Adds and removes them. Everything here may come again, and then changes nothing."""

    def __init__(
        self,
        store: SuppressionStore,
        clock: Clock,
        addresses: Addresses,
        words: Words,
        tenants: Callable[[], Collection[str]],
    ) -> None:
        """`tenants` gives the names of those that are declared."""
        self._store = store
        self._clock = clock
        self._addresses = addresses
        self._words = words
        self._tenants = tenants

    async def reported(self, tenant: str, address_hash: bytes | None, sender: str, receipt: KeptReceipt) -> None:
        """A receipt of a tenant's message is applied, which names this `sender`: see `receipts.applier`.

        Raises:
            StoreUnavailable: it is to be told again.
        """
        reason = reason_of(receipt.state, permanent=receipt.permanent)
        if reason is None or address_hash is None:
            return
        scope = scope_of(sender, receipt.provider_name) if reason is SuppressionReason.OPT_OUT else ANY_SENDER
        made = self._made(address_hash, reason, f"receipt:{receipt.provider_name}", scope)
        await self._store.add_suppressions({tenant: [made]}, only_new=True)

    async def inbound(self, provider_name: str, inbound: Inbound) -> bool:
        """Somebody has written to a number of ours. It counts for all tenants, which share it, and for what is sent
        from it: that is what names it as its sender, and what this provider sends with a sender of its own. Returns
        whether it was a word that counts.

        Raises:
            StoreUnavailable: it is to come again.
        """
        wish = self._words.wish_in(inbound.text)
        if wish is None or not is_phone(inbound.sender):
            return False
        address_hash = self._addresses.hash(inbound.sender)
        senders = sorted({*_named(inbound.recipient), provider_name})
        tenants = sorted({DEFAULT_TENANT, *self._tenants()})
        if wish is Wish.STOP:
            made = [
                self._made(address_hash, SuppressionReason.OPT_OUT, f"{_INBOUND}{provider_name}", one)
                for one in senders
            ]
            await self._store.add_suppressions(dict.fromkeys(tenants, made), only_new=True)
        else:
            # What an operator has added, or a complaint, is not for the recipient to take back by a word.
            await self._store.remove_suppressions(
                [address_hash], tenants, self._clock.wall(), senders=senders, reason=SuppressionReason.OPT_OUT
            )
        return True

    def _made(self, address_hash: bytes, reason: SuppressionReason, source: str, sender: str) -> Suppression:
        return Suppression(address_hash, reason, source, self._clock.wall(), self._addresses.key_id, sender=sender)


_INBOUND: Final = "inbound:"


def _named(recipient: str) -> Iterator[str]:
    """How messages may name, as their sender, a number of ours that was written to. A short code has no plus there,
    whatever a vendor puts in front of it; of seven or eight digits, nobody knows which it is."""
    digits = recipient.removeprefix("+")
    if is_short_code(digits):
        yield digits
        recipient = f"+{digits}" if is_phone(f"+{digits}") else ""
    if recipient:
        yield recipient

"""Who must not be written to: as hashes of addresses, since the addresses themselves are not kept.

An address is suppressed for any sender, or for one: somebody who wants no more messages from one number may well want
those from another. What a message is sent from is called its scope: the sender that it names, or, where it names none,
the name of the provider that sends it with its own.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from postwire.core.listing import place_in, token_of
from postwire.core.message import Content, Email
from postwire.core.receipts import ReceiptState
from postwire.core.values import Word

_ADDRESS: Final = b"postwire/address/1"
_KEY: Final = b"postwire/suppression/1"
_FINGERPRINT: Final = b"postwire/suppression-key/1"

_POSITION: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")

SUPPRESSED: Final = "suppressed"
"""The error code of a recipient who is."""

ANY_SENDER: Final = ""
"""The scope of what is suppressed whoever sends."""

MAX_SOURCE: Final = 64
"""Characters of where it is known from."""


class SuppressionReason(Word):
    """Why an address must not be written to."""

    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    OPT_OUT = "opt_out"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that must not be written to, by its hash. Times are in µs since the epoch; without an `expire_time` it
    is for good. `sender` is the scope, and `key_id` the fingerprint of the key that the hash was made with."""

    address_hash: bytes = field(repr=False)
    reason: SuppressionReason
    source: str
    create_time: int
    key_id: str
    expire_time: int | None = None
    sender: str = ANY_SENDER


class SuppressionPosition(NamedTuple):
    """A place in the order of suppressions: by time (µs), and by `number` among those of one time."""

    time: int
    number: int


@dataclass(frozen=True, slots=True)
class SuppressionPage:
    """Some suppressions, newest first, and where the next page goes on; None where this is the last."""

    suppressions: tuple[Suppression, ...]
    next_after: SuppressionPosition | None


def normalized(address: str) -> str:
    """An address in the form in which it is the same however it is written.

    A phone number stays as it is. An email address is in NFC and lower case, with its domain in ASCII. Neither dots nor
    what follows a plus are folded: they may be somebody else's.
    """
    local_part, at, domain = address.rpartition("@")
    if not at:
        return address
    # Not above: who only steers a server needs the words of this module, and has no `idna`.
    from postwire.core.addresses import domain_to_ascii

    with suppress(ValueError):
        domain = domain_to_ascii(domain)
    return f"{unicodedata.normalize('NFC', unicodedata.normalize('NFC', local_part).lower())}@{domain.lower()}"


def address_hash(address: str, key: bytes) -> bytes:
    """32 bytes that stand for an address: HMAC-SHA256 of its normalized form. Whoever has them and not the key cannot
    find out whose they are by trying. That of a phone number is never that of an email address."""
    return hmac.digest(key, _ADDRESS + normalized(address).encode(), "sha256")


def hashes_of(content: Content, key: bytes) -> tuple[bytes, ...]:
    """The hashes of the recipients of a message, by their positions."""
    if isinstance(content, Email):
        return tuple(address_hash(one, key) for one in content.recipients)
    return (address_hash(content.to, key),)


def scope_of(sender: str, provider_name: str) -> str:
    """The scope of what is sent: by the sender that it names, with or without a name before the address, or else by the
    provider that sends it with its own."""
    if not sender:
        return provider_name
    if "@" not in sender:
        return sender
    if sender.endswith(">"):
        sender = sender[sender.rfind("<") + 1 : -1]
    return normalized(sender)


def suppressed_positions(hashes: Sequence[bytes], found: Sequence[Suppression], scope: str, now: int) -> frozenset[int]:
    """The positions of the recipients who must not be written to from a scope, of those with these `hashes`; `found` is
    what is suppressed of them."""
    in_force = {
        one.address_hash
        for one in found
        if one.sender in (ANY_SENDER, scope) and (one.expire_time is None or one.expire_time > now)
    }
    return frozenset(index for index, one in enumerate(hashes) if one in in_force)


def reason_of(state: ReceiptState, *, permanent: bool) -> SuppressionReason | None:
    """Why a receipt has its recipient suppressed, if it does. `permanent`: the vendor will not reach him, ever."""
    if state is ReceiptState.COMPLAINED:
        return SuppressionReason.COMPLAINT
    if state is ReceiptState.OPTED_OUT:
        return SuppressionReason.OPT_OUT
    if state is ReceiptState.UNDELIVERED and permanent:
        return SuppressionReason.HARD_BOUNCE
    return None


def suppression_token(after: SuppressionPosition, asked: bytes) -> str:
    """The token of the page that goes on behind `after`, of a list that `asked` tells from others."""
    return token_of(f"{after.time}.{after.number}", asked)


def parse_suppression_token(token: str, asked: bytes) -> SuppressionPosition:
    """Where a page goes on.

    Raises:
        ValueError: the token is not one of ours, or belongs to another list.
    """
    return SuppressionPosition(*map(int, place_in(token, asked, _POSITION.fullmatch).split(".")))


def derived_key(lookup_key: bytes) -> bytes:
    """The key of a store that is given none, made of its lookup key."""
    return hmac.digest(lookup_key, _KEY, "sha256")


def fingerprint(key: bytes) -> str:
    """16 hexadecimal digits that tell a key from others, and nothing of it."""
    return hmac.digest(key, _FINGERPRINT, "sha256").hex()[:16]

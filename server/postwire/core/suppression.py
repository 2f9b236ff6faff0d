"""Who must not be written to: as hashes of addresses, since the addresses themselves are not kept."""

from __future__ import annotations

import enum
import hmac
import unicodedata
from contextlib import suppress
from typing import Final

from postwire.core.addresses import domain_to_ascii

_PURPOSE: Final = b"postwire/address/1"

SUPPRESSED: Final = "suppressed"
"""The error code of a recipient who is."""


class SuppressionReason(enum.Enum):
    """Why an address must not be written to."""

    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    OPT_OUT = "opt_out"
    MANUAL = "manual"


def normalized(address: str) -> str:
    """An address in the form in which it is the same however it is written.

    A phone number stays as it is. An email address is in NFC and lower case, with its domain in ASCII. Neither dots nor
    what follows a plus are folded: they may be somebody else's.
    """
    local_part, at, domain = address.rpartition("@")
    if not at:
        return address
    with suppress(ValueError):
        domain = domain_to_ascii(domain)
    return f"{unicodedata.normalize('NFC', unicodedata.normalize('NFC', local_part).lower())}@{domain.lower()}"


def address_hash(address: str, key: bytes) -> bytes:
    """32 bytes that stand for an address: HMAC-SHA256 of its normalized form. Whoever has them and not the key cannot
    find out whose they are by trying. That of a phone number is never that of an email address."""
    return hmac.digest(key, _PURPOSE + normalized(address).encode(), "sha256")

"""Email addresses, and the domains in them: what is one, and when two domains are the same.

Sources: RFC 5321 for the form and the lengths of an address, RFC 6531 for characters beyond ASCII, RFC 1123 for domains
in ASCII (labels of letters, digits and hyphens), IDNA 2008 (RFC 5890 to 5893) for others. A domain is mapped as RFC
5895 says, as far as that is lower case and NFC; nothing separates labels but the full stop.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from functools import lru_cache
from typing import Final

import idna  # the one library in the core, because Python's own `idna` is that of 2003: docs/adr/0016

MAX_ADDRESS: Final = 254
"""Octets of an address: RFC 5321 has 256 for a path, of which the angle brackets are two."""
MAX_LOCAL_PART: Final = 64
"""Octets before the `@`."""
MAX_DOMAIN: Final = 253
"""Octets of a domain, which are characters in ASCII: RFC 1035 has 255 with all length octets."""

# Labels that begin with xn-- are left to `idna`, since not all of them stand for something.
_LABEL: Final = r"(?![Xx][Nn]--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LDH_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ASCII_ADDRESS: Final = re.compile(rf"(?=[^@]{{1,{MAX_LOCAL_PART}}}@){_ATOM}(?:\.{_ATOM})*@{_LDH_DOMAIN.pattern}")
_ANY_ATOM: Final = r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f.]+"
_LOCAL_PART: Final = re.compile(rf"{_ANY_ATOM}(?:\.{_ANY_ATOM})*")
_UNSEEN: Final = frozenset({"Cc", "Cf"})
"""The categories of control and format characters, which change how a text is shown and are not seen themselves."""


def is_address(address: str) -> bool:
    """Whether this is an address such as `ada@example.com`, without a name."""
    if len(address) > MAX_ADDRESS:  # first, so that no pattern sees a long text
        return False
    return _ASCII_ADDRESS.fullmatch(address) is not None or _is_other_address(address)


def _is_other_address(address: str) -> bool:
    local_part, _, domain = address.partition("@")
    if not _LOCAL_PART.fullmatch(local_part) or any(unicodedata.category(one) in _UNSEEN for one in local_part):
        return False
    octets = len(local_part.encode())
    if octets > MAX_LOCAL_PART or octets + 1 + len(domain.encode()) > MAX_ADDRESS:
        return False
    try:
        return octets + 1 + len(domain_to_ascii(domain)) <= MAX_ADDRESS
    except ValueError:
        return False


def domain_to_ascii(domain: str) -> str:
    """Return the domain in lower case, with each label that is not ASCII as its A-label (`xn--…`).

    Two domains are the same if this is the same.

    Raises:
        ValueError: it is no domain.
    """
    if len(domain) <= MAX_DOMAIN and _LDH_DOMAIN.fullmatch(domain):
        return domain.lower()
    return _other_to_ascii(domain)


@lru_cache(maxsize=1024)
def _other_to_ascii(domain: str) -> str:
    if len(domain) <= MAX_DOMAIN and not domain.endswith("."):  # which `idna` would take for the root
        with suppress(UnicodeError):
            return idna.encode(unicodedata.normalize("NFC", domain.lower()), strict=True).decode("ascii")
    raise ValueError("not a domain")  # and not what `idna` says, which quotes it

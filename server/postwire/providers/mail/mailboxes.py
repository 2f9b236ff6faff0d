"""Addresses and names as a mail server gets them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from postwire.core.addresses import domain_to_ascii

_MAILBOX: Final = re.compile(r"([^<>]*)<([^<>]*)>")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class Mailbox:
    """A name, which may be empty, and an address in the form of `wire_address`."""

    name: str
    address: str

    def __str__(self) -> str:
        """As people write it: the name quoted, if there is one."""
        if not self.name:
            return self.address
        name = re.sub(r'(["\\])', r"\\\1", self.name)
        return f'"{name}" <{self.address}>'

    @property
    def domain(self) -> str:
        """What follows the `@`, in ASCII."""
        return self.address.rpartition("@")[2]


def parse_mailbox(text: str) -> Mailbox:
    """Return what `ada@example.com`, `Ada <ada@example.com>` or `"Lovelace, Ada" <ada@example.com>` says.

    Raises:
        ValueError: it says no address.
    """
    match = _MAILBOX.fullmatch(text.strip())
    name, address = (match[1].strip(), match[2]) if match else ("", text)
    if _QUOTED.fullmatch(name):
        name = _ESCAPED.sub(r"\1", name[1:-1])
    return Mailbox(name, wire_address(address))


def wire_address(address: str) -> str:
    """Return an address with its domain in ASCII (RFC 5890): as it is, if it is in ASCII already.

    Raises:
        ValueError: it has no domain.
    """
    address = address.strip()
    if address.isascii():
        if not _WIRE_SAFE.fullmatch(address):
            raise ValueError("not an address")
        return address
    local_part, _, domain = address.rpartition("@")
    if not _WIRE_SAFE.fullmatch(f"{local_part}@a"):
        raise ValueError("not an address")
    return f"{local_part}@{domain if domain.isascii() else domain_to_ascii(domain)}"


_WIRE_SAFE: Final = re.compile(r"[^\s<>,\x00-\x1f\x7f-\x9f]+@[^\s<>,@\x00-\x1f\x7f-\x9f]+")
"""What cannot become anything else in a header or in an envelope. What an address is says `core.addresses`."""


def needs_smtputf8(address: str) -> bool:
    """Whether only servers with SMTPUTF8 (RFC 6531) take this address: its local part is not in ASCII."""
    return not address.rpartition("@")[0].isascii()

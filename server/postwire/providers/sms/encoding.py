"""How a text becomes an SMS: its encoding, and how many segments it takes.

Phones take 140 octets at a time. A text whose characters are all in the GSM 7-bit default alphabet, or its extension
table (3GPP TS 23.038, section 6.2.1), has room for 160 septets, and any other, in UCS-2, for 70 code units of 16 bits.
What is longer is divided, and each segment loses 6 octets to a header that says how they go together (3GPP TS 23.040,
section 9.2.3.24.1): 153 septets or 67 code units.
"""

from __future__ import annotations

import enum
import re
from typing import Final

GSM_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The default alphabet: a character's place is its code. That of ESC is not a character."""

ESCAPE: Final = "\x1b"
"""What leads to the extension table."""

GSM_EXTENSION: Final = {
    "\f": 0x0A,
    "^": 0x14,
    "{": 0x28,
    "}": 0x29,
    "\\": 0x2F,
    "[": 0x3C,
    "~": 0x3D,
    "]": 0x3E,
    "|": 0x40,
    "€": 0x65,
}
"""What takes two septets, ESC and this code."""

_IN_EXTENSION: Final = re.escape("".join(GSM_EXTENSION))
_IN_BASIC: Final = re.escape(GSM_BASIC.replace(ESCAPE, ""))
_ONLY_BASIC: Final = re.compile(f"[{_IN_BASIC}]*")
_ONLY_GSM: Final = re.compile(f"[{_IN_BASIC}{_IN_EXTENSION}]*")
_EXTENDED: Final = re.compile(f"[{_IN_EXTENSION}]")

# The same of ASCII, which most texts are: looked up in a table of bytes, it takes a fraction of the time.
_ASCII_BASIC: Final = GSM_BASIC.replace(ESCAPE, "").encode("ascii", "ignore")
_ASCII_EXTENSION: Final = "".join(GSM_EXTENSION).encode("ascii", "ignore")


class SmsEncoding(enum.Enum):
    """How a text is encoded. `whole` is how many units fit into one message, `part` into each of several."""

    GSM_7BIT = "gsm_7bit"
    UCS2 = "ucs2"

    @property
    def whole(self) -> int:
        """In septets or in code units of 16 bits."""
        return 160 if self is _GSM else 70

    @property
    def part(self) -> int:
        """In the same."""
        return 153 if self is _GSM else 67


_GSM: Final = SmsEncoding.GSM_7BIT
_UCS2: Final = SmsEncoding.UCS2


def encoding_of(body: str) -> SmsEncoding:
    """The encoding that a text needs."""
    return _measure(body)[0]


def segments(body: str, *, as_ucs2: bool = False) -> tuple[SmsEncoding, int]:
    """How a text is encoded, and how many segments it takes: 1 at least. `as_ucs2`: it is to be in UCS-2 anyway."""
    encoding, units = _in_ucs2(body) if as_ucs2 else _measure(body)
    if units <= encoding.whole:
        return encoding, 1
    if units == len(body):  # nothing takes two
        return encoding, -(-units // encoding.part)
    return encoding, len(_pieces(body, encoding))


def divide(body: str, *, as_ucs2: bool = False) -> list[str]:
    """Divide a text into its segments. Neither what takes two septets nor a surrogate pair is cut."""
    encoding, units = _in_ucs2(body) if as_ucs2 else _measure(body)
    return [body] if units <= encoding.whole else _pieces(body, encoding)


def _measure(body: str) -> tuple[SmsEncoding, int]:
    """How a text is encoded, and into how many units."""
    if body.isascii():
        rest = body.encode().translate(None, _ASCII_BASIC)
        if not rest or not rest.translate(None, _ASCII_EXTENSION):
            return _GSM, len(body) + len(rest)
        return _UCS2, len(body)
    if _ONLY_BASIC.fullmatch(body):
        return _GSM, len(body)
    if _ONLY_GSM.fullmatch(body):
        return _GSM, len(body) + len(_EXTENDED.findall(body))
    return _in_ucs2(body)


def _in_ucs2(body: str) -> tuple[SmsEncoding, int]:
    """The same, where it is encoded in UCS-2."""
    return _UCS2, len(body.encode("utf-16-be", "surrogatepass")) // 2


def _pieces(body: str, encoding: SmsEncoding) -> list[str]:
    """A text too long for one segment, in its segments: as many units as fit, less one that belongs to the next."""
    pieces: list[str] = []
    start, part = 0, encoding.part
    if encoding is _GSM:
        septets = _EXTENDED.sub(rf"{ESCAPE}\g<0>", body)
        while start < len(septets):
            end = start + part
            end -= septets[end - 1 : end] == ESCAPE
            pieces.append(septets[start:end].replace(ESCAPE, ""))
            start = end
        return pieces
    octets = body.encode("utf-16-be", "surrogatepass")
    while start < len(octets):
        end = start + 2 * part
        if octets[end - 2 : end - 1] in _HIGH_SURROGATES:
            end -= 2
        pieces.append(octets[start:end].decode("utf-16-be", "surrogatepass"))
        start = end
    return pieces


_HIGH_SURROGATES: Final = {bytes((octet,)) for octet in range(0xD8, 0xDC)}
"""The first octets of what begins a surrogate pair."""


_GSM_CODES: Final = {character: bytes((code,)) for code, character in enumerate(GSM_BASIC) if character != ESCAPE} | {
    character: bytes((ord(ESCAPE), code)) for character, code in GSM_EXTENSION.items()
}
_EXTENDED_BY_CODE: Final = {code: character for character, code in GSM_EXTENSION.items()}


def to_gsm(body: str) -> bytes:
    """A text in the default alphabet, an octet for each septet. It must need no other: see `encoding_of`."""
    return b"".join(map(_GSM_CODES.__getitem__, body))


def from_gsm(octets: bytes) -> str:
    """The text of octets that are septets each. What is no septet is U+FFFD. What ESC leads to and the extension table
    does not have is shown as phones are to show it (3GPP TS 23.038, section 6.2.1.1): as in the default alphabet, and a
    second ESC as a space."""
    characters: list[str] = []
    escaped = False
    for octet in octets:
        if octet == ord(ESCAPE) and not escaped:
            escaped = True
            continue
        plain = GSM_BASIC[octet] if octet < len(GSM_BASIC) else "\N{REPLACEMENT CHARACTER}"
        found = _EXTENDED_BY_CODE.get(octet, plain) if escaped else plain
        characters.append(" " if found == ESCAPE else found)
        escaped = False
    return "".join(characters)

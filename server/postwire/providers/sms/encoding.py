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

_IN_BASIC: Final = re.escape(GSM_BASIC.replace("\x1b", ""))
_IN_EXTENSION: Final = re.escape("".join(GSM_EXTENSION))
_ONLY_BASIC: Final = re.compile(f"[{_IN_BASIC}]*")
_ONLY_GSM: Final = re.compile(f"[{_IN_BASIC}{_IN_EXTENSION}]*")
_EXTENDED: Final = re.compile(f"[{_IN_EXTENSION}]")


class SmsEncoding(enum.Enum):
    """How a text is encoded. `whole` is how many units fit into one message, `part` into each of several."""

    GSM_7BIT = "gsm_7bit"
    UCS2 = "ucs2"

    @property
    def whole(self) -> int:
        """In septets or in code units of 16 bits."""
        return 160 if self is SmsEncoding.GSM_7BIT else 70

    @property
    def part(self) -> int:
        """In the same."""
        return 153 if self is SmsEncoding.GSM_7BIT else 67


def encoding_of(body: str) -> SmsEncoding:
    """The encoding that a text needs."""
    return SmsEncoding.GSM_7BIT if _ONLY_GSM.fullmatch(body) else SmsEncoding.UCS2


def segments(body: str) -> tuple[SmsEncoding, int]:
    """How a text is encoded, and how many segments it takes: 1 at least."""
    length = len(body)
    if length <= 160 and _ONLY_BASIC.fullmatch(body):
        return SmsEncoding.GSM_7BIT, 1
    encoding = encoding_of(body)
    if encoding is SmsEncoding.GSM_7BIT:
        units = length + len(_EXTENDED.findall(body))
    else:
        units = length + sum(character > "\uffff" for character in body)
    if units <= encoding.whole:
        return encoding, 1
    if units == length:  # nothing takes two
        return encoding, -(-length // encoding.part)
    return encoding, len(divide(body))


def divide(body: str) -> list[str]:
    """Divide a text into its segments. Neither what takes two septets nor a surrogate pair is cut."""
    encoding = encoding_of(body)
    widths = [_width(character, encoding) for character in body]
    if sum(widths) <= encoding.whole:
        return [body]
    parts: list[str] = []
    start = used = 0
    for at, width in enumerate(widths):
        if used + width > encoding.part:
            parts.append(body[start:at])
            start, used = at, 0
        used += width
    return [*parts, body[start:]]


def _width(character: str, encoding: SmsEncoding) -> int:
    """How many units a character takes."""
    if encoding is SmsEncoding.GSM_7BIT:
        return 2 if character in GSM_EXTENSION else 1
    return 2 if character > "\uffff" else 1

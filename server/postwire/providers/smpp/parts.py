"""A text as submit_sm: encoded, divided, and addressed. Of one attempt it is always the same."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from typing import Final

from postwire.core.errors import FieldViolation
from postwire.core.values import Word
from postwire.providers.smpp.bodies import SubmitSm, Tag
from postwire.providers.sms.encoding import SmsEncoding, divide, encoding_of, from_gsm, segments, to_gsm

_NUMBER: Final = re.compile(r"\+?[0-9]{9,15}|\+[0-9]+")
_SHORT_CODE: Final = re.compile(r"[0-9]{1,8}")
_MAX_SENDER: Final = 11
"""Characters of a sender that is no number: they go as septets into ten octets (3GPP TS 23.040, section 9.1.2.5)."""

_HAS_HEADER: Final = 0x40
"""esm_class: the message begins with a header of user data (SMPP 3.4, section 5.2.12)."""

_UCS2: Final = 0x08
"""data_coding (section 5.2.19)."""

_RECEIPT: Final = 0x01
"""registered_delivery: a receipt, whether it was delivered or not (section 5.2.17)."""

_DAY: Final = 86_400
_MAX_DAYS: Final = 30
"""Days of a validity period at most: those that there are depend on which month it is."""


class Alphabet(Word):
    """What a centre takes data_coding 0 for, which the specification leaves to it (section 5.2.19).

    Most have GSM, an octet for each septet (Sinch: https://developers.sinch.com/docs/sms/smpp/message-encoding); Vonage
    has Latin-1, unless the account says otherwise (https://issues.apache.org/jira/browse/CAMEL-8009). Characters that
    the alphabet lacks, and those that phones lack, go in UCS-2.
    """

    GSM = "gsm"
    LATIN1 = "latin1"
    ASCII = "ascii"

    def takes(self, body: str) -> bool:
        """Whether a text goes in this alphabet."""
        if encoding_of(body) is not SmsEncoding.GSM_7BIT:
            return False
        if self is Alphabet.GSM:
            return True
        return body.isascii() if self is Alphabet.ASCII else body.isascii() or max(body) <= "\xff"

    def encode(self, body: str) -> bytes:
        """A text that it takes, in octets."""
        return to_gsm(body) if self is Alphabet.GSM else body.encode("latin-1")

    def decode(self, octets: bytes) -> str:
        """The text of some octets, whatever they are."""
        if self is Alphabet.GSM:
            return from_gsm(octets)
        return octets.decode("latin-1") if self is Alphabet.LATIN1 else octets.decode("ascii", "replace")


class LongMessages(Word):
    """How a text goes that one segment does not hold."""

    UDH = "udh"
    """In parts, each with a header (3GPP TS 23.040, section 9.2.3.24.1)."""
    PAYLOAD = "payload"
    """Whole, in message_payload (SMPP 3.4, section 5.3.2.32): the centre divides it."""


def segment_count(body: str, alphabet: Alphabet = Alphabet.GSM) -> int:
    """How many segments a text takes."""
    return segments(body, as_ucs2=not alphabet.takes(body))[1]


def cannot_send(
    body: str, sender: str, *, alphabet: Alphabet = Alphabet.GSM, max_segments: int = 0
) -> FieldViolation | None:
    """Why a text cannot be sent; None if it can. `max_segments` is 0 where there is no limit."""
    if not _is_numeric(sender) and not (sender.isascii() and sender.isprintable() and len(sender) <= _MAX_SENDER):
        return FieldViolation(
            "message.sms.sender", f"must be a number, or have at most {_MAX_SENDER} characters of ASCII"
        )
    if max_segments and (count := segment_count(body, alphabet)) > max_segments:
        unit = "segment" if max_segments == 1 else "segments"
        return FieldViolation("message.sms.body", f"must fit into at most {max_segments} {unit}, and takes {count}")
    return None


def parts_of(
    body: str,
    *,
    to: str,
    sender: str,
    message_id: str,
    validity: int | None = None,
    receipts: bool = True,
    alphabet: Alphabet = Alphabet.GSM,
    long: LongMessages = LongMessages.UDH,
) -> list[SubmitSm]:
    """A text that `cannot_send` has nothing against, as what is to be submitted: a PDU for each part of it.

    `to` is in E.164. `validity` is in seconds from now.
    """
    in_default = alphabet.takes(body)
    source_ton, source_npi, source = _address(sender)
    common = SubmitSm(
        source_addr_ton=source_ton,
        source_addr_npi=source_npi,
        source_addr=source,
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr=to.removeprefix("+"),
        validity_period=_relative(validity) if validity else "",
        registered_delivery=_RECEIPT if receipts else 0,
        data_coding=0 if in_default else _UCS2,
    )
    pieces = divide(body, as_ucs2=not in_default)
    if len(pieces) == 1:
        return [replace(common, short_message=_octets(body, alphabet, in_default=in_default))]
    if long is LongMessages.PAYLOAD:
        return [replace(common, options=((Tag.MESSAGE_PAYLOAD, _octets(body, alphabet, in_default=in_default)),))]
    # A phone puts parts together by sender and reference: what is tried again is to fall together with what came of it.
    reference = sha256(message_id.encode()).digest()[0]
    return [
        replace(
            common,
            esm_class=_HAS_HEADER,
            short_message=bytes((5, 0, 3, reference, len(pieces), number))
            + _octets(piece, alphabet, in_default=in_default),
        )
        for number, piece in enumerate(pieces, 1)
    ]


def _octets(body: str, alphabet: Alphabet, *, in_default: bool) -> bytes:
    return alphabet.encode(body) if in_default else body.encode("utf-16-be", "surrogatepass")


def _is_numeric(sender: str) -> bool:
    return bool(_NUMBER.fullmatch(sender) or _SHORT_CODE.fullmatch(sender))


def _address(sender: str) -> tuple[int, int, str]:
    """The type of a sender, its numbering plan (SMPP 3.4, sections 5.2.5 and 5.2.6), and how it is written.

    As Infobip has it, which is as most have it: https://www.infobip.com/glossary/ton-npi-settings. International; of
    the network, for short codes; alphanumeric.
    """
    if _NUMBER.fullmatch(sender):
        return 1, 1, sender.removeprefix("+")
    return (3, 0, sender) if _SHORT_CODE.fullmatch(sender) else (5, 0, sender)


def _relative(validity: int) -> str:
    """A time from now, `YYMMDDhhmmss000R` (section 7.1.1.2)."""
    days, rest = divmod(min(validity, _MAX_DAYS * _DAY), _DAY)
    minutes, seconds = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    return f"0000{days:02}{hours:02}{minutes:02}{seconds:02}000R"

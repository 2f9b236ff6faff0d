"""What a deliver_sm brings: the receipt of a message that was submitted, or a message from a phone.

Which of them it is says esm_class or an optional parameter, and never the text alone: anybody with a phone can write
that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of
from postwire.providers.receipts.payloads import number_of
from postwire.providers.smpp.bodies import DataSm, DeliverSm, Tag
from postwire.providers.smpp.message_ids import MessageIds
from postwire.providers.smpp.parts import Alphabet

STATES: Final = MappingProxyType(
    {
        # SMPP 3.4, section 5.2.28, and Appendix B for the words in texts. UNKNOWN (7) says nothing. ACCEPTED is said to
        # be read by somebody on the recipient's behalf, and is what centres send of a message that a network has taken.
        1: ReceiptState.ACCEPTED,  # ENROUTE
        2: ReceiptState.DELIVERED,
        3: ReceiptState.UNDELIVERED,  # EXPIRED
        4: ReceiptState.UNDELIVERED,  # DELETED
        5: ReceiptState.UNDELIVERED,  # UNDELIVERABLE
        6: ReceiptState.ACCEPTED,
        8: ReceiptState.UNDELIVERED,  # REJECTED
        # SMPP 5.0, section 4.7.15.
        0: ReceiptState.ACCEPTED,  # SCHEDULED
        9: ReceiptState.UNDELIVERED,  # SKIPPED
    }
)
"""By message_state."""

WORDS: Final = MappingProxyType(
    {
        # SMPP 3.4, Appendix B, table B-2.
        "ENROUTE": ReceiptState.ACCEPTED,
        "DELIVRD": ReceiptState.DELIVERED,
        "EXPIRED": ReceiptState.UNDELIVERED,
        "DELETED": ReceiptState.UNDELIVERED,
        "UNDELIV": ReceiptState.UNDELIVERED,
        "ACCEPTD": ReceiptState.ACCEPTED,
        "REJECTD": ReceiptState.UNDELIVERED,
        # The same, by the names of section 5.2.28.
        "DELIVERED": ReceiptState.DELIVERED,
        "UNDELIVERABLE": ReceiptState.UNDELIVERED,
        "ACCEPTED": ReceiptState.ACCEPTED,
        "REJECTED": ReceiptState.UNDELIVERED,
        # Vendors': https://www.voip-sip-sdk.com/p_2628-smpp-error-codes.html.
        "FAILED": ReceiptState.UNDELIVERED,
    }
)
"""By `stat` of a text."""

_TYPE: Final = 0x3C
_RECEIPT: Final = 0x04
_ON_THE_WAY: Final = 0x20
"""Types of messages in esm_class: the centre's receipt, and its notification of a try (SMPP 3.4, section 5.2.12). The
others are acknowledgements that a phone has written."""
_HAS_HEADER: Final = 0x40

_WHOLE: Final = (0, 1)
"""Types of numbers that have their country: unknown, as most centres say of any, and international (section 5.2.5)."""

_MAX_SHORT_CODE: Final = 8
"""Digits."""

_FIELD: Final = re.compile(
    r"(?<![a-z])(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err|text)\s{0,3}:", re.IGNORECASE
)
"""What leads to a value in the text of a receipt. Centres differ in case and spaces, and leave fields out."""

_MAX_TEXT: Final = 4 * 1024
"""Octets of a text that are read. Receipts have some hundred, and a word that matters here stands alone; 64 KiB would
hold the loop."""

_NO_ERROR: Final = re.compile(r"0*")

_CODECS: Final = MappingProxyType(
    {
        # data_coding: SMPP 3.4, section 5.2.19. UCS-2 may hold surrogate pairs, as phones have it.
        0x01: "ascii",
        0x03: "latin-1",
        0x06: "iso8859-5",
        0x07: "iso8859-8",
        0x08: "utf-16-be",
    }
)
_BINARY: Final = frozenset({0x02, 0x04})
_GSM_CLASS: Final = 0xF0
"""data_coding from here on is that of 3GPP TS 23.038, section 4: with a class, of which the bit `_GSM_8_BIT` says that
it holds no text."""
_GSM_8_BIT: Final = 0x04


def read(deliver: DeliverSm | DataSm, ids: MessageIds, alphabet: Alphabet = Alphabet.GSM) -> Receipt | Inbound | None:
    """What a deliver_sm or a data_sm of the centre brings; None if it is nothing that is used.

    `alphabet` is what the centre takes data_coding 0 for. A text of several parts comes as a message for each: to want
    no more messages takes one word, and so one part.
    """
    kind = deliver.esm_class & _TYPE
    if kind in (_RECEIPT, _ON_THE_WAY) or (kind == 0 and deliver.option(Tag.RECEIPTED_MESSAGE_ID) is not None):
        return _receipt(deliver, ids)
    return _inbound(deliver, alphabet) if kind == 0 else None


def _receipt(deliver: DeliverSm | DataSm, ids: MessageIds) -> Receipt | None:
    """The recipient is not taken from it: the id says whose it is, and not all centres exchange the addresses."""
    # Centres write these in ASCII, whatever they have for data_coding 0: of which GSM would make other ids.
    fields = fields_of(_text(deliver, Alphabet.LATIN1))
    word = fields.get("stat", "").upper()
    number = deliver.option(Tag.MESSAGE_STATE) or b""
    state = STATES.get(number[0]) if len(number) == 1 else WORDS.get(word)
    message_id = _message_id(deliver, fields.get("id", ""), ids)
    if state is None or not message_id:
        return None
    if deliver.esm_class & _TYPE == _ON_THE_WAY and state is ReceiptState.UNDELIVERED:
        state = ReceiptState.ACCEPTED  # the centre tries again
    return Receipt(state, provider_message_id=message_id, code=_code(deliver, fields, word, state))


def _message_id(deliver: DeliverSm | DataSm, in_text: str, ids: MessageIds) -> str:
    """The id of the message that was submitted. By section 5.3.2.12 there is a parameter that has it as submit_sm_resp
    had it, in the same base; where the base is configured, it is the text that was meant."""
    parameter = (deliver.option(Tag.RECEIPTED_MESSAGE_ID) or b"").partition(b"\0")[0].decode("latin-1")
    found = in_text or parameter if ids.is_configured else parameter or in_text
    return ids.reported(found) if found else ""


def _code(deliver: DeliverSm | DataSm, fields: Mapping[str, str], word: str, state: ReceiptState) -> str:
    """The code of a failure: the text's, or the network's, or else the word for the state."""
    code = code_of(fields.get("err"))
    if not _NO_ERROR.fullmatch(code):
        return code
    error = deliver.option(Tag.NETWORK_ERROR_CODE) or b""
    # Section 5.3.2.31: an octet for the kind of network, and two for the code.
    if len(error) == 3 and any(error[1:]):
        return str(int.from_bytes(error[1:], "big"))
    return code_of(word) if state is ReceiptState.UNDELIVERED else ""


def fields_of(text: str) -> Mapping[str, str]:
    """The fields in the text of a receipt, as Appendix B has them, by their names in lower case."""
    found: dict[str, str] = {}
    matches = list(_FIELD.finditer(text))
    for at, match in enumerate(matches):
        name = match[1].lower()
        if name == "text":  # which is the beginning of what was sent, and may have anything in it
            break
        end = matches[at + 1].start() if at + 1 < len(matches) else len(text)
        found.setdefault(name, text[match.end() : end].strip(" \0\r\n\t,;"))
    return found


def _inbound(deliver: DeliverSm | DataSm, alphabet: Alphabet) -> Inbound | None:
    """A message from a phone, if it says its number: one without the country cannot be told from others."""
    if deliver.source_addr_ton not in _WHOLE and not deliver.source_addr.startswith("+"):
        return None
    sender = number_of(deliver.source_addr)
    if not sender:
        return None
    recipient = deliver.destination_addr
    if len(recipient) > _MAX_SHORT_CODE:  # or it is a short code, which is no number of E.164
        recipient = number_of(recipient)
    return Inbound(sender, recipient, _text(deliver, alphabet))


def _text(deliver: DeliverSm | DataSm, alphabet: Alphabet) -> str:
    """The text of a message, without a header of user data; empty where it is none."""
    octets = deliver.payload[:_MAX_TEXT]
    if deliver.esm_class & _HAS_HEADER and octets:
        octets = octets[1 + octets[0] :]
    coding = deliver.data_coding
    if coding in _CODECS:
        return octets.decode(_CODECS[coding], "replace")
    if coding in _BINARY or (coding >= _GSM_CLASS and coding & _GSM_8_BIT):
        return ""
    return alphabet.decode(octets)

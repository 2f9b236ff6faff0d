"""SMPP, as targets: what a message centre sends over a connection, and what stands in its receipts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Final

from postwire.core.receipts import Inbound, Receipt
from postwire.providers.smpp.bodies import KINDS, BindResp, DataSm, DeliverSm, SubmitSmResp, Tag, read_body
from postwire.providers.smpp.message_ids import MessageIdFormat, MessageIds
from postwire.providers.smpp.parts import Alphabet
from postwire.providers.smpp.pdu import MAX_SIZE, Command, Framer, Malformed, Pdu, encode
from postwire.providers.smpp.receipts import read


def _read(deliver: DeliverSm | DataSm) -> None:
    for form, alphabet in zip(MessageIdFormat, Alphabet, strict=True):
        ids = MessageIds(form)
        ids.given("98F1")
        found = read(deliver, ids, alphabet)
        if found is None:
            continue
        assert isinstance(found, Receipt | Inbound)
        for value in asdict(found).values():
            str(value).encode()  # what cannot be written in UTF-8 cannot be kept
        if isinstance(found, Receipt):
            assert "," not in found.provider_message_id


def smpp(data: bytes) -> None:
    """A connection: the first byte says in how large pieces the rest comes."""
    step = data[0] + 1 if data else 1
    sent, framer = data[1:], Framer()
    found: list[Pdu] = []
    try:
        for at in range(0, len(sent), step):
            found += framer.feed(sent[at : at + step])
            assert framer.pending < MAX_SIZE
    except Malformed:
        pass
    kept = b"".join(encode(one.command, one.status, one.sequence, one.body) for one in found)
    assert sent.startswith(kept), "what was read is what came"
    for pdu in found:
        try:
            body = read_body(pdu)
        except Malformed:
            continue
        assert (body is None) == (pdu.command not in KINDS)
        if isinstance(body, DeliverSm | DataSm):
            _read(body)
        if body is not None:
            _written(body.body, type(body).read, body)


def _written(write: Callable[[], bytes], again: Callable[[bytes], object], body: object) -> None:
    """What is read is written so that the same is read; unless it is longer than we would write it."""
    try:
        octets = write()
    except ValueError:
        return
    assert again(octets) == body


def smpp_receipts(data: bytes) -> None:
    """A deliver_sm: the first bytes are esm_class, data_coding, and which parameters it has; the rest, its message."""
    if len(data) < 3:
        return
    esm_class, coding, has = data[:3]
    text = data[3:]
    options = tuple(
        (tag, text[:length])
        for bit, tag, length in (
            (1, Tag.RECEIPTED_MESSAGE_ID, 20),
            (2, Tag.MESSAGE_STATE, 1),
            (4, Tag.NETWORK_ERROR_CODE, 3),
            (8, Tag.MESSAGE_PAYLOAD, len(text)),
        )
        if has & bit
    )
    short = b"" if has & 8 else text[:254]
    for source in ("14155550132", text[:20].decode("latin-1")):
        deliver = DeliverSm(
            source_addr=source,
            destination_addr=source,
            esm_class=esm_class,
            data_coding=coding,
            short_message=short,
            options=options,
        )
        _read(deliver)
        _read(DataSm(source_addr=source, esm_class=esm_class, data_coding=coding, options=options))


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType({"smpp": smpp, "smpp_receipts": smpp_receipts})

_TEXT: Final = (
    b"id:0000039153 sub:001 dlvrd:000 submit date:2611301000 done date:2611301001 stat:UNDELIV err:0A1 Text:Hi"
)
_RECEIPT: Final = DeliverSm(
    source_addr="14155550132",
    destination_addr="15005550006",
    esm_class=4,
    short_message=_TEXT,
    options=((Tag.RECEIPTED_MESSAGE_ID, b"98F1\0"), (Tag.MESSAGE_STATE, b"\5"), (Tag.NETWORK_ERROR_CODE, b"\3\0\1")),
)
_FROM_PHONE: Final = DeliverSm(
    source_addr_ton=1,
    source_addr="14155550132",
    destination_addr="12345",
    esm_class=0x40,
    data_coding=8,
    short_message=b"\5\0\3\1\2\1" + "STOP \U0001f600".encode("utf-16-be"),
)

SEEDS: Final[Mapping[str, list[bytes]]] = MappingProxyType(
    {
        "smpp": [
            b"\x07"
            + encode(Command.BIND_TRANSCEIVER_RESP, 0, 1, BindResp(system_id="centre", options=((0x210, b"4"),)).body())
            + encode(Command.SUBMIT_SM_RESP, 0, 2, SubmitSmResp(message_id="98F1").body())
            + encode(Command.DELIVER_SM, 0, 3, _RECEIPT.body()),
            b"\xff" + encode(Command.DELIVER_SM, 0, 3, _FROM_PHONE.body()) + encode(Command.ENQUIRE_LINK, 0, 4),
            b"\x01" + encode(0x1234, 0, 1, b"unknown") + encode(Command.GENERIC_NACK, 3, 1) + b"\0\0\0\1",
        ],
        "smpp_receipts": [
            b"\x04\x00\x00" + _TEXT,
            b"\x20\x00\x0f" + _TEXT,
            b"\x40\x08\x08" + _FROM_PHONE.short_message,
            b"\x00\x00\x00STOP",
        ],
    }
)

"""Bodies of PDUs, each a class whose fields are those of its table in section 4 of SMPP 3.4, in their order.

What is written keeps to the lengths of the specification. What is read may be longer, as some message centres' ids of
messages are: what was refused for it would be lost. Optional parameters are kept in order, known or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, Final, Protocol, Self, get_type_hints

from postwire.providers.smpp.pdu import Command, Malformed, Pdu

VERSION: Final = 0x34
"""interface_version (section 5.2.4)."""

MAX_SHORT_MESSAGE: Final = 254
"""Octets of short_message (section 4.4.1); what is longer goes into message_payload."""

MAX_PAYLOAD: Final = 0xFFFF
"""Octets of an optional parameter."""


class Tag:
    """Optional parameters that somebody here reads or writes (section 5.3.2)."""

    RECEIPTED_MESSAGE_ID: Final = 0x001E
    SAR_MSG_REF_NUM: Final = 0x020C
    SAR_TOTAL_SEGMENTS: Final = 0x020E
    SAR_SEGMENT_SEQNUM: Final = 0x020F
    SC_INTERFACE_VERSION: Final = 0x0210
    NETWORK_ERROR_CODE: Final = 0x0423
    MESSAGE_PAYLOAD: Final = 0x0424
    MESSAGE_STATE: Final = 0x0427


class _Part(Protocol):
    """How a field stands in a body."""

    def write(self, value: object) -> bytes:
        """Its octets. Raises ValueError, which says what it must be."""
        ...

    def read(self, body: bytes, at: int) -> tuple[object, int]:
        """Its value at a place, and the place after it. Raises Malformed."""
        ...


class _Integer:
    """One octet."""

    def write(self, value: object) -> bytes:
        if not isinstance(value, int) or not 0 <= value <= 0xFF:
            raise ValueError("must fit into one octet")
        return bytes((value,))

    def read(self, body: bytes, at: int) -> tuple[object, int]:
        if at >= len(body):
            raise Malformed("ends too early")
        return body[at], at + 1


@dataclass(frozen=True, slots=True)
class _Text:
    """A C-octet string: octets that are not NUL, and one that is. `most` counts that, too (section 3.1)."""

    most: int

    def write(self, value: object) -> bytes:
        if not isinstance(value, str) or "\0" in value or len(value) >= self.most:
            raise ValueError(f"must have at most {self.most - 1} characters, none of them NUL")
        try:
            return value.encode("latin-1") + b"\0"
        except UnicodeEncodeError:
            raise ValueError("must have no characters but those of Latin-1") from None

    def read(self, body: bytes, at: int) -> tuple[object, int]:
        end = body.find(b"\0", at)
        if end < 0:
            raise Malformed("has a text without an end")
        return body[at:end].decode("latin-1"), end + 1


class _ShortMessage:
    """sm_length, and as many octets."""

    def write(self, value: object) -> bytes:
        if not isinstance(value, bytes) or len(value) > MAX_SHORT_MESSAGE:
            raise ValueError(f"must have at most {MAX_SHORT_MESSAGE} octets")
        return bytes((len(value),)) + value

    def read(self, body: bytes, at: int) -> tuple[object, int]:
        if at >= len(body):
            raise Malformed("ends too early")
        end = at + 1 + body[at]
        if end > len(body):
            raise Malformed("has less of a message than it says")
        return body[at + 1 : end], end


Options = tuple[tuple[int, bytes], ...]
"""Optional parameters: their tags and values, in order."""


class _Options:
    """All that follows: tag, length and value of each (section 3.2.4.1)."""

    def write(self, value: object) -> bytes:
        assert isinstance(value, tuple)
        pieces: list[bytes] = []
        for tag, octets in value:
            if not 0 <= tag <= 0xFFFF or len(octets) > MAX_PAYLOAD:
                raise ValueError(f"must have tags of two octets, and at most {MAX_PAYLOAD} octets each")
            pieces += (tag.to_bytes(2, "big"), len(octets).to_bytes(2, "big"), octets)
        return b"".join(pieces)

    def read(self, body: bytes, at: int) -> tuple[object, int]:
        found: list[tuple[int, bytes]] = []
        while at < len(body):
            end = at + 4 + int.from_bytes(body[at + 2 : at + 4], "big")
            if end > len(body):
                raise Malformed("has less of an optional parameter than it says")
            found.append((int.from_bytes(body[at : at + 2], "big"), body[at + 4 : end]))
            at = end
        return tuple(found), at


Octet = Annotated[int, _Integer()]
Text6 = Annotated[str, _Text(6)]
# By section 4.1 a password has 8 characters at most. Centres hand out longer ones, and those that do not want them say
# so: ESME_RINVPASWD.
Password = Annotated[str, _Text(65)]
Text13 = Annotated[str, _Text(13)]
Text16 = Annotated[str, _Text(16)]
Time = Annotated[str, _Text(17)]
Text21 = Annotated[str, _Text(21)]
Text41 = Annotated[str, _Text(41)]
Text65 = Annotated[str, _Text(65)]
ShortMessage = Annotated[bytes, _ShortMessage()]
OptionalParameters = Annotated[Options, _Options()]


_LAYOUTS: Final[dict[type[Body], tuple[tuple[str, _Part], ...]]] = {}


def _layout(kind: type[Body]) -> tuple[tuple[str, _Part], ...]:
    """The fields of a body, in their order, and how each stands in it."""
    if kind not in _LAYOUTS:
        hints = get_type_hints(kind, include_extras=True)
        names = [one.name for one in fields(kind) if one.name != "options"]
        _LAYOUTS[kind] = tuple((name, hints[name].__metadata__[0]) for name in (*names, "options"))
    return _LAYOUTS[kind]


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Body:
    """What follows a header. All of it is somebody's data, so that none of it shows in `repr`."""

    options: OptionalParameters = ()

    def body(self) -> bytes:
        """The octets. Raises ValueError, led by the name of a field."""
        pieces: list[bytes] = []
        for name, part in _layout(type(self)):
            try:
                pieces.append(part.write(getattr(self, name)))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return b"".join(pieces)

    @classmethod
    def read(cls, body: bytes) -> Self:
        """What a body says. Raises Malformed."""
        found: dict[str, object] = {}
        at = 0
        for name, part in _layout(cls):
            found[name], at = part.read(body, at)
        return cls(**found)  # type: ignore[arg-type]  # each is what its part has read

    def option(self, tag: int) -> bytes | None:
        """The value of an optional parameter, by its tag: the first of several."""
        return next((value for known, value in self.options if known == tag), None)


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Bind(Body):
    """bind_transmitter, bind_receiver and bind_transceiver (section 4.1)."""

    system_id: Text16 = ""
    password: Password = ""
    system_type: Text13 = ""
    interface_version: Octet = VERSION
    addr_ton: Octet = 0
    addr_npi: Octet = 0
    address_range: Text41 = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class BindResp(Body):
    """The answer to any of them."""

    system_id: Text16 = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Outbind(Body):
    """outbind: a message centre asks to be bound to (section 4.1.7)."""

    system_id: Text16 = ""
    password: Password = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ShortMessageBody(Body):
    """What submit_sm and deliver_sm have in common, which is all of it."""

    service_type: Text6 = ""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Text21 = ""
    dest_addr_ton: Octet = 0
    dest_addr_npi: Octet = 0
    destination_addr: Text21 = ""
    esm_class: Octet = 0
    protocol_id: Octet = 0
    priority_flag: Octet = 0
    schedule_delivery_time: Time = ""
    validity_period: Time = ""
    registered_delivery: Octet = 0
    replace_if_present_flag: Octet = 0
    data_coding: Octet = 0
    sm_default_msg_id: Octet = 0
    short_message: ShortMessage = b""

    @property
    def payload(self) -> bytes:
        """The message, from whichever of two places it stands in (section 5.3.2.32)."""
        return self.short_message or self.option(Tag.MESSAGE_PAYLOAD) or b""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class SubmitSm(ShortMessageBody):
    """submit_sm (section 4.4.1)."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class DeliverSm(ShortMessageBody):
    """deliver_sm (section 4.6.1)."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class MessageIdBody(Body):
    """What answers have that name a message."""

    message_id: Text65 = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class SubmitSmResp(MessageIdBody):
    """submit_sm_resp (section 4.4.2). With an error it may have no body: see `read_submit_resp`."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class DeliverSmResp(MessageIdBody):
    """deliver_sm_resp, whose message_id is empty (section 4.6.2)."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class DataSm(Body):
    """data_sm (section 4.7.1): its message is an optional parameter."""

    service_type: Text6 = ""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Text65 = ""
    dest_addr_ton: Octet = 0
    dest_addr_npi: Octet = 0
    destination_addr: Text65 = ""
    esm_class: Octet = 0
    registered_delivery: Octet = 0
    data_coding: Octet = 0

    @property
    def payload(self) -> bytes:
        """The message."""
        return self.option(Tag.MESSAGE_PAYLOAD) or b""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class DataSmResp(MessageIdBody):
    """data_sm_resp (section 4.7.2)."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class QuerySm(Body):
    """query_sm (section 4.8.1)."""

    message_id: Text65 = ""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Text21 = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class QuerySmResp(Body):
    """query_sm_resp (section 4.8.2)."""

    message_id: Text65 = ""
    final_date: Time = ""
    message_state: Octet = 0
    error_code: Octet = 0


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class CancelSm(Body):
    """cancel_sm (section 4.9.1)."""

    service_type: Text6 = ""
    message_id: Text65 = ""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Text21 = ""
    dest_addr_ton: Octet = 0
    dest_addr_npi: Octet = 0
    destination_addr: Text21 = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ReplaceSm(Body):
    """replace_sm (section 4.10.1)."""

    message_id: Text65 = ""
    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Text21 = ""
    schedule_delivery_time: Time = ""
    validity_period: Time = ""
    registered_delivery: Octet = 0
    sm_default_msg_id: Octet = 0
    short_message: ShortMessage = b""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class AlertNotification(Body):
    """alert_notification (section 4.12.1)."""

    source_addr_ton: Octet = 0
    source_addr_npi: Octet = 0
    source_addr: Text65 = ""
    esme_addr_ton: Octet = 0
    esme_addr_npi: Octet = 0
    esme_addr: Text65 = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Empty(Body):
    """What has a header alone: generic_nack, unbind, enquire_link, and the answers to cancel_sm and replace_sm."""


KINDS: Final[Mapping[int, type[Body]]] = MappingProxyType(
    {
        Command.BIND_RECEIVER: Bind,
        Command.BIND_TRANSMITTER: Bind,
        Command.BIND_TRANSCEIVER: Bind,
        Command.BIND_RECEIVER_RESP: BindResp,
        Command.BIND_TRANSMITTER_RESP: BindResp,
        Command.BIND_TRANSCEIVER_RESP: BindResp,
        Command.OUTBIND: Outbind,
        Command.UNBIND: Empty,
        Command.UNBIND_RESP: Empty,
        Command.ENQUIRE_LINK: Empty,
        Command.ENQUIRE_LINK_RESP: Empty,
        Command.GENERIC_NACK: Empty,
        Command.SUBMIT_SM: SubmitSm,
        Command.SUBMIT_SM_RESP: SubmitSmResp,
        Command.DELIVER_SM: DeliverSm,
        Command.DELIVER_SM_RESP: DeliverSmResp,
        Command.DATA_SM: DataSm,
        Command.DATA_SM_RESP: DataSmResp,
        Command.QUERY_SM: QuerySm,
        Command.QUERY_SM_RESP: QuerySmResp,
        Command.CANCEL_SM: CancelSm,
        Command.CANCEL_SM_RESP: Empty,
        Command.REPLACE_SM: ReplaceSm,
        Command.REPLACE_SM_RESP: Empty,
        Command.ALERT_NOTIFICATION: AlertNotification,
    }
)
"""What is in the body of a PDU, by its command. submit_multi is not here: nobody sends it to us."""


def read_body(pdu: Pdu) -> Body | None:
    """What a PDU says; None of a command that is not known. Raises Malformed."""
    kind = KINDS.get(pdu.command)
    return kind.read(pdu.body) if kind else None


def bind_body(system_id: str, password: str, system_type: str = "") -> bytes:
    """The body of any bind. Raises ValueError, led by the name of a field."""
    return Bind(system_id=system_id, password=password, system_type=system_type).body()


def read_submit_resp(body: bytes) -> str:
    """The id in a submit_sm_resp; empty where there is none. Whatever else there is: the message was taken."""
    return body.partition(b"\0")[0].decode("latin-1")


def read_deliver(body: bytes) -> DeliverSm:
    """What a deliver_sm says. Raises Malformed."""
    return DeliverSm.read(body)


def deliver_resp_body() -> bytes:
    """The body of a deliver_sm_resp."""
    return DeliverSmResp().body()

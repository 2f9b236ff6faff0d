"""PDUs of SMPP 3.4 as they go over a connection: a header of 16 octets, and a body.

Sections are those of "Short Message Peer to Peer Protocol Specification v3.4, issue 1.2", https://smpp.org/SMPP_v3_4_Issue1_2.pdf.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

HEADER: Final = struct.Struct(">IIII")
"""command_length, command_id, command_status, sequence_number (section 3.2)."""

MAX_SIZE: Final = 72 * 1024
"""Octets of a PDU that are taken: the longest value of one optional parameter has 64 KiB, and the rest some hundred."""

MAX_SEQUENCE: Final = 0x7FFF_FFFF
"""Sequence numbers go from 1 to here, and begin anew (section 5.1.4)."""

RESPONSE: Final = 0x8000_0000
"""The bit of a command's id by which it is a response (section 5.1.2)."""


class Malformed(Exception):
    """What came is no PDU, or its body is none of its kind. The text says why, and quotes nothing."""


class Command(IntEnum):
    """Ids of commands (section 5.1.2.1). Others may come: `Pdu.command` is then a plain number."""

    BIND_RECEIVER = 0x01
    BIND_TRANSMITTER = 0x02
    QUERY_SM = 0x03
    SUBMIT_SM = 0x04
    DELIVER_SM = 0x05
    UNBIND = 0x06
    REPLACE_SM = 0x07
    CANCEL_SM = 0x08
    BIND_TRANSCEIVER = 0x09
    OUTBIND = 0x0B
    ENQUIRE_LINK = 0x15
    SUBMIT_MULTI = 0x21
    ALERT_NOTIFICATION = 0x102
    DATA_SM = 0x103
    GENERIC_NACK = RESPONSE
    BIND_RECEIVER_RESP = RESPONSE | 0x01
    BIND_TRANSMITTER_RESP = RESPONSE | 0x02
    QUERY_SM_RESP = RESPONSE | 0x03
    SUBMIT_SM_RESP = RESPONSE | 0x04
    DELIVER_SM_RESP = RESPONSE | 0x05
    UNBIND_RESP = RESPONSE | 0x06
    REPLACE_SM_RESP = RESPONSE | 0x07
    CANCEL_SM_RESP = RESPONSE | 0x08
    BIND_TRANSCEIVER_RESP = RESPONSE | 0x09
    ENQUIRE_LINK_RESP = RESPONSE | 0x15
    SUBMIT_MULTI_RESP = RESPONSE | 0x21
    DATA_SM_RESP = RESPONSE | 0x103


class Status(IntEnum):
    """Values of command_status (section 5.1.3). Vendors have others: `Pdu.status` is then a plain number."""

    ESME_ROK = 0x00
    ESME_RINVMSGLEN = 0x01
    ESME_RINVCMDLEN = 0x02
    ESME_RINVCMDID = 0x03
    ESME_RINVBNDSTS = 0x04
    ESME_RALYBND = 0x05
    ESME_RINVPRTFLG = 0x06
    ESME_RINVREGDLVFLG = 0x07
    ESME_RSYSERR = 0x08
    ESME_RINVSRCADR = 0x0A
    ESME_RINVDSTADR = 0x0B
    ESME_RINVMSGID = 0x0C
    ESME_RBINDFAIL = 0x0D
    ESME_RINVPASWD = 0x0E
    ESME_RINVSYSID = 0x0F
    ESME_RCANCELFAIL = 0x11
    ESME_RREPLACEFAIL = 0x13
    ESME_RMSGQFUL = 0x14
    ESME_RINVSERTYP = 0x15
    ESME_RINVNUMDESTS = 0x33
    ESME_RINVDLNAME = 0x34
    ESME_RINVDESTFLAG = 0x40
    ESME_RINVSUBREP = 0x42
    ESME_RINVESMCLASS = 0x43
    ESME_RCNTSUBDL = 0x44
    ESME_RSUBMITFAIL = 0x45
    ESME_RINVSRCTON = 0x48
    ESME_RINVSRCNPI = 0x49
    ESME_RINVDSTTON = 0x50
    ESME_RINVDSTNPI = 0x51
    ESME_RINVSYSTYP = 0x53
    ESME_RINVREPFLAG = 0x54
    ESME_RINVNUMMSGS = 0x55
    ESME_RTHROTTLED = 0x58
    ESME_RINVSCHED = 0x61
    ESME_RINVEXPIRY = 0x62
    ESME_RINVDFTMSGID = 0x63
    ESME_RX_T_APPN = 0x64
    ESME_RX_P_APPN = 0x65
    ESME_RX_R_APPN = 0x66
    ESME_RQUERYFAIL = 0x67
    ESME_RINVOPTPARSTREAM = 0xC0
    ESME_ROPTPARNOTALLWD = 0xC1
    ESME_RINVPARLEN = 0xC2
    ESME_RMISSINGOPTPARAM = 0xC3
    ESME_RINVOPTPARAMVAL = 0xC4
    ESME_RDELIVERYFAILURE = 0xFE
    ESME_RUNKNOWNERR = 0xFF


@dataclass(frozen=True, slots=True)
class Pdu:
    """A PDU whose body has not been looked into, for `postwire.providers.smpp.bodies` to read."""

    command: int
    status: int
    sequence: int
    body: bytes = field(default=b"", repr=False)

    @property
    def is_response(self) -> bool:
        """Whether it answers a request of ours: by its sequence number."""
        return bool(self.command & RESPONSE)


def encode(command: int, status: int, sequence: int, body: bytes = b"") -> bytes:
    """The octets of a PDU."""
    return HEADER.pack(HEADER.size + len(body), command, status, sequence) + body


def decode(data: bytes, max_size: int = MAX_SIZE) -> Pdu:
    """The PDU that `data` is, whole.

    Raises:
        Malformed: it is none, or not one alone.
    """
    framer = Framer(max_size)
    found = list(framer.feed(data))
    if len(found) != 1 or framer.pending:
        raise Malformed("is not one whole PDU")
    return found[0]


class Framer:
    """Finds PDUs in what a connection gives, however it is cut."""

    __slots__ = ("_buffer", "_max_size")

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._buffer = bytearray()
        self._max_size = max_size

    @property
    def pending(self) -> int:
        """Octets of a PDU that is not whole yet. Where there are any at the connection's end, it was cut off."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Pdu]:
        """The PDUs that are whole with `data`, in order. Those ahead of what is malformed come before the exception.

        Raises:
            Malformed: a PDU says a length that none has. Where the next begins cannot be told: close the connection.
        """
        self._buffer += data
        return self._whole()

    def _whole(self) -> Iterator[Pdu]:
        buffer = self._buffer
        while len(buffer) >= 4:
            length = int.from_bytes(buffer[:4], "big")
            if length < HEADER.size:
                raise Malformed(f"says that it has less than {HEADER.size} octets")
            if length > self._max_size:
                raise Malformed(f"says that it has more than {self._max_size} octets")
            if len(buffer) < length:
                return
            _, command, status, sequence = HEADER.unpack_from(buffer)
            body = bytes(buffer[HEADER.size : length])
            del buffer[:length]
            yield Pdu(command, status, sequence, body)

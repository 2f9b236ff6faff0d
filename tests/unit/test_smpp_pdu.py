"""PDUs of SMPP: what is written is read again, whatever it is and however it comes; what is none is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.providers.smpp import bodies
from postwire.providers.smpp.bodies import (
    KINDS,
    MAX_SHORT_MESSAGE,
    Bind,
    BindResp,
    Body,
    DataSm,
    DeliverSm,
    SubmitSm,
    SubmitSmResp,
    Tag,
    bind_body,
    deliver_resp_body,
    read_body,
    read_deliver,
    read_submit_resp,
)
from postwire.providers.smpp.pdu import (
    HEADER,
    MAX_SEQUENCE,
    MAX_SIZE,
    RESPONSE,
    Command,
    Framer,
    Malformed,
    Pdu,
    Status,
    decode,
    encode,
)

# Section 4 of the specification has a table for each: the length of each text, NUL included.
TEXTS = {
    "system_id": 16,
    "password": 65,  # and 9 in the specification
    "system_type": 13,
    "address_range": 41,
    "service_type": 6,
    "source_addr": 21,
    "destination_addr": 21,
    "esme_addr": 65,
    "schedule_delivery_time": 17,
    "validity_period": 17,
    "final_date": 17,
    "message_id": 65,
}
WIDER = {("DataSm", "source_addr"): 65, ("DataSm", "destination_addr"): 65, ("AlertNotification", "source_addr"): 65}

OPTIONS = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20)), max_size=4).map(tuple)


def texts(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=most - 1)


def bodies_of(kind: type[Body]) -> st.SearchStrategy[Body]:
    values: dict[str, st.SearchStrategy[Any]] = {}
    for one in fields(kind):
        if one.name == "options":
            values[one.name] = OPTIONS
        elif one.name == "short_message":
            values[one.name] = st.binary(max_size=MAX_SHORT_MESSAGE)
        elif one.name in TEXTS:
            values[one.name] = texts(WIDER.get((kind.__name__, one.name), TEXTS[one.name]))
        else:
            values[one.name] = st.integers(0, 255)
    return st.builds(kind, **values)


ANY_BODY = st.sampled_from(sorted(KINDS)).flatmap(
    lambda command: st.tuples(st.just(command), bodies_of(KINDS[command]))
)
PDUS = st.builds(
    Pdu, st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF), st.integers(0, MAX_SEQUENCE), st.binary(max_size=60)
)


@given(ANY_BODY, st.integers(0, 0xFFFF_FFFF), st.integers(1, MAX_SEQUENCE))
def test_every_pdu_that_is_written_is_read_again(known: tuple[int, Body], status: int, sequence: int) -> None:
    command, body = known
    data = encode(command, status, sequence, body.body())
    pdu = decode(data)
    assert (pdu.command, pdu.status, pdu.sequence) == (command, status, sequence)
    assert read_body(pdu) == body
    assert encode(pdu.command, pdu.status, pdu.sequence, pdu.body) == data


@given(ANY_BODY, st.data())
def test_a_body_that_was_cut_is_refused_or_lacks_whole_options(known: tuple[int, Body], data: st.DataObject) -> None:
    command, body = known
    octets = body.body()
    if not octets:
        return
    cut = octets[: data.draw(st.integers(0, len(octets) - 1))]
    try:
        read = KINDS[command].read(cut)
    except Malformed:
        return
    assert read.options == body.options[: len(read.options)]
    assert len(read.options) < len(body.options)
    assert all(getattr(read, one.name) == getattr(body, one.name) for one in fields(read) if one.name != "options")


def test_a_body_that_was_cut_anywhere_is_refused_but_between_options() -> None:
    options = ((Tag.MESSAGE_STATE, b"\2"), (Tag.MESSAGE_PAYLOAD, b"Hello"))
    octets = DeliverSm(short_message=b"Hi", options=options).body()
    whole = {len(octets) - 14: (), len(octets) - 9: options[:1], len(octets): options}
    for end in range(len(octets) + 1):
        if end in whole:
            assert DeliverSm.read(octets[:end]).options == whole[end]
        else:
            with pytest.raises(Malformed):
                DeliverSm.read(octets[:end])


def test_a_short_message_has_254_octets_at_most() -> None:
    whole = SubmitSm(short_message=bytes(MAX_SHORT_MESSAGE))
    assert SubmitSm.read(whole.body()) == whole


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=300))
def test_whatever_stands_in_a_body_is_read_or_refused(command: int, body: bytes) -> None:
    try:
        read = read_body(Pdu(command, 0, 1, body))
    except Malformed:
        return
    assert read is not None


@given(st.lists(PDUS, max_size=6), st.data())
def test_pdus_are_found_however_the_connection_cuts_them(sent: list[Pdu], data: st.DataObject) -> None:
    stream = b"".join(encode(one.command, one.status, one.sequence, one.body) for one in sent)
    framer, found, at = Framer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 40))
        found += list(framer.feed(stream[at : at + step]))
        at += step
    assert found == sent
    assert framer.pending == 0


def test_what_is_not_whole_yet_waits() -> None:
    framer = Framer()
    data = encode(Command.ENQUIRE_LINK, 0, 7)
    assert list(framer.feed(data[:-1])) == []
    assert framer.pending == 15
    assert list(framer.feed(data[-1:])) == [Pdu(Command.ENQUIRE_LINK, 0, 7)]


@pytest.mark.parametrize("length", [0, 1, 15, MAX_SIZE + 1, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_length_that_no_pdu_has_is_refused_by_its_first_four_octets(length: int) -> None:
    with pytest.raises(Malformed, match=r"says that it has (less than 16|more than 73728) octets"):
        list(Framer().feed(length.to_bytes(4, "big")))


def test_the_largest_is_taken() -> None:
    data = encode(Command.DATA_SM, 0, 1, bytes(MAX_SIZE - HEADER.size))
    assert len(decode(data).body) == MAX_SIZE - 16
    with pytest.raises(Malformed):
        decode(data, MAX_SIZE - 1)


def test_what_came_ahead_of_what_is_malformed_is_not_lost() -> None:
    found = Framer().feed(encode(Command.SUBMIT_SM_RESP, 0, 3, b"id\0") + b"HTTP/1.1 400 Bad Request")
    assert read_submit_resp(next(found).body) == "id"
    with pytest.raises(Malformed):
        next(found)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x10", encode(Command.UNBIND, 0, 1) * 2])
def test_what_is_not_one_pdu_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed, match="one whole PDU"):
        decode(data)


def test_commands_and_parameters_that_are_not_known_are_kept() -> None:
    assert read_body(Pdu(0x1234, 0, 1, b"anything")) is None
    assert read_body(Pdu(Command.SUBMIT_MULTI, 0, 1, b"anything")) is None
    sent = DeliverSm(short_message=b"hi", options=((0x1401, b"vendor"), (Tag.MESSAGE_STATE, b"\2"), (0x1401, b"again")))
    read = read_deliver(sent.body())
    assert read == sent
    assert read.option(0x1401) == b"vendor"
    assert read.option(0x1402) is None


def test_answers_belong_to_the_requests_of_their_number() -> None:
    assert all(bool(command & RESPONSE) == ("RESP" in command.name or "NACK" in command.name) for command in Command)
    assert Pdu(Command.SUBMIT_SM_RESP, 0, 1).is_response
    assert Pdu(Command.GENERIC_NACK, 3, 1).is_response
    assert not Pdu(Command.DELIVER_SM, 0, 1).is_response
    for command in KINDS:
        if not command & RESPONSE and command not in (Command.OUTBIND, Command.ALERT_NOTIFICATION):
            assert command | RESPONSE in KINDS


def test_a_bind_is_as_the_specification_has_it() -> None:
    # Section 3.2.3 has this PDU, octet by octet.
    data = bytes.fromhex(
        "0000002F000000020000000000000001534D50503354455354007365637265743038005355424D4954310034010100"
    )
    assert encode(Command.BIND_TRANSMITTER, 0, 1, _bind().body()) == data
    assert decode(data).command == Command.BIND_TRANSMITTER
    assert read_body(decode(data)) == _bind()
    assert bind_body("SMPP3TEST", "secret08", "SUBMIT1") == data[16:-3] + bytes(3)


def _bind() -> Bind:
    return Bind(system_id="SMPP3TEST", password="secret08", system_type="SUBMIT1", addr_ton=1, addr_npi=1)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (Bind(password="x" * 65), "password: must have at most 64 characters"),
        (Bind(system_id="a\0b"), "system_id: must have at most 15 characters, none of them NUL"),
        (SubmitSm(source_addr="x" * 21), "source_addr: must have at most 20 characters"),
        (SubmitSm(source_addr="Ω"), "source_addr: must have no characters but those of Latin-1"),
        (SubmitSm(short_message=bytes(255)), "short_message: must have at most 254 octets"),
        (SubmitSm(esm_class=256), "esm_class: must fit into one octet"),
        (SubmitSm(options=((Tag.MESSAGE_PAYLOAD, bytes(65_536)),)), "options: must have tags of two octets"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_its_field(body: Body, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        body.body()


def test_ids_longer_than_the_specification_has_them_are_read() -> None:
    assert SubmitSmResp.read(b"x" * 100 + b"\0").message_id == "x" * 100


@pytest.mark.parametrize(
    ("body", "expected"), [(b"", ""), (b"\0", ""), (b"id\0", "id"), (b"id", "id"), (b"id\0\x12garbage", "id")]
)
def test_the_id_of_what_was_taken_is_read_from_whatever_there_is(body: bytes, expected: str) -> None:
    assert read_submit_resp(body) == expected


def test_a_message_stands_in_either_place() -> None:
    long = ((Tag.MESSAGE_PAYLOAD, b"long"),)
    assert DeliverSm(short_message=b"short").payload == b"short"
    assert DeliverSm(options=long).payload == DataSm(options=long).payload == b"long"
    assert DeliverSm().payload == DataSm().payload == b""
    assert deliver_resp_body() == b"\0"
    assert read_body(Pdu(Command.BIND_RECEIVER_RESP, Status.ESME_ROK, 1, b"x\0")) == BindResp(system_id="x")


def test_nothing_private_shows() -> None:
    sent = SubmitSm(source_addr="Acme", destination_addr="+14155550132", short_message=b"code 4711")
    shown = repr(sent) + repr(Pdu(Command.SUBMIT_SM, 0, 1, sent.body())) + repr(_bind())
    for secret in ("4155550132", "4711", "Acme", "secret08", "SMPP3TEST"):
        assert secret not in shown
    assert {kind.__name__ for kind in KINDS.values()} <= set(dir(bodies))

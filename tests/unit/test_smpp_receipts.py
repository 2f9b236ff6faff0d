"""What centres answer and report, as ours: statuses, ids in either base, receipts, and messages from phones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.core.message import OutboundMessage, Sms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.smpp.bodies import DataSm, DeliverSm, Tag
from postwire.providers.smpp.message_ids import REMEMBERED, MessageIdFormat, MessageIds
from postwire.providers.smpp.parts import Alphabet, parts_of
from postwire.providers.smpp.pdu import Status
from postwire.providers.smpp.receipts import fields_of, read
from postwire.providers.smpp.statuses import TABLE, bind_meaning_of, is_throttled, meaning_of, name_of
from postwire.providers.sms.several import combined

AUTO, HEX, DECIMAL = MessageIdFormat
ACCEPTED, DELIVERED, UNDELIVERED = ReceiptState.ACCEPTED, ReceiptState.DELIVERED, ReceiptState.UNDELIVERED

OURS = OutboundMessage(Sms(to="+14155550132", body="Hello"))
THEIRS = OutboundMessage(Sms(to="+14155550132", body="Hello", sender="Acme"))

RECEIPT = b"id:%s sub:001 dlvrd:001 submit date:2611301000 done date:2611301001 stat:%s err:%s text:Hello"


def receipt(message_id: str = "98F1", stat: str = "DELIVRD", err: str = "000", **fields: object) -> DeliverSm:
    text = RECEIPT % (message_id.encode(), stat.encode(), err.encode())
    return replace(DeliverSm(esm_class=4, source_addr="14155550132", short_message=text), **fields)  # type: ignore[arg-type]


def ids(form: MessageIdFormat = AUTO, *given: str) -> MessageIds:
    made = MessageIds(form)
    for one in given:
        made.given(one)
    return made


# Statuses


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.ESME_ROK])
def test_every_status_means_something_and_none_that_it_was_taken(status: Status) -> None:
    for message in (OURS, THEIRS):
        meaning = meaning_of(status, message)
        assert meaning.outcome in (Outcome.ERROR, Outcome.REJECTED, Outcome.RATE_LIMITED, Outcome.MISCONFIGURED)
        assert meaning.detail
    assert bind_meaning_of(status).outcome in (Outcome.ERROR, Outcome.RATE_LIMITED, Outcome.MISCONFIGURED)
    assert name_of(status) == status.name


@pytest.mark.parametrize(
    ("status", "outcome", "fault"),
    [
        (Status.ESME_RTHROTTLED, Outcome.RATE_LIMITED, True),
        (Status.ESME_RMSGQFUL, Outcome.RATE_LIMITED, True),
        (Status.ESME_RINVDSTADR, Outcome.REJECTED, True),
        (Status.ESME_RINVDSTTON, Outcome.ERROR, False),
        (Status.ESME_RSYSERR, Outcome.ERROR, True),
        (Status.ESME_RSUBMITFAIL, Outcome.ERROR, False),
        (Status.ESME_RINVPASWD, Outcome.MISCONFIGURED, True),
        (Status.ESME_RINVSRCADR, Outcome.MISCONFIGURED, True),
        (0x401, Outcome.ERROR, False),
    ],
)
def test_a_status_is_what_the_specification_says_of_it(status: int, outcome: Outcome, fault: bool) -> None:
    meaning = meaning_of(status, OURS)
    assert (meaning.outcome, meaning.provider_fault) == (outcome, fault)
    assert is_throttled(status) == (outcome is Outcome.RATE_LIMITED)


def test_nobody_has_a_provider_passed_over_by_naming_a_sender() -> None:
    for status in (Status.ESME_RINVSRCADR, Status.ESME_RINVSRCTON, Status.ESME_RINVSRCNPI):
        assert meaning_of(status, THEIRS).outcome is Outcome.ERROR
        assert meaning_of(status, OURS).outcome is Outcome.MISCONFIGURED


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.ESME_RBINDFAIL, Outcome.MISCONFIGURED),
        (Status.ESME_RINVSYSID, Outcome.MISCONFIGURED),
        (Status.ESME_RINVCMDID, Outcome.MISCONFIGURED),
        (Status.ESME_RALYBND, Outcome.ERROR),
        (Status.ESME_RSYSERR, Outcome.ERROR),
        (Status.ESME_RINVDSTADR, Outcome.ERROR),
        (Status.ESME_RTHROTTLED, Outcome.RATE_LIMITED),
        (0x500, Outcome.ERROR),
    ],
)
def test_a_bind_that_is_refused_says_whose_fault_it_is(status: int, outcome: Outcome) -> None:
    assert bind_meaning_of(status).outcome is outcome


def test_a_status_without_a_name_is_a_number() -> None:
    assert name_of(0x401) == "0x00000401"
    assert len(TABLE) == len(Status) - 4, "ESME_ROK, and the three that depend on who chose the sender"


# Ids


def test_ids_are_the_same_however_many_zeros_they_have_and_in_whatever_case() -> None:
    known = ids()
    assert known.given("0098f1") == known.reported("98F1") == "98F1"
    assert known.given("0000000000") == "0"
    assert known.given("6f0e9c3a-uuid") == known.reported("6f0e9c3a-uuid") == "6f0e9c3a-uuid"
    assert known.given("a,b") == known.reported("a,b") == "a;b", "or it would be two parts"
    assert known.given("0123456789abcdef0") == "0123456789abcdef0", "too long for anybody's number"
    assert known.given("not printable \x01") == known.given("") == ""


@given(st.integers(0, 2**64 - 1), st.integers(0, 20))
def test_a_base_that_is_configured_is_kept_to(number: int, zeros: int) -> None:
    assert ids(HEX).reported(f"{number:0{zeros}}"[-20:]) == ids(HEX).given(f"{number:x}")
    assert ids(DECIMAL).reported(f"{number:x}") == ids(DECIMAL).given(f"{number}")


def test_with_a_base_configured_letters_still_say_that_an_id_is_hexadecimal() -> None:
    assert ids(HEX).reported("98f1") == "98F1"
    assert ids(HEX).reported("0000039153") == "98F1"


@pytest.mark.parametrize("given_in", ["X", "08x", "d", "010d"])
@pytest.mark.parametrize("reported_in", ["X", "08x", "d", "010d"])
def test_the_base_of_receipts_is_found_out(given_in: str, reported_in: str) -> None:
    known = ids()
    for number in range(39_153, 39_453):
        known.given(format(number, given_in))
    for number in range(39_153, 39_453):
        assert known.reported(format(number, reported_in)) == known.given(format(number, given_in))
    # What was given before the process began is found by then, as well.
    assert known.reported(format(1_234_567, reported_in)) == ids().given(format(1_234_567, given_in))


def test_until_it_is_found_out_an_id_is_what_it_says() -> None:
    assert ids().reported("0000039153") == "39153"
    both = ids(AUTO, "39153", "98F1")
    assert both.reported("39153") == "39153"


def test_one_that_fits_by_chance_does_not_decide() -> None:
    known = ids(AUTO, "4D2")
    assert known.reported("1234") == "4D2"
    for number in range(5_000, 5_100):
        known.given(str(number))
        assert known.reported(str(number)) == str(number)


def test_ids_that_are_the_same_in_any_base_decide_nothing() -> None:
    known = ids(AUTO, *"0123456789")
    assert [known.reported(digit) for digit in "0123456789" * 3] == list("0123456789" * 3)
    known.given("98F1")
    assert known.reported("39153") == "98F1"


def test_only_so_many_ids_are_remembered() -> None:
    known = ids(AUTO, "98F1", *(f"{number:X}" for number in range(100_000, 100_000 + REMEMBERED)))
    assert known.reported("39153") == "39153"
    assert known.reported("100000") == f"{100_000:X}"


# Receipts


@pytest.mark.parametrize(
    ("stat", "state"),
    [
        ("DELIVRD", DELIVERED),
        ("delivrd", DELIVERED),
        ("EXPIRED", UNDELIVERED),
        ("DELETED", UNDELIVERED),
        ("UNDELIV", UNDELIVERED),
        ("REJECTD", UNDELIVERED),
        ("ACCEPTD", ACCEPTED),
        ("ENROUTE", ACCEPTED),
    ],
)
def test_a_receipt_is_read_of_its_text(stat: str, state: ReceiptState) -> None:
    found = read(receipt(stat=stat), ids())
    assert isinstance(found, Receipt)
    assert (found.state, found.provider_message_id) == (state, "98F1")
    assert found.code == (stat if state is UNDELIVERED else "")
    assert found.recipient == ""
    assert not found.permanent


@pytest.mark.parametrize("stat", ["UNKNOWN", "", "NEW-ONE"])
def test_a_state_that_says_nothing_is_not_used(stat: str) -> None:
    assert read(receipt(stat=stat), ids()) is None


def test_parameters_come_before_the_text() -> None:
    given = receipt(
        "0000039153",
        "ENROUTE",
        options=(
            (Tag.RECEIPTED_MESSAGE_ID, b"98f1\0"),
            (Tag.MESSAGE_STATE, b"\5"),
            (Tag.NETWORK_ERROR_CODE, b"\3\0\x21"),
        ),
    )
    assert read(given, ids()) == Receipt(UNDELIVERED, provider_message_id="98F1", code="33")
    assert read(given, ids(HEX)) == Receipt(UNDELIVERED, provider_message_id="98F1", code="33")


def test_where_the_base_is_configured_the_text_is_meant() -> None:
    given = receipt("0000004660", options=((Tag.RECEIPTED_MESSAGE_ID, b"1234\0"),))
    for form in (HEX, AUTO):
        found = read(given, ids(form))
        assert isinstance(found, Receipt)
        assert found.provider_message_id == "1234"


def test_a_receipt_needs_no_text() -> None:
    options = ((Tag.RECEIPTED_MESSAGE_ID, b"98F1"), (Tag.MESSAGE_STATE, b"\2"))
    expected = Receipt(DELIVERED, provider_message_id="98F1")
    assert read(DeliverSm(options=options), ids()) == expected
    assert read(DataSm(options=options, esm_class=4), ids()) == expected


def test_a_try_that_failed_is_not_the_last() -> None:
    found = read(receipt(stat="UNDELIV", err="033", esm_class=0x20), ids())
    assert found == Receipt(ACCEPTED, provider_message_id="98F1", code="033")


@pytest.mark.parametrize(
    "text",
    [
        "id:98F1 sub:001 dlvrd:000 submit date:2611301000 done date:2611301001 stat:UNDELIV err:0A1 Text:id:7 stat:X",
        "ID: 98F1 Sub: 001 Dlvrd: 000 Submit Date: 2611301000 Done Date: 2611301001 Stat: UNDELIV Err: 0A1 Text:",
        "id:98F1 submit_date:261130100000 done_date:261130100100 stat:UNDELIV err:0A1",
        "err:0A1, stat:UNDELIV, id:98F1\0",
        "stat:UNDELIV\r\nid:98F1\r\nerr:0A1\r\n",
    ],
)
def test_centres_differ_in_how_they_write_it(text: str) -> None:
    given = DeliverSm(esm_class=4, short_message=text.encode())
    assert read(given, ids()) == Receipt(UNDELIVERED, provider_message_id="98F1", code="0A1")
    wide = DeliverSm(esm_class=4, data_coding=8, options=((Tag.MESSAGE_PAYLOAD, text.encode("utf-16-be")),))
    assert read(wide, ids()) == read(given, ids())


def test_the_beginning_of_what_was_sent_is_none_of_it() -> None:
    quoting = DeliverSm(esm_class=4, short_message=b"id:98F1 stat:UNDELIV text:err:0A1 stat:DELIVRD")
    doubled = DeliverSm(esm_class=4, short_message=b"id:98F1 stat:UNDELIV id:7 stat:DELIVRD")
    for one in (quoting, doubled):
        assert read(one, ids()) == Receipt(UNDELIVERED, provider_message_id="98F1", code="UNDELIV")


def test_a_code_of_the_network_has_three_octets() -> None:
    odd = receipt(stat="UNDELIV", options=((Tag.NETWORK_ERROR_CODE, b"\3\1"),))
    assert read(odd, ids()) == Receipt(UNDELIVERED, provider_message_id="98F1", code="UNDELIV")


def test_an_id_is_read_in_ascii_whatever_the_alphabet() -> None:
    found = read(receipt("a_b@$c"), ids(), Alphabet.GSM)
    assert isinstance(found, Receipt)
    assert found.provider_message_id == "a_b@$c"


@pytest.mark.parametrize("text", ["", "stat:DELIVRD", "id: stat:DELIVRD", "id:98F1", "msgid:98F1 stat:DELIVRD"])
def test_a_receipt_that_lacks_what_matters_is_not_used(text: str) -> None:
    assert read(DeliverSm(esm_class=4, short_message=text.encode()), ids()) is None


def test_codes_are_kept_and_words_are_not() -> None:
    found = read(receipt(stat="UNDELIV", err="call +14155550132"), ids())
    assert found == Receipt(UNDELIVERED, provider_message_id="98F1", code="UNDELIV")


@given(st.text(max_size=200))
def test_any_text_has_fields_or_has_none(text: str) -> None:
    assert all(name == name.lower() for name in fields_of(text))


# Messages from phones


def test_a_receipt_cannot_be_forged_by_who_writes_one_on_a_phone() -> None:
    found = read(receipt(esm_class=0, destination_addr="15005550006"), ids())
    assert isinstance(found, Inbound)


@pytest.mark.parametrize(
    ("coding", "octets", "text"),
    [
        (0, b"STOP", "STOP"),
        (0, b"\x00\x1be", "@€"),
        (1, b"STOP", "STOP"),
        (3, b"Arr\xeat", "Arrêt"),
        (8, "СТОП 😀".encode("utf-16-be"), "СТОП 😀"),
        (6, "СТОП".encode("iso8859-5"), "СТОП"),
        (0xF1, b"STOP", "STOP"),
        (4, b"STOP", ""),
        (0xF5, b"STOP", ""),
        (8, b"\xd8\x3d", "\ufffd"),
    ],
)
def test_a_message_from_a_phone_is_read_in_its_coding(coding: int, octets: bytes, text: str) -> None:
    given = DeliverSm(
        source_addr_ton=1, source_addr="14155550132", destination_addr="12345", data_coding=coding, short_message=octets
    )
    assert read(given, ids()) == Inbound("+14155550132", "12345", text)


def test_the_alphabet_of_the_centre_is_that_of_what_it_sends() -> None:
    given = DeliverSm(source_addr="+14155550132", destination_addr="15005550006", short_message=b"@\xe9")
    assert read(given, ids(), Alphabet.LATIN1) == Inbound("+14155550132", "+15005550006", "@é")
    assert read(given, ids(), Alphabet.ASCII) == Inbound("+14155550132", "+15005550006", "@\ufffd")


def test_each_part_of_a_long_message_comes_by_itself() -> None:
    sent = parts_of("x" * 155, to="+15005550006", sender="+14155550132", message_id="m")
    sent += parts_of("y" * 170, to="+15005550006", sender="+14155550132", message_id="m")
    found = [read(DeliverSm.read(one.body()), ids()) for one in sent]
    assert [one.text if isinstance(one, Inbound) else None for one in found] == ["x" * 155, "y" * 153, "y" * 17]


@pytest.mark.parametrize(
    "given",
    [
        DeliverSm(source_addr="Acme", source_addr_ton=5, short_message=b"STOP"),
        DeliverSm(source_addr="4155550132", source_addr_ton=2, short_message=b"STOP"),  # of which country?
        DeliverSm(source_addr="", short_message=b"STOP"),
        DeliverSm(source_addr="14155550132", esm_class=0x08, short_message=b"read"),
        DeliverSm(source_addr="14155550132", esm_class=0x10, short_message=b"1"),
        DeliverSm(esm_class=0x08, options=((Tag.RECEIPTED_MESSAGE_ID, b"98F1"), (Tag.MESSAGE_STATE, b"\2"))),
    ],
)
def test_what_nobody_can_be_answered_for_is_not_used(given: DeliverSm) -> None:
    assert read(given, ids()) is None


# Several parts


def test_parts_make_one_result() -> None:
    taken = [DispatchResult(Outcome.SUCCESS, provider_message_id=one) for one in ("a", "", "b")]
    throttled = DispatchResult(Outcome.RATE_LIMITED, error_code="ESME_RTHROTTLED", retry_after=2)
    refused = DispatchResult(Outcome.REJECTED, error_code="ESME_RINVDSTADR", detail="the number is not valid")
    assert combined(taken) == DispatchResult(Outcome.SUCCESS, provider_message_id="a,b")
    assert combined([refused, throttled]) == throttled
    assert combined([refused, refused]) == refused
    mixed = combined([*taken, refused])
    assert (mixed.outcome, mixed.error_code) == (Outcome.UNCERTAIN, "ESME_RINVDSTADR")
    assert mixed.provider_message_id == "", "or receipts for some would be taken for all"

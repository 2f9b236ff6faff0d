"""A text as submit_sm: in which alphabet, in how many parts, from whom, and for how long."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.providers.smpp.bodies import SubmitSm, Tag
from postwire.providers.smpp.parts import Alphabet, LongMessages, cannot_send, parts_of, segment_count
from postwire.providers.sms.encoding import GSM_BASIC, GSM_EXTENSION, from_gsm, to_gsm

MESSAGE = "0197c0de-0000-7000-8000-000000000000"
TO = "+14155550132"
GSM_TEXT = st.text(st.sampled_from(GSM_BASIC.replace("\x1b", "") + "".join(GSM_EXTENSION)), max_size=700)
BORDERS = st.builds(
    lambda count, rest: "x" * count + rest, st.integers(140, 165), st.text("€{[\U0001f600é", max_size=40)
)
ANY_TEXT = st.one_of(GSM_TEXT, BORDERS, st.text("aé€ç日\U0001f600", max_size=400), st.text(max_size=300))


def parts(body: str, **options: object) -> list[SubmitSm]:
    return parts_of(body, **{"to": TO, "sender": "+15005550006", "message_id": MESSAGE} | options)  # type: ignore[arg-type]


def shown(each: list[SubmitSm], alphabet: Alphabet = Alphabet.GSM) -> str:
    """What a phone makes of some parts, each decoded by itself."""
    texts = []
    for one in each:
        octets = one.payload
        if one.esm_class & 0x40:
            octets = octets[1 + octets[0] :]
        texts.append(octets.decode("utf-16-be", "surrogatepass") if one.data_coding == 8 else alphabet.decode(octets))
    return "".join(texts)


@given(st.one_of(GSM_TEXT), st.binary(max_size=200))
def test_septets_are_read_as_they_were_written(body: str, octets: bytes) -> None:
    assert from_gsm(to_gsm(body)) == body
    from_gsm(octets).encode()


@pytest.mark.parametrize(
    ("octets", "expected"),
    [(b"\x1be", "€"), (b"\x1b", ""), (b"\x1b\x1be", " e"), (b"\x1bA", "A"), (b"\xff\x00", "\ufffd@")],
)
def test_what_the_extension_table_lacks_is_shown_as_phones_do(octets: bytes, expected: str) -> None:
    assert from_gsm(octets) == expected


@given(ANY_TEXT, st.sampled_from(Alphabet), st.sampled_from(LongMessages))
def test_parts_join_to_the_text(body: str, alphabet: Alphabet, long: LongMessages) -> None:
    made = parts(body, alphabet=alphabet, long=long)
    assert shown(made, alphabet) == body
    assert len({one.data_coding for one in made}) == 1
    assert made == parts(body, alphabet=alphabet, long=long), "an identical attempt makes identical bodies"
    for one in made:
        assert SubmitSm.read(one.body()) == one
    if long is LongMessages.UDH:
        assert len(made) == segment_count(body, alphabet)
    else:
        assert len(made) == 1
        assert not (made[0].short_message and made[0].options)


@given(ANY_TEXT, st.sampled_from(Alphabet))
def test_no_part_is_larger_than_phones_take_and_none_cuts_a_character(body: str, alphabet: Alphabet) -> None:
    made = parts(body, alphabet=alphabet)
    for number, one in enumerate(made, 1):
        header, octets = b"", one.short_message
        if len(made) > 1:
            header, octets = octets[:6], octets[6:]
            assert header == bytes((5, 0, 3, sha256(MESSAGE.encode()).digest()[0], len(made), number))
        assert one.esm_class == (0x40 if header else 0)
        if one.data_coding == 8:
            assert len(header) + len(octets) <= 140
            octets.decode("utf-16-be")
        else:
            septets = to_gsm(alphabet.decode(octets))
            assert len(septets) <= (153 if header else 160)
            assert not septets.endswith(b"\x1b")


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        ("x" * 160, [160]),
        ("x" * 161, [153, 8]),
        ("x" * 152 + "€{[", [158]),
        ("x" * 155 + "€{[", [153, 8]),
        ("x" * 152 + "€{[" + "x" * 10, [152, 16]),  # what takes two septets goes whole into the next
        ("日" * 70, [140]),
        ("日" * 71, [134, 8]),
        ("\U0001f600" * 36, [132, 12]),  # 33 to a part
        ("日" * 66 + "\U0001f600" * 4, [132, 16]),
    ],
)
def test_sizes_are_those_of_the_standard(body: str, sizes: list[int]) -> None:
    made = parts(body)
    header = 6 if len(made) > 1 else 0
    assert [len(one.short_message) - header for one in made] == sizes


def test_a_long_text_goes_whole_where_that_is_wanted() -> None:
    (one,) = parts("x" * 161, long=LongMessages.PAYLOAD)
    assert (one.short_message, one.esm_class) == (b"", 0)
    assert one.option(Tag.MESSAGE_PAYLOAD) == b"x" * 161
    (short,) = parts("x" * 160, long=LongMessages.PAYLOAD)
    assert (short.short_message, short.options) == (b"x" * 160, ())


@pytest.mark.parametrize(
    ("body", "alphabet", "coding", "octets"),
    [
        ("@é€", Alphabet.GSM, 0, b"\x00\x05\x1be"),
        ("@é", Alphabet.LATIN1, 0, b"@\xe9"),
        ("@é€", Alphabet.LATIN1, 8, "@é€".encode("utf-16-be")),
        ("ç", Alphabet.LATIN1, 8, b"\0\xe7"),  # Latin-1 has it, and phones do not
        ("Ω", Alphabet.LATIN1, 8, "Ω".encode("utf-16-be")),
        ("@{", Alphabet.ASCII, 0, b"@{"),
        ("é", Alphabet.ASCII, 8, b"\0\xe9"),
        ("`", Alphabet.ASCII, 8, b"\0`"),
        ("日", Alphabet.GSM, 8, "日".encode("utf-16-be")),
    ],
)
def test_the_alphabet_is_the_centres(body: str, alphabet: Alphabet, coding: int, octets: bytes) -> None:
    (one,) = parts(body, alphabet=alphabet)
    assert (one.data_coding, one.short_message) == (coding, octets)


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("+15005550006", (1, 1, "15005550006")),
        ("447700900000", (1, 1, "447700900000")),
        ("12345", (3, 0, "12345")),
        ("Acme Shop", (5, 0, "Acme Shop")),
        ("4ever", (5, 0, "4ever")),
    ],
)
def test_the_type_of_a_sender_follows_from_how_it_is_written(sender: str, expected: tuple[int, int, str]) -> None:
    (one,) = parts("Hello", sender=sender)
    assert (one.source_addr_ton, one.source_addr_npi, one.source_addr) == expected
    assert (one.dest_addr_ton, one.dest_addr_npi, one.destination_addr) == (1, 1, "14155550132")
    assert cannot_send("Hello", sender) is None


@pytest.mark.parametrize("sender", ["", "Acme & Daughters", "Åcme", "a\tb"])
def test_a_sender_that_phones_cannot_show_is_refused_ahead(sender: str) -> None:
    found = cannot_send("Hello", sender)
    assert (found is None) == (sender == "")
    if found:
        assert found.field == "message.sms.sender"
        assert sender not in found.description


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (1, "000000000001000R"),
        (14_400, "000000040000000R"),
        (90_061, "000001010101000R"),
        (86_400 * 60, "000030000000000R"),
    ],
)
def test_a_message_is_worth_delivering_for_what_is_left(seconds: int | None, expected: str) -> None:
    (one,) = parts("Hello", validity=seconds)
    assert one.validity_period == expected


def test_receipts_are_asked_for_where_they_are_taken() -> None:
    assert [one.registered_delivery for one in parts("x" * 400)] == [1, 1, 1]
    assert [one.registered_delivery for one in parts("x" * 400, receipts=False)] == [0, 0, 0]


def test_segments_are_counted_as_they_are_sent() -> None:
    body = "x" * 100 + "€"
    assert segment_count(body) == 1
    assert segment_count(body, Alphabet.LATIN1) == 2
    assert cannot_send(body, "Acme", max_segments=1) is None
    found = cannot_send(body, "Acme", alphabet=Alphabet.LATIN1, max_segments=1)
    assert found
    assert found.description == "must fit into at most 1 segment, and takes 2"

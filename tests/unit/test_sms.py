"""How a text is encoded and divided as an SMS, and whom it is from."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.config.bind import ConfigError, EnvTree, bind
from postwire.config.shown import rows
from postwire.core.message import Mms, OutboundMessage, Sms
from postwire.providers.sms.encoding import GSM_BASIC, GSM_EXTENSION, SmsEncoding, divide, encoding_of, segments
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not

GSM, UCS2 = SmsEncoding.GSM_7BIT, SmsEncoding.UCS2
GSM_TEXT = st.text(st.sampled_from(GSM_BASIC.replace("\x1b", "") + "".join(GSM_EXTENSION)), max_size=700)
ANY_TEXT = st.text(st.sampled_from("aé€ç日\U0001f600"), max_size=400)


def octets(part: str, encoding: SmsEncoding) -> int:
    """How many units a part takes, by another way than the code's."""
    if encoding is UCS2:
        return len(part.encode("utf-16-be")) // 2
    return sum(2 if character in "\f^{}\\[~]|€" else 1 for character in part)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", (GSM, 1)),
        ("x" * 160, (GSM, 1)),
        ("x" * 161, (GSM, 2)),
        ("x" * 306, (GSM, 2)),
        ("x" * 307, (GSM, 3)),
        ("€" * 80, (GSM, 1)),
        ("€" * 80 + "x", (GSM, 2)),
        (
            "x" * 152 + "€" * 77,
            (GSM, 3),
        ),  # the first € does not fit into the first part, and one more not into the second
        ("`", (UCS2, 1)),  # ASCII, and not in the alphabet
        ("ç" * 70, (UCS2, 1)),  # only the capital is in it
        ("Ç" * 160, (GSM, 1)),
        ("日" * 70, (UCS2, 1)),
        ("日" * 71, (UCS2, 2)),
        ("日" * 134, (UCS2, 2)),
        ("日" * 135, (UCS2, 3)),
        ("\U0001f600" * 35, (UCS2, 1)),
        ("\U0001f600" * 36, (UCS2, 2)),
        ("\U0001f600" * 67, (UCS2, 3)),  # 33 to a part: none is cut
        ("\x1b", (UCS2, 1)),
    ],
)
def test_segments_are_as_the_standard_counts_them(body: str, expected: tuple[SmsEncoding, int]) -> None:
    assert segments(body) == expected


@given(st.one_of(GSM_TEXT, ANY_TEXT))
def test_a_text_is_divided_without_a_loss_and_nothing_is_cut(body: str) -> None:
    encoding, count = segments(body)
    parts = divide(body)
    assert "".join(parts) == body
    assert len(parts) == count
    most = encoding.whole if count == 1 else encoding.part
    assert all(octets(part, encoding) <= most for part in parts)
    # No part could have taken the first character of the next.
    assert all(octets(a + b[0], encoding) > most for a, b in pairwise(parts))


def test_the_alphabet_is_that_of_the_standard() -> None:
    assert len(GSM_BASIC) == len(set(GSM_BASIC)) == 128
    codes = {0x00: "@", 0x02: "$", 0x10: "Δ", 0x1B: "\x1b", 0x20: " ", 0x24: "¤", 0x40: "¡", 0x5F: "§", 0x7F: "à"}
    assert {code: GSM_BASIC[code] for code in codes} == codes
    assert encoding_of(GSM_BASIC.replace("\x1b", "") + "".join(GSM_EXTENSION)) is GSM


SETTINGS = SmsSettings(sender="Acme", senders={"+44": "+447700900001", "+4477": "+447700900002"})


@pytest.mark.parametrize(
    ("to", "own", "sender"),
    [
        ("+15005550006", "", "Acme"),
        ("+442079460001", "", "+447700900001"),
        ("+447700900009", "", "+447700900002"),
        ("+447700900009", "Other", "Other"),
    ],
)
def test_the_sender_is_the_messages_else_that_of_the_longest_prefix_else_the_common_one(
    to: str, own: str, sender: str
) -> None:
    assert sender_of(SETTINGS, Sms(to, "x", own)) == sender
    assert sender_of(SETTINGS, Mms(to, "x", own)) == sender


def test_a_message_that_nobody_would_send_is_not_carried() -> None:
    only_british = SmsSettings(senders={"+44": "Acme"})
    why = why_not(only_british, OutboundMessage(Mms("+15005550006", "x")))
    assert why is not None
    assert why.field == "message.mms.sender"
    assert why_not(only_british, OutboundMessage(Sms("+447700900001", "x"))) is None
    assert why_not(only_british, OutboundMessage(Sms("+15005550006", "x")), has_sender=True) is None


def test_a_text_that_takes_too_many_segments_is_not_carried() -> None:
    two = SmsSettings(sender="Acme", max_segments=2)
    assert why_not(two, OutboundMessage(Sms("+15005550006", "x" * 306))) is None
    why = why_not(two, OutboundMessage(Sms("+15005550006", "x" * 307)))
    assert why is not None
    assert (why.field, why.description) == ("message.sms.body", "must fit into at most 2 segments, and takes 3")


def test_senders_are_a_table_in_the_configuration_and_a_list_in_the_environment() -> None:
    found = bind(SmsSettings, {"senders": {"+1": "+15005550006", "+44": "Acme"}}, ("providers", "a"))
    assert found.senders == {"+1": "+15005550006", "+44": "Acme"}
    assert ("senders", '{ "+1" = "+15005550006", "+44" = "Acme" }') in rows(found, ())
    env = EnvTree("POSTWIRE", below={"senders": EnvTree("POSTWIRE_SENDERS", "+1=+15005550006, +44=Acme")})
    assert bind(SmsSettings, {}, (), env) == found


@pytest.mark.parametrize(
    ("senders", "line"),
    [
        ({"1": "x"}, 'senders: "1" is not the beginning of a number, such as +44'),
        ({"+1": 5}, 'senders."+1": 5 is not a string'),
        ({"+1": "a\nb"}, 'senders."+1": "a\\nb" is not a text of one line'),
        ("x", 'senders: "x" is not a table of senders by the beginning of a number'),
    ],
)
def test_what_is_wrong_with_senders_is_named(senders: object, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        bind(SmsSettings, {"senders": senders}, ())
    assert str(refused.value).startswith(line)

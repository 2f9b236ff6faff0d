"""The canonical encoding: the file format of contents, and what request ids are held to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from postwire.core import canonical
from postwire.core.message import (
    Attachment,
    DeliveryGuarantee,
    DispatchOptions,
    Email,
    Media,
    Mms,
    OutboundMessage,
    Priority,
    Sms,
)

# Surrogates cannot arrive: protobuf refuses them.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SOME_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ADDRESSES = st.lists(SOME_TEXT, max_size=3).map(tuple)
PAIRS = st.dictionaries(SOME_TEXT, TEXT, max_size=4)

CONTENTS = st.one_of(
    st.builds(Sms, to=TEXT, body=TEXT, sender=TEXT),
    st.builds(
        Mms,
        to=TEXT,
        body=TEXT,
        sender=TEXT,
        media=st.lists(
            st.builds(Media, url=TEXT, data=st.binary(max_size=9), content_type=TEXT, file_name=TEXT), max_size=3
        ).map(tuple),
    ),
    st.builds(
        Email,
        to=ADDRESSES,
        cc=ADDRESSES,
        bcc=ADDRESSES,
        subject=TEXT,
        text=TEXT,
        html=TEXT,
        sender=TEXT,
        reply_to=TEXT,
        headers=PAIRS,
        attachments=st.lists(
            st.builds(Attachment, file_name=TEXT, content_type=TEXT, data=st.binary(max_size=9)), max_size=3
        ).map(tuple),
    ),
)
MESSAGES = st.builds(OutboundMessage, content=CONTENTS, labels=PAIRS)
TIMES = st.none() | st.integers(0, 2**53)
OPTIONS = st.builds(
    DispatchOptions,
    send_time=TIMES,
    expire_time=TIMES,
    priority=st.sampled_from(Priority),
    delivery_guarantee=st.sampled_from(DeliveryGuarantee),
    provider_name=st.none() | SOME_TEXT,
    max_attempts=st.none() | st.integers(1, 100),
)

FULL_SMS = OutboundMessage(Sms("+15005550006", "Hi", "Postwire"), {"b": "2", "a": "1"})
FULL_MMS = OutboundMessage(
    Mms(
        "+15005550006",
        "Hi",
        "12345",
        (Media(url="https://a.test/x", file_name="x.png"), Media(data=b"\x00\xff", content_type="image/png")),
    )
)
FULL_EMAIL = OutboundMessage(
    Email(
        to=("a@a.test", "b@a.test"),
        cc=("c@a.test",),
        bcc=("d@a.test",),
        subject="S\u00fcbject",
        text="T \U0001f600",
        html="<p>",
        sender="e@a.test",
        reply_to="f@a.test",
        headers={"X-B": "2", "X-A": ""},
        attachments=(Attachment("f.pdf", "application/pdf", b"%PDF"), Attachment("g", "", b"\x00")),
    ),
    {"team": "auth"},
)
FULL_OPTIONS = DispatchOptions(
    send_time=0,
    expire_time=1_700_000_000_000_000,
    priority=Priority.HIGH,
    delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE,
    provider_name="sms-eu",
    max_attempts=3,
)


def field(tag: int, value: bytes | str) -> bytes:
    """One field as the format's description spells it, written here a second time on purpose."""
    data = value.encode() if isinstance(value, str) else value
    return bytes([tag]) + len(data).to_bytes(4, "little") + data


def test_version_1_of_an_sms_to_the_byte() -> None:
    """Version 1 never changes: files in the field hold it, and request ids are compared by it."""
    assert canonical.encode_message(FULL_SMS).hex(" ") == (
        "01"
        " 01 25 00 00 00"
        " 01 0c 00 00 00 2b 31 35 30 30 35 35 35 30 30 30 36"
        " 02 02 00 00 00 48 69"
        " 03 08 00 00 00 50 6f 73 74 77 69 72 65"
        " 09 0c 00 00 00 01 01 00 00 00 61 02 01 00 00 00 31"
        " 09 0c 00 00 00 01 01 00 00 00 62 02 01 00 00 00 32"
    )


def test_version_1_of_an_mms() -> None:
    first = field(1, "https://a.test/x") + field(4, "x.png")
    second = field(2, b"\x00\xff") + field(3, "image/png")
    body = field(1, "+15005550006") + field(2, "Hi") + field(3, "12345") + field(4, first) + field(4, second)
    assert canonical.encode_message(FULL_MMS) == b"\x01" + field(2, body)


def test_version_1_of_an_email() -> None:
    body = b"".join(
        (
            field(1, "a@a.test"),
            field(1, "b@a.test"),
            field(2, "c@a.test"),
            field(3, "d@a.test"),
            field(4, "S\u00fcbject"),
            field(5, "T \U0001f600"),
            field(6, "<p>"),
            field(7, "e@a.test"),
            field(8, "f@a.test"),
            field(9, field(1, "X-A")),
            field(9, field(1, "X-B") + field(2, "2")),
            field(10, field(1, "f.pdf") + field(2, "application/pdf") + field(3, b"%PDF")),
            field(10, field(1, "g") + field(3, b"\x00")),
        )
    )
    labels = field(9, field(1, "team") + field(2, "auth"))
    assert canonical.encode_message(FULL_EMAIL) == b"\x01" + field(3, body) + labels


def test_version_1_of_the_options() -> None:
    assert canonical.encode_options(DispatchOptions()) == b"\x01"
    assert canonical.encode_options(FULL_OPTIONS) == b"\x01" + b"".join(
        (
            field(1, "0"),
            field(2, "1700000000000000"),
            field(3, "high"),
            field(4, "at_most_once"),
            field(5, "sms-eu"),
            field(6, "3"),
        )
    )


@pytest.mark.parametrize(
    ("options", "written"),
    [
        (DispatchOptions(send_time=7), field(1, "7")),
        (DispatchOptions(expire_time=8), field(2, "8")),
        (DispatchOptions(priority=Priority.LOW), field(3, "low")),
        (DispatchOptions(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE), field(4, "at_most_once")),
        (DispatchOptions(provider_name="p"), field(5, "p")),
        (DispatchOptions(max_attempts=9), field(6, "9")),
        (DispatchOptions(provider_name=""), b""),
    ],
)
def test_an_option_that_is_left_out_is_not_written(options: DispatchOptions, written: bytes) -> None:
    """So that an option which a later release adds changes nothing for the request ids in the field."""
    assert canonical.encode_options(options) == b"\x01" + written


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (FULL_SMS, "c9fa76e2a8502d7d9a1f1a642cc56c0e86e1561c3e7c197ce28640a68c690e02"),
        (FULL_MMS, "668dfd079f2f420c861ffe71276d5fdb5579c3003635507e0e7e58096c93aafb"),
        (FULL_EMAIL, "7735c1053854950e6320b5ee8e37211202697968699d42c3354a7184d5e1d3ad"),
    ],
    ids=["sms", "mms", "email"],
)
def test_version_1_of_the_payload_hash(message: OutboundMessage, digest: str) -> None:
    encoded, options = canonical.encode_message(message), canonical.encode_options(FULL_OPTIONS)
    assert canonical.payload_hash(encoded, options).hex() == digest
    framed = b"\x00" + len(encoded).to_bytes(4, "little") + encoded + options
    assert hashlib.sha256(framed).hexdigest() == digest
    assert canonical.encode(message, FULL_OPTIONS) == (encoded, bytes.fromhex(digest))


def test_version_2_of_the_payload_hash() -> None:
    digest, key = hashlib.sha256(b"payload").digest(), bytes(range(32))
    kept = canonical.keyed_hash(digest, key)
    assert kept == b"\x02" + hmac.digest(key, b"postwire/payload/2" + digest, "sha256")
    assert canonical.is_payload(kept, digest, key)
    assert not canonical.is_payload(kept, digest, bytes(32))
    assert not canonical.is_payload(kept, hashlib.sha256(b"another").digest(), key)
    assert not canonical.is_payload(kept, kept, key), "who has the file has nothing to ask with"


def test_a_hash_of_version_1_is_still_known() -> None:
    digest, key = hashlib.sha256(b"payload").digest(), bytes(32)
    assert canonical.is_payload(digest, digest, key)
    for start in (1, 2):
        other = bytes([start]) + digest[1:]
        assert not canonical.is_payload(digest, other, key)
        assert canonical.is_payload(other, other, key)


def test_the_hash_tells_where_the_message_ends() -> None:
    assert canonical.payload_hash(b"ab", b"c") != canonical.payload_hash(b"a", b"bc")


@pytest.mark.parametrize("message", [FULL_SMS, FULL_MMS, FULL_EMAIL], ids=["sms", "mms", "email"])
def test_every_field_comes_back(message: OutboundMessage) -> None:
    assert canonical.decode_message(canonical.encode_message(message)) == message


@examples(300)
@given(MESSAGES)
def test_what_was_encoded_is_decoded(message: OutboundMessage) -> None:
    assert canonical.decode_message(canonical.encode_message(message)) == message


@settings(deadline=None)
@given(MESSAGES, MESSAGES)
def test_payloads_have_the_same_bytes_only_where_they_are_equal(one: OutboundMessage, other: OutboundMessage) -> None:
    assert (canonical.encode_message(one) == canonical.encode_message(other)) == (one == other)


@settings(deadline=None)
@given(OPTIONS, OPTIONS)
def test_options_have_the_same_bytes_only_where_they_are_equal(one: DispatchOptions, other: DispatchOptions) -> None:
    assert (canonical.encode_options(one) == canonical.encode_options(other)) == (one == other)


@given(PAIRS.filter(lambda pairs: len(pairs) > 1))
def test_the_order_of_a_map_is_nothing(pairs: dict[str, str]) -> None:
    backwards = dict(reversed(pairs.items()))

    def both(mapping: Mapping[str, str]) -> bytes:
        return canonical.encode_message(OutboundMessage(Email(to=("a@a.test",), headers=mapping), mapping))

    assert both(pairs) == both(backwards)


def neighbours(value: Any) -> list[Any]:
    """`value` with one thing changed, for each thing that can be."""
    if isinstance(value, str):
        return [value + "x", value[:-1]] if value else ["x"]
    if isinstance(value, bytes):
        return [value + b"x"]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, Mapping):
        changed = [{**value, "new": ""}, {**value, "new": "new"}]
        changed += [{k: v for k, v in value.items() if k != left_out} for left_out in value]
        return changed + [{**value, key: new} for key in value for new in neighbours(value[key])]
    if isinstance(value, tuple):
        changed_tuples = [value[:i] + value[i + 1 :] for i in range(len(value))]
        changed_tuples += [(*value[:i], new, *value[i + 1 :]) for i, one in enumerate(value) for new in neighbours(one)]
        return [*changed_tuples, value + value[:1], value[::-1]]
    if isinstance(value, Priority | DeliveryGuarantee):
        return [one for one in type(value) if one is not value]
    return [replace(value, **{f.name: new}) for f in fields(value) for new in neighbours(getattr(value, f.name))]


@pytest.mark.parametrize("message", [FULL_SMS, FULL_MMS, FULL_EMAIL], ids=["sms", "mms", "email"])
def test_no_two_neighbouring_messages_share_bytes(message: OutboundMessage) -> None:
    different = [message]
    for one in neighbours(message):
        if one not in different:
            different.append(one)
    assert len(different) >= 15
    assert len({canonical.encode_message(one) for one in different}) == len(different)


def test_an_address_that_moves_to_another_field_changes_the_bytes() -> None:
    fields_of_addresses = ({"to": ("a", "b")}, {"to": ("a",), "cc": ("b",)}, {"to": ("a",), "bcc": ("b",)})
    assert len({canonical.encode_message(OutboundMessage(Email(**one))) for one in fields_of_addresses}) == 3


def test_no_two_neighbouring_options_share_bytes() -> None:
    different = [FULL_OPTIONS, *neighbours(FULL_OPTIONS)]
    different += [replace(FULL_OPTIONS, send_time=None), replace(FULL_OPTIONS, expire_time=None)]
    different += [replace(FULL_OPTIONS, provider_name=None), replace(FULL_OPTIONS, max_attempts=None)]
    assert len({canonical.encode_options(one) for one in different}) == len(set(different))


def test_the_same_text_in_sms_and_mms_are_two_payloads() -> None:
    sms, mms = OutboundMessage(Sms("+15005550006", "Hi")), OutboundMessage(Mms("+15005550006", "Hi"))
    assert canonical.encode_message(sms) != canonical.encode_message(mms)


@examples(300)
@given(MESSAGES, st.data())
def test_bytes_that_were_cut_short_or_changed_are_refused_in_one_way(message: OutboundMessage, data: Any) -> None:
    encoded = bytearray(canonical.encode_message(message))
    position = data.draw(st.integers(0, len(encoded) - 1))
    if data.draw(st.booleans()):
        del encoded[position:]
    else:
        encoded[position] = data.draw(st.integers(0, 255))
    with suppress(ValueError):  # and nothing else
        canonical.decode_message(bytes(encoded))


@pytest.mark.parametrize("message", [FULL_SMS, FULL_MMS, FULL_EMAIL], ids=["sms", "mms", "email"])
def test_every_cut_within_the_content_is_seen(message: OutboundMessage) -> None:
    encoded = canonical.encode_message(replace(message, labels={}))
    for length in range(2, len(encoded)):
        with pytest.raises(ValueError, match=r"^content is cut short$"):
            canonical.decode_message(encoded[:length])


def test_another_version_is_refused() -> None:
    rest = canonical.encode_message(FULL_SMS)[1:]
    for data in (b"", b"\x00" + rest, b"\x02" + rest):
        with pytest.raises(ValueError, match=r"^content is not in an encoding that this version of postwire reads$"):
            canonical.decode_message(data)


def test_a_channel_of_a_later_release_is_refused() -> None:
    text = r"^content is of a channel that this version of postwire does not know$"
    for data in (b"\x01", b"\x01" + field(4, field(1, "+15005550006"))):
        with pytest.raises(ValueError, match=text):
            canonical.decode_message(data)


def test_a_field_of_a_later_release_is_passed_over() -> None:
    encoded = canonical.encode_message(FULL_SMS)
    assert canonical.decode_message(encoded + field(200, "later")) == FULL_SMS

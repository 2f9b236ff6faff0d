"""Which characters are allowed at which place: each is tried, so that no pattern is a character wider or narrower."""

from __future__ import annotations

import string
from collections.abc import Callable, Set

import pytest
from tests.support.fields import MEDIA_TYPE, attachment, email, media, mms, sms

from postwire.core import validation
from postwire.core.errors import InvalidMessage
from postwire.core.message import Content
from postwire.core.validation import Violations

# Beside the first blocks of Unicode: digits and letters that are none of ASCII, one that becomes ASCII in lower case,
# spaces, line breaks, what cannot be seen, and what takes two units of UTF-16. No combining marks: which of them belong
# into an address is another question.
ALL = frozenset(
    [
        *map(chr, range(0x300)),
        *"\u0660\u0663\u1680\u200b\u200d\u2028\u2029\u202f\u2060\u212a\u3000\u4f8b\uff11\uff21\U0001f600",
    ]
)
ASCII = frozenset(map(chr, range(128)))
LETTERS = frozenset(string.ascii_letters)
DIGITS = frozenset(string.digits)
CONTROL = frozenset([*map(chr, range(32)), "\x7f"])
SPACE = frozenset(one for one in ALL if one.isspace())
ALPHANUMERIC = frozenset(one for one in ALL if one.isalnum())
LINE_BREAKS = frozenset("\r\n\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")

LOCAL_PART = ALL - SPACE - CONTROL - set('@<>()[],;:\\"')
NAME_OF_MEDIA_TYPE = LETTERS | DIGITS | set("!#$&^_.+-")

Check = Callable[[str, Violations], None]


def in_content(put: Callable[[str], Content]) -> Check:
    return lambda one, found: validation.check_content(put(one), found)


PLACES: dict[str, tuple[Check, Set[str]]] = {
    "first digit of a number": (in_content(lambda one: sms(to=f"+{one}5005550006")), DIGITS - {"0"}),
    "digit of a number": (in_content(lambda one: sms(to=f"+1500{one}550006")), DIGITS),
    "last digit of a number": (in_content(lambda one: mms(to=f"+1500555000{one}")), DIGITS),
    "all of a sender": (in_content(lambda one: sms(sender=one)), LETTERS),
    "sender after a letter": (in_content(lambda one: sms(sender=f"a{one}")), LETTERS | DIGITS | {" "}),
    "sender before a letter": (in_content(lambda one: sms(sender=f"{one}a")), LETTERS | DIGITS | {" "}),
    "sender among digits": (in_content(lambda one: sms(sender=f"1{one}3")), LETTERS | DIGITS),
    "all of a local part": (in_content(lambda one: email(to=(f"{one}@example.com",))), LOCAL_PART - {"."}),
    "local part": (in_content(lambda one: email(to=(f"a{one}a@example.com",))), LOCAL_PART),
    "all of a domain": (in_content(lambda one: email(to=(f"ada@{one}",))), ALPHANUMERIC),
    "last of a domain's first label": (in_content(lambda one: email(to=(f"ada@e{one}.x",))), ALPHANUMERIC),
    "domain's first label": (in_content(lambda one: email(to=(f"ada@e{one}e.x",))), ALPHANUMERIC | set("_-.")),
    "all of a domain's second label": (in_content(lambda one: email(to=(f"ada@e.{one}",))), ALPHANUMERIC),
    "last of a domain": (in_content(lambda one: email(to=(f"ada@e.x{one}",))), ALPHANUMERIC),
    "domain's second label": (in_content(lambda one: email(to=(f"ada@e.x{one}x",))), ALPHANUMERIC | set("_-.")),
    "name before an address": (
        in_content(lambda one: email(sender=f"A{one}A <ada@example.com>")),
        ALL - CONTROL - set("<>"),
    ),
    "address after a name": (in_content(lambda one: email(reply_to=f"Ada <a{one}a@example.com>")), LOCAL_PART),
    "subject": (in_content(lambda one: email(subject=f"a{one}a")), ALL - LINE_BREAKS),
    "all of a header's name": (in_content(lambda one: email(headers={one: ""})), ASCII - CONTROL - set(" :")),
    "header's name": (in_content(lambda one: email(headers={f"X{one}X": ""})), ASCII - CONTROL - set(" :")),
    "header's value": (in_content(lambda one: email(headers={"X": f"a{one}a"})), ALL - LINE_BREAKS),
    "all of a media type": (in_content(lambda one: attachment(content_type=f"{one}/b")), NAME_OF_MEDIA_TYPE),
    "media type": (in_content(lambda one: attachment(content_type=f"a{one}a/b")), NAME_OF_MEDIA_TYPE),
    "all of a subtype": (in_content(lambda one: attachment(content_type=f"a/{one}")), NAME_OF_MEDIA_TYPE),
    "subtype": (in_content(lambda one: attachment(content_type=f"a/b{one}b")), NAME_OF_MEDIA_TYPE),
    "before a parameter": (
        in_content(lambda one: attachment(content_type=f"a/b;{one}c=d")),
        LETTERS | DIGITS | set(" _-"),
    ),
    "parameter's name": (
        in_content(lambda one: attachment(content_type=f"a/b; c{one}c=d")),
        LETTERS | DIGITS | set("_-"),
    ),
    "all of a parameter's value": (
        in_content(lambda one: attachment(content_type=f"a/b;c={one}")),
        LETTERS | DIGITS | set("_.+-"),
    ),
    "parameter's value": (
        in_content(lambda one: attachment(content_type=f"a/b; c=d{one}d")),
        LETTERS | DIGITS | set("_.+-"),
    ),
    "all of a host": (in_content(lambda one: media(url=f"https://{one}")), ALL - SPACE - CONTROL - set("/?#")),
    "address after its first letter": (in_content(lambda one: media(url=f"http://a{one}")), ALL - SPACE - CONTROL),
    "path": (in_content(lambda one: media(url=f"https://a.test/{one}a")), ALL - SPACE - CONTROL),
    "file name": (in_content(lambda one: attachment(file_name=f"a{one}a")), ALL - CONTROL),
    "body": (in_content(lambda one: sms(body=one)), ALL),
    "text": (in_content(lambda one: email(text=one, html=one)), ALL),
    "all of a label's key": (
        lambda one, found: validation.check_labels({one: ""}, found),
        LETTERS | DIGITS | set("._/-"),
    ),
    "label's value": (lambda one, found: validation.check_labels({"a": f"a{one}a"}, found), ALL - CONTROL),
    "all of a request id": (validation.check_request_id, ASCII - CONTROL),
    "request id": (lambda one, found: validation.check_request_id(f"a{one}a", found), ASCII - CONTROL),
}


def passes(check: Check, text: str) -> bool:
    found = Violations()
    check(text, found)
    try:
        found.raise_any()
    except InvalidMessage:
        return False
    return True


@pytest.mark.parametrize("place", PLACES)
def test_these_characters_are_allowed_and_no_others(place: str) -> None:
    check, allowed = PLACES[place]
    assert {one for one in ALL if passes(check, one)} == allowed


@pytest.mark.parametrize(
    ("media_type", "good"),
    [
        ("a/b;c=d; e=f;g=h", True),
        ("a/b;  c=d", False),
        ("a/b ;c=d", False),
        ("a/b;c", False),
        ("a/b;=d", False),
        ("a/b;c=", False),
        ("a/b/c", False),
        ("a" * 127 + "/b", True),
        ("a" * 128 + "/b", False),
        ("a/" + "b" * 127, True),
        ("a/" + "b" * 128, False),
        ("a/b;c=" + "d" * 249, True),
        ("a/b;c=" + "d" * 250, False),
    ],
)
def test_the_parts_of_a_media_type(media_type: str, good: bool) -> None:
    found = Violations()
    validation.check_content(attachment(content_type=media_type), found)
    if good:
        found.raise_any()
    else:
        with pytest.raises(InvalidMessage, match=MEDIA_TYPE):
            found.raise_any()

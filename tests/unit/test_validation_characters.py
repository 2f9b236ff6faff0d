"""Which characters are allowed at which place: each is tried, so that no pattern is a character wider or narrower."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Set

import idna
import pytest
from tests.support.fields import MEDIA_TYPE, attachment, email, media, mms, sms

from postwire.core import validation
from postwire.core.errors import InvalidMessage
from postwire.core.message import Content
from postwire.core.validation import Violations

# Beside the first blocks of Unicode: combining marks, digits and letters that are none of ASCII, one that becomes ASCII
# in lower case, spaces, line breaks, what cannot be seen or turns round what is, dots, and what takes two units of
# UTF-16.
ALL = frozenset(
    [
        *map(chr, range(0x300)),
        *"\u0301\u0308\u0660\u0663\u061c\u093f\u094d\u0bcd\u1680\u200b\u200c\u200d\u200f\u2028\u2029\u202e\u202f",
        *"\u2060\u212a\u3000\u3002\u4f8b\ufeff\uff0e\uff11\uff21\uff61\U0001f600\U000e0041",
    ]
)
ASCII = frozenset(map(chr, range(128)))
LETTERS = frozenset(string.ascii_letters)
DIGITS = frozenset(string.digits)
ASCII_CONTROL = frozenset([*map(chr, range(32)), "\x7f"])
CONTROL = frozenset([*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"])
SPACE = frozenset(one for one in ALL if one.isspace())
UNSEEN = frozenset(one for one in ALL if unicodedata.category(one) in ("Cc", "Cf"))

LOCAL_PART = ALL - SPACE - UNSEEN - set('@<>()[],;:\\"')
NAME_OF_MEDIA_TYPE = LETTERS | DIGITS | set("!#$&^_.+-")
TOKEN = ASCII - ASCII_CONTROL - set(' ()<>@,;:\\"/[]?=')


def of_idna(form: str) -> Set[str]:
    """The characters that make a domain of the form, as `idna` has it; "{}" is where they go."""

    def is_domain(domain: str) -> bool:
        try:
            return bool(idna.encode(unicodedata.normalize("NFC", domain.lower()), strict=True))
        except idna.IDNAError:
            return False

    return {one for one in ALL if is_domain(form.format(one))}


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
    "all of a domain": (in_content(lambda one: email(to=(f"ada@{one}",))), of_idna("{}") - {"."}),
    "last of a domain's first label": (in_content(lambda one: email(to=(f"ada@e{one}.x",))), of_idna("e{}.x") - {"."}),
    "domain's first label": (in_content(lambda one: email(to=(f"ada@e{one}e.x",))), of_idna("e{}e.x")),
    "all of a domain's second label": (in_content(lambda one: email(to=(f"ada@e.{one}",))), of_idna("e.{}") - {"."}),
    "last of a domain": (in_content(lambda one: email(to=(f"ada@e.x{one}",))), of_idna("e.x{}") - {"."}),
    "domain's second label": (in_content(lambda one: email(to=(f"ada@e.x{one}x",))), of_idna("e.x{}x")),
    "domain after a virama": (
        in_content(lambda one: email(to=(f"ada@\u0915\u094d{one}\u0937.x",))),
        of_idna("\u0915\u094d{}\u0937.x"),
    ),
    "name before an address": (
        in_content(lambda one: email(sender=f"A{one}A <ada@example.com>")),
        ALL - CONTROL - set("<>"),
    ),
    "address after a name": (in_content(lambda one: email(reply_to=f"Ada <a{one}a@example.com>")), LOCAL_PART),
    "subject": (in_content(lambda one: email(subject=f"a{one}a")), ALL - CONTROL | {"\t"}),
    "all of a header's name": (in_content(lambda one: email(headers={one: ""})), ASCII - ASCII_CONTROL - set(" :")),
    "header's name": (in_content(lambda one: email(headers={f"X{one}X": ""})), ASCII - ASCII_CONTROL - set(" :")),
    "header's value": (in_content(lambda one: email(headers={"X": f"a{one}a"})), ALL - CONTROL | {"\t"}),
    "all of a media type": (in_content(lambda one: attachment(content_type=f"{one}/b")), NAME_OF_MEDIA_TYPE),
    "media type": (in_content(lambda one: attachment(content_type=f"a{one}a/b")), NAME_OF_MEDIA_TYPE),
    "all of a subtype": (in_content(lambda one: attachment(content_type=f"a/{one}")), NAME_OF_MEDIA_TYPE),
    "subtype": (in_content(lambda one: attachment(content_type=f"a/b{one}b")), NAME_OF_MEDIA_TYPE),
    "before a parameter": (
        in_content(lambda one: attachment(content_type=f"a/b;{one}c=d")),
        TOKEN | set(" \t"),
    ),
    "parameter's name": (
        in_content(lambda one: attachment(content_type=f"a/b; c{one}c=d")),
        TOKEN,
    ),
    "all of a parameter's value": (
        in_content(lambda one: attachment(content_type=f"a/b;c={one}")),
        TOKEN,
    ),
    "parameter's value": (
        in_content(lambda one: attachment(content_type=f"a/b; c=d{one}d")),
        TOKEN,
    ),
    "all of a quoted value": (
        in_content(lambda one: attachment(content_type=f'a/b; c="{one}"')),
        ASCII - ASCII_CONTROL - set('\\"') | {"\t"},
    ),
    "escaped in a quoted value": (
        in_content(lambda one: attachment(content_type=f'a/b; c="d\\{one}d"')),
        ASCII - ASCII_CONTROL | {"\t"},
    ),
    "all of a host": (in_content(lambda one: media(url=f"https://{one}")), ALL - SPACE - ASCII_CONTROL - set("/?#")),
    "address after its first letter": (
        in_content(lambda one: media(url=f"http://a{one}")),
        ALL - SPACE - ASCII_CONTROL,
    ),
    "path": (in_content(lambda one: media(url=f"https://a.test/{one}a")), ALL - SPACE - ASCII_CONTROL),
    "file name": (in_content(lambda one: attachment(file_name=f"a{one}a")), ALL - CONTROL),
    "body": (in_content(lambda one: sms(body=one)), ALL),
    "text": (in_content(lambda one: email(text=one, html=one)), ALL),
    "all of a label's key": (
        lambda one, found: validation.check_labels({one: ""}, found),
        LETTERS | DIGITS | set("._/-"),
    ),
    "label's value": (lambda one, found: validation.check_labels({"a": f"a{one}a"}, found), ALL - CONTROL),
    "all of a request id": (validation.check_request_id, ASCII - ASCII_CONTROL),
    "request id": (lambda one, found: validation.check_request_id(f"a{one}a", found), ASCII - ASCII_CONTROL),
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
        ("a/b;  c=d", True),
        ("a/b\t;\tc=d", True),
        ("a/b ; c=d ; e=f", True),
        ('a/b; c="d"', True),
        ('a/b; c=""', True),
        ('a/b; c="d; e=f"; g="h\\"i"', True),
        ("a/b; c=d ", False),
        ("a/b; c =d", False),
        ("a/b; c= d", False),
        ('a/b; c="d', False),
        ('a/b; c="d\\"', False),
        ('a/b; c="d"e', False),
        ('a/b; "c"=d', False),
        ("a/b;", False),
        ("a/b;;c=d", False),
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
        with pytest.raises(InvalidMessage, match=re.escape(MEDIA_TYPE)):
            found.raise_any()

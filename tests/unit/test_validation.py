"""What a well-formed call is: each rule of the contract, by the field it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.fields import ADDRESS, MALFORMED, TOO_LARGE, WELL_FORMED, attachment, email, media, sms

from postwire.core import addresses, validation
from postwire.core.errors import FieldViolation, InvalidMessage, InvalidPage, MessageTooLarge, Refusal
from postwire.core.message import Attachment, Content, DispatchOptions, Email, Media, Mms, Sms
from postwire.core.validation import Violations

LABEL_KEY = "a key must be 1 to 64 characters out of A-Z a-z 0-9 . _ / -"
LABEL_VALUE = "a value must have no control characters and no line separators"

Found = list[tuple[str, str]]


def refusal_of(check: Callable[[Violations], None]) -> Refusal | None:
    found = Violations()
    check(found)
    try:
        found.raise_any()
    except Refusal as refusal:
        return refusal
    return None


def found_in(content: Content) -> tuple[type[Refusal] | None, Found]:
    refusal = refusal_of(lambda found: validation.check_content(content, found))
    return (type(refusal), pairs(refusal.violations)) if refusal else (None, [])


def pairs(violations: tuple[FieldViolation, ...]) -> Found:
    return [(one.field, one.description) for one in violations]


@pytest.mark.parametrize(("content", "field", "description"), MALFORMED)
def test_a_malformed_field_is_named_and_nothing_else_is(content: Content, field: str, description: str) -> None:
    assert found_in(content) == (InvalidMessage, [(field, description)])


@pytest.mark.parametrize(("content", "field", "description"), TOO_LARGE)
def test_a_field_that_is_too_large_is_told_from_a_malformed_one(content: Content, field: str, description: str) -> None:
    assert found_in(content) == (MessageTooLarge, [(field, description)])


@pytest.mark.parametrize("content", WELL_FORMED)
def test_what_is_well_formed_passes(content: Content) -> None:
    assert found_in(content) == (None, [])


@pytest.mark.parametrize(
    ("labels", "reason", "description"),
    [
        ({"": "x"}, InvalidMessage, LABEL_KEY),
        ({"a b": "x"}, InvalidMessage, LABEL_KEY),
        ({"k" * 65: "x"}, InvalidMessage, LABEL_KEY),
        ({"\u00fc": "x"}, InvalidMessage, LABEL_KEY),
        ({"a\n": "x"}, InvalidMessage, LABEL_KEY),
        ({"a": "x\n"}, InvalidMessage, LABEL_VALUE),
        ({"a": "\x7f"}, InvalidMessage, LABEL_VALUE),
        ({"a": "\x9b31m"}, InvalidMessage, LABEL_VALUE),
        ({"a": "x\u2028"}, InvalidMessage, LABEL_VALUE),
        ({"a": "x" * 257}, MessageTooLarge, "a value must have at most 256 characters"),
        ({f"k{i}": "x" for i in range(17)}, MessageTooLarge, "must have at most 16 entries"),
        ({f"team/a_b-C.{i}": "\U0001f600" * 256 for i in range(16)}, None, ""),
        ({"k" * 64: ""}, None, ""),
    ],
)
def test_labels(labels: dict[str, str], reason: type[Refusal] | None, description: str) -> None:
    refusal = refusal_of(lambda found: validation.check_labels(labels, found))
    if reason is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert (type(refusal), pairs(refusal.violations)) == (reason, [("message.labels", description)])


@pytest.mark.parametrize(
    ("request_id", "good"),
    [
        ("", True),
        (" ", True),
        ("~" * 128, True),
        ("x" * 129, False),
        ("a\n", False),
        ("\u00fc", False),
        ("a\x7f", False),
    ],
)
def test_request_ids(request_id: str, good: bool) -> None:
    refusal = refusal_of(lambda found: validation.check_request_id(request_id, found))
    if good:
        assert refusal is None
    else:
        assert refusal is not None
        assert pairs(refusal.violations) == [("request_id", "must be 1 to 128 printable ASCII characters")]


def test_a_request_id_that_is_needed_cannot_be_left_out() -> None:
    refusal = refusal_of(lambda found: validation.check_request_id("", found, needed=True))
    assert refusal is not None
    assert pairs(refusal.violations) == [("request_id", "must be 1 to 128 printable ASCII characters")]
    assert refusal_of(lambda found: validation.check_request_id("x", found, needed=True)) is None


@pytest.mark.parametrize(
    ("value", "good"), [(None, True), (1, True), (100, True), (0, False), (-1, False), (101, False)]
)
def test_max_attempts(value: int | None, good: bool) -> None:
    refusal = refusal_of(lambda found: validation.check_options(DispatchOptions(max_attempts=value), found))
    if good:
        assert refusal is None
    else:
        assert refusal is not None
        assert pairs(refusal.violations) == [("options.max_attempts", "must be from 1 to 100, or left out")]


def refused_email(**fields: Any) -> Refusal:
    refusal = refusal_of(lambda found: validation.check_content(email(**fields), found))
    assert refusal is not None
    return refusal


def test_every_bad_field_is_named_at_once_and_what_is_too_large_comes_last() -> None:
    refusal = refused_email(subject="x" * 999, to=("bad",), text="", sender="bad", headers={"From": "\n"})
    assert isinstance(refusal, InvalidMessage)
    assert [one.field for one in refusal.violations] == [
        "message.email.to[0]",
        "message.email.text",
        "message.email.sender",
        "message.email.headers",
        "message.email.headers",
        "message.email.subject",
    ]
    assert str(refusal).startswith(f"message.email.to[0]: {ADDRESS} (and 5 more")


def test_exactly_twenty_five_are_all_named() -> None:
    violations = refused_email(to=("bad",) * 25).violations
    assert [one.field for one in violations] == [f"message.email.to[{i}]" for i in range(25)]


@pytest.mark.parametrize(("count", "more"), [(26, 1), (100, 75), (1000, 975)])
def test_over_twenty_five_the_rest_is_counted(count: int, more: int) -> None:
    refusal = refused_email(to=("bad",) * count)
    assert [one.field for one in refusal.violations[:25]] == [f"message.email.to[{i}]" for i in range(25)]
    assert pairs(refusal.violations[25:]) == [("", f"and {more} more")]
    assert f"and {count - 1} more" in str(refusal)


@pytest.mark.parametrize(
    ("count", "others"),
    [
        (1, ""),
        (2, " (and 1 more bad field)"),
        (3, " (and 2 more bad fields)"),
        (25, " (and 24 more bad fields)"),
        (1000, " (and 999 more bad fields)"),
    ],
)
def test_the_text_tells_of_the_first_and_counts_the_others(count: int, others: str) -> None:
    assert str(refused_email(to=("bad",) * count)) == f"message.email.to[0]: {ADDRESS}{others}"


def test_a_page_is_refused_for_what_is_malformed() -> None:
    found = Violations()
    found.raise_page()
    found.malformed("page_size", "must be right")
    found.malformed("filter.states[0]", "must be known")
    with pytest.raises(InvalidPage) as refused:
        found.raise_page()
    assert pairs(refused.value.violations) == [("page_size", "must be right"), ("filter.states[0]", "must be known")]
    assert str(refused.value) == "page_size: must be right (and 1 more bad field)"


def test_what_others_have_gathered_comes_behind_what_was_noted_and_stays_theirs() -> None:
    found, others, large = Violations(), Violations(), Violations()
    found.malformed("a", "must be right")
    found.too_large("c", "must be smaller")
    others.malformed("b", "must be right")
    large.too_large("d", "must be smaller")
    for more in (others, large, Violations()):
        found.note(more)
    found.malformed("e", "must be right")
    for gathered, fields in ((found, ["a", "b", "e", "c", "d"]), (others, ["b"]), (large, ["d"])):
        with pytest.raises(Refusal) as refused:
            gathered.raise_any()
        assert [one.field for one in refused.value.violations] == fields


CANARY = "Zq9canary7"
HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).flatmap(
    lambda noise: st.sampled_from([noise + CANARY, CANARY + noise, CANARY + "\r\n" + noise, f"{CANARY}@{noise}"])
)
TUPLES = st.lists(HOSTILE, max_size=2).map(tuple)


@examples(300)
@given(
    st.one_of(
        st.builds(Sms, to=HOSTILE, body=HOSTILE, sender=HOSTILE),
        st.builds(
            Mms,
            to=HOSTILE,
            sender=HOSTILE,
            media=st.lists(st.builds(Media, url=HOSTILE, content_type=HOSTILE, file_name=HOSTILE), max_size=2).map(
                tuple
            ),
        ),
        st.builds(
            Email,
            to=TUPLES,
            cc=TUPLES,
            bcc=TUPLES,
            subject=HOSTILE,
            sender=HOSTILE,
            reply_to=HOSTILE,
            headers=st.dictionaries(HOSTILE, HOSTILE, max_size=2),
            attachments=st.lists(
                st.builds(Attachment, file_name=HOSTILE, content_type=HOSTILE, data=st.just(b"")), max_size=2
            ).map(tuple),
        ),
    ),
    st.dictionaries(HOSTILE, HOSTILE, max_size=2),
    HOSTILE,
)
def test_no_text_repeats_a_value_or_a_key(content: Content, labels: dict[str, str], request_id: str) -> None:
    def check(found: Violations) -> None:
        validation.check_content(content, found)
        validation.check_labels(labels, found)
        validation.check_request_id(request_id + "\n", found)

    refusal = refusal_of(check)
    assert refusal is not None
    assert CANARY not in str(refusal)
    assert not any(CANARY in one.field + one.description for one in refusal.violations)


class Watched:
    """A pattern that remembers the longest text it was let loose on."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self.longest = 0

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self.longest = max(self.longest, len(text))
        return self._pattern.fullmatch(text)

    def search(self, text: str) -> re.Match[str] | None:
        self.longest = max(self.longest, len(text))
        return self._pattern.search(text)


# These look at each character of a text a fixed number of times, whatever it holds.
LINEAR = {
    *("_PHONE", "_SHORT_CODE", "_ALPHANUMERIC_SENDER", "_MAILBOX", "_HEADER_NAME"),
    *("_LABEL_KEY", "_REQUEST_ID", "_NOT_IN_A_LINE", "_NOT_IN_A_NAME"),
}


@pytest.mark.parametrize("unit", ["a", "a.", "<", "a@", "https://a?", "a/a; a=a", " "])
def test_what_could_take_quadratic_time_never_sees_a_long_text(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that is new to this test has to be judged: bounded beforehand, or linear."""
    watched: dict[str, Watched] = {}
    for module in (validation, addresses):
        for name, value in list(vars(module).items()):
            if isinstance(value, re.Pattern):
                watched[name] = Watched(value)
                monkeypatch.setattr(module, name, watched[name])
    text = unit * (1_000_000 // len(unit))
    contents: list[Content] = [
        sms(to=text, sender=text, body=text),
        media(url=text, content_type=text, file_name=text),
        email(to=(text,), subject=text, sender=text, reply_to=f"x <{text}>", headers={text: text}),
        attachment(file_name=text, content_type=text),
    ]
    for content in contents:
        assert found_in(content)[0] is InvalidMessage
    refusal_of(lambda found: validation.check_labels({text: text}, found))
    refusal_of(lambda found: validation.check_request_id(text, found))
    assert {name for name, pattern in watched.items() if pattern.longest > 2048} <= LINEAR

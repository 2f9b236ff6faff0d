"""Emails as they are built: read back by the standard library's parser, which shares no code with the builder."""

from __future__ import annotations

import email.header
import email.parser
import email.policy
import email.utils
import re
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from postwire.core.message import Attachment, Email
from postwire.core.validation import Violations, check_content
from postwire.providers.mail.mailboxes import parse_mailbox
from postwire.providers.mail.mime import Mime, build
from postwire.providers.pieces import PIECE, Pieces, whole

MESSAGE_ID = "01a3a2c5-5800-7000-8000-000000000001"
SENDER = "Postwire <no-reply@example.org>"
CREATED = 1_800_000_000_123_456

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], include_characters="\t"), max_size=120)
HARD_LINE = st.one_of(
    LINE,
    st.lists(
        st.sampled_from(["=?utf-8?q?x?=", "a" * 90, "\u00fc" * 40, " ", "\t", "  ", "\U0001f389", "<a@b>,", '"', "x"]),
        max_size=12,
    ).map("".join),
)
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.lists(
        st.sampled_from(
            ["\r\n", "\n", "\r", ".", "..", "From me", "x" * 998, "x" * 999, "\u00fc" * 80, " ", "\0", "=", "--=_"]
        ),
        max_size=12,
    ).map("".join),
)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="<>"), max_size=260)
ADDRESS = st.sampled_from(
    ["ada@example.com", "o'hara+tag@Example.co.uk", "a@b", "x@b\u00fccher.example", "y" * 64 + "@" + "z" * 60 + ".test"]
)
HEADER_NAME = st.sampled_from(["X-Campaign", "List-Unsubscribe", "List-Id", "x", "X-" + "n" * 74, "References"])
FILE_NAME = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=255
) | st.sampled_from(['a"b\\c.txt', "=?utf-8?q?x?=.txt", "\u00fc" * 255, "%41'*.txt", "a b;c=d.txt", " a "])
MEDIA_TYPE = st.sampled_from(
    ["", "image/png", 'text/csv; charset="utf-8"', "message/rfc822", "Multipart/mixed", "text/plain;charset=utf-16"]
)
EMAILS = st.builds(
    Email,
    to=st.lists(ADDRESS, min_size=1, max_size=9).map(tuple),
    cc=st.lists(ADDRESS, max_size=3).map(tuple),
    bcc=st.lists(st.just("secret@hidden.test"), max_size=1).map(tuple),
    subject=HARD_LINE,
    text=TEXT,
    html=TEXT,
    sender=st.one_of(st.just(""), st.tuples(NAME, ADDRESS).map(lambda two: f"{two[0]} <{two[1]}>")),
    reply_to=st.one_of(st.just(""), ADDRESS),
    headers=st.dictionaries(HEADER_NAME, HARD_LINE, max_size=4),
    attachments=st.lists(
        st.builds(Attachment, FILE_NAME, MEDIA_TYPE, st.binary(min_size=1, max_size=300)), max_size=3
    ).map(tuple),
)


def made(content: Email, message_id: str = MESSAGE_ID) -> Mime:
    return build(content, sender=SENDER, message_id=message_id, created=CREATED)


def parsed(mime: Mime) -> EmailMessage:
    return email.parser.BytesParser(EmailMessage, policy=email.policy.default).parsebytes(whole(mime.content))


def mail(**fields: Any) -> Email:
    return Email(**{"to": ("ada@example.com",), "text": "Hi", **fields})


def lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def in_ascii(address: str) -> str:
    return address.replace("b\u00fccher", "xn--bcher-kva")


def name_and_address(raw: bytes, field: str) -> tuple[str, str]:
    """As readers of long standing take them: the new parser breaks names in several encoded words."""
    read = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(raw)
    name, address = email.utils.parseaddr(read[field].replace("\r\n", ""))
    return str(email.header.make_header(email.header.decode_header(name))), address


def is_valid(content: Email) -> bool:
    found = Violations()
    check_content(content, found)
    try:
        found.raise_any()
    except Exception:
        return False
    return True


@settings(deadline=None)
@example(mail(subject="Hi \U0001f389", headers={"List-Unsubscribe": "<https://a.test/" + "u" * 300 + ">"}))
@given(EMAILS.filter(is_valid))
def test_what_is_built_reads_back_as_it_was(content: Email) -> None:
    mime = made(content)
    raw, read = whole(mime.content), parsed(mime)

    assert raw == whole(made(content).content)
    assert raw.isascii()
    assert not mime.smtputf8
    assert raw.endswith(b"\r\n")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", raw)
    head = raw.partition(b"\r\n\r\n")[0]
    assert all(line.strip() for line in head.split(b"\r\n")), "a line of a header is blank"
    assert b"hidden.test" not in raw

    assert not read.defects
    assert [one.addr_spec for one in read["To"].addresses] == [in_ascii(one) for one in content.to]
    assert [one.addr_spec for one in read["Cc"].addresses] if content.cc else read["Cc"] is None
    author = parse_mailbox(content.sender or SENDER)
    assert name_and_address(raw, "From") == (author.name, author.address)
    assert (read["Subject"] or "") == content.subject
    for name, value in content.headers.items():
        # The parser keeps the blank of a line that had to begin behind a long name (RFC 5322 has it go).
        assert read[name].removeprefix(" " if len(name) > 40 else "") == value.strip(" \t")
    assert read["Message-ID"].startswith(f"<{MESSAGE_ID}@")
    assert read["Date"].datetime.timestamp() == CREATED // 1_000_000

    for kind, text in (("plain", content.text), ("html", content.html)):
        body = read.get_body((kind,))
        if text:
            assert body is not None
            assert body.get_content_charset() == "utf-8"
            got = body.get_payload(decode=True).decode()  # type: ignore[union-attr]
            if body is read and not lines(text).endswith("\n"):
                assert lines(got) in (lines(text), lines(text) + "\n")
            else:
                assert lines(got) == lines(text)
    attached = list(read.iter_attachments()) if content.attachments else []
    assert [one["Content-Disposition"].params["filename"] for one in attached] == [
        one.file_name for one in content.attachments
    ]
    assert [one.get_payload(decode=True) for one in attached] == [one.data for one in content.attachments]


def head(mime: Mime) -> str:
    return b"".join(mime.fields).decode()


def test_a_long_value_in_ascii_is_folded_at_its_blanks_and_never_encoded() -> None:
    urls = [f"<https://example.com/{letter * 300}>" for letter in "ab"]
    written = head(made(mail(headers={"List-Unsubscribe": ", ".join(urls)})))
    assert f"\r\nList-Unsubscribe: {urls[0]},\r\n {urls[1]}\r\n" in written
    assert "=?" not in written


def test_a_value_that_fills_a_line_begins_on_one_of_its_own() -> None:
    assert f"X-Long:\r\n {'x' * 997}\r\n" in head(made(mail(headers={"X-Long": "x" * 997})))
    assert "X-Long: =?utf-8?b?" in head(made(mail(headers={"X-Long": "x" * 998})))


def test_the_fields_are_in_this_order() -> None:
    content = mail(
        cc=("c@example.com",), reply_to="Grace <g@example.com>", subject="Hi", headers={"X-A": "a", "X-B": ""}
    )
    assert head(made(content)).split("\r\n") == [
        "Date: Fri, 15 Jan 2027 08:00:00 +0000",
        "From: Postwire <no-reply@example.org>",
        "Reply-To: Grace <g@example.com>",
        "To: ada@example.com",
        "Cc: c@example.com",
        "Subject: Hi",
        f"Message-ID: <{MESSAGE_ID}@example.org>",
        "X-A: a",
        "X-B:",
        "MIME-Version: 1.0",
        'Content-Type: text/plain; charset="utf-8"',
        "Content-Transfer-Encoding: 7bit",
        "",
    ]


@pytest.mark.parametrize(
    ("fields", "structure"),
    [
        ({"text": "a"}, "text/plain"),
        ({"text": "", "html": "a"}, "text/html"),
        ({"html": "a"}, "multipart/alternative text/plain text/html"),
        ({"html": "a", "attachments": 1}, "multipart/mixed multipart/alternative text/plain text/html image/png"),
        ({"attachments": 2}, "multipart/mixed text/plain image/png image/png"),
        ({"text": "", "attachments": 1}, "multipart/mixed image/png"),
    ],
)
def test_the_parts_are_nested_as_readers_expect(fields: dict[str, Any], structure: str) -> None:
    attachments = (Attachment("a.png", "image/png", b"x"),) * fields.pop("attachments", 0)
    read = parsed(made(mail(**fields, attachments=attachments)))
    assert [part.get_content_type() for part in read.walk()] == structure.split()


@pytest.mark.parametrize("media_type", ["message/rfc822", "Multipart/mixed"])
def test_what_must_not_be_in_base64_is_attached_as_octets(media_type: str) -> None:
    read = parsed(made(mail(attachments=(Attachment("a.eml", media_type, b"Subject: x\n\n\0"),))))
    (attached,) = read.iter_attachments()
    assert attached.get_content_type() == "application/octet-stream"
    assert attached.get_payload(decode=True) == b"Subject: x\n\n\0"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hi", "7bit"),
        ("x" * 998 + "\n.\n", "7bit"),
        ("x" * 999, "quoted-printable"),
        ("a delimiter begins like this: --=_0", "quoted-printable"),
        ("all of it is gr\u00fcn", "quoted-printable"),
        ("\u65e5\u672c", "base64"),
        ("a\0", "base64"),
        ("a\rb", "base64"),
        ("a\r\r\nb", "base64"),
        ("a" * 65_537, "base64"),
    ],
)
def test_a_text_is_encoded_as_it_needs(text: str, encoding: str) -> None:
    assert parsed(made(mail(text=text)))["Content-Transfer-Encoding"] == encoding


@given(st.lists(st.sampled_from(["x" * 65_535, "\u20ac" * 30_000, "\r", "\n", "\r\n", "y"]), min_size=3, max_size=12))
@examples(30)
def test_a_long_text_reads_back_wherever_it_is_sliced(parts: list[str]) -> None:
    text = "z" * 65_536 + "".join(parts)
    got = parsed(made(mail(text=text))).get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert got == re.sub("\r?\n", "\r\n", text)


def test_a_large_email_is_made_in_pieces() -> None:
    content = mail(text="\u20ac" * 1_000_000, attachments=(Attachment("a", "", bytes(3_000_000)),))
    body = made(content).content
    assert isinstance(body, Pieces)
    sizes = [len(piece) for piece in body.make()]
    assert max(sizes) < 2 * PIECE
    assert len(sizes) > 20
    assert b"".join(body.make()) == whole(made(content).content)


@pytest.mark.parametrize("field", ["to", "cc", "sender", "reply_to"])
def test_an_address_beyond_ascii_stands_as_it_is_and_asks_for_smtputf8(field: str) -> None:
    address = "\u7528\u6237@\u4f8b\u5b50.test"
    mime = made(mail(**{field: (address,) if field in ("to", "cc") else address}, subject="\u00fc"))
    assert mime.smtputf8
    written = head(mime)
    assert "\u7528\u6237@xn--fsqu00a.test" in written
    assert "Subject: =?utf-8?b?" in written


def test_one_in_bcc_asks_for_nothing_here() -> None:
    assert not made(mail(bcc=("\u7528\u6237@example.com",))).smtputf8


@pytest.mark.parametrize(
    ("sender", "written"),
    [
        ("Ada Lovelace <a@b.c>", "Ada Lovelace <a@b.c>"),
        ("a@b.c", "a@b.c"),
        ("<a@b.c>", "a@b.c"),
        ('"Lovelace, Ada" <a@b.c>', '"Lovelace, Ada" <a@b.c>'),
        ("Lovelace, Ada <a@b.c>", '"Lovelace, Ada" <a@b.c>'),
        ('Ada "Ada" L. <a@b.c>', '"Ada \\"Ada\\" L." <a@b.c>'),
        ("\u00c4da <a@b.c>", "=?utf-8?b?w4RkYQ==?= <a@b.c>"),
    ],
)
def test_names_are_quoted_or_encoded_as_they_need(sender: str, written: str) -> None:
    assert f"\r\nFrom: {written}\r\n" in head(made(mail(sender=sender)))


@pytest.mark.parametrize(
    "address", ["", "canary", "canary@", "can ary@b.c", "canary@b.c\r\nBcc: x@y.z", "\u00fc\n@b.c"]
)
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match=r"^not a") as refused:
        made(mail(to=(address,)))
    assert "canary" not in str(refused.value)


def test_another_message_has_other_delimiters_and_another_id() -> None:
    content = mail(html="a")
    one, other = (whole(made(content, message_id).content) for message_id in ("1", "2"))
    assert re.findall(rb"=_\w+", one) != re.findall(rb"=_\w+", other)
    assert b"<1@example.org>" in one


def test_nothing_is_shown_of_it() -> None:
    assert "ada" not in repr(made(mail()))

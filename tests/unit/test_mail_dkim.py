"""Signatures, verified by a verifier that is held to the example of RFC 8463."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.support.dkim_verifier import fields_of, relaxed_body, verify

from postwire.core.message import Attachment, Email
from postwire.providers.mail.dkim import BodyHash, DkimSigner, relaxed_field
from postwire.providers.mail.mime import Mime, build
from postwire.providers.pieces import PIECE, whole

# RFC 8463, appendix A.
EXAMPLE = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.

""".replace(b"\n", b"\r\n")
ED25519_SECRET = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
ED25519_PUBLIC = base64.b64decode("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
RSA_PUBLIC = base64.b64decode(
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3F"
    "utACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)


def pem(key: Any) -> str:
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode()


RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(ED25519_SECRET)
KEYS: dict[str, Any] = {"rsa": RSA, "ed25519": ED25519}


def mail(**fields: Any) -> Mime:
    content = Email(**{"to": ("ada@example.com",), "text": "Hi\n", **fields})
    return build(content, sender="a@example.org", message_id="1", created=0)


def signed(mime: Mime, key: Any = ED25519) -> bytes:
    body = BodyHash()
    body.update(whole(mime.body))
    return whole(DkimSigner("example.org", "s1", pem(key)).signed(mime, body.digest()).content)


def test_the_verifier_takes_the_example_of_the_standard_and_nothing_else() -> None:
    public = ed25519.Ed25519PublicKey.from_public_bytes(ED25519_PUBLIC)
    other = load_der_public_key(RSA_PUBLIC)
    assert isinstance(other, rsa.RSAPublicKey)
    assert verify(EXAMPLE, public, 0)["d"] == "football.example.com"
    assert verify(EXAMPLE, other, 1)["s"] == "test"
    with pytest.raises(AssertionError, match="header was changed"):
        verify(EXAMPLE.replace(b"Is dinner", b"Was dinner"), public)
    with pytest.raises(AssertionError, match="body was changed"):
        verify(EXAMPLE.replace(b"Joe.", b"Jim."), other, 1)
    with pytest.raises(AssertionError, match="header was changed"):
        verify(EXAMPLE, ed25519.Ed25519PrivateKey.generate().public_key())


def test_the_signer_makes_the_signature_of_the_standard() -> None:
    """With its key, of its fields: as what it would sign is built of them."""
    fields, body = fields_of(EXAMPLE)
    hashed = BodyHash()
    hashed.update(body)
    assert base64.b64encode(hashed.digest()) == b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    head, _, signature = fields[0].partition(b" b=")
    content = b"".join(map(relaxed_field, fields[2:])) + relaxed_field(head + b" b=").removesuffix(b"\r\n")
    made = DkimSigner("football.example.com", "brisbane", pem(ED25519))._sign(content)
    assert base64.b64encode(made) == b"".join(signature.split())


@pytest.mark.parametrize("kind", KEYS)
def test_what_is_signed_verifies(kind: str) -> None:
    mime = mail(
        cc=("c@example.com",),
        subject="  Hi  \U0001f389 " + "x" * 200,
        html="<p>\u00fc</p>\n\n",
        headers={
            "List-Unsubscribe": f"<https://a.test/{'u' * 300}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        attachments=(Attachment("a.bin", "", bytes(1_000_000)),),
    )
    email = signed(mime, KEYS[kind])
    tags = verify(email, KEYS[kind].public_key())
    assert (tags["d"], tags["s"]) == ("example.org", "s1")
    assert set(tags) == {"v", "a", "c", "d", "s", "h", "bh", "b"}
    assert tags["h"].split(":") == [
        *("from", "from", "reply-to", "to", "to", "cc", "cc", "subject", "subject", "date", "date"),
        *("message-id", "message-id", "mime-version", "mime-version", "content-type", "content-type"),
        *("content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post"),
    ]
    assert email == signed(mime, KEYS[kind])
    assert all(len(line) <= 78 for line in fields_of(email)[0][0].split(b"\r\n"))
    with pytest.raises(AssertionError, match="header was changed"):
        verify(email.replace(b"One-Click", b"Two-Click"), KEYS[kind].public_key())


@pytest.mark.parametrize("field", [b"From: e@example.com", b"Reply-To: e@example.com", b"Subject: x", b"Cc: x@y.z"])
def test_a_field_that_is_added_on_the_way_breaks_it(field: bytes) -> None:
    email = signed(mail())
    with pytest.raises(AssertionError, match="header was changed"):
        verify(field + b"\r\n" + email, ED25519.public_key())


def test_what_a_mailing_list_and_a_relay_do_does_not_break_it() -> None:
    email = signed(mail(subject="a  b"))
    passed_on = b"Received: from x\r\nList-Id: <l.example.com>\r\n" + email.replace(
        b"Subject: a  b", b"SUBJECT:\r\n a b "
    )
    assert passed_on.count(b"SUBJECT") == 1
    verify(passed_on + b"\r\n\r\n", ED25519.public_key())


def test_names_in_two_cases_are_signed_from_the_last_on() -> None:
    verify(signed(mail(headers={"List-Id": "<a>", "list-id": "<b>"})), ED25519.public_key())


BODIES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"\r\n\r\n", b"b  c", b" \r\n"]), max_size=12).map(
    b"".join
)


@given(BODIES, st.lists(st.integers(0, 30), max_size=5))
def test_a_body_has_one_hash_wherever_it_is_cut(body: bytes, cuts: list[int]) -> None:
    hashed = BodyHash()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(body)], strict=True):
        hashed.update(body[start:end])
    assert hashed.digest() == hashlib.sha256(relaxed_body(body)).digest()


@pytest.mark.parametrize(
    ("body", "relaxed"),
    [
        (b" " * 262_144 + b"x", b" x\r\n"),
        (b"x" + b"\t " * 131_072 + b"\r\ny", b"x\r\ny\r\n"),
        (b" \r\n" * 87_000 + b"x", b"\r\n" * 87_000 + b"x\r\n"),
    ],
    ids=["before", "after", "alone"],
)
def test_a_body_of_blanks_is_hashed_as_fast_as_another(body: bytes, relaxed: bytes) -> None:
    """A pattern that takes each of them for the beginning of a run would not be through in an hour."""
    hashed = BodyHash()
    hashed.update(body)
    assert hashed.digest() == hashlib.sha256(relaxed).digest()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"domain": "not a domain"}, r"^domain: "),
        ({"selector": "a;b"}, r"^selector: "),
        ({"selector": ""}, r"^selector: "),
        ({"private_key": "canary"}, r"^private_key: must be a private key in PEM"),
        ({"private_key": "\u00fc"}, r"^private_key: must be a private key in PEM"),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, r"^private_key: must be of RSA or Ed25519$"),
        (
            {
                "private_key": ED25519.private_bytes(
                    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
                ).decode()
            },
            r"^private_key: must be a private key in PEM, without a password$",
        ),
    ],
)
def test_what_is_of_no_use_is_refused_by_its_key(changed: dict[str, str], message: str) -> None:
    settings = {"domain": "example.org", "selector": "s1", "private_key": pem(ED25519)} | changed
    with pytest.raises(ValueError, match=message) as refused:
        DkimSigner(**settings)
    assert "canary" not in str(refused.value)


def test_a_domain_beyond_ascii_is_signed_for_in_ascii() -> None:
    signer = DkimSigner("B\u00fccher.example", "s1", pem(ED25519))
    assert b" d=xn--bcher-kva.example;" in signer.signed(mail(), b"").fields[0]


def test_a_large_body_is_hashed_in_pieces() -> None:
    mime = mail(attachments=(Attachment("a.bin", "", bytes(range(256)) * 8_192),))
    hashed = BodyHash()
    pieces = list(mime.body.make())  # type: ignore[union-attr]
    for piece in pieces:
        hashed.update(piece)
    assert max(map(len, pieces)) < 2 * PIECE
    assert hashed.digest() == hashlib.sha256(relaxed_body(whole(mime.body))).digest()

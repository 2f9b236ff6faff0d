"""Receipts of SendGrid: the events of its page, and what it signs."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import (
    NOW,
    OTHER,
    REFERENCE,
    SECONDS,
    assert_no_bit_may_change,
    junk_bodies,
    receipt_call,
    refused,
    taken,
    verify,
)

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.sendgrid import SIGNATURE, SUPPORT, TIMESTAMP
from postwire.providers.sendgrid import KIND

SIGNS = derive_private_key(4711, SECP256R1())
PEM = SIGNS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PUBLIC_KEY = "".join(PEM.splitlines()[1:-1])


def reader(public_key: str = PUBLIC_KEY) -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(public_key=public_key))
    assert made is not None
    return made


READER = reader()


def signature(body: bytes, seconds: str = SECONDS) -> str:
    return b64encode(SIGNS.sign(seconds.encode() + body, ECDSA(SHA256()))).decode()


def signed(events: object, seconds: str = SECONDS) -> ReceiptCall:
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    return receipt_call(body, {SIGNATURE: signature(body, seconds), TIMESTAMP: seconds})


def event(name: str, **more: Any) -> dict[str, Any]:
    """As https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event shows them."""
    return {
        "email": "example@test.com",
        "timestamp": 1513299569,
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": name,
        "category": ["cat facts"],
        "sg_event_id": "ZGVsaXZlcmVkLTAtMA",
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
        "message_id": "m-1",
        "reference": REFERENCE,
    } | more


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id="14c5d75ce93.dfd.64b469",
    recipient="example@test.com",
    event_id="ZGVsaXZlcmVkLTAtMA",
    time=1513299569_000_000,
)


@pytest.mark.parametrize(
    ("shown", "state", "code", "permanent"),
    [
        (event("processed"), ReceiptState.ACCEPTED, "", False),
        (event("delivered", response="250 OK"), ReceiptState.DELIVERED, "", False),
        (
            event("bounce", status="5.1.1", type="bounce", reason="500 unknown recipient"),
            ReceiptState.UNDELIVERED,
            "5.1.1",
            True,
        ),
        (event("bounce", status="4.7.1", type="blocked"), ReceiptState.UNDELIVERED, "4.7.1", False),
        (event("dropped", reason="Bounced Address", status="5.0.0"), ReceiptState.UNDELIVERED, "bounced_address", True),
        (event("dropped", reason="Invalid"), ReceiptState.UNDELIVERED, "invalid", True),
        (
            event("dropped", reason="Unsubscribed Address"),
            ReceiptState.UNDELIVERED,
            "unsubscribed_address",
            False,
        ),
        (event("dropped", reason="ask ada@example.com", status="5.0.0"), ReceiptState.UNDELIVERED, "5.0.0", False),
        (event("spamreport"), ReceiptState.COMPLAINED, "", False),
        (event("unsubscribe"), ReceiptState.OPTED_OUT, "", False),
        (event("group_unsubscribe", asm_group_id=10), ReceiptState.OPTED_OUT, "", False),
    ],
)
def test_what_an_event_reports(shown: dict[str, Any], state: ReceiptState, code: str, permanent: bool) -> None:
    (found,) = taken(READER, signed([shown]))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent) == (state, code, permanent)
    assert (found.reference, found.recipient) == (REFERENCE, "example@test.com")


@pytest.mark.parametrize("name", ["deferred", "open", "click", "group_resubscribe", "account_status_change", ""])
def test_events_that_report_nothing(name: str) -> None:
    assert taken(READER, signed([event(name, response="400 try again later", attempt="5")])) == []


def test_events_of_one_call_are_reported_in_their_order_and_what_is_none_is_passed_over() -> None:
    events: list[Any] = [event("delivered"), None, 7, [], {}, {"event": []}, event("spamreport", reference=OTHER)]
    first, second = taken(READER, signed(events))
    assert first == DELIVERED
    assert isinstance(second, Receipt)
    assert second.reference == OTHER


def test_fields_of_other_types_are_left_out() -> None:
    odd = event("bounce", email=["a"], sg_event_id={}, sg_message_id=None, reference=7, status=[], timestamp="soon")
    assert taken(READER, signed([odd])) == [Receipt(ReceiptState.UNDELIVERED)]


@pytest.mark.parametrize(
    ("given_id", "found"),
    [
        ("7pNSbr2RQLezFf9-wLcq2A.filterdrecv-5fd5c5d5bb-gxd8d-20-5F9F6BC6-4D.0", "7pNSbr2RQLezFf9-wLcq2A"),
        ("7pNSbr2RQLezFf9-wLcq2A.recvd-canary-1", "7pNSbr2RQLezFf9-wLcq2A"),
        ("sg_message_id", "sg_message_id"),
    ],
)
def test_the_id_is_that_which_the_email_was_taken_with(given_id: str, found: str) -> None:
    (receipt,) = taken(READER, signed([event("delivered", sg_message_id=given_id)]))
    assert isinstance(receipt, Receipt)
    assert receipt.provider_message_id == found


def test_no_bit_of_a_signature_may_change() -> None:
    body = json.dumps([event("delivered")]).encode()
    assert_no_bit_may_change(
        READER,
        signature(body),
        lambda text: receipt_call(body, {SIGNATURE: text, TIMESTAMP: SECONDS}),
    )
    assert_no_bit_may_change(
        READER,
        SECONDS,
        lambda text: receipt_call(body, {SIGNATURE: signature(body), TIMESTAMP: text}),
    )


@given(st.data())
def test_no_bit_of_a_body_may_change(data: st.DataObject) -> None:
    body = json.dumps([event("delivered")]).encode()
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
    headers = {SIGNATURE: signature(body), TIMESTAMP: SECONDS}
    assert refused(READER, receipt_call(changed, headers)) == "signature"


def test_a_call_that_was_signed_long_ago_is_taken() -> None:
    """SendGrid tries again for a day, with the signature of the first try."""
    assert taken(READER, signed([event("delivered")], str(NOW // 1_000_000 - 80_000))) == [DELIVERED]


def test_what_is_missing_is_refused() -> None:
    assert refused(READER, receipt_call([])) == "missing"
    assert refused(READER, receipt_call([], {SIGNATURE: signature(b"[]")})) == "missing"


@pytest.mark.parametrize("body", junk_bodies())
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    refused(READER, receipt_call(body))
    call = signed(body)
    verify(READER, call)
    with suppress(Unreadable):
        assert list(READER.read(call, NOW)) == []


def test_a_key_is_taken_in_either_form() -> None:
    for text in (PUBLIC_KEY, PEM, f"{PUBLIC_KEY}\n"):
        verify(reader(text), signed([]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "é",
        PUBLIC_KEY[:-4],
        derive_private_key(4711, SECP384R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    ],
)
def test_a_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^public_key: is not the verification key"):
        SUPPORT.make(None, ProviderReceiptsConfig(public_key=text))


def test_without_a_key_no_receipts_are_taken() -> None:
    assert SUPPORT.make(None, ProviderReceiptsConfig()) is None
    assert KIND.receipts is SUPPORT

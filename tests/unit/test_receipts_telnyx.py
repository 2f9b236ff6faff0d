"""Receipts of Telnyx: the events of its pages, and what it signs."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import (
    NOW,
    OTHER,
    PUBLIC,
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
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.telnyx import KIND, TelnyxSettings

SIGNS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = b64encode(SIGNS.public_key().public_bytes_raw()).decode()
SIGNATURE, TIMESTAMP = "telnyx-signature-ed25519", "telnyx-timestamp"


def made_of(public_key: str | None) -> ReceiptReader | None:
    assert KIND.receipts
    return KIND.receipts.make(TelnyxSettings(api_key="KEY0"), ProviderReceiptsConfig(public_key=public_key))


def reader() -> ReceiptReader:
    made = made_of(PUBLIC_KEY)
    assert made is not None
    return made


READER = reader()


def signature(body: bytes, seconds: str = SECONDS) -> str:
    return b64encode(SIGNS.sign(seconds.encode() + b"|" + body)).decode()


def signed(event: object, seconds: str = SECONDS, reference: str = "") -> ReceiptCall:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {SIGNATURE: signature(body, seconds), TIMESTAMP: seconds}
    return receipt_call(body, headers, reference=reference)


def event(kind: str = "message.finalized", status: str = "delivered", **payload: Any) -> dict[str, Any]:
    """As https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks shows them."""
    return {
        "data": {
            "event_type": kind,
            "id": "4ee8c3a6-4995-4309-a3c6-38e3db9ea4be",
            "occurred_at": "2019-12-09T21:32:14.148+00:00",
            "payload": {
                "completed_at": "2019-12-09T21:32:14.148+00:00",
                "cost": {"amount": "0.0051", "currency": "USD"},
                "direction": "outbound",
                "encoding": "GSM-7",
                "errors": [],
                "from": {"carrier": "Telnyx", "line_type": "Wireless", "phone_number": "+13125550001"},
                "id": "834f3d53-8a3c-4aa0-a733-7f2d682a72df",
                "media": [],
                "messaging_profile_id": "16fd2706-8baf-433b-82eb-8c7fada847da",
                "parts": 1,
                "record_type": "message",
                "tags": [],
                "text": "Hello there!",
                "to": [
                    {
                        "carrier": "T-MOBILE USA, INC.",
                        "line_type": "Wireless",
                        "phone_number": "+13125550002",
                        "status": status,
                    }
                ],
                "type": "SMS",
                "webhook_url": f"{PUBLIC}/{REFERENCE}",
            }
            | payload,
            "record_type": "event",
        },
        "meta": {"attempt": 1, "delivered_to": f"{PUBLIC}/{REFERENCE}"},
    }


def failed(code: str) -> dict[str, Any]:
    return event(status="delivery_failed", errors=[{"code": code, "title": "No", "detail": "to +13125550002"}])


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id="834f3d53-8a3c-4aa0-a733-7f2d682a72df",
    recipient="+13125550002",
    event_id="4ee8c3a6-4995-4309-a3c6-38e3db9ea4be",
    time=1_575_927_134_148_000,
)


def test_an_event_reports_what_became_of_a_message() -> None:
    assert taken(READER, signed(event())) == [DELIVERED]


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("message.sent", "queued", ReceiptState.ACCEPTED),
        ("message.finalized", "delivered", ReceiptState.DELIVERED),
        ("message.finalized", "delivery_unconfirmed", ReceiptState.ACCEPTED),
        ("message.finalized", "delivery_failed", ReceiptState.UNDELIVERED),
        ("message.finalized", "sending_failed", ReceiptState.UNDELIVERED),
        ("message.finalized", "expired", ReceiptState.UNDELIVERED),
    ],
)
def test_what_a_status_says(kind: str, status: str, state: ReceiptState) -> None:
    (found,) = taken(READER, signed(event(kind, status)))
    assert isinstance(found, Receipt)
    assert found.state is state


@pytest.mark.parametrize(
    "shown", [event(status="unheard-of"), event(to=[]), event("message.link_click"), event("10dlc.brand.update")]
)
def test_events_that_report_nothing(shown: dict[str, Any]) -> None:
    assert taken(READER, signed(shown)) == []


@pytest.mark.parametrize(
    ("code", "is_permanent"), [("40001", True), ("40310", True), ("40002", False), ("40006", False), ("40008", False)]
)
def test_a_code_says_whether_it_is_for_good(code: str, is_permanent: bool) -> None:
    (found,) = taken(READER, signed(failed(code)))
    assert isinstance(found, Receipt)
    assert (found.code, found.permanent) == (code, is_permanent)


def test_who_has_opted_out_did_not_get_it_either() -> None:
    found = [one for one in taken(READER, signed(failed("40300"))) if isinstance(one, Receipt)]
    assert [(one.state, one.event_id, one.permanent) for one in found] == [
        (ReceiptState.UNDELIVERED, DELIVERED.event_id, False),
        (ReceiptState.OPTED_OUT, f"{DELIVERED.event_id}#1", False),
    ]


def test_the_reference_that_is_signed_goes_before_that_of_the_address() -> None:
    assert taken(READER, signed(event(), reference=OTHER)) == [DELIVERED]
    for url in (None, "https://example.com/hooks", 7):
        (found,) = taken(READER, signed(event(webhook_url=url), reference=OTHER))
        assert isinstance(found, Receipt)
        assert found.reference == OTHER


def received(**payload: Any) -> dict[str, Any]:
    """As https://developers.telnyx.com/api-reference/callbacks/inbound-message shows them."""
    shown = {"direction": "inbound", "text": "Stop it", "webhook_url": None, "autoresponse_type": None}
    return event("message.received", "webhook_delivered", **(shown | payload))


def test_what_somebody_has_sent_to_us_comes_by_the_same_address() -> None:
    expected = Inbound("+13125550001", "+13125550002", "Stop it", DELIVERED.event_id)
    assert taken(READER, signed(received())) == [expected]
    assert taken(READER, signed(received(**{"from": {}}))) == []
    (found,) = taken(READER, signed(received(text="Schluss", autoresponse_type="STOP")))
    assert isinstance(found, Inbound)
    assert found.text == "STOP"


def test_fields_of_other_types_are_left_out() -> None:
    odd = event("message.sent", errors=[7], to=[None], webhook_url=[])
    odd["data"] |= {"id": {}, "occurred_at": 7}
    expected = Receipt(ReceiptState.ACCEPTED, provider_message_id=DELIVERED.provider_message_id)
    assert taken(READER, signed(odd)) == [expected]
    with pytest.raises(Unreadable, match="id of a message"):
        taken(READER, signed(event(id=None)))


def test_no_bit_of_a_signature_may_change() -> None:
    body = json.dumps(event()).encode()
    right = signature(body)
    assert_no_bit_may_change(READER, right, lambda text: receipt_call(body, {SIGNATURE: text, TIMESTAMP: SECONDS}))
    assert_no_bit_may_change(READER, SECONDS, lambda text: receipt_call(body, {SIGNATURE: right, TIMESTAMP: text}))


@given(st.data())
def test_no_bit_of_a_body_may_change(data: st.DataObject) -> None:
    body = json.dumps(event()).encode()
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
    assert refused(READER, receipt_call(changed, {SIGNATURE: signature(body), TIMESTAMP: SECONDS})) == "signature"


@pytest.mark.parametrize(("off", "is_taken"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_each_try_is_signed_anew_and_has_to_be_fresh(off: int, is_taken: bool) -> None:
    call = signed(event(), str(NOW // 1_000_000 + off))
    if is_taken:
        verify(READER, call)
    else:
        assert refused(READER, call) == "stale"


@pytest.mark.parametrize("seconds", ["soon", "1e9", "-1", f" {SECONDS}", "0" + SECONDS, "9" * 30])
def test_a_time_that_is_none_is_refused_though_it_is_signed(seconds: str) -> None:
    assert refused(READER, signed(event(), seconds)) == "signature"


def test_what_is_missing_is_refused() -> None:
    assert refused(READER, receipt_call({})) == "missing"
    assert refused(READER, receipt_call(b"{}", {SIGNATURE: signature(b"{}")})) == "missing"


@pytest.mark.parametrize("body", junk_bodies())
def test_junk_is_refused_and_never_more(body: bytes) -> None:
    assert refused(READER, receipt_call(body, {SIGNATURE: "AAAA", TIMESTAMP: SECONDS})) == "signature"
    verify(READER, signed(body))
    with suppress(Unreadable):
        READER.read(signed(body), 0)


@pytest.mark.parametrize("text", ["", "x", "é", PUBLIC_KEY[:-4], PUBLIC_KEY + PUBLIC_KEY])
def test_a_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^public_key: must be 32 bytes in base64"):
        made_of(text)


def test_without_a_key_no_receipts_are_taken() -> None:
    assert made_of(None) is None
    assert READER.refused_status == 401

"""Receipts of Bird: the webhooks of its pages, and what it signs."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import (
    NOW,
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
from postwire.providers.bird import KIND, BirdSettings
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable

SECRET = "signing-key"
SIGNATURE, TIMESTAMP = "messagebird-signature", "messagebird-request-timestamp"
WORKSPACE, CHANNEL = "a1405560-c8d3-4b1a-877d-3f449ad95352", "614208aa-b153-4d5d-9989-2fddfc0ce4c3"
MESSAGE = "96a0b5fa-a986-453d-be5c-3117f989f025"


def made_of(sender: str | None = None, **keys: Any) -> ReceiptReader | None:
    assert KIND.receipts
    settings = BirdSettings(access_key="k", workspace_id=WORKSPACE, channel_id=CHANNEL.upper(), sender=sender)
    return KIND.receipts.make(settings, ProviderReceiptsConfig(**keys))


def reader(sender: str | None = None, **keys: Any) -> ReceiptReader:
    made = made_of(sender, **keys)
    assert made is not None
    return made


READER = reader(secret=SECRET)


def signature(body: bytes, seconds: str = SECONDS, secret: str = SECRET, url: str = PUBLIC) -> str:
    """As https://docs.bird.com/api/notifications-api/api-reference/webhooks/verifying-a-webhook makes it."""
    signed = seconds.encode() + b"\n" + url.encode() + b"\n" + hashlib.sha256(body).digest()
    return b64encode(hmac.new(secret.encode(), signed, "sha256").digest()).decode()


def headers(signature: str, seconds: str = SECONDS) -> dict[str, str]:
    return {SIGNATURE: signature, TIMESTAMP: seconds}


def signed(event: object, seconds: str = SECONDS, secret: str = SECRET) -> ReceiptCall:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return receipt_call(body, headers(signature(body, seconds, secret), seconds))


def event(status: Any = "delivered", kind: Any = "sms.outbound", **fields: Any) -> dict[str, Any]:
    """As https://docs.bird.com/api/channels-api/message-status-and-interactions shows them."""
    message = {
        "id": MESSAGE,
        "channelId": CHANNEL,
        "sender": {"connector": {"id": "86cc4dc0-3dc0-41b7-ac43-8ec829ead56f", "identifierValue": ""}},
        "receiver": {
            "contacts": [
                {"id": "32cf5eee-f940-422c", "identifierKey": "phonenumber", "identifierValue": "+31612345678"}
            ]
        },
        "body": {"type": "text", "text": {"text": "Hello"}},
        "reference": REFERENCE,
        "parts": [{"platformReference": "e8077d803532c0b5937c639b60216938"}],
        "status": status,
        "reason": "",
        "direction": "outgoing",
        "lastStatusAt": "2022-12-22T08:32:50.736Z",
        "createdAt": "2022-12-22T08:32:49.736Z",
    }
    return {"service": "channels", "event": kind, "payload": message | fields}


def failed(code: Any, source: str = "sms-messagebird", number: Any = "1") -> dict[str, Any]:
    """As https://docs.bird.com/api/channels-api/message-status-and-interactions/message-failure-codes shows them."""
    failure = {"code": code, "source": {"name": source, "code": number}}
    reason = "details: to +31612345678; reason: unknown_subscriber; code: 1"
    return event("delivery_failed", reason=reason, failure=failure)


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id=MESSAGE,
    recipient="+31612345678",
    time=1_671_697_970_736_000,
)


def test_an_event_reports_what_became_of_a_message() -> None:
    assert taken(READER, signed(event())) == [DELIVERED]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("accepted", ReceiptState.ACCEPTED),
        ("sent", ReceiptState.ACCEPTED),
        ("delivered", ReceiptState.DELIVERED),
        ("sending_failed", ReceiptState.UNDELIVERED),
        ("delivery_failed", ReceiptState.UNDELIVERED),
    ],
)
def test_what_a_status_says(status: str, state: ReceiptState) -> None:
    (found,) = taken(READER, signed(event(status)))
    assert isinstance(found, Receipt)
    assert found.state is state


@pytest.mark.parametrize(
    "shown",
    [
        event("unheard-of"),
        event(None),
        event(kind="whatsapp.outbound"),
        event(kind="sms.unheard-of"),
        event(channelId="00000000-b153-4d5d-9989-2fddfc0ce4c3"),
        event(channelId=None),
        {"service": "channels", "event": "sms.outbound"},
    ],
)
def test_what_reports_nothing(shown: dict[str, Any]) -> None:
    assert taken(READER, signed(shown)) == []


@pytest.mark.parametrize(
    ("source", "number", "is_permanent"),
    [
        ("sms-messagebird", "1", True),
        ("sms-messagebird", "5", False),
        ("sms-messagebird", "34", False),
        ("accounting", "1", False),
        ("sms-messagebird", None, False),
    ],
)
def test_a_code_says_whether_it_is_for_good(source: str, number: Any, is_permanent: bool) -> None:
    (found,) = taken(READER, signed(failed(15005, source, number)))
    assert isinstance(found, Receipt)
    assert (found.code, found.permanent) == ("15005", is_permanent)


def test_a_failure_of_what_was_delivered_is_none() -> None:
    shown = failed(15005)
    shown["payload"]["status"] = "delivered"
    assert taken(READER, signed(shown)) == [DELIVERED]


def test_without_a_reference_of_ours_the_id_is_what_there_is() -> None:
    for other in ("", "my-own-identifier", None, 7):
        (found,) = taken(READER, signed(event(reference=other)))
        assert isinstance(found, Receipt)
        assert (found.reference, found.provider_message_id) == ("", MESSAGE)


def received(**fields: Any) -> dict[str, Any]:
    """As https://docs.bird.com/api/channels-api/supported-channels/programmable-sms/receiving-messages shows them."""
    shown = {
        "sender": {"contact": {"id": "32cf", "identifierKey": "phonenumber", "identifierValue": "+31612345678"}},
        "receiver": {"connector": {"id": "86cc4dc0-3dc0-41b7-ac43-8ec829ead56f", "identifierValue": "+31970102000"}},
        "body": {"type": "text", "text": {"text": "Stop it"}},
        "direction": "incoming",
    }
    return event("delivered", "sms.inbound", **(shown | fields))


def test_what_somebody_has_sent_to_us_comes_by_the_same_address() -> None:
    expected = Inbound("+31612345678", "+31970102000", "Stop it", MESSAGE)
    assert taken(READER, signed(received())) == [expected]
    image = {"type": "image", "image": {"images": [{"mediaUrl": "https://example.com/a"}], "text": "Stop it"}}
    assert taken(READER, signed(received(body=image))) == [expected]
    assert taken(READER, signed(received(sender={}))) == []
    (found,) = taken(READER, signed(received(body=7)))
    assert isinstance(found, Inbound)
    assert found.text == ""


def test_the_number_that_is_configured_stands_in_for_one_that_is_not_named() -> None:
    for connector in ({"id": "86cc"}, {"identifierValue": ""}, None):
        call = signed(received(receiver={"connector": connector}))
        assert taken(READER, call) == [Inbound("+31612345678", "", "Stop it", MESSAGE)]
        configured = reader("+31970102000", secret=SECRET)
        assert taken(configured, call) == [Inbound("+31612345678", "+31970102000", "Stop it", MESSAGE)]


def test_fields_of_other_types_are_left_out() -> None:
    odd = event("delivery_failed", receiver={"contacts": [None]}, failure=[7], lastStatusAt=7, reference={})
    expected = Receipt(ReceiptState.UNDELIVERED, provider_message_id=MESSAGE)
    assert taken(READER, signed(odd)) == [expected]
    with pytest.raises(Unreadable, match="id of a message"):
        taken(READER, signed(event(id=None)))
    with pytest.raises(Unreadable, match="event"):
        taken(READER, signed({"event": []}))


def test_the_address_that_was_subscribed_is_signed() -> None:
    body = json.dumps(event()).encode()
    elsewhere = headers(signature(body, url="https://elsewhere.example.com/receipts/vendor"))
    assert refused(READER, receipt_call(body, elsewhere)) == "signature"
    right = headers(signature(body, url=f"{PUBLIC}?a=b"))
    verify(READER, receipt_call(body, right, query="a=b"))
    assert refused(READER, receipt_call(body, right)) == "signature"
    assert refused(READER, receipt_call(body, right, query="a=é")) == "signature"


def test_no_bit_of_a_signature_may_change() -> None:
    body = json.dumps(event()).encode()
    right = signature(body)
    assert_no_bit_may_change(READER, right, lambda text: receipt_call(body, headers(text)))
    assert_no_bit_may_change(READER, SECONDS, lambda text: receipt_call(body, headers(right, text)))


@given(st.data())
def test_no_bit_of_a_body_may_change(data: st.DataObject) -> None:
    body = json.dumps(event()).encode()
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
    assert refused(READER, receipt_call(changed, headers(signature(body)))) == "signature"


@pytest.mark.parametrize(("off", "is_taken"), [(-86_401, False), (-86_400, True), (86_400, True), (86_401, False)])
def test_a_call_is_good_for_as_long_as_it_is_tried(off: int, is_taken: bool) -> None:
    call = signed(event(), str(NOW // 1_000_000 + off))
    if is_taken:
        assert taken(READER, call) == [DELIVERED]
    else:
        assert refused(READER, call) == "stale"


@pytest.mark.parametrize("seconds", ["soon", "1e9", "-1", f" {SECONDS}", "0" + SECONDS, "9" * 30])
def test_a_time_that_is_none_is_refused_though_it_is_signed(seconds: str) -> None:
    assert refused(READER, signed(event(), seconds)) == "signature"


@pytest.mark.parametrize("name", [SIGNATURE, TIMESTAMP])
def test_what_is_missing_is_refused(name: str) -> None:
    given = headers(signature(b"{}"))
    del given[name]
    assert refused(READER, receipt_call(b"{}", given)) == "missing"


def test_two_keys_are_good_while_one_is_changed() -> None:
    both = reader(secret="new", previous_secret=SECRET)
    verify(both, signed(event()))
    verify(both, signed(event(), secret="new"))
    assert refused(both, signed(event(), secret="other")) == "signature"


def test_without_a_key_nothing_is_taken() -> None:
    assert made_of() is None
    with pytest.raises(ValueError, match=r"^secret: is missing"):
        made_of(previous_secret=SECRET)


@pytest.mark.parametrize("body", junk_bodies())
def test_what_nobody_sends_breaks_nothing(body: bytes) -> None:
    assert refused(READER, receipt_call(body)) == "missing"
    with suppress(Unreadable):
        taken(READER, signed(body))

"""Receipts of Mailgun: the events of its pages, and what it signs."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from tests.support.receipt_calls import (
    NOW,
    REFERENCE,
    assert_no_bit_may_change,
    junk_bodies,
    receipt_call,
    refused,
    taken,
)

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.mailgun import KIND
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.mailgun import SUPPORT

SECRET = "webhook-signing-key-4711"
TIMESTAMP, TOKEN = "1770148299", "9a1d43b1a8e1d8f4f2fd4a64a0a5f2b7a4f0d2c1b0a9988776"


def reader(**keys: str) -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(**(keys or {"secret": SECRET})))  # type: ignore[arg-type]
    assert made is not None
    return made


READER = reader()


def signature(secret: str = SECRET, token: str = TOKEN) -> str:
    return hmac.new(secret.encode(), f"{TIMESTAMP}{token}".encode(), hashlib.sha256).hexdigest()


def signed(event: object, given: str | None = None, token: Any = TOKEN, timestamp: Any = TIMESTAMP) -> ReceiptCall:
    proof = {"timestamp": timestamp, "token": token, "signature": signature() if given is None else given}
    return receipt_call({"signature": proof, "event-data": event})


def event(name: str, **more: Any) -> dict[str, Any]:
    """As https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads shows them."""
    return {
        "account": {"id": "1234567890303a4bd1f33898"},
        "domain": {"name": "sample.mailgun.com"},
        "envelope": {"sender": "sender@sample.mailgun.com", "targets": "recipient@sample.mailgun.com"},
        "event": name,
        "id": "CCXMjJ7nQi2N3BPigGOdgQ",
        "log-level": "info",
        "message": {
            "headers": {
                "from": "Sample Sender <sender@sample.mailgun.com>",
                "message-id": "20260203192638.000be97f99f8cea1@sample.mailgun.com",
                "subject": "Sample webhook payload",
                "to": "recipient@sample.mailgun.com",
            },
            "size": 341,
        },
        "recipient": "recipient@sample.mailgun.com",
        "timestamp": 1770146800.25,
        "user-variables": {"reference": REFERENCE},
    } | more


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id="<20260203192638.000be97f99f8cea1@sample.mailgun.com>",
    recipient="recipient@sample.mailgun.com",
    event_id="CCXMjJ7nQi2N3BPigGOdgQ",
    time=1770146800_250_000,
)


def failed(reason: str, severity: str = "permanent", **status: Any) -> dict[str, Any]:
    return event("failed", severity=severity, reason=reason, **{"delivery-status": status})


@pytest.mark.parametrize(
    ("shown", "state", "code", "permanent"),
    [
        (event("accepted"), ReceiptState.ACCEPTED, "", False),
        (event("delivered", **{"delivery-status": {"code": 250, "message": "OK"}}), ReceiptState.DELIVERED, "", False),
        (failed("bounce", code=550, **{"bounce-type": "hard"}), ReceiptState.UNDELIVERED, "550", True),
        (failed("bounce", code=550, **{"enhanced-code": "5.1.1"}), ReceiptState.UNDELIVERED, "5.1.1", True),
        (failed("bounce", code=552, **{"bounce-type": "soft"}), ReceiptState.UNDELIVERED, "552", False),
        (failed("suppress-bounce", code=605), ReceiptState.UNDELIVERED, "605", True),
        (failed("suppress-unsubscribe", code=606), ReceiptState.UNDELIVERED, "606", False),
        (failed("old", code=602), ReceiptState.UNDELIVERED, "602", False),
        (failed("espblock"), ReceiptState.UNDELIVERED, "espblock", False),
        (event("rejected", reject={"reason": "Sandbox"}), ReceiptState.UNDELIVERED, "", False),
        (event("complained"), ReceiptState.COMPLAINED, "", False),
        (event("unsubscribed"), ReceiptState.OPTED_OUT, "", False),
    ],
)
def test_what_an_event_reports(shown: dict[str, Any], state: ReceiptState, code: str, permanent: bool) -> None:
    (found,) = taken(READER, signed(shown))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent) == (state, code, permanent)
    assert (found.reference, found.recipient) == (REFERENCE, "recipient@sample.mailgun.com")


def test_all_that_an_event_says_is_read() -> None:
    assert taken(READER, signed(event("delivered"))) == [DELIVERED]


@pytest.mark.parametrize(
    "shown",
    [failed("generic", "temporary", code=421), failed("x", ""), event("opened"), event("clicked"), event("new")],
)
def test_events_that_report_nothing(shown: dict[str, Any]) -> None:
    assert taken(READER, signed(shown)) == []


def test_fields_of_other_types_are_left_out() -> None:
    odd = {"event": "delivered", "id": 7.5, "message": [], "user-variables": "x", "recipient": {}, "timestamp": True}
    assert taken(READER, signed(odd)) == [Receipt(ReceiptState.DELIVERED)]


def test_no_bit_of_a_signature_may_change() -> None:
    assert_no_bit_may_change(READER, signature(), lambda text: signed(event("delivered"), text))
    assert_no_bit_may_change(READER, TOKEN, lambda text: signed(event("delivered"), token=text))
    assert_no_bit_may_change(READER, TIMESTAMP, lambda text: signed(event("delivered"), timestamp=text))


def test_it_is_told_not_to_come_again_with_what_is_refused() -> None:
    assert READER.refused_status == 406


def test_both_keys_are_taken_while_there_are_two() -> None:
    both = reader(secret="new", previous_secret=SECRET)
    assert taken(both, signed(event("delivered"))) == [DELIVERED]
    assert taken(both, signed(event("delivered"), signature("new"))) == [DELIVERED]
    assert refused(both, signed(event("delivered"), signature("old"))) == "signature"


@pytest.mark.parametrize("body", junk_bodies())
def test_what_is_not_signed_is_refused(body: bytes) -> None:
    assert refused(READER, receipt_call(body)) == "missing"


@pytest.mark.parametrize("shown", [None, [], {}, {"event": 7}])
def test_what_cannot_be_read_is_said(shown: object) -> None:
    call = signed(shown)
    with pytest.raises(Unreadable):
        READER.read(call, NOW)


def test_a_token_is_nothing_but_text() -> None:
    for token in (7, None, ["x"], {"a": 1}):
        assert refused(READER, signed(event("delivered"), token=token)) == "missing"


def test_without_a_secret_no_receipts_are_taken() -> None:
    assert SUPPORT.make(None, ProviderReceiptsConfig()) is None
    with pytest.raises(ValueError, match=r"^secret: is missing"):
        SUPPORT.make(None, ProviderReceiptsConfig(previous_secret="x"))
    assert KIND.receipts is SUPPORT


def test_nothing_of_a_recipient_is_shown() -> None:
    assert "sample.mailgun.com" not in repr(Receipt(ReceiptState.DELIVERED, recipient="recipient@sample.mailgun.com"))
    assert "sample" not in repr(signed(json.loads(json.dumps(event("delivered")))))

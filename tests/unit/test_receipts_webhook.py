"""Receipts of an endpoint of the user's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.support.receipt_calls import (
    NOW,
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
from postwire.providers.receipts.webhook import SUPPORT
from postwire.providers.webhook import KIND

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def reader() -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(secret=SECRET))
    assert made is not None
    return made


READER = reader()


def signed(value: object, *, reference: str = "", call_id: str = "c-1", seconds: str = SECONDS) -> ReceiptCall:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    made = Webhook(SECRET).sign(call_id, datetime.fromtimestamp(int(seconds), UTC), body.decode())
    headers = {"webhook-id": call_id, "webhook-timestamp": seconds, "webhook-signature": made}
    return receipt_call(body, headers, reference=reference)


WHOLE = {
    "reference": REFERENCE,
    "provider_message_id": "m-1",
    "state": "undelivered",
    "recipient": "ada@example.com",
    "code": "mailbox_full",
    "event_id": "e-1",
    "permanent": True,
    "time": "2027-01-15T08:00:00Z",
}


def test_all_that_it_may_say_is_read() -> None:
    assert taken(READER, signed(WHOLE)) == [
        Receipt(
            ReceiptState.UNDELIVERED,
            reference=REFERENCE,
            provider_message_id="m-1",
            recipient="ada@example.com",
            code="mailbox_full",
            event_id="e-1",
            permanent=True,
            time=NOW,
        )
    ]


@pytest.mark.parametrize("state", list(ReceiptState))
def test_little_is_enough(state: ReceiptState) -> None:
    expected = Receipt(state, reference=REFERENCE, event_id="c-1")
    assert taken(READER, signed({"state": state.value, "reference": REFERENCE})) == [expected]
    assert taken(READER, signed({"state": state.value}, reference=REFERENCE)) == [expected]
    by_id = signed({"state": state.value, "provider_message_id": 7})
    assert taken(READER, by_id) == [Receipt(state, provider_message_id="7", event_id="c-1")]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "DELIVERED"},
        {"state": None},
        {"state": ["delivered"]},
        {"reference": "", "provider_message_id": ""},
        {"reference": "x", "provider_message_id": {}},
        {"permanent": "yes"},
    ],
)
def test_what_it_may_not_say(changes: dict[str, Any]) -> None:
    call = signed(WHOLE | changes)
    verify(READER, call)
    with pytest.raises(Unreadable) as found:
        READER.read(call, NOW)
    assert "ada" not in str(found.value)


@pytest.mark.parametrize("body", [one for one in junk_bodies() if one.isascii()])
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    with pytest.raises(Unreadable):
        READER.read(signed(body), NOW)


def test_no_bit_of_a_signature_may_change() -> None:
    right = signed(WHOLE)
    for name, text in right.headers.items():

        def changed(one: str, name: str = name) -> ReceiptCall:
            return receipt_call(right.body, {**right.headers, name: one})

        assert_no_bit_may_change(READER, text, changed)


def test_an_old_call_is_refused() -> None:
    assert refused(READER, signed(WHOLE, seconds=str(int(SECONDS) - 301))) == "stale"


def test_without_a_secret_no_receipts_are_taken() -> None:
    assert SUPPORT.make(None, ProviderReceiptsConfig()) is None
    assert KIND.receipts is SUPPORT
    assert SUPPORT.in_address

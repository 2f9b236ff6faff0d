"""Receipts of Resend: the events of its pages, signed as Standard Webhooks asks."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
from postwire.providers.receipts.resend import SUPPORT
from postwire.providers.resend import KIND

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = b64encode(bytes(range(32))).decode()
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"


def reader(**keys: str) -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(**(keys or {"secret": SECRET})))  # type: ignore[arg-type]
    assert made is not None
    return made


READER = reader()


def signature(body: bytes, *, secret: str = SECRET, seconds: str = SECONDS) -> str:
    """What the library of the standard makes of it."""
    made: str = Webhook(secret).sign(ID, datetime.fromtimestamp(int(seconds), UTC), body.decode())
    return made


def signed(event: object, *, secret: str = SECRET, seconds: str = SECONDS) -> ReceiptCall:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    made = signature(body, secret=secret, seconds=seconds)
    return receipt_call(body, {"svix-id": ID, "svix-timestamp": seconds, "svix-signature": made})


def event(name: str, **data: Any) -> dict[str, Any]:
    """As https://resend.com/docs/dashboard/webhooks/body-parameters shows them."""
    return {
        "type": name,
        "created_at": "2026-11-22T23:41:12.126Z",
        "data": {
            "created_at": "2026-11-22T23:41:11.894719+00:00",
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "from": "Acme <onboarding@resend.dev>",
            "to": ["delivered@resend.dev"],
            "subject": "Sending this example",
            "tags": {"category": "confirm_email", "reference": REFERENCE},
        }
        | data,
    }


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id="56761188-7520-42d8-8898-ff6fc54ce618",
    recipient="delivered@resend.dev",
    event_id=ID,
    time=1795390872_126_000,
)


@pytest.mark.parametrize(
    ("shown", "state", "code", "permanent"),
    [
        (event("email.delivered"), ReceiptState.DELIVERED, "", False),
        (
            event("email.bounced", bounce={"message": "No", "subType": "Suppressed", "type": "Permanent"}),
            ReceiptState.UNDELIVERED,
            "Suppressed",
            True,
        ),
        (
            event("email.bounced", bounce={"subType": "MailboxFull", "type": "Transient"}),
            ReceiptState.UNDELIVERED,
            "MailboxFull",
            False,
        ),
        (event("email.bounced", bounce={"type": "Undetermined"}), ReceiptState.UNDELIVERED, "Undetermined", False),
        (event("email.suppressed"), ReceiptState.UNDELIVERED, "suppressed", False),
        (event("email.complained"), ReceiptState.COMPLAINED, "", False),
    ],
)
def test_what_an_event_reports(shown: dict[str, Any], state: ReceiptState, code: str, permanent: bool) -> None:
    (found,) = taken(READER, signed(shown))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent) == (state, code, permanent)
    assert (found.reference, found.recipient) == (REFERENCE, "delivered@resend.dev")


def test_all_that_an_event_says_is_read() -> None:
    assert taken(READER, signed(event("email.delivered"))) == [DELIVERED]
    listed = [{"name": "category", "value": "x"}, 7, {"name": "reference", "value": REFERENCE}]
    assert taken(READER, signed(event("email.delivered", tags=listed))) == [DELIVERED]


@pytest.mark.parametrize(
    ("shown", "state", "code"),
    [
        (event("email.sent"), ReceiptState.ACCEPTED, ""),
        (
            event("email.failed", failed={"reason": "reached_daily_quota"}),
            ReceiptState.UNDELIVERED,
            "reached_daily_quota",
        ),
    ],
)
def test_events_about_a_whole_email_name_nobody(shown: dict[str, Any], state: ReceiptState, code: str) -> None:
    (found,) = taken(READER, signed(shown))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.recipient) == (state, code, "")


def test_an_event_of_several_recipients_is_one_of_each() -> None:
    found = taken(READER, signed(event("email.delivered", to=["a@example.com", "b@example.com"])))
    assert [(one.recipient, one.event_id) for one in found if isinstance(one, Receipt)] == [
        ("a@example.com", ID),
        ("b@example.com", f"{ID}#1"),
    ]


@pytest.mark.parametrize(
    "name", ["email.delivery_delayed", "email.opened", "email.clicked", "email.scheduled", "contact.created", "new"]
)
def test_events_that_report_nothing(name: str) -> None:
    assert taken(READER, signed(event(name))) == []


def test_fields_of_other_types_are_left_out() -> None:
    odd = {"type": "email.bounced", "data": {"to": "x", "tags": 7, "email_id": [], "bounce": "x"}, "created_at": {}}
    assert taken(READER, signed(odd)) == [Receipt(ReceiptState.UNDELIVERED, event_id=ID)]


def test_no_bit_of_a_signature_may_change() -> None:
    body = json.dumps(event("email.delivered")).encode()
    right = {"svix-id": ID, "svix-timestamp": SECONDS, "svix-signature": signature(body)}
    for name, text in right.items():
        assert_no_bit_may_change(READER, text, lambda changed, name=name: receipt_call(body, right | {name: changed}))  # type: ignore[misc]


@given(st.data())
def test_no_bit_of_a_body_may_change(data: st.DataObject) -> None:
    call = signed(event("email.delivered"))
    at, bit = data.draw(st.integers(0, len(call.body) - 1)), data.draw(st.integers(0, 7))
    changed = call.body[:at] + bytes([call.body[at] ^ (1 << bit)]) + call.body[at + 1 :]
    assert refused(READER, receipt_call(changed, call.headers)) == "signature"


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_call_may_be_five_minutes_from_now(seconds: int) -> None:
    verify(READER, signed(event("email.sent"), seconds=str(int(SECONDS) + seconds)))


@pytest.mark.parametrize("seconds", [-301, 301, -100_000, 10**10])
def test_and_no_further(seconds: int) -> None:
    assert refused(READER, signed(event("email.sent"), seconds=str(int(SECONDS) + seconds))) == "stale"


def test_any_of_several_signatures_may_be_the_right_one() -> None:
    both, call = reader(secret=OTHER_SECRET, previous_secret=SECRET), signed(event("email.delivered"))
    assert taken(both, call) == [DELIVERED]
    assert taken(both, signed(event("email.delivered"), secret=OTHER_SECRET)) == [DELIVERED]
    foreign = signed(event("email.delivered"), secret="whsec_" + OTHER_SECRET)
    assert refused(READER, foreign) == "signature"
    together = f"v1a,x {foreign.headers['svix-signature']} {call.headers['svix-signature']}"
    assert taken(READER, receipt_call(call.body, {**call.headers, "svix-signature": together})) == [DELIVERED]
    many = "v1,x " * 100 + call.headers["svix-signature"]
    assert refused(READER, receipt_call(call.body, {**call.headers, "svix-signature": many})) == "signature"


@pytest.mark.parametrize("name", ["svix-id", "svix-timestamp", "svix-signature"])
def test_what_is_missing_is_refused(name: str) -> None:
    call = signed(event("email.delivered"))
    headers = {one: text for one, text in call.headers.items() if one != name}
    assert refused(READER, receipt_call(call.body, headers)) == "missing"


@pytest.mark.parametrize("body", [one for one in junk_bodies() if one.isascii()])
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    call = signed(body)
    verify(READER, call)
    with pytest.raises(Unreadable):
        READER.read(call, NOW)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_é", "short", "x" * 200, "whsec_" + b64encode(bytes(23)).decode()]
)
@pytest.mark.parametrize("key", ["secret", "previous_secret"])
def test_a_secret_that_is_none_is_refused(secret: str, key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: must be 24 to 64 bytes in base64"):
        SUPPORT.make(None, ProviderReceiptsConfig(**({"secret": SECRET} | {key: secret})))  # type: ignore[arg-type]


def test_without_a_secret_no_receipts_are_taken() -> None:
    assert SUPPORT.make(None, ProviderReceiptsConfig()) is None
    with pytest.raises(ValueError, match=r"^secret: is missing"):
        SUPPORT.make(None, ProviderReceiptsConfig(previous_secret=SECRET))
    assert KIND.receipts is SUPPORT

"""Receipts of Postmark: the events of its pages, believed by basic auth or by a reference of ours."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from tests.support.receipt_calls import FOREIGN, NOW, OTHER, REFERENCE, junk_bodies, receipt_call, refused, taken

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.postmark import KIND
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.postmark import BOUNCES, SUPPORT

USERNAME, PASSWORD = "postmark", "pässword"
ID = "883953f4-6105-42a2-a16a-77a8eac79483"


def reader(**keys: str) -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(**keys))  # type: ignore[arg-type]
    assert made is not None
    return made


BY_USER = reader(username=USERNAME, password=PASSWORD)
BY_REFERENCE = reader()


def basic(text: str = f"{USERNAME}:{PASSWORD}", scheme: str = "Basic") -> dict[str, str]:
    return {"authorization": f"{scheme} {b64encode(text.encode()).decode()}"}


def from_user(event: object) -> ReceiptCall:
    return receipt_call(event, basic())


# As https://postmarkapp.com/developer/webhooks/delivery-webhook and its neighbours show them.
METADATA = {"customer_id": "12345", "reference": REFERENCE}


def delivery(**more: Any) -> dict[str, Any]:
    return {
        "RecordType": "Delivery",
        "ServerID": 23,
        "MessageStream": "outbound",
        "MessageID": ID,
        "Recipient": "john@example.com",
        "Tag": "welcome-email",
        "DeliveredAt": "2025-04-05T16:33:54.9070259Z",
        "Details": "Test delivery webhook details",
        "Metadata": METADATA,
    } | more


def bounce(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "RecordType": "Bounce",
        "ID": 4323372036854775807,
        "Type": kind,
        "TypeCode": 1,
        "Name": "Hard bounce",
        "Tag": "Test",
        "MessageID": ID,
        "ServerID": 23,
        "MessageStream": "outbound",
        "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
        "Details": "Test bounce details",
        "Email": "john@example.com",
        "From": "sender@example.com",
        "BouncedAt": "2025-08-01T13:28:10.2735393-04:00",
        "Inactive": True,
        "Metadata": METADATA,
    } | more


def changed(reason: str, **more: Any) -> dict[str, Any]:
    return {
        "RecordType": "SubscriptionChange",
        "MessageID": ID,
        "ServerID": 23,
        "MessageStream": "outbound",
        "ChangedAt": "2025-02-01T10:53:34.416071Z",
        "Recipient": "john@example.com",
        "Origin": "Recipient",
        "SuppressSending": True,
        "SuppressionReason": reason,
        "Metadata": METADATA,
    } | more


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id=ID,
    recipient="john@example.com",
    time=1743870834_907_025,
)


@pytest.mark.parametrize(
    ("shown", "state", "code", "permanent", "event_id"),
    [
        (delivery(), ReceiptState.DELIVERED, "", False, ""),
        (bounce("HardBounce"), ReceiptState.UNDELIVERED, "HardBounce", True, "Bounce/4323372036854775807"),
        (bounce("BadEmailAddress", ID=7), ReceiptState.UNDELIVERED, "BadEmailAddress", True, "Bounce/7"),
        (bounce("SoftBounce", ID=7), ReceiptState.UNDELIVERED, "SoftBounce", False, "Bounce/7"),
        (bounce("Blocked", ID=7), ReceiptState.UNDELIVERED, "Blocked", False, "Bounce/7"),
        (bounce("Unsubscribe", ID=7), ReceiptState.OPTED_OUT, "Unsubscribe", False, "Bounce/7"),
        (
            bounce("SpamComplaint", ID=7, RecordType="SpamComplaint"),
            ReceiptState.COMPLAINED,
            "SpamComplaint",
            False,
            "SpamComplaint/7",
        ),
        (changed("ManualSuppression"), ReceiptState.OPTED_OUT, "ManualSuppression", False, ""),
        (changed("HardBounce"), ReceiptState.UNDELIVERED, "HardBounce", True, ""),
        (changed("SpamComplaint"), ReceiptState.COMPLAINED, "SpamComplaint", False, ""),
    ],
)
def test_what_an_event_reports(
    shown: dict[str, Any], state: ReceiptState, code: str, permanent: bool, event_id: str
) -> None:
    (found,) = taken(BY_USER, from_user(shown))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent, found.event_id) == (state, code, permanent, event_id)
    assert (found.reference, found.provider_message_id, found.recipient) == (REFERENCE, ID, "john@example.com")
    assert found.time is not None


def test_all_that_an_event_says_is_read() -> None:
    assert taken(BY_USER, from_user(delivery())) == [DELIVERED]


@pytest.mark.parametrize(
    "shown",
    [
        bounce("Transient"),
        bounce("AutoResponder"),
        bounce("New"),
        changed("ManualSuppression", SuppressSending=False),
        changed("New"),
        {"RecordType": "Open", "MessageID": ID, "Recipient": "john@example.com"},
        {"RecordType": "Click"},
        {"RecordType": "New"},
    ],
)
def test_events_that_report_nothing(shown: dict[str, Any]) -> None:
    assert taken(BY_USER, from_user(shown)) == []


def test_only_two_kinds_of_bounces_are_for_good() -> None:
    assert {kind for kind, (_, permanent) in BOUNCES.items() if permanent} == {"HardBounce", "BadEmailAddress"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(f"{USERNAME}:wrong"),
        basic(f"other:{PASSWORD}"),
        basic(f"{USERNAME}:{PASSWORD} "),
        basic(scheme="Bearer"),
        {"authorization": "Basic"},
        {"authorization": "Basic é"},
        {"authorization": "Basic \udc80"},
        {"authorization": "Basic ====="},
        {"authorization": b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()},
    ],
)
def test_where_there_is_a_user_nobody_else_is_believed(headers: dict[str, str]) -> None:
    assert refused(BY_USER, receipt_call(delivery(), headers)) == "credentials"
    assert refused(BY_USER, receipt_call(delivery(), headers, reference=REFERENCE)) == "credentials"


def test_the_scheme_is_written_in_any_case() -> None:
    assert taken(BY_USER, receipt_call(delivery(), basic(scheme="basic"))) == [DELIVERED]


def test_without_a_user_a_reference_is_believed_and_nothing_beside_it() -> None:
    """Whoever has one reference cannot report anything of another attempt."""
    (found,) = taken(BY_REFERENCE, receipt_call(delivery()))
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == (REFERENCE, "")
    (found,) = taken(BY_REFERENCE, receipt_call(delivery(Metadata={"reference": OTHER}), reference=REFERENCE))
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == (REFERENCE, "")


@pytest.mark.parametrize(
    "metadata", [{}, None, {"reference": FOREIGN}, {"reference": 7}, {"reference": REFERENCE[:-1]}]
)
def test_and_nobody_is_believed_who_has_none(metadata: object) -> None:
    assert refused(BY_REFERENCE, receipt_call(delivery(Metadata=metadata))) == "reference"
    assert refused(BY_REFERENCE, receipt_call(delivery(Metadata=metadata), basic())) == "reference"


@pytest.mark.parametrize("body", junk_bodies())
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    assert refused(BY_REFERENCE, receipt_call(body)) == "reference"
    for reader, call in ((BY_USER, receipt_call(body)), (BY_REFERENCE, receipt_call(body, reference=REFERENCE))):
        with pytest.raises(Unreadable):
            reader.read(call, NOW)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"username": "x"}, "password: is missing"),
        ({"password": "x"}, "username: is missing"),
        ({"username": "x", "password": ""}, "password: is missing"),
        ({"username": "a:b", "password": "x"}, "username: has a colon"),
    ],
)
def test_half_a_user_is_refused(keys: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        reader(**keys)


def test_the_kind_has_it() -> None:
    assert KIND.receipts is SUPPORT

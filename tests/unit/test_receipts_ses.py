"""Receipts of Amazon SES: the events of its pages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.support.receipt_calls import NOW, OTHER, REFERENCE
from tests.support.sns_messages import TOPIC, Fetcher, call_of, notification

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.message import Email, OutboundMessage
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.handover import Handover
from postwire.providers.pieces import whole
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.ses import TAG
from postwire.providers.ses import KIND, Ses, SesSettings

SETTINGS = SesSettings(region="us-west-2", access_key_id="a", secret_access_key="s", sender="us@example.com")


def made_of(*topics: str) -> ReceiptReader | None:
    assert KIND.receipts
    return KIND.receipts.make(SETTINGS, ProviderReceiptsConfig(topics=topics))


def reader() -> ReceiptReader:
    made = made_of(TOPIC)
    assert made is not None
    return made


READER = reader()
FETCHER = Fetcher()


def report(call: ReceiptCall) -> list[Receipt | Inbound]:
    asyncio.run(READER.verify(call, FETCHER))
    return list(READER.read(call, NOW))


MAIL: dict[str, Any] = {
    # https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
    "timestamp": "2017-08-05T00:40:02.012Z",
    "source": "Sender Name <sender@example.com>",
    "sendingAccountId": "123456789012",
    "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
    "destination": ["recipient@example.com"],
    "headersTruncated": False,
    "tags": {"ses:configuration-set": ["ConfigSet"], TAG: [REFERENCE]},
}
BOUNCE = {
    "bounceType": "Permanent",
    "bounceSubType": "General",
    "bouncedRecipients": [
        {
            "emailAddress": "recipient@example.com",
            "action": "failed",
            "status": "5.1.1",
            "diagnosticCode": "smtp; 550 5.1.1 user unknown",
        }
    ],
    "timestamp": "2017-08-05T00:41:02.669Z",
    "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
    "reportingMTA": "dsn; mta.example.com",
}
COMPLAINT = {
    "complainedRecipients": [{"emailAddress": "recipient@example.com"}],
    "timestamp": "2017-08-05T00:41:02.669Z",
    "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
    "userAgent": "Amazon SES Mailbox Simulator",
    "complaintFeedbackType": "abuse",
}
DELIVERY = {
    "timestamp": "2017-08-05T00:41:02.669Z",
    "processingTimeMillis": 11893,
    "recipients": ["recipient@example.com", "other@example.com"],
    "smtpResponse": "250 2.6.0 Message received",
    "reportingMTA": "mta.example.com",
}


def event(kind: str, mail: dict[str, Any] = MAIL, **more: Any) -> list[Receipt]:
    call = call_of(notification({"eventType": kind, "mail": mail, **more}))
    return [one for one in report(call) if isinstance(one, Receipt)]


AT = 1_501_893_662_669_000
EVENT_ID = "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"


def test_a_delivery_reports_each_of_its_recipients() -> None:
    first, second = event("Delivery", delivery=DELIVERY)
    assert first == Receipt(
        ReceiptState.DELIVERED,
        reference=REFERENCE,
        provider_message_id=MAIL["messageId"],
        recipient="recipient@example.com",
        event_id=EVENT_ID,
        time=AT,
    )
    assert (second.recipient, second.event_id) == ("other@example.com", f"{EVENT_ID}#1")
    assert "example.com" not in repr(first)


@pytest.mark.parametrize(
    ("kind", "status", "code", "is_permanent"),
    [
        ("Permanent", "5.1.1", "5.1.1", True),
        ("Permanent", None, "Permanent.General", True),
        ("Transient", "5.2.2", "5.2.2", False),
        ("Undetermined", "see recipient@example.com", "Undetermined.General", False),
    ],
)
def test_a_bounce_says_whether_it_is_for_good(kind: str, status: object, code: str, is_permanent: bool) -> None:
    recipients = [{"emailAddress": "recipient@example.com", "status": status}]
    (found,) = event("Bounce", bounce=BOUNCE | {"bounceType": kind, "bouncedRecipients": recipients})
    assert found.state is ReceiptState.UNDELIVERED
    assert (found.recipient, found.code, found.permanent, found.time) == (
        "recipient@example.com",
        code,
        is_permanent,
        AT,
    )


def test_a_complaint_is_one_unless_it_is_none() -> None:
    (found,) = event("Complaint", complaint=COMPLAINT)
    assert (found.state, found.code, found.recipient) == (ReceiptState.COMPLAINED, "abuse", "recipient@example.com")
    for kind in ("not-spam", "auth-failure"):
        assert event("Complaint", complaint=COMPLAINT | {"complaintFeedbackType": kind}) == []
    suppressed = event("Complaint", complaint=COMPLAINT | {"complaintSubType": "OnAccountSuppressionList"})
    assert [one.state for one in suppressed] == [ReceiptState.UNDELIVERED, ReceiptState.COMPLAINED]


def test_what_is_said_of_an_email_as_a_whole() -> None:
    (sent,) = event("Send", send={})
    (rejected,) = event("Reject", reject={"reason": "Bad content"})
    assert (sent.state, sent.recipient) == (ReceiptState.ACCEPTED, "")
    assert (rejected.state, rejected.recipient, rejected.code) == (ReceiptState.UNDELIVERED, "", "Reject")


@pytest.mark.parametrize("kind", ["Open", "Click", "DeliveryDelay", "Rendering Failure", "Subscription", "", "New"])
def test_events_that_report_nothing(kind: str) -> None:
    assert event(kind) == []


def test_a_notification_of_an_identity_has_no_tags() -> None:
    mail = {name: value for name, value in MAIL.items() if name != "tags"}
    call = call_of(notification({"notificationType": "Bounce", "mail": mail, "bounce": BOUNCE}))
    (found,) = report(call)
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == ("", MAIL["messageId"])


def test_a_message_that_is_no_event_reports_nothing() -> None:
    text = "Successfully validated SNS topic for Amazon SES event publishing."
    assert report(call_of(notification(text))) == []


def test_fields_of_other_types_are_left_out() -> None:
    odd = {"timestamp": 7, "bounceType": [], "bouncedRecipients": [None, 7, {"emailAddress": []}]}
    (one, *_) = event("Bounce", MAIL | {"tags": [7]}, bounce=odd)
    assert (one.reference, one.recipient, one.time, one.permanent) == ("", "", None, False)
    assert event("Delivery", delivery=[]) == event("Complaint", complaint={"complainedRecipients": {}}) == []
    with pytest.raises(Unreadable, match="messageId"):
        event("Bounce", {}, bounce=BOUNCE)


@pytest.mark.parametrize(
    "topic", ["", "mail", "arn:aws:sqs:us-west-2:123456789012:mail", TOPIC + ":x", TOPIC.replace("us-west-2", "x/")]
)
def test_a_topic_that_is_none_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match=r"^topics: must be ARNs"):
        made_of(TOPIC, topic)


def test_without_topics_no_receipts_are_taken() -> None:
    assert made_of() is None
    assert READER.refused_status == 401
    assert KIND.receipts
    assert not KIND.receipts.in_address


def test_an_email_goes_out_with_its_reference() -> None:
    message = OutboundMessage(Email(("a@example.com",), subject="S", text="x"))

    def sent(reference: str, now: int = 1) -> Any:
        handover = Handover("k", reference=reference, now=now, message_id="01a3a2c5-5800-7000-8000-000000000001")
        return json.loads(whole(Ses(SETTINGS).request(message, handover).body))

    assert "EmailTags" not in sent("")
    assert sent(REFERENCE)["EmailTags"] == [{"Name": TAG, "Value": REFERENCE}]
    assert sent(REFERENCE, now=2) == sent(REFERENCE)
    assert sent(OTHER) != sent(REFERENCE)

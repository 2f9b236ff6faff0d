"""Amazon SES: events of emails, by topics of SNS.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import (
    json_object,
    list_in,
    numbered,
    object_in,
    reference_of,
    text_of,
    time_of,
)
from postwire.providers.receipts.sns import NOTIFICATION, SnsMessage, SnsVerifier

TAG: Final = "postwire-reference"
"""The tag of an email that has the reference."""

NO_COMPLAINTS: Final = frozenset({"not-spam", "auth-failure"})
"""Types of feedback that no recipient has complained by: that an email is not spam after all, and that a mail server
could not authenticate it. https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#complaint-types"""

PERMANENT: Final = "Permanent"
"""The type of a bounce after which the address is not to be tried again, whatever its sub-type:
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types."""

SUPPRESSED: Final = "OnAccountSuppressionList"
"""The sub-type of a complaint that is made up: SES has not sent the email, because of an earlier one."""


class SesReceipts:
    """See `ReceiptReader`. `topics` are the ARNs of those that are believed."""

    refused_status: Final = 401

    def __init__(self, topics: Collection[str]) -> None:
        self._sns = SnsVerifier(topics)

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`. A subscription of one of the topics is confirmed."""
        await self._sns.verify(call, fetch)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`."""
        message = SnsMessage.read(call.body)
        if message.kind != NOTIFICATION:
            return ()
        try:
            event = json_object(message.fields.get("Message", ""))
        except Unreadable:
            return ()  # as SES writes to a topic once, to see whether it can
        mail = object_in(event, "mail")
        # Those that identities send, without a configuration set, have the other name, and no tags.
        read = _EVENTS.get(text_of(event.get("eventType") or event.get("notificationType")))
        if read is None:
            return ()
        message_id, event_id = id_of(mail.get("messageId")), id_of(message.fields.get("MessageId"))
        if not message_id:
            raise Unreadable("has no messageId")
        tags = list_in(object_in(mail, "tags"), TAG)
        reference = reference_of(tags[0]) if tags else ""
        return [
            Receipt(
                state,
                reference=reference or call.reference,
                provider_message_id=message_id,
                recipient=recipient,
                code=code,
                event_id=numbered(event_id, at),
                time=time,
                permanent=permanent,
            )
            for at, (state, recipient, code, time, permanent) in enumerate(read(event))
        ]


_Report = tuple[ReceiptState, str, str, int | None, bool]


def _sent(event: Mapping[str, Any]) -> Iterator[_Report]:
    yield ReceiptState.ACCEPTED, "", "", time_of(object_in(event, "mail").get("timestamp")), False


def _delivered(event: Mapping[str, Any]) -> Iterator[_Report]:
    delivery = object_in(event, "delivery")
    for recipient in map(text_of, list_in(delivery, "recipients")):
        yield ReceiptState.DELIVERED, recipient, "", time_of(delivery.get("timestamp")), False


def _bounced(event: Mapping[str, Any]) -> Iterator[_Report]:
    """SES reports a bounce once it tries no more, also of one that might pass."""
    bounce = object_in(event, "bounce")
    kind = text_of(bounce.get("bounceType"))
    summary = code_of(f"{kind}.{text_of(bounce.get('bounceSubType'))}")
    for one in list_in(bounce, "bouncedRecipients"):
        recipient = text_of(object_in(one).get("emailAddress"))
        code = code_of(object_in(one).get("status")) or summary
        yield ReceiptState.UNDELIVERED, recipient, code, time_of(bounce.get("timestamp")), kind == PERMANENT


def _complained(event: Mapping[str, Any]) -> Iterator[_Report]:
    """Most mail servers do not say who has complained: then those are listed that it may have been."""
    complaint = object_in(event, "complaint")
    kind, time = text_of(complaint.get("complaintFeedbackType")), time_of(complaint.get("timestamp"))
    if kind in NO_COMPLAINTS:
        return
    is_suppressed = complaint.get("complaintSubType") == SUPPRESSED
    for one in list_in(complaint, "complainedRecipients"):
        recipient = text_of(object_in(one).get("emailAddress"))
        if is_suppressed:
            yield ReceiptState.UNDELIVERED, recipient, SUPPRESSED, time, False
        yield ReceiptState.COMPLAINED, recipient, SUPPRESSED if is_suppressed else code_of(kind), time, False


def _rejected(event: Mapping[str, Any]) -> Iterator[_Report]:
    """SES has found a virus, and sends it to nobody."""
    yield ReceiptState.UNDELIVERED, "", "Reject", time_of(object_in(event, "mail").get("timestamp")), False


_EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Iterator[_Report]]]] = MappingProxyType(
    {
        # `DeliveryDelay` is not the end of it; `Open`, `Click` and `Subscription` are not of deliveries, and
        # `Rendering Failure` is of templates.
        "Send": _sent,
        "Delivery": _delivered,
        "Bounce": _bounced,
        "Complaint": _complained,
        "Reject": _rejected,
    }
)

"""The webhooks of Postmark: one event a call, without a signature.

https://postmarkapp.com/developer/webhooks/webhooks-overview

They are believed by basic auth, where a user is configured for it. Otherwise by a reference of ours, which nobody else
can make: and then of the attempt alone that it names, whatever else a call says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, ReceiptReader, ReceiptSupport, Unreadable
from postwire.providers.receipts.basic_auth import BasicAuth
from postwire.providers.receipts.payloads import json_object, object_in, reference_of, text_of, time_of, unproven

REFERENCE: Final = "reference"
"""The name in the metadata: https://postmarkapp.com/support/article/1125-custom-metadata-faq"""

BOUNCES: Final[Mapping[str, tuple[ReceiptState, bool]]] = MappingProxyType(
    {
        # https://postmarkapp.com/developer/api/bounce-api#bounce-types
        "HardBounce": (ReceiptState.UNDELIVERED, True),
        "BadEmailAddress": (ReceiptState.UNDELIVERED, True),
        "SpamNotification": (ReceiptState.UNDELIVERED, False),
        "SoftBounce": (ReceiptState.UNDELIVERED, False),
        "DnsError": (ReceiptState.UNDELIVERED, False),
        "Unknown": (ReceiptState.UNDELIVERED, False),
        "VirusNotification": (ReceiptState.UNDELIVERED, False),
        "ChallengeVerification": (ReceiptState.UNDELIVERED, False),
        "ManuallyDeactivated": (ReceiptState.UNDELIVERED, False),
        "Unconfirmed": (ReceiptState.UNDELIVERED, False),
        "Blocked": (ReceiptState.UNDELIVERED, False),
        "SMTPApiError": (ReceiptState.UNDELIVERED, False),
        "InboundError": (ReceiptState.UNDELIVERED, False),
        "DMARCPolicy": (ReceiptState.UNDELIVERED, False),
        "TemplateRenderingFailed": (ReceiptState.UNDELIVERED, False),
        "SpamComplaint": (ReceiptState.COMPLAINED, False),
        "Unsubscribe": (ReceiptState.OPTED_OUT, False),
    }
)
"""What bounces report, and whether for good. `Transient`, which is tried again, `AutoResponder`, `AddressChange`,
`Subscribe` and `OpenRelayTest` report nothing."""

REASONS: Final[Mapping[str, tuple[ReceiptState, bool]]] = MappingProxyType(
    {
        # https://postmarkapp.com/developer/webhooks/subscription-change-webhook
        "HardBounce": (ReceiptState.UNDELIVERED, True),
        "SpamComplaint": (ReceiptState.COMPLAINED, False),
        "ManualSuppression": (ReceiptState.OPTED_OUT, False),
    }
)
"""What it reports that Postmark sends nothing more to a recipient, by the reason."""


class PostmarkReceipts:
    """See `ReceiptReader`."""

    refused_status = 401

    def __init__(self, user: BasicAuth | None) -> None:
        self._user = user

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        if self._user:
            self._user.verify(call)
        elif not _proven(call):
            raise Forged("reference")

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        event = json_object(call.body)
        if (found := _found(event)) is None:
            return []
        state, permanent, when = found
        number = id_of(event.get("ID"))
        is_known = self._user is not None
        return [
            Receipt(
                state,
                reference=(_given(event) or call.reference) if is_known else _proven(call),
                provider_message_id=id_of(event.get("MessageID")) if is_known else "",
                recipient=text_of(event.get("Recipient")) or text_of(event.get("Email")),
                code=code_of(event.get("Type")) or code_of(event.get("SuppressionReason")),
                event_id=f"{event['RecordType']}/{number}" if number else "",
                time=time_of(event.get(when)),
                permanent=permanent,
            )
        ]


def _found(event: Mapping[str, Any]) -> tuple[ReceiptState, bool, str] | None:
    """What an event reports, whether for good, and where its time is; None where it reports nothing that is used."""
    match event.get("RecordType"):
        case "Delivery":
            return ReceiptState.DELIVERED, False, "DeliveredAt"
        case "Bounce":
            found = BOUNCES.get(text_of(event.get("Type")))
            return (*found, "BouncedAt") if found else None
        case "SpamComplaint":
            return ReceiptState.COMPLAINED, False, "BouncedAt"
        case "SubscriptionChange":
            found = REASONS.get(text_of(event.get("SuppressionReason")))
            return (*found, "ChangedAt") if found and event.get("SuppressSending") is True else None
        case str():
            return None
    raise Unreadable("there is no RecordType")


def _given(event: Mapping[str, Any]) -> str:
    """The reference in the metadata of an event, whoever has made it."""
    return reference_of(object_in(event, "Metadata").get(REFERENCE))


def _proven(call: ReceiptCall) -> str:
    """The reference of ours that a call has, in its address or its metadata; empty where there is none."""
    if call.reference:
        return call.reference
    try:
        given = _given(json_object(unproven(call.body)))
    except Unreadable:
        return ""
    return given if call.is_reference(given) else ""


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader:
    return PostmarkReceipts(BasicAuth.of(config))


SUPPORT: Final = ReceiptSupport(keys=("username", "password"), make=_make)

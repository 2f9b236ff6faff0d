"""The webhooks of Postmark: one event a call, without a signature.

https://postmarkapp.com/developer/webhooks/webhooks-overview

They are believed by basic auth or by a reference of ours: see `UserOrReference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, ReceiptCall, ReceiptReader, ReceiptSupport, Unreadable
from postwire.providers.receipts.payloads import json_object, object_in, reference_of, text_of, time_of
from postwire.providers.receipts.unsigned import UserOrReference

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

    def __init__(self, believed: UserOrReference) -> None:
        self._believed = believed

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        self._believed.verify(call)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        event = json_object(call.body)
        if (found := _found(event)) is None:
            return []
        quoted = reference_of(object_in(event, "Metadata").get(REFERENCE))
        if (attempt := self._believed.attempt(call, quoted, id_of(event.get("MessageID")))) is None:
            return []
        state, permanent, when = found
        number = id_of(event.get("ID"))
        return [
            Receipt(
                state,
                reference=attempt[0],
                provider_message_id=attempt[1],
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


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader:
    return PostmarkReceipts(UserOrReference.of(config, REFERENCE))


SUPPORT: Final = ReceiptSupport(keys=("username", "password"), make=_make)

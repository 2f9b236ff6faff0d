"""The Event Webhook of SendGrid: events of several emails in one call, signed by ECDSA.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, ReceiptReader, ReceiptSupport, Unreadable
from postwire.providers.receipts.payloads import json_value, reference_of, seconds_of, text_of
from postwire.providers.receipts.signatures import decoded_base64, header

# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"

REFERENCE: Final = "reference"
"""The custom argument that holds it. SendGrid puts custom arguments beside its own fields."""

STATES: Final[Mapping[str, ReceiptState]] = MappingProxyType(
    {
        # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event#delivery-events
        "processed": ReceiptState.ACCEPTED,
        "delivered": ReceiptState.DELIVERED,
        "bounce": ReceiptState.UNDELIVERED,
        "dropped": ReceiptState.UNDELIVERED,
        # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event#engagement-events
        "spamreport": ReceiptState.COMPLAINED,
        "unsubscribe": ReceiptState.OPTED_OUT,
        "group_unsubscribe": ReceiptState.OPTED_OUT,
    }
)
"""What events report. `deferred`, `open`, `click` and `group_resubscribe` report nothing."""

DROPPED: Final[Mapping[str, tuple[str, bool]]] = MappingProxyType(
    {
        # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event#dropped
        "Bounced Address": ("bounced_address", True),
        "Invalid": ("invalid", True),
        "Unsubscribed Address": ("unsubscribed_address", False),
        "Spam Reporting Address": ("spam_reporting_address", False),
        "Spam Content": ("spam_content", False),
        "Recipient List over Package Quota": ("over_quota", False),
    }
)
"""The reasons for `dropped`, which are prose: a code of ours for each, and whether it is for good."""


class SendGridReceipts:
    """See `ReceiptReader`. A signature has no tolerance: a call is tried again for a day, as it was signed at first."""

    refused_status = 401

    def __init__(self, public_key: EllipticCurvePublicKey) -> None:
        self._public_key = public_key

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        signature, seconds = header(call, SIGNATURE), header(call, TIMESTAMP)
        try:
            self._public_key.verify(decoded_base64(signature), seconds.encode() + call.body, ECDSA(SHA256()))
        except InvalidSignature:
            raise Forged("signature") from None

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        if not isinstance(events := json_value(call.body), list):
            raise Unreadable("the body is not a list of events")
        return [found for event in events if isinstance(event, dict) and (found := _receipt(event))]


def _receipt(event: Mapping[str, Any]) -> Receipt | None:
    """What an event reports; None where it reports nothing that is used."""
    name = text_of(event.get("event"))
    if (state := STATES.get(name)) is None:
        return None
    # A block is for the moment: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event#bounce
    code, permanent = code_of(event.get("status")), name == "bounce" and event.get("type") == "bounce"
    if name == "dropped":
        reason, permanent = DROPPED.get(text_of(event.get("reason")), ("", False))
        code = reason or code
    return Receipt(
        state,
        reference=reference_of(event.get(REFERENCE)),
        provider_message_id=message_id_of(event.get("sg_message_id")),
        recipient=text_of(event.get("email")),
        code=code,
        event_id=id_of(event.get("sg_event_id")),
        time=seconds_of(event.get("timestamp")),
        permanent=permanent,
    )


def message_id_of(value: object) -> str:
    """What SendGrid has called the email when it took it (`X-Message-Id`): an event's id goes on behind that.

    https://www.twilio.com/docs/sendgrid/glossary/message-id
    """
    return re.split(r"\.(?:filter|recvd)", id_of(value))[0]


def key_of(text: str) -> EllipticCurvePublicKey:
    """A public key, as SendGrid's settings show it: in base64, with or without the lines of PEM. Raises ValueError."""
    plain = re.sub(r"-----[A-Z ]+-----|\s", "", text)
    try:
        key = load_der_public_key(decoded_base64(plain))
    except (Forged, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("public_key: is not the verification key that SendGrid shows, which begins with MFkw")
    return key


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    return None if config.public_key is None else SendGridReceipts(key_of(config.public_key))


SUPPORT: Final = ReceiptSupport(keys=("public_key",), make=_make)

"""The webhooks of Mailgun: one event a call.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads

What is signed is a time and a token, and not the event: who has once seen a call can make others. So a receipt is
believed only of a message that this provider has, as all are, and an event is taken once.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, ReceiptReader, ReceiptSupport, Unreadable
from postwire.providers.receipts.payloads import json_object, object_in, reference_of, seconds_of, text_of, unproven
from postwire.providers.receipts.signatures import check_equal, secrets_of

REFERENCE: Final = "reference"
"""The variable that holds it: https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-attachments"""

STATES: Final[Mapping[tuple[str, str], ReceiptState]] = MappingProxyType(
    {
        # https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-types
        ("accepted", ""): ReceiptState.ACCEPTED,
        ("delivered", ""): ReceiptState.DELIVERED,
        ("failed", "permanent"): ReceiptState.UNDELIVERED,
        ("rejected", ""): ReceiptState.UNDELIVERED,
        ("complained", ""): ReceiptState.COMPLAINED,
        ("unsubscribed", ""): ReceiptState.OPTED_OUT,
    }
)
"""What events of a severity report. A failure that is temporary, `opened` and `clicked` report nothing."""

PERMANENT: Final = frozenset({"bounce", "suppress-bounce"})
"""The reasons for a failure that are the recipient's, for good: the others are for the moment, or about the email.

https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure
"""


class MailgunReceipts:
    """See `ReceiptReader`."""

    refused_status = 406
    """https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhooks: after any other it comes again."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`.

        https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
        """
        try:
            signed = object_in(json_object(unproven(call.body)), "signature")
        except Unreadable:
            raise Forged("missing") from None
        timestamp, token, signature = (text_of(signed.get(name)) for name in ("timestamp", "token", "signature"))
        if not (timestamp and token and signature):
            raise Forged("missing")
        if not signature.isascii():
            raise Forged("signature")
        message = f"{timestamp}{token}".encode()
        # Compared as it is written, which is in one way only.
        check_equal(signature.encode(), [hmac.digest(key, message, "sha256").hex().encode() for key in self._keys])

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        event = object_in(json_object(call.body), "event-data")
        if not (name := text_of(event.get("event"))):
            raise Unreadable("there is no event in event-data")
        severity = text_of(event.get("severity")) if name == "failed" else ""
        if (state := STATES.get((name, severity))) is None:
            return []
        reason, status = text_of(event.get("reason")), object_in(event, "delivery-status")
        message_id = id_of(object_in(event, "message", "headers").get("message-id"))
        return [
            Receipt(
                state,
                reference=reference_of(object_in(event, "user-variables").get(REFERENCE)),
                # With the brackets that it has where an email is taken.
                provider_message_id=f"<{message_id.strip('<>')}>" if message_id else "",
                recipient=text_of(event.get("recipient")),
                code=_code(status) or code_of(reason),
                event_id=id_of(event.get("id")),
                time=seconds_of(event.get("timestamp")),
                permanent=name == "failed" and reason in PERMANENT and status.get("bounce-type") != "soft",
            )
        ]


def _code(status: Mapping[str, object]) -> str:
    """The code of a mail server, such as 5.1.1 or 550; those of Mailgun's own begin at 600."""
    code = code_of(status.get("enhanced-code")) or code_of(status.get("code"))
    return "" if code in ("0", "200", "250") else code


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    if config.secret is None:
        if config.previous_secret is not None:
            raise ValueError("secret: is missing, beside previous_secret")
        return None
    return MailgunReceipts(secrets_of(config.secret, config.previous_secret))


SUPPORT: Final = ReceiptSupport(keys=("secret", "previous_secret"), make=_make)

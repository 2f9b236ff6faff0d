"""The webhooks of Resend: one event a call, signed as Standard Webhooks asks.

https://resend.com/docs/dashboard/webhooks/body-parameters
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, ReceiptCall, ReceiptReader, ReceiptSupport, Unreadable
from postwire.providers.receipts.payloads import (
    json_object,
    list_in,
    numbered,
    object_in,
    reference_of,
    text_of,
    time_of,
)
from postwire.providers.receipts.standard_webhooks import StandardWebhooks

HEADERS: Final = "svix"
"""What the names of the headers begin with: https://resend.com/docs/webhooks/verify-webhooks-requests"""

REFERENCE: Final = "reference"
"""The tag that holds it."""

STATES: Final[Mapping[str, ReceiptState]] = MappingProxyType(
    {
        # https://resend.com/docs/dashboard/webhooks/event-types
        "email.sent": ReceiptState.ACCEPTED,
        "email.delivered": ReceiptState.DELIVERED,
        "email.bounced": ReceiptState.UNDELIVERED,
        "email.failed": ReceiptState.UNDELIVERED,
        "email.suppressed": ReceiptState.UNDELIVERED,
        "email.complained": ReceiptState.COMPLAINED,
    }
)
"""What events report. `email.delivery_delayed`, `email.opened`, `email.clicked` and all others report nothing."""

OF_ALL: Final = frozenset({"email.sent", "email.failed"})
"""The events that are about an email, and not about some of its recipients."""


class ResendReceipts:
    """See `ReceiptReader`."""

    refused_status = 401

    def __init__(self, signed: StandardWebhooks) -> None:
        self._signed = signed

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        self._signed.verify(call)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        event = json_object(call.body)
        if not (name := text_of(event.get("type"))):
            raise Unreadable("there is no type")
        if (state := STATES.get(name)) is None:
            return []
        data, event_id = object_in(event, "data"), id_of(self._signed.id_of(call))
        code, permanent = _why(name, data)
        listed = [text_of(one) for one in list_in(data, "to")] if name not in OF_ALL else []
        return [
            Receipt(
                state,
                reference=_reference(data),
                provider_message_id=id_of(data.get("email_id")),
                recipient=one,
                code=code,
                # An event of several recipients is one of each.
                event_id=numbered(event_id, at),
                time=time_of(event.get("created_at")),
                permanent=permanent,
            )
            for at, one in enumerate(listed or [""])
        ]


def _why(name: str, data: Mapping[str, Any]) -> tuple[str, bool]:
    """The code of an event, and whether it is for good."""
    if name == "email.bounced":
        # https://resend.com/docs/dashboard/emails/email-bounces: Permanent, Transient or Undetermined
        bounce = object_in(data, "bounce")
        kind = text_of(bounce.get("type"))
        return code_of(bounce.get("subType")) or code_of(kind), kind == "Permanent"
    if name == "email.failed":
        return code_of(object_in(data, "failed").get("reason")), False
    return ("suppressed", False) if name == "email.suppressed" else ("", False)


def _reference(data: Mapping[str, Any]) -> str:
    """Our tag: of an object, as events have them, or of a list of names and values, as the page says."""
    if tags := object_in(data, "tags"):
        return reference_of(tags.get(REFERENCE))
    tagged = (
        one.get("value") for one in list_in(data, "tags") if isinstance(one, dict) and one.get("name") == REFERENCE
    )
    return reference_of(next(tagged, ""))


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    signed = StandardWebhooks.of(config, HEADERS)
    return None if signed is None else ResendReceipts(signed)


SUPPORT: Final = ReceiptSupport(keys=("secret", "previous_secret"), make=_make)

"""What an endpoint of the user's own reports of the messages that the kind `webhook` has posted to it.

An object of JSON a call, signed as Standard Webhooks asks:

    {"reference": "…", "state": "undelivered", "code": "full", "event_id": "e-1", "recipient": "ada@example.com"}

`reference` is what came with the message; without one, that of the address, or else `provider_message_id` has the id
that the endpoint answered with. `state` is a word of `ReceiptState`. The others may be left out: `event_id` is then the
`webhook-id`. `permanent` says that the recipient cannot be reached, ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, ReceiptCall, ReceiptReader, ReceiptSupport, Unreadable
from postwire.providers.receipts.payloads import json_object, reference_of, text_of, time_of
from postwire.providers.receipts.standard_webhooks import StandardWebhooks

STATES: Final[Mapping[str, ReceiptState]] = MappingProxyType({state.value: state for state in ReceiptState})


class WebhookReceipts:
    """See `ReceiptReader`."""

    refused_status = 401

    def __init__(self, signed: StandardWebhooks) -> None:
        self._signed = signed

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        self._signed.verify(call)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        value = json_object(call.body)
        if (state := STATES.get(text_of(value.get("state")))) is None:
            raise Unreadable(f"state must be one of {', '.join(STATES)}")
        reference = reference_of(value.get("reference")) or call.reference
        provider_message_id = id_of(value.get("provider_message_id"))
        if not (reference or provider_message_id):
            raise Unreadable("there is neither a reference nor a provider_message_id")
        if not isinstance(permanent := value.get("permanent", False), bool):
            raise Unreadable("permanent must be true or false")
        return [
            Receipt(
                state,
                reference=reference,
                provider_message_id=provider_message_id,
                recipient=text_of(value.get("recipient")),
                code=code_of(value.get("code")),
                event_id=id_of(value.get("event_id")) or id_of(self._signed.id_of(call)),
                time=time_of(value.get("time")),
                permanent=permanent,
            )
        ]


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    signed = StandardWebhooks.of(config)
    return None if signed is None else WebhookReceipts(signed)


SUPPORT: Final = ReceiptSupport(keys=("secret", "previous_secret"), make=_make, in_address=True)

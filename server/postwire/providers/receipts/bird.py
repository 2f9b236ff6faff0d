"""Bird: webhooks of its Channels API, of messages and of what comes in.

https://docs.bird.com/api/channels-api/message-status-and-interactions
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import (
    json_object,
    list_in,
    number_of,
    object_in,
    reference_of,
    text_of,
    time_of,
)
from postwire.providers.receipts.signatures import TRIED_FOR, check_equal, check_fresh, decoded_base64, header

SIGNATURE: Final = "messagebird-signature"
TIMESTAMP: Final = "messagebird-request-timestamp"

STATES: Final = MappingProxyType(
    {
        # https://docs.bird.com/api/channels-api/message-status-and-interactions and the pages of the channels below it
        "accepted": ReceiptState.ACCEPTED,
        "sent": ReceiptState.ACCEPTED,
        "delivered": ReceiptState.DELIVERED,
        "sending_failed": ReceiptState.UNDELIVERED,
        "delivery_failed": ReceiptState.UNDELIVERED,
    }
)

PLATFORM: Final = "sms-messagebird"
"""The source of those failures that have a code of the network's."""

PERMANENT: Final = frozenset(
    {
        # https://docs.bird.com/api/channels-api/message-status-and-interactions/message-failure-sources/sms-platform-extended-error-codes
        # Not here are 2, 3 and 5, which the page has under the same reason, and a network may also say for a time.
        "1",  # there is no such subscriber
    }
)


class BirdReceipts:
    """See `ReceiptReader`.

    `secrets` are the signing key of the webhooks, and maybe the one before. Without a filter, a webhook is called for
    every channel of the workspace: what is not of `channel_id` is another provider's, and is passed over. `number` is
    the channel's, where it is known, since what comes in need not name it.
    """

    refused_status: Final = 401

    def __init__(self, secrets: tuple[bytes, ...], channel_id: str, number: str = "") -> None:
        self._secrets = secrets
        self._channel_id = channel_id.lower()
        self._number = number

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`.

        https://docs.bird.com/api/notifications-api/api-reference/webhooks/verifying-a-webhook: signed are the time, the
        address that was subscribed, and the body's hash. What Bird tries again, for eight hours, has the time of the
        first try: https://docs.bird.com/api/notifications-api/retries.
        """
        given = decoded_base64(header(call, SIGNATURE))
        seconds = header(call, TIMESTAMP)
        if not call.url.isascii():
            raise Forged("signature")
        signed = f"{seconds}\n{call.url}\n".encode() + hashlib.sha256(call.body).digest()
        check_equal(given, [hmac.digest(secret, signed, "sha256") for secret in self._secrets])
        check_fresh(seconds, call.now, TRIED_FOR)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`."""
        event = json_object(call.body)
        kind, message = text_of(event.get("event")), object_in(event, "payload")
        if not kind:
            raise Unreadable("has no event")
        if kind not in ("sms.outbound", "sms.inbound") or text_of(message.get("channelId")).lower() != self._channel_id:
            return ()
        message_id = id_of(message.get("id"))
        if not message_id:
            raise Unreadable("has no id of a message")
        if kind == "sms.inbound":
            return list(_inbound(message, message_id, self._number))
        return list(_receipts(call, message, message_id))


def _receipts(call: ReceiptCall, message: Mapping[str, Any], message_id: str) -> Iterator[Receipt]:
    state = STATES.get(text_of(message.get("status")))
    if state is None:
        return
    failure = object_in(message, "failure") if state is ReceiptState.UNDELIVERED else {}
    source = object_in(failure, "source")
    contacts = list_in(object_in(message, "receiver"), "contacts")
    contact = next((one for one in contacts if isinstance(one, dict)), {})
    yield Receipt(
        state,
        reference=reference_of(message.get("reference")) or call.reference,
        provider_message_id=message_id,
        recipient=number_of(contact.get("identifierValue")),
        code=code_of(failure.get("code")),
        time=time_of(message.get("lastStatusAt")),
        permanent=source.get("name") == PLATFORM and code_of(source.get("code")) in PERMANENT,
    )


def _inbound(message: Mapping[str, Any], message_id: str, number: str) -> Iterator[Inbound]:
    """A message to the channel's number. Of those with media, the text stands beside them:
    https://docs.bird.com/api/channels-api/supported-channels/programmable-sms/receiving-messages."""
    sender = number_of(object_in(message, "sender", "contact").get("identifierValue"))
    recipient = number_of(object_in(message, "receiver", "connector").get("identifierValue")) or number
    body = object_in(message, "body")
    text = text_of(object_in(body, "text").get("text")) or text_of(object_in(body, "image").get("text"))
    if sender:
        yield Inbound(sender, recipient, text, event_id=message_id)

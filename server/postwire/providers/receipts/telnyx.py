"""Telnyx: events of its Messages API, and messages to numbers of ours by the same address.

https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import (
    json_object,
    list_in,
    number_of,
    numbered,
    object_in,
    reference_of,
    text_of,
    time_of,
)
from postwire.providers.receipts.signatures import check_fresh, decoded_base64, header

STATES: Final = MappingProxyType(
    {
        # https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
        # `delivery_unconfirmed` is what the carrier never said anything of.
        "delivered": ReceiptState.DELIVERED,
        "delivery_unconfirmed": ReceiptState.ACCEPTED,
        "delivery_failed": ReceiptState.UNDELIVERED,
        "sending_failed": ReceiptState.UNDELIVERED,
        "expired": ReceiptState.UNDELIVERED,
    }
)

PERMANENT: Final = frozenset(
    {
        # https://developers.telnyx.com/docs/messaging/messages/error-codes
        "40001",  # the number is a landline, or cannot be routed to
        "40310",  # it is not valid
    }
)

OPTED_OUT: Final = frozenset({"40300"})
"""The recipient has sent STOP: https://developers.telnyx.com/docs/messaging/messages/advanced-opt-in-out."""

_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


def public_key_of(text: str) -> Ed25519PublicKey:
    """The public key as the portal shows it: 32 bytes in base64. Raises ValueError, led by the key `public_key`."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != _KEY_BYTES:
        raise ValueError("public_key: must be 32 bytes in base64, as the portal shows them")
    return Ed25519PublicKey.from_public_bytes(data)


class TelnyxReceipts:
    """See `ReceiptReader`."""

    refused_status: Final = 401

    def __init__(self, public_key: Ed25519PublicKey) -> None:
        self._public_key = public_key

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`. Each try is signed anew, so that it may be asked to be fresh.

        https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
        """
        given = decoded_base64(header(call, "telnyx-signature-ed25519"))
        seconds = header(call, "telnyx-timestamp")
        if len(given) != _SIGNATURE_BYTES:
            raise Forged("signature")
        try:
            self._public_key.verify(given, seconds.encode() + b"|" + call.body)
        except InvalidSignature:
            raise Forged("signature") from None
        check_fresh(seconds, call.now)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`."""
        event = object_in(json_object(call.body), "data")
        payload = object_in(event, "payload")
        kind = text_of(event.get("event_type"))
        if not kind:
            raise Unreadable("has no event_type")
        if kind == "message.received":
            return list(_inbound(event, payload))
        if kind not in ("message.sent", "message.finalized"):
            return ()
        message_id = id_of(payload.get("id"))
        if not message_id:
            raise Unreadable("has no id of a message")
        to = next((one for one in list_in(payload, "to") if isinstance(one, dict)), {})
        state = ReceiptState.ACCEPTED if kind == "message.sent" else STATES.get(text_of(to.get("status")))
        return list(_receipts(call, event, payload, number_of(to.get("phone_number")), message_id, state))


def _receipts(
    call: ReceiptCall,
    event: Mapping[str, Any],
    payload: Mapping[str, Any],
    recipient: str,
    message_id: str,
    state: ReceiptState | None,
) -> Iterator[Receipt]:
    if state is None:
        return
    error = next((one for one in list_in(payload, "errors") if isinstance(one, dict)), {})
    code = code_of(error.get("code"))
    is_failed = state is ReceiptState.UNDELIVERED
    event_id = id_of(event.get("id"))
    reported = [state, ReceiptState.OPTED_OUT] if is_failed and code in OPTED_OUT else [state]
    for at, one in enumerate(reported):
        yield Receipt(
            one,
            # The address of the call is not signed, and this is: it quotes what we gave with the message.
            reference=reference_of(text_of(payload.get("webhook_url")).rpartition("/")[2]) or call.reference,
            provider_message_id=message_id,
            recipient=recipient,
            code=code,
            event_id=numbered(event_id, at),
            time=time_of(event.get("occurred_at")),
            permanent=is_failed and one is state and code in PERMANENT,
        )


def _inbound(event: Mapping[str, Any], payload: Mapping[str, Any]) -> Iterator[Inbound]:
    """A message to a number of ours. Where Telnyx knows the text as a keyword, it says which, in whatever language:
    https://developers.telnyx.com/docs/messaging/messages/advanced-opt-in-out."""
    sender = number_of(object_in(payload, "from").get("phone_number"))
    if not sender:
        return
    to = next((one for one in list_in(payload, "to") if isinstance(one, dict)), {})
    text = text_of(payload.get("autoresponse_type")) or text_of(payload.get("text"))
    yield Inbound(sender, number_of(to.get("phone_number")), text, event_id=id_of(event.get("id")))

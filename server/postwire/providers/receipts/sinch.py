"""Sinch: delivery reports of its SMS API, and messages to numbers of ours.

https://developers.sinch.com/docs/sms/api-reference/sms/webhooks
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import json_object, number_of, object_in, reference_of, text_of, time_of
from postwire.providers.receipts.signatures import TRIED_FOR, check_equal, check_fresh, decoded_base64, header

SIGNATURE: Final = "x-sinch-webhook-signature"
TIMESTAMP: Final = "x-sinch-webhook-signature-timestamp"
NONCE: Final = "x-sinch-webhook-signature-nonce"
ALGORITHM: Final = "x-sinch-webhook-signature-algorithm"

STATES: Final = MappingProxyType(
    {
        # https://developers.sinch.com/docs/sms/api-reference/sms/delivery-reports
        # `Unknown` is what the carrier has taken, and never said anything of, or nothing legible.
        "Queued": ReceiptState.ACCEPTED,
        "Dispatched": ReceiptState.ACCEPTED,
        "Unknown": ReceiptState.ACCEPTED,
        "Delivered": ReceiptState.DELIVERED,
        "Aborted": ReceiptState.UNDELIVERED,
        "Cancelled": ReceiptState.UNDELIVERED,
        "Rejected": ReceiptState.UNDELIVERED,
        "Deleted": ReceiptState.UNDELIVERED,
        "Failed": ReceiptState.UNDELIVERED,
        "Expired": ReceiptState.UNDELIVERED,
    }
)

PERMANENT: Final = frozenset(
    {
        # https://developers.sinch.com/docs/sms/smpp/error-codes: the page of delivery reports says that these codes are
        # theirs as well. Not here are those that blame a network or us, though the page calls them permanent, too.
        # Nor 152, no subscription to SMS, which carriers in the US say of what they refuse without a reason:
        # https://developers.sinch.com/docs/sms/smpp/10dlc-errors.
        "150",  # nobody has the number
    }
)

_REPORTS: Final = frozenset({"recipient_delivery_report_sms", "recipient_delivery_report_mms"})
_HASHES: Final = MappingProxyType({"hmacsha256": "sha256", "hmacsha384": "sha384", "hmacsha512": "sha512"})
_USUAL: Final = "HmacSHA256"


class SinchReceipts:
    """See `ReceiptReader`. `secrets` are what the service plan's calls are signed with, and maybe the one before."""

    refused_status: Final = 401

    def __init__(self, secrets: tuple[bytes, ...]) -> None:
        self._secrets = secrets

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`.

        https://developers.sinch.com/docs/conversation/callbacks#validating-callbacks, whose headers those of SMS share:
        signed are body, nonce and time, and the time, that of signing, is to be near. How near, it does not say, nor
        whether what is tried again, for 23 hours, is signed again.
        """
        given = decoded_base64(header(call, SIGNATURE))
        nonce, seconds = header(call, NONCE), header(call, TIMESTAMP)
        algorithm = _HASHES.get(call.headers.get(ALGORITHM, _USUAL).lower())
        if algorithm is None:
            raise Forged("signature")
        signed = b".".join((call.body, nonce.encode(), seconds.encode()))
        check_equal(given, [hmac.digest(secret, signed, algorithm) for secret in self._secrets])
        check_fresh(seconds, call.now, TRIED_FOR)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`."""
        event = json_object(call.body)
        kind = text_of(event.get("type"))
        if not kind:
            raise Unreadable("has no type")
        if kind in ("mo_text", "mo_media"):
            return list(_inbound(event))
        if kind not in _REPORTS:
            return ()
        batch_id = id_of(event.get("batch_id"))
        if not batch_id:
            raise Unreadable("has no batch_id")
        return list(_receipts(call, event, batch_id))


def _receipts(call: ReceiptCall, event: Mapping[str, Any], batch_id: str) -> Iterator[Receipt]:
    state = STATES.get(text_of(event.get("status")))
    if state is None:
        return
    is_failed = state is ReceiptState.UNDELIVERED
    code = code_of(event.get("code")) if is_failed else ""
    yield Receipt(
        state,
        # The address of the call is not signed, and this is.
        reference=reference_of(event.get("client_reference")) or call.reference,
        provider_message_id=batch_id,
        recipient=number_of(event.get("recipient")),
        code=code,
        time=time_of(event.get("at")),
        permanent=is_failed and code in PERMANENT,
    )


def _inbound(event: Mapping[str, Any]) -> Iterator[Inbound]:
    """A message to a number of ours: https://developers.sinch.com/docs/sms/api-reference/sms/inbounds."""
    sender = number_of(event.get("from"))
    text = text_of(event.get("body")) or text_of(object_in(event, "body").get("message"))
    if sender:
        yield Inbound(sender, number_of(event.get("to")), text, event_id=id_of(event.get("id")))

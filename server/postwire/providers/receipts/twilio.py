"""Twilio: status callbacks, and messages to numbers of ours by the same address.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import form_fields, number_of
from postwire.providers.receipts.signatures import check_equal, decoded_base64, header

STATES: Final = MappingProxyType(
    {
        # https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
        # `accepted`, `scheduled`, `queued` and `sending` say no more than the answer to our request.
        "sent": ReceiptState.ACCEPTED,
        "delivered": ReceiptState.DELIVERED,
        "read": ReceiptState.DELIVERED,
        "undelivered": ReceiptState.UNDELIVERED,
        "failed": ReceiptState.UNDELIVERED,
        "canceled": ReceiptState.UNDELIVERED,
    }
)

PERMANENT: Final = frozenset(
    {
        # Each is described at https://www.twilio.com/docs/api/errors/CODE. Not here are 30003 (the phone may merely be
        # switched off) and 30006 (a landline, but also a carrier that only this sender cannot reach).
        "21211",  # the number is not valid
        "21614",  # it cannot receive SMS
        "30005",  # it is unknown, and may no longer exist
    }
)

OPTED_OUT: Final = frozenset({"21610"})
"""The recipient has opted out of this sender: https://www.twilio.com/docs/api/errors/21610."""

_ALGORITHMS: Final = MappingProxyType({"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"})
_PORTS: Final = MappingProxyType({"https": 443, "http": 80})


class TwilioReceipts:
    """See `ReceiptReader`.

    `tokens` are those of the account. `shared_keys` are what Twilio signs with in their place where a webhook rule of
    the account says so, which the call's header then tells.
    """

    refused_status: Final = 401

    def __init__(self, *, tokens: tuple[bytes, ...], shared_keys: tuple[bytes, ...]) -> None:
        self._tokens = tokens
        self._shared_keys = shared_keys

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`.

        https://www.twilio.com/docs/usage/webhooks/webhooks-security: signed are the address and the sorted fields of
        the form, each only once. Twilio does not say whether it has the port in the address, so both are tried.
        https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys
        """
        given = decoded_base64(header(call, "x-twilio-signature"))
        secrets, algorithm = self._tokens, "sha1"
        if named := _named(call.headers.get("x-twilio-webhooks-signature-settings", "")):
            if named not in _ALGORITHMS:
                raise Forged("signature")
            secrets, algorithm = self._shared_keys, _ALGORITHMS[named]
        form = _signed_form(call)
        if not call.url.isascii():
            raise Forged("signature")
        signed = [f"{url}{form}".encode() for url in _addresses(call.url)]
        check_equal(given, [hmac.digest(secret, one, algorithm) for secret in secrets for one in signed])

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`."""
        fields = dict(form_fields(call))
        message_id = id_of(fields.get("MessageSid") or fields.get("SmsSid"))
        if not message_id:
            raise Unreadable("has no MessageSid")
        status = fields.get("MessageStatus")
        if status is None:
            return list(_inbound(fields, message_id))
        return list(_receipts(call, fields, message_id, status))


def _receipts(call: ReceiptCall, fields: dict[str, str], message_id: str, status: str) -> Iterator[Receipt]:
    state = STATES.get(status)
    if state is None:
        return
    code = code_of(fields.get("ErrorCode")) if state is ReceiptState.UNDELIVERED else ""
    reported = [state, ReceiptState.OPTED_OUT] if code in OPTED_OUT else [state]
    for one in reported:
        yield Receipt(
            one,
            reference=call.reference,
            provider_message_id=message_id,
            recipient=number_of(fields.get("To")),
            code=code,
            permanent=one is ReceiptState.UNDELIVERED and code in PERMANENT,
        )


def _inbound(fields: dict[str, str], message_id: str) -> Iterator[Inbound]:
    """A message to a number of ours. Where Twilio knows the text as a keyword, it says which, in whatever language."""
    sender, recipient = number_of(fields.get("From")), number_of(fields.get("To"))
    if fields.get("SmsStatus") != "received" or not sender:
        return
    keyword = fields.get("OptOutType", "")
    yield Inbound(sender, recipient, keyword or fields.get("Body", ""), event_id=message_id)


def _named(settings: str) -> str:
    """The algorithm that is named by settings such as `key=…,algorithm=HMAC_SHA256`; empty where none is."""
    pairs = (pair.strip().partition("=") for pair in settings.split(","))
    return next((value.upper() for name, _, value in pairs if name == "algorithm"), "")


def _signed_form(call: ReceiptCall) -> str:
    """What is signed of a form; what a GET has is in the address."""
    if call.method == "GET":
        return ""
    try:
        fields = form_fields(call)
    except Unreadable:
        raise Forged("signature") from None
    return "".join(name + value for name, value in sorted(set(fields)))


def _addresses(url: str) -> Iterator[str]:
    """An address with the port and without it. What comes after # in it never leaves whoever calls."""
    parts = urlsplit(url)
    host = parts.netloc.removesuffix(f":{parts.port}") if parts.port is not None else parts.netloc
    for netloc in (host, f"{host}:{parts.port or _PORTS.get(parts.scheme, 443)}"):
        yield urlunsplit(parts._replace(netloc=netloc, fragment=""))

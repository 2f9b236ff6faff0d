"""Vonage: delivery receipts of its SMS API, one for each part of a message.

https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import (
    MAX_FIELDS,
    form_fields,
    number_of,
    reference_of,
    text_of,
    time_of,
    unproven,
)
from postwire.providers.receipts.signatures import check_equal, decoded_hex

STATES: Final = MappingProxyType(
    {
        # https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts#dlr-status-messages
        # `unknown` says nothing.
        "accepted": ReceiptState.ACCEPTED,
        "buffered": ReceiptState.ACCEPTED,
        "delivered": ReceiptState.DELIVERED,
        "expired": ReceiptState.UNDELIVERED,
        "failed": ReceiptState.UNDELIVERED,
        "rejected": ReceiptState.UNDELIVERED,
    }
)

PERMANENT: Final = frozenset(
    {
        # https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts#dlr-error-codes
        # Both pages' advice is to remove the number. Not here is 14, a carrier that blocks the number, for now.
        "3",  # the number is not active any more
        "4",  # its subscription is barred from receiving SMS
    }
)

OPTED_OUT: Final = frozenset({"9"})
"""The recipient has opted out: https://developer.vonage.com/en/opt-out-assist/guides/messaging-opted-out-numbers."""

NO_ERROR: Final = "0"

_HMACS: Final = MappingProxyType({16: "md5", 20: "sha1", 32: "sha256", 64: "sha512"})
"""By the bytes of a signature. What has 16 may also be a plain MD5, which is what accounts begin with."""


class VonageReceipts:
    """See `ReceiptReader`. `secrets` are the account's signature secret, and maybe the one before."""

    refused_status: Final = 401

    def __init__(self, secrets: tuple[bytes, ...]) -> None:
        self._secrets = secrets

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`.

        https://developer.vonage.com/en/getting-started/concepts/signing-messages: signed are all fields but `sig`, in
        the order of their names. By which hash is chosen in the account's settings, and shows in the signature's
        length: nobody without the secret can make one of any.
        """
        fields = _fields(call)
        signature = fields.pop("sig", "")
        if not signature:
            raise Forged("missing")
        given = decoded_hex(signature)
        if len(given) not in _HMACS or not fields:
            raise Forged("signature")
        signed = _signed(fields)
        expected = [hmac.digest(secret, signed, _HMACS[len(given)]) for secret in self._secrets]
        if _HMACS[len(given)] == "md5":
            expected += [hashlib.md5(signed + secret).digest() for secret in self._secrets]
        check_equal(given, expected)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`."""
        try:
            fields = _fields(call)
        except Forged:
            raise Unreadable("has no fields") from None
        message_id = id_of(fields.get("messageId") or fields.get("message-id"))
        if not message_id:
            raise Unreadable("has no messageId")
        if "status" not in fields:
            return list(_inbound(fields, message_id))
        return list(_receipts(call, fields, message_id))


def _receipts(call: ReceiptCall, fields: Mapping[str, str], message_id: str) -> Iterator[Receipt]:
    state = STATES.get(fields["status"].lower())
    if state is None:
        return
    code = code_of(fields.get("err-code"))
    code = "" if code == NO_ERROR else code
    reported = [state, ReceiptState.OPTED_OUT] if state is ReceiptState.UNDELIVERED and code in OPTED_OUT else [state]
    for one in reported:
        yield Receipt(
            one,
            # The address is not signed, and this is.
            reference=reference_of(fields.get("client-ref")) or call.reference,
            provider_message_id=message_id,
            recipient=number_of(fields.get("msisdn")),
            code=code,
            time=time_of(fields.get("message-timestamp")),
            permanent=one is ReceiptState.UNDELIVERED and code in PERMANENT,
        )


def _inbound(fields: Mapping[str, str], message_id: str) -> Iterator[Inbound]:
    """A message to a number of ours: https://developer.vonage.com/en/messaging/sms/guides/inbound-sms."""
    sender = number_of(fields.get("msisdn"))
    if sender and "text" in fields:
        yield Inbound(sender, number_of(fields.get("to")), fields["text"], event_id=message_id)


def _fields(call: ReceiptCall) -> dict[str, str]:
    """The fields of a call: of its query, its form, or its JSON, as the account's settings have it.

    Raises:
        Forged: it is none of these, or could be read in two ways.
    """
    try:
        pairs = _json_pairs(call.body) if call.method != "GET" and call.body[:1] == b"{" else form_fields(call)
    except Unreadable:
        raise Forged("signature") from None
    fields = dict(pairs)
    # Names are signed as they are: with these in them, one field could be taken for several.
    if len(fields) != len(pairs) or any("&" in name or "=" in name for name in fields):
        raise Forged("signature")
    return fields


def _json_pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        # Numbers stay as they are written, for that is what is signed.
        pairs = json.loads(unproven(body).decode(), object_pairs_hook=list, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise Unreadable("is not JSON") from None
    if len(pairs) > MAX_FIELDS or not all(_is_text(name) and _is_text(value) for name, value in pairs):
        raise Unreadable("is not an object of texts")
    return pairs  # type: ignore[no-any-return]  # it is what was just looked at


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and text_of(value) == value


def _signed(fields: Mapping[str, str]) -> bytes:
    """What is signed of some fields."""
    parts = (f"&{name}={value.replace('&', '_').replace('=', '_')}" for name, value in sorted(fields.items()))
    return "".join(parts).encode()

"""Plivo: status callbacks, and messages to numbers of ours by the same address.

https://docs.plivo.com/docs/messaging/api/message/message-status-callbacks
https://docs.plivo.com/docs/messaging/xml/request
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import MAX_FIELDS, form_fields, number_of
from postwire.providers.receipts.signatures import decoded_base64, header

STATES: Final = MappingProxyType(
    {
        # https://docs.plivo.com/docs/messaging/api/message/message-status-callbacks; `rejected` is of earlier editions.
        # `queued` says no more than the answer to our request.
        "sent": ReceiptState.ACCEPTED,
        "delivered": ReceiptState.DELIVERED,
        "undelivered": ReceiptState.UNDELIVERED,
        "failed": ReceiptState.UNDELIVERED,
        "rejected": ReceiptState.UNDELIVERED,
    }
)

PERMANENT: Final = frozenset(
    {
        # https://plivo.com/docs/messaging/troubleshooting/error-codes
        "50",  # the number is not valid, cannot receive SMS, or is a landline
        "70",  # it is permanently unavailable
    }
)

OPTED_OUT: Final = frozenset({"200"})
"""The recipient has sent STOP to this sender (the same page)."""

V3: Final = "x-plivo-signature-v3"
V2: Final = "x-plivo-signature-v2"

MAX_SIGNATURES: Final = 8
"""Of a call: there is one for each token that is in use."""

_NONCE: Final = re.compile("[A-Za-z0-9-]{1,64}")
"""What a nonce may be: nothing that could be the end of an address or a field, since it is signed right behind them."""


class PlivoReceipts:
    """See `ReceiptReader`. `tokens` are that of the account, and maybe the one before."""

    refused_status: Final = 401

    def __init__(self, tokens: tuple[bytes, ...]) -> None:
        self._tokens = tokens

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`.

        There are two signatures. V3 is of the address, the query and the fields of the form, each sorted by name
        (https://docs.plivo.com/docs/voice/xml/request/validation, and `plivo/utils/signature_v3.py` of Plivo's SDK).
        V2, which is all that the pages of messaging promise, is of the address alone
        (https://docs.plivo.com/docs/messaging/concepts/signature-validation): see `read` for what it is believed of.
        """
        version = V3 if V3 in call.headers else V2
        given = [decoded_base64(one.strip()) for one in header(call, version).split(",", MAX_SIGNATURES)]
        nonce = header(call, f"{version}-nonce")
        if not _NONCE.fullmatch(nonce) or not call.url.isascii():
            raise Forged("signature")
        signed = (f"{_signed(call)}.{nonce}" if version == V3 else f"{_address(call)}{nonce}").encode()
        # Of what is not ASCII, Plivo's SDKs for Python and for Node.js say different things: encoded twice, or once.
        ways = dict.fromkeys((signed, signed.decode("latin-1").encode()))
        expected = [hmac.digest(token, one, "sha256") for token in self._tokens for one in ways]
        if not any([hmac.compare_digest(one, right) for one in given for right in expected]):  # noqa: C419  all are compared
            raise Forged("signature")

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`.

        Where the address alone is signed, who has seen one call can make others. So only what belongs to the address is
        believed: of one that names an attempt, what became of that; and else, messages to numbers of ours.
        """
        fields = dict(form_fields(call))
        message_id = id_of(fields.get("MessageUUID"))
        if not message_id:
            raise Unreadable("has no MessageUUID")
        status = fields.get("Status")
        if V3 not in call.headers and bool(call.reference) is (status is None):
            return []
        if status is None:
            return list(_inbound(fields, message_id))
        return list(_receipts(call, fields, message_id, status))


def _receipts(call: ReceiptCall, fields: dict[str, str], message_id: str, status: str) -> Iterator[Receipt]:
    state = STATES.get(status)
    if state is None:
        return
    code = code_of(fields.get("ErrorCode")) if state is ReceiptState.UNDELIVERED else ""
    for one in [state, ReceiptState.OPTED_OUT] if code in OPTED_OUT else [state]:
        yield Receipt(
            one,
            reference=call.reference,
            provider_message_id=message_id,
            recipient=number_of(fields.get("To")),
            code=code,
            permanent=one is ReceiptState.UNDELIVERED and code in PERMANENT,
        )


def _inbound(fields: dict[str, str], message_id: str) -> Iterator[Inbound]:
    """A message to a number of ours."""
    sender = number_of(fields.get("From"))
    if sender and "Text" in fields:
        yield Inbound(sender, number_of(fields.get("To")), fields["Text"], event_id=message_id)


def _address(call: ReceiptCall) -> str:
    return urlunsplit(urlsplit(call.url)._replace(query="", fragment=""))


def _signed(call: ReceiptCall) -> str:
    """What is signed by V3, but for the nonce."""
    try:
        query = parse_qsl(urlsplit(call.url).query, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
        form = form_fields(call) if call.method != "GET" else []
    except (ValueError, Unreadable):
        raise Forged("signature") from None
    text = "&".join(f"{name}={value}" for name, value in sorted(query))
    fields = "".join(f"{name}{value}" for name, value in sorted(form))
    mark = "?" if query or form else ""
    return f"{_address(call)}{mark}{text}{'.' if query and form else ''}{fields}"

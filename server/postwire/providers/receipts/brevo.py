"""The transactional webhooks of Brevo: one event a call, or several in an array, without a signature.

https://developers.brevo.com/docs/transactional-webhooks

They are believed by basic auth or by a reference of ours: see `UserOrReference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import id_of
from postwire.providers.receipts.base import Fetch, ReceiptCall, ReceiptReader, ReceiptSupport
from postwire.providers.receipts.payloads import MAX_SECONDS, events_in, reference_of, seconds_of, text_of
from postwire.providers.receipts.unsigned import UserOrReference

REFERENCE: Final = "X-Mailin-custom"
"""The header of an email that holds it, and the field of an event that quotes that. Recipients can see it."""

STATES: Final[Mapping[str, ReceiptState]] = MappingProxyType(
    {
        # https://developers.brevo.com/docs/transactional-webhooks
        "request": ReceiptState.ACCEPTED,
        "delivered": ReceiptState.DELIVERED,
        "hard_bounce": ReceiptState.UNDELIVERED,
        "soft_bounce": ReceiptState.UNDELIVERED,
        "blocked": ReceiptState.UNDELIVERED,
        "invalid_email": ReceiptState.UNDELIVERED,
        "error": ReceiptState.UNDELIVERED,
        "spam": ReceiptState.COMPLAINED,
        "unsubscribed": ReceiptState.OPTED_OUT,
        "unsubscribe": ReceiptState.OPTED_OUT,  # so https://anymail.dev/en/stable/esps/brevo/ has had it
    }
)
"""What events report. `deferred`, after which it is tried again, `opened`, `click` and their like report nothing."""

PERMANENT: Final = "hard_bounce"
"""The one that is for good. `invalid_email` may be said of the sender's address:
https://developers.brevo.com/reference/gettransacemailcontent"""

_FIRST_OF_MS: Final = 100_000_000_000
"""More than a time in seconds is before the year 5138, and less than one in ms is after 1973."""

_NO_CODES: Final = frozenset({"request", "delivered"})
"""Events that are no code of anything."""


class BrevoReceipts:
    """See `ReceiptReader`."""

    refused_status = 401

    def __init__(self, believed: UserOrReference) -> None:
        self._believed = believed

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        self._believed.verify(call)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        return [found for event in events_in(call.body) if (found := self._receipt(call, event))]

    def _receipt(self, call: ReceiptCall, event: Mapping[str, Any]) -> Receipt | None:
        """What an event reports; None where it reports nothing that is used, or nobody vouches for it."""
        name = text_of(event.get("event"))
        if (state := STATES.get(name)) is None:
            return None
        quoted, message_id = reference_of(event.get(REFERENCE)), message_id_of(event.get("message-id"))
        if (attempt := self._believed.attempt(call, quoted, message_id)) is None:
            return None
        return Receipt(
            state,
            reference=attempt[0],
            provider_message_id=attempt[1],
            recipient=text_of(event.get("email")),
            code="" if name in _NO_CODES else name,
            time=_time_of(event),
            permanent=name == PERMANENT,
        )


def message_id_of(value: object) -> str:
    """The id of an email, which stands in angle brackets or not."""
    return id_of(value).removeprefix("<").removesuffix(">")


def _time_of(event: Mapping[str, Any]) -> int | None:
    """When it happened. `ts_epoch` is in ms, but in s where the page shows it; `ts` is of the account's time zone."""
    epoch = event.get("ts_epoch")
    if isinstance(epoch, int) and _FIRST_OF_MS < epoch <= MAX_SECONDS * 1000:
        epoch /= 1000
    found = seconds_of(epoch)
    return seconds_of(event.get("ts_event")) if found is None else found


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader:
    return BrevoReceipts(UserOrReference.of(config, REFERENCE))


SUPPORT: Final = ReceiptSupport(keys=("username", "password"), make=_make)

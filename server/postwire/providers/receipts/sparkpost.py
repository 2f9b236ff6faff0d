"""The webhooks of SparkPost: batches of events, without a signature.

https://developers.sparkpost.com/api/webhooks/

They are believed by basic auth or by a reference of ours: see `UserOrReference`.
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
    json_value,
    object_in,
    reference_of,
    seconds_of,
    text_of,
    time_of,
)
from postwire.providers.receipts.unsigned import UserOrReference

REFERENCE: Final = "reference"
"""The name in the metadata: https://developers.sparkpost.com/api/transmissions/#header-request-body"""

STATES: Final[Mapping[str, ReceiptState]] = MappingProxyType(
    {
        # https://support.sparkpost.com/docs/tech-resources/sparkpost-event-definitions
        "injection": ReceiptState.ACCEPTED,
        "delivery": ReceiptState.DELIVERED,
        "bounce": ReceiptState.UNDELIVERED,
        "out_of_band": ReceiptState.UNDELIVERED,
        "policy_rejection": ReceiptState.UNDELIVERED,
        "generation_failure": ReceiptState.UNDELIVERED,
        "generation_rejection": ReceiptState.UNDELIVERED,
        "spam_complaint": ReceiptState.COMPLAINED,
        "list_unsubscribe": ReceiptState.OPTED_OUT,
        "link_unsubscribe": ReceiptState.OPTED_OUT,
    }
)
"""What events report. `delay`, opens, clicks and what comes in report nothing."""

BOUNCES: Final = frozenset({"bounce", "out_of_band"})

# https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
PERMANENT: Final = frozenset({"10", "30"})
"""Classes of bounces that are the recipient's, for good: there is nobody of that name."""
UNSUBSCRIBED: Final = "90"
NO_BOUNCES: Final = frozenset({"60", "70", "80"})
"""Classes of what answers by itself, is tried again, or asks for more: these report nothing."""

NOT_SPAM: Final = "not-spam"
"""A complaint that takes one back (RFC 6430)."""

_LONGEST_PING: Final = 256
_MAX_DIGITS: Final = 12


class SparkPostReceipts:
    """See `ReceiptReader`."""

    refused_status = 401

    def __init__(self, believed: UserOrReference) -> None:
        self._believed = believed

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`. Without a user, one that reports nothing is believed: a webhook can only be made
        where it is."""
        if self._believed.has_user or not _is_ping(call.body):
            self._believed.verify(call)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        if not call.body.strip():
            return []
        batch = json_value(call.body)
        if not isinstance(batch, list):
            raise Unreadable("the body is not a batch of events")
        events = [one["msys"] for one in batch if isinstance(one, dict) and isinstance(one.get("msys"), dict)]
        if batch and not events:
            raise Unreadable("there is no event of SparkPost's")
        return [
            found
            for wrapped in events
            for event in wrapped.values()
            if isinstance(event, dict) and (found := self._receipt(call, event))
        ]

    def _receipt(self, call: ReceiptCall, event: Mapping[str, Any]) -> Receipt | None:
        """What an event reports; None where it reports nothing that is used, or nobody vouches for it."""
        name = text_of(event.get("type"))
        bounce = code_of(event.get("bounce_class")) if name in BOUNCES else ""
        state = ReceiptState.OPTED_OUT if bounce == UNSUBSCRIBED else STATES.get(name)
        if state is None or bounce in NO_BOUNCES or event.get("fbtype") == NOT_SPAM:
            return None
        quoted = reference_of(object_in(event, "rcpt_meta").get(REFERENCE))
        attempt = self._believed.attempt(call, quoted, id_of(event.get("transmission_id")))
        if attempt is None:
            return None
        return Receipt(
            state,
            reference=attempt[0],
            provider_message_id=attempt[1],
            recipient=text_of(event.get("raw_rcpt_to")) or text_of(event.get("rcpt_to")),
            code=(code_of(event.get("error_code")) or bounce) if state is ReceiptState.UNDELIVERED else "",
            event_id=id_of(event.get("event_id")),
            time=_time_of(event.get("timestamp")),
            permanent=bounce in PERMANENT,
        )


def _time_of(value: object) -> int | None:
    """A time: in webhooks, in seconds since the epoch, as a text; elsewhere by ISO 8601."""
    text = text_of(value)
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
        return seconds_of(int(text))
    return time_of(text) if text else seconds_of(value)


def _is_ping(body: bytes) -> bool:
    """Whether a call only tries whether somebody is there."""
    if len(body) > _LONGEST_PING:
        return False
    if not body.strip():
        return True
    try:
        value = json_value(body)
    except Unreadable:
        return False
    return isinstance(value, list) and all(one == {"msys": {}} for one in value)


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader:
    return SparkPostReceipts(UserOrReference.of(config, REFERENCE))


SUPPORT: Final = ReceiptSupport(keys=("username", "password"), make=_make)

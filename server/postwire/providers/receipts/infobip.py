"""Infobip: delivery reports, one or several a call and without a signature, and messages to numbers of ours.

https://www.infobip.com/docs/api/channels/sms/logs-and-status-reports/receive-outbound-sms-message-reports-v3
https://www.infobip.com/docs/api/channels/sms/inbound-sms/receive-inbound-sms-messages

Calls that log in are believed as those of the user who is configured, and all others by a reference of ours: see
`UserOrReference`. There are both of one provider, since only the calls of a subscription can log in
(https://www.infobip.com/docs/cpaas-x/subscriptions-management), and not those to the address that a message names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, ReceiptCall, ReceiptReader, ReceiptSupport, Unreadable
from postwire.providers.receipts.basic_auth import BasicAuth
from postwire.providers.receipts.payloads import (
    json_object,
    list_in,
    number_of,
    object_in,
    reference_of,
    text_of,
    time_of,
)
from postwire.providers.receipts.unsigned import UserOrReference

REFERENCE: Final = "callbackData"
"""The field that comes back with each report, of up to 4,000 characters."""

STATES: Final[Mapping[str, ReceiptState]] = MappingProxyType(
    {
        # https://www.infobip.com/docs/essentials/api-essentials/response-status-and-error-codes: groups of statuses
        "PENDING": ReceiptState.ACCEPTED,
        "DELIVERED": ReceiptState.DELIVERED,
        "UNDELIVERABLE": ReceiptState.UNDELIVERED,
        "EXPIRED": ReceiptState.UNDELIVERED,
        "REJECTED": ReceiptState.UNDELIVERED,
    }
)

OPEN: Final = frozenset({"DELIVERED_TO_OPERATOR", "EXPIRED_DLR_UNKNOWN"})
"""Statuses that leave open whether the phone has it, whatever their group: it "awaits further processing or delivery to
the recipient's handset", or "the delivery status is unknown" (the same page)."""

PERMANENT: Final = frozenset(
    {
        # The same page: status codes, and error codes. Infobip's own `permanent` is no help, since it is true as well
        # for EC_TEMPORARY_HANDSET_FAILURE and EC_VALIDITY_EXPIRED.
        "REJECTED_DESTINATION",  # the number cannot be one
        "REJECTED_PREFIX_MISSING",  # its prefix or length is not right
        "EC_UNKNOWN_SUBSCRIBER",  # the network does not know it
        "EC_DEACTIVATED_LIST",  # it is not active any more
        "EC_DEST_ADDRESS_UNABLE_TO_RECEIVE_SMS",  # it cannot receive SMS
    }
)

OPTED_OUT: Final = frozenset(
    {
        # The same page.
        "EC_CONTENT_BLOCKED",  # the recipient has sent STOP
        "EC_SC_BLOCKED_BY_END_USER",  # the recipient has had the operator block the sender
    }
)

NO_ERROR: Final = "NO_ERROR"


class InfobipReceipts:
    """See `ReceiptReader`. `user` is whom subscriptions log in as, if they do."""

    refused_status: Final = 401

    def __init__(self, user: BasicAuth | None) -> None:
        self._by_reference = UserOrReference(None, REFERENCE)
        self._by_user = UserOrReference(user, REFERENCE)

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        self._believed(call).verify(call)

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """See `ReceiptReader.read`."""
        event = json_object(call.body)
        if not isinstance(event.get("results"), list):
            raise Unreadable("has no results")
        found: list[Receipt | Inbound] = []
        for one in list_in(event, "results"):
            if isinstance(one, dict):
                found += self._receipts(call, one) if "status" in one else self._inbound(call, one)
        return found

    def _receipts(self, call: ReceiptCall, report: Mapping[str, Any]) -> Iterator[Receipt]:
        status, error = object_in(report, "status"), object_in(report, "error")
        name, reason = code_of(status.get("name")), code_of(error.get("name"))
        state = ReceiptState.ACCEPTED if name in OPEN else STATES.get(text_of(status.get("groupName")))
        quoted, message_id = reference_of(report.get(REFERENCE)), id_of(report.get("messageId"))
        attempt = self._believed(call).attempt(call, quoted, message_id)
        if state is None or attempt is None:
            return
        is_failed = state is ReceiptState.UNDELIVERED
        code = (name if reason in ("", NO_ERROR) else reason) if is_failed else ""
        for one in [state, ReceiptState.OPTED_OUT] if code in OPTED_OUT else [state]:
            yield Receipt(
                one,
                reference=attempt[0],
                provider_message_id=attempt[1],
                recipient=number_of(report.get("to")),
                code=code,
                time=time_of(report.get("doneAt")),
                permanent=one is ReceiptState.UNDELIVERED and not PERMANENT.isdisjoint((name, code)),
            )

    def _inbound(self, call: ReceiptCall, message: Mapping[str, Any]) -> Iterator[Inbound]:
        """A message to a number of ours. It has no reference, so that nobody but the user is believed in it."""
        sender = number_of(message.get("from"))
        if self._believed(call).has_user and sender and "text" in message:
            recipient, event_id = number_of(message.get("to")), id_of(message.get("messageId"))
            yield Inbound(sender, recipient, text_of(message["text"]), event_id=event_id)

    def _believed(self, call: ReceiptCall) -> UserOrReference:
        return self._by_user if "authorization" in call.headers else self._by_reference


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader:
    return InfobipReceipts(BasicAuth.of(config))


SUPPORT: Final = ReceiptSupport(keys=("username", "password"), make=_make, in_address=True)

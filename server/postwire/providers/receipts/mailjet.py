"""The Event API of Mailjet: one event a call, or several in an array, without a signature.

https://dev.mailjet.com/email/guides/webhooks/

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
from postwire.providers.receipts.payloads import events_in, reference_of, seconds_of, text_of
from postwire.providers.receipts.unsigned import UserOrReference

REFERENCE: Final = "CustomID"
"""The field that holds it: https://dev.mailjet.com/email/guides/send-api-v31/#send-an-email-with-a-custom-id"""

STATES: Final[Mapping[str, ReceiptState]] = MappingProxyType(
    {
        # https://dev.mailjet.com/email/guides/webhooks/#event-types
        "sent": ReceiptState.DELIVERED,  # the recipient's server has accepted it
        "bounce": ReceiptState.UNDELIVERED,
        "blocked": ReceiptState.UNDELIVERED,
        "spam": ReceiptState.COMPLAINED,
        "unsub": ReceiptState.OPTED_OUT,
    }
)
"""What events report. `open` and `click` report nothing."""

GREYLISTED: Final = "greylisted"
"""The error of a bounce after which it is tried again, which reports nothing."""

ERRORS: Final[Mapping[str, tuple[str, bool]]] = MappingProxyType(
    {
        # https://dev.mailjet.com/email/guides/webhooks/#possible-values-for-errors
        "user unknown": ("user_unknown", True),
        "mailbox inactive": ("mailbox_inactive", True),
        "quota exceeded": ("quota_exceeded", False),
        "blacklisted": ("blacklisted", False),
        "spam reporter": ("spam_reporter", False),
        "invalid domain": ("invalid_domain", True),
        "no mail host": ("no_mail_host", False),
        "relay/access denied": ("relay_denied", False),
        "typofix": ("typofix", False),
        "sender blocked": ("sender_blocked", False),
        "content blocked": ("content_blocked", False),
        "policy issue": ("policy_issue", False),
        "system issue": ("system_issue", False),
        "protocol issue": ("protocol_issue", False),
        "connection issue": ("connection_issue", False),
        "error in template language": ("template_error", False),
        "preblocked": ("preblocked", False),
        "duplicate in campaign": ("duplicate_in_campaign", False),
    }
)
"""The errors of bounces and blocks, which are prose: a code of ours for each, and whether it is the recipient's, and so
for good where the bounce is a hard one."""


class MailjetReceipts:
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
        name, error = text_of(event.get("event")), text_of(event.get("error"))
        state = STATES.get(name)
        if state is None or (name == "bounce" and error == GREYLISTED):
            return None
        # Events in an array have had the id as a text alone.
        message_id = id_of(event.get("MessageID")) or id_of(event.get("mj_message_id"))
        attempt = self._believed.attempt(call, reference_of(event.get(REFERENCE)), message_id)
        if attempt is None:
            return None
        code, is_recipients = ERRORS.get(error, ("", False))
        return Receipt(
            state,
            reference=attempt[0],
            provider_message_id=attempt[1],
            recipient=text_of(event.get("email")),
            code=code,
            time=seconds_of(event.get("time")),
            permanent=name == "bounce" and event.get("hard_bounce") is True and is_recipients,
        )


def _make(_: object, config: ProviderReceiptsConfig) -> ReceiptReader:
    return MailjetReceipts(UserOrReference.of(config, REFERENCE))


SUPPORT: Final = ReceiptSupport(keys=("username", "password"), make=_make)

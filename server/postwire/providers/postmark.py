"""Postmark: email by its Email API.

https://postmarkapp.com/developer/api/email-api
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, json_request
from postwire.providers.http.vendor import HttpSettings, health_by_status, http_provider
from postwire.providers.http.verdicts import (
    Table,
    account,
    code_of,
    failed,
    id_of,
    judge,
    rejected,
    result,
    sender_refused,
    throttled,
)
from postwire.providers.mail.mailboxes import wire_address
from postwire.providers.mail.settings import EmailSettings, Limits, addresses_of, author_of, why_not
from postwire.providers.pieces import Base64
from postwire.providers.receipts import postmark as receipts

LIMITS: Final = Limits(recipients=50, needs_text=True)

INACTIVE: Final = "406"

TABLE: Final[Table] = MappingProxyType(
    {
        # https://postmarkapp.com/developer/api/overview#error-codes
        "10": account("the token is not accepted"),
        "100": failed("Postmark is offline for maintenance"),
        "300": rejected("the email is not valid"),
        "405": account("there is no credit left"),
        INACTIVE: rejected("the recipient is inactive, after a bounce or a complaint"),
        "411": rejected("an attachment is of a type that is forbidden"),
        "412": account("the account is not approved yet"),
        "413": account("the account may not send"),
        "429": throttled(),
    }
)

SENDER_REFUSED: Final = frozenset({"400", "401"})
"""There is no sender signature for the sender, or it is not confirmed."""


@dataclass(frozen=True, kw_only=True)
class PostmarkSettings(EmailSettings, HttpSettings):
    """Keys of the kind."""

    server_token: str = setting(help="The API token of a server.", secret=True)
    message_stream: str | None = setting(None, help="The message stream; by default, the one for transactions.")
    base_url: Annotated[str, ORIGIN] = setting("https://api.postmarkapp.com", help="Where the API is.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)


class Postmark:
    """See `HttpVendor`."""

    def __init__(self, settings: PostmarkSettings) -> None:
        self._settings = settings
        self._headers = {"X-Postmark-Server-Token": settings.server_token, "Accept": "application/json"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        return why_not(self._settings, LIMITS, message, positions)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        email, settings = message.content, self._settings
        assert isinstance(email, Email)
        value: dict[str, Any] = {
            "From": str(author_of(settings, email)),
            "To": ",".join(addresses_of(email.to)),
            "Cc": ",".join(addresses_of(email.cc)),
            "Bcc": ",".join(addresses_of(email.bcc)),
            "ReplyTo": email.reply_to,
            "Subject": email.subject,
            "TextBody": email.text,
            "HtmlBody": email.html,
            "Headers": [{"Name": name, "Value": text} for name, text in email.headers.items()],
            "Attachments": [
                {
                    "Name": one.file_name,
                    "Content": Base64(one.data),
                    "ContentType": one.content_type or "application/octet-stream",
                }
                for one in email.attachments
            ],
            "MessageStream": settings.message_stream or "",
        }
        value = {name: one for name, one in value.items() if one not in ("", [])}
        value["Metadata"] = {"message_id": handover.message_id}
        if handover.reference:
            value["Metadata"][receipts.REFERENCE] = handover.reference
        return json_request("POST", f"{settings.base_url}/email", value, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. Some of those that an email was taken for may be inactive."""
        answer = response.fields()
        code, message_id = code_of(answer.get("ErrorCode")), id_of(answer.get("MessageID"))
        if code in SENDER_REFUSED:
            return result(sender_refused(message), code)
        if response.status != 200 or code != "0":
            return judge(response, now=handover.now, code="" if code == "0" else code, table=TABLE)
        found = judge(response, now=handover.now, message_id=message_id)
        if found.outcome is Outcome.SUCCESS and (inactive := _inactive(message, answer.get("Message"))):
            refused = RecipientResult(Outcome.REJECTED, INACTIVE, detail=TABLE[INACTIVE].detail)
            taken = RecipientResult(Outcome.SUCCESS, provider_message_id=message_id)
            each = tuple(refused if is_inactive else taken for is_inactive in inactive)
            return DispatchResult(worst(one.outcome for one in each), provider_message_id=message_id, recipients=each)
        return found

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://postmarkapp.com/developer/api/server-api#get-server"""
        return HttpRequest("GET", f"{self._settings.base_url}/server", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _inactive(message: OutboundMessage, prose: object) -> list[bool]:
    """Which recipients an answer calls inactive, which it does only in prose; empty where it calls nobody so.

    "Message OK, but will not deliver to these inactive addresses: one@example.com, other@example.com. …"
    """
    email = message.content
    if not isinstance(email, Email) or not isinstance(prose, str) or "inactive" not in prose:
        return []
    named = {word.strip(".,;:<>'\"()").casefold() for word in re.split(r"[\s,;]+", prose)}
    found = [wire_address(one).casefold() in named or one.casefold() in named for one in email.recipients]
    return found if any(found) else []


KIND: Final = Kind(
    settings=PostmarkSettings,
    make=http_provider("postmark", Postmark),
    channels=(Channel.EMAIL,),
    summary="Sends email by Postmark.",
    receipts=receipts.SUPPORT,
)

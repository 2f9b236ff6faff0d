"""SendGrid: email by its Mail Send API.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, json_request
from postwire.providers.http.vendor import HttpSettings, health_by_status, http_provider
from postwire.providers.http.verdicts import id_of, judge
from postwire.providers.mail.mailboxes import Mailbox, parse_mailbox
from postwire.providers.mail.settings import EmailSettings, Limits, addresses_of, author_of, why_not
from postwire.providers.pieces import Base64
from postwire.providers.receipts import sendgrid as receipts

# https://www.twilio.com/docs/sendgrid/api-reference/mail-send/limitations
LIMITS: Final = Limits(recipients=1_000, needs_subject=True, needs_text=True, unique=True)


@dataclass(frozen=True, kw_only=True)
class SendGridSettings(EmailSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="An API key that may send mail, which begins with SG.", secret=True)
    base_url: Annotated[str, ORIGIN] = setting(
        "https://api.sendgrid.com", help="Where the API is; https://api.eu.sendgrid.com in the EU."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)


class SendGrid:
    """See `HttpVendor`. Its refusals have no codes, only prose."""

    def __init__(self, settings: SendGridSettings) -> None:
        self._settings = settings
        self._headers = {"Authorization": f"Bearer {settings.api_key}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        return why_not(self._settings, LIMITS, message, positions)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        email = message.content
        assert isinstance(email, Email)
        lists = {"to": email.to, "cc": email.cc, "bcc": email.bcc}
        value: dict[str, Any] = {
            "personalizations": [
                {name: [{"email": one} for one in addresses_of(listed)] for name, listed in lists.items() if listed}
            ],
            "from": _mailbox(author_of(self._settings, email)),
            "subject": email.subject,
            "content": [
                {"type": kind, "value": text}
                for kind, text in (("text/plain", email.text), ("text/html", email.html))
                if text
            ],
            "custom_args": {"message_id": handover.message_id}
            | ({receipts.REFERENCE: handover.reference} if handover.reference else {}),
        }
        if email.reply_to:
            value["reply_to"] = _mailbox(parse_mailbox(email.reply_to))
        if email.headers:
            value["headers"] = dict(email.headers)
        if email.attachments:
            value["attachments"] = [
                {
                    "content": Base64(one.data),
                    "filename": one.file_name,
                    "type": one.content_type or "application/octet-stream",
                    "disposition": "attachment",
                }
                for one in email.attachments
            ]
        return json_request("POST", f"{self._settings.base_url}/v3/mail/send", value, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        return judge(response, now=handover.now, message_id=id_of(response.headers.get("x-message-id")))

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions"""
        return HttpRequest("GET", f"{self._settings.base_url}/v3/scopes", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _mailbox(mailbox: Mailbox) -> dict[str, str]:
    return {"email": mailbox.address} | ({"name": mailbox.name} if mailbox.name else {})


KIND: Final = Kind(
    settings=SendGridSettings,
    make=http_provider("sendgrid", SendGrid),
    channels=(Channel.EMAIL,),
    summary="Sends email by SendGrid.",
    receipts=receipts.SUPPORT,
)

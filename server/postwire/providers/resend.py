"""Resend: email by its Emails API.

https://resend.com/docs/api-reference/emails/send-email
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
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
from postwire.providers.http.verdicts import (
    Table,
    account,
    code_of,
    id_of,
    judge,
    rejected,
    result,
    sender_refused,
    throttled,
    unknown,
)
from postwire.providers.mail.settings import EmailSettings, Limits, addresses_of, author_of, why_not
from postwire.providers.pieces import Base64
from postwire.providers.receipts import resend as receipts

LIMITS: Final = Limits(recipients=50, needs_subject=True, needs_text=True)

DEDUP_WINDOW: Final = 24 * 3600.0
"""https://resend.com/docs/dashboard/emails/idempotency-keys"""

TABLE: Final[Table] = MappingProxyType(
    {
        # https://resend.com/docs/api-reference/errors
        "invalid_attachment": rejected("an attachment is not valid"),
        "missing_api_key": account("there is no key"),
        "invalid_api_key": account("the key is not accepted"),
        "restricted_api_key": account("the key may not send"),
        "rate_limit_exceeded": throttled(),
        "daily_quota_exceeded": throttled("the quota of the day is used up"),
        "monthly_quota_exceeded": throttled("the quota of the month is used up"),
        # Both say that there was an earlier request with the key, and not what has become of it.
        "invalid_idempotent_request": unknown("an earlier request had the same key"),
        "concurrent_idempotent_requests": unknown("a request with the same key is under way"),
    }
)

SENDER_REFUSED: Final = "invalid_from_address"
VALIDATION: Final = "validation_error"
"""With 403: the domain of the sender is not verified. With 400 and 401: the key is not valid, or any field."""


@dataclass(frozen=True, kw_only=True)
class ResendSettings(EmailSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="An API key that may send, which begins with re_.", secret=True)
    base_url: Annotated[str, ORIGIN] = setting("https://api.resend.com", help="Where the API is.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)


class Resend:
    """See `HttpVendor`."""

    def __init__(self, settings: ResendSettings) -> None:
        self._settings = settings
        self._headers = {"Authorization": f"Bearer {settings.api_key}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        return why_not(self._settings, LIMITS, message, positions)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        email = message.content
        assert isinstance(email, Email)
        value: dict[str, Any] = {
            "from": str(author_of(self._settings, email)),
            "to": addresses_of(email.to),
            "cc": addresses_of(email.cc),
            "bcc": addresses_of(email.bcc),
            "reply_to": email.reply_to,
            "subject": email.subject,
            "text": email.text,
            "html": email.html,
            "headers": dict(email.headers),
            "attachments": [
                {"filename": one.file_name, "content": Base64(one.data), "content_type": one.content_type}
                for one in email.attachments
            ],
        }
        if handover.reference:
            value["tags"] = [{"name": receipts.REFERENCE, "value": handover.reference}]
        value = {name: one for name, one in value.items() if one not in ("", [], {})}
        headers = self._headers | {"Idempotency-Key": handover.key}
        return json_request("POST", f"{self._settings.base_url}/emails", value, headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        answer = response.fields()
        is_refused = response.status >= 400
        code = code_of(answer.get("name")) if is_refused else ""
        if code == SENDER_REFUSED or (code == VALIDATION and response.status == 403):
            return result(sender_refused(message), code)
        message_id = "" if is_refused else id_of(answer.get("id"))
        return judge(response, now=handover.now, code=code, message_id=message_id, table=TABLE)

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://resend.com/docs/api-reference/domains/list-domains"""
        return HttpRequest("GET", f"{self._settings.base_url}/domains", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`. A key that may only send is refused there, which is as good."""
        name = response.fields().get("name")
        if response.status == 401 and name == "restricted_api_key":
            return ProviderHealth(ok=True)
        if response.status == 400 and name == VALIDATION:
            return ProviderHealth(ok=False, detail="the vendor refuses the key (400)", misconfigured=True)
        return health_by_status(response)


def _dedup_window(_: ResendSettings) -> float:
    return DEDUP_WINDOW


KIND: Final = Kind(
    settings=ResendSettings,
    make=http_provider("resend", Resend, dedup_window=_dedup_window),
    channels=(Channel.EMAIL,),
    summary="Sends email by Resend.",
    receipts=receipts.SUPPORT,
)

"""Mailgun: email as MIME, by its Messages API.

https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages/post-v3--domain-name--messages-mime
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse
from postwire.providers.http.vendor import HttpSettings, health_by_status, http_provider
from postwire.providers.http.verdicts import Table, id_of, judge, throttled
from postwire.providers.mail.mime import build
from postwire.providers.mail.settings import EmailSettings, Limits, envelope, why_not
from postwire.providers.pieces import gathered
from postwire.providers.receipts import mailgun as receipts

LIMITS: Final = Limits(recipients=1_000, parts=True)

TABLE: Final[Table] = MappingProxyType(
    {
        # By the status: its refusals have no codes.
        # https://documentation.mailgun.com/docs/mailgun/user-manual/api-key-mgmt/error-codes
        "420": throttled(),
    }
)


@dataclass(frozen=True, kw_only=True)
class MailgunSettings(EmailSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="A sending key of the domain, or of the account.", secret=True)
    domain: str = setting(help="The domain at Mailgun that emails are sent by.")
    base_url: Annotated[str, ORIGIN] = setting(
        "https://api.mailgun.net", help="Where the API is; https://api.eu.mailgun.net in the EU."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)
        if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", self.domain):
            raise ValueError("domain: is not a domain such as mg.example.com")


class Mailgun:
    """See `HttpVendor`."""

    def __init__(self, settings: MailgunSettings) -> None:
        self._settings = settings
        self._headers = {"Authorization": f"Basic {b64encode(f'api:{settings.api_key}'.encode()).decode()}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        return why_not(self._settings, LIMITS, message, positions)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`. Who is to get it is told apart from the MIME."""
        email, settings = message.content, self._settings
        assert isinstance(email, Email)
        mime = build(
            email, sender=settings.sender or "", message_id=handover.message_id, created=handover.created
        ).content
        boundary = hashlib.sha256(f"form {handover.message_id}".encode()).hexdigest()[:32]
        fields = [("to", one) for one in envelope(email, handover.positions)]
        if handover.reference:
            fields.append((f"v:{receipts.REFERENCE}", handover.reference))
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="message.eml"\r\n'
            "Content-Type: message/rfc822\r\n\r\n"
        )

        def pieces() -> Iterator[bytes]:
            yield head.encode()
            yield from [mime] if isinstance(mime, bytes) else mime.make()
            yield f"\r\n--{boundary}--\r\n".encode()

        headers = self._headers | {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        url = f"{settings.base_url}/v3/{settings.domain}/messages.mime"
        return HttpRequest("POST", url, headers, gathered(pieces))

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        message_id = id_of(response.fields().get("id")) if response.status == 200 else ""
        return judge(response, now=handover.now, message_id=message_id, table=TABLE)

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`.

        https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/domains/get-v4-domains--name-
        """
        return HttpRequest("GET", f"{self._settings.base_url}/v4/domains/{self._settings.domain}", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


KIND: Final = Kind(
    settings=MailgunSettings,
    make=http_provider("mailgun", Mailgun),
    channels=(Channel.EMAIL,),
    summary="Sends email by Mailgun.",
    receipts=receipts.SUPPORT,
)

"""Vonage: SMS by its SMS API, which answers 200 whatever it says.

https://developer.vonage.com/en/api/sms
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, OutboundMessage, Sms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, form_request
from postwire.providers.http.vendor import HttpSettings, health_by_status, http_provider
from postwire.providers.http.verdicts import (
    Meaning,
    Table,
    account,
    code_of,
    failed,
    id_of,
    judge,
    not_here,
    rejected,
    result,
    sender_refused,
    throttled,
)
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.providers.receipts.signatures import secrets_of
from postwire.providers.receipts.vonage import VonageReceipts
from postwire.providers.sms.encoding import SmsEncoding, encoding_of
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not, without_plus
from postwire.providers.sms.several import combined

TAKEN: Final = "0"
SHORTEST_TTL: Final = 20_000
LONGEST_TTL: Final = 604_800_000
"""Milliseconds that `ttl` may be."""

TABLE: Final[Table] = MappingProxyType(
    {
        # https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms
        "1": throttled("messages come faster than the account may send"),
        "10": throttled("there are too many connections"),
        "5": failed("an error within Vonage"),
        "3": not_here("a parameter is not valid"),
        "6": not_here("the message cannot be processed"),
        "7": rejected("the number is barred"),
        "12": rejected("the message is too long"),
        "33": rejected("the number is not valid"),
        "4": account("the key or the secret is not accepted"),
        "8": account("the account is barred"),
        "9": account("there is not enough credit"),
        "11": account("the account may not use this API"),
        "14": account("the signature is not accepted"),
        "23": account("the callback address is not valid"),
        "29": account("the account, on trial, may send to numbers on its list only"),
    }
)

SENDER_REFUSED: Final = "15"


@dataclass(frozen=True, kw_only=True)
class VonageSettings(SmsSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="The key of the account.", secret=True)
    api_secret: str = setting(help="Its secret.", secret=True)
    base_url: Annotated[str, ORIGIN] = setting("https://rest.nexmo.com", help="Where the API is.")


class Vonage:
    """See `HttpVendor`."""

    def __init__(self, settings: VonageSettings) -> None:
        self._settings = settings

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        return why_not(self._settings, message)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content, settings = message.content, self._settings
        assert isinstance(content, Sms)
        fields = {
            "api_key": settings.api_key,
            "api_secret": settings.api_secret,
            "to": without_plus(content.to),
            "from": without_plus(sender_of(settings, content) or ""),
            "text": content.body,
            "client-ref": handover.reference or handover.message_id,
        }
        if encoding_of(content.body) is SmsEncoding.UCS2:
            fields["type"] = "unicode"
        if handover.validity:
            fields["ttl"] = str(min(max(handover.validity * 1000, SHORTEST_TTL), LONGEST_TTL))
        if handover.callback_url:
            fields["callback"] = handover.callback_url
        return form_request(f"{settings.base_url}/sms/json", fields, {})

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. A long text has several parts, each with an answer of its own."""
        parts = _parts(response)
        if response.status != 200 or not parts:
            return judge(response, now=handover.now)
        return combined([_result(part, message, response.retry_after(handover.now)) for part in parts])

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://developer.vonage.com/en/api/account#getAccountBalance"""
        key = urlencode({"api_key": self._settings.api_key, "api_secret": self._settings.api_secret})
        return HttpRequest("GET", f"{self._settings.base_url}/account/get-balance?{key}")

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _parts(response: HttpResponse) -> list[Mapping[str, Any]]:
    """The answers to the parts of a message; none where any of them cannot be read."""
    parts = response.fields().get("messages")
    if not isinstance(parts, list) or not all(isinstance(part, dict) and code_of(part.get("status")) for part in parts):
        return []
    return parts


def _result(part: Mapping[str, Any], message: OutboundMessage, retry_after: float | None) -> DispatchResult:
    code = code_of(part.get("status"))
    if code == TAKEN:
        return DispatchResult(Outcome.SUCCESS, provider_message_id=id_of(part.get("message-id")))
    return result(_meaning(code, message), code, retry_after)


def _meaning(code: str, message: OutboundMessage) -> Meaning:
    if code == SENDER_REFUSED:
        return sender_refused(message)
    return TABLE.get(code) or not_here("Vonage refuses the message, for a reason that is not known to be final")


def _receipts(settings: VonageSettings, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    """The reader of the account's receipts, where its signature secret is known. Raises ValueError, led by a key."""
    if config.secret is None:
        if config.previous_secret is not None:
            raise ValueError("secret: is missing, beside previous_secret")
        return None
    return VonageReceipts(secrets_of(config.secret, config.previous_secret))


KIND: Final = Kind(
    settings=VonageSettings,
    make=http_provider("vonage", Vonage),
    channels=(Channel.SMS,),
    summary="Sends SMS by Vonage, which was Nexmo.",
    receipts=ReceiptSupport(keys=("secret", "previous_secret"), make=_receipts, in_address=True),
)

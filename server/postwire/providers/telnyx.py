"""Telnyx: SMS and MMS by its Messages API.

https://developers.telnyx.com/api/messaging/send-message
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Mms, OutboundMessage, Sms
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
    not_here,
    opted_out,
    rejected,
    result,
    sender_refused,
    throttled,
)
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.providers.receipts.telnyx import TelnyxReceipts, public_key_of
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not

MAX_MEDIA: Final = 10

TABLE: Final[Table] = MappingProxyType(
    {
        # https://developers.telnyx.com/docs/messaging/messages/error-codes
        "40300": opted_out("the recipient has opted out"),
        "40310": rejected("the number is not valid"),
        "40316": rejected("there is nothing to send"),
        "40317": rejected("the content of the MMS is not valid"),
        "40309": not_here("the account may not send to the recipient's country"),
        "40318": throttled("the queue of this sender is full"),
        "40312": account("the messaging profile is disabled"),
        "40314": account("the account may not send messages"),
        "40321": account("the messaging profile has no number"),
        # https://developers.telnyx.com/development/api-fundamentals/api-errors
        "10002": rejected("the number is not valid"),
        "10011": throttled(),
        "10009": account("the key is not accepted"),
        "10010": account("the key may not send messages"),
        "20100": account("there is not enough credit"),
    }
)

SENDER_REFUSED: Final = frozenset({"40305", "40306"})
"""The sender is not valid, or its name is not set up."""


@dataclass(frozen=True, kw_only=True)
class TelnyxSettings(SmsSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="An API key, which begins with KEY.", secret=True)
    messaging_profile_id: str | None = setting(
        None, help="A messaging profile: it chooses a number where there is no sender, and has to be given with a name."
    )
    base_url: Annotated[str, ORIGIN] = setting("https://api.telnyx.com", help="Where the API is.")


class Telnyx:
    """See `HttpVendor`."""

    def __init__(self, settings: TelnyxSettings) -> None:
        self._settings = settings
        self._headers = {"Authorization": f"Bearer {settings.api_key}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content = message.content
        if isinstance(content, Mms):
            if any(media.data for media in content.media):
                return FieldViolation("message.mms.media", "must be at an address, for Telnyx: it takes no bytes")
            if len(content.media) > MAX_MEDIA:
                return FieldViolation("message.mms.media", f"must be at most {MAX_MEDIA}, for Telnyx")
        return why_not(self._settings, message, has_sender=self._settings.messaging_profile_id is not None)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content, settings = message.content, self._settings
        assert isinstance(content, Sms | Mms)
        value: dict[str, Any] = {"to": content.to}
        if sender := sender_of(settings, content):
            value["from"] = sender
        if settings.messaging_profile_id is not None:
            value["messaging_profile_id"] = settings.messaging_profile_id
        if content.body:
            value["text"] = content.body
        if isinstance(content, Mms):
            value["type"] = "MMS"
            value["media_urls"] = [media.url for media in content.media]
        if handover.callback_url:
            value["webhook_url"] = handover.callback_url
            value["use_profile_webhooks"] = False
        return json_request("POST", f"{settings.base_url}/v2/messages", value, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        answer = response.fields()
        data, errors = answer.get("data"), answer.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else None
        code = code_of(first.get("code")) if isinstance(first, dict) else ""
        if code in SENDER_REFUSED:
            return result(sender_refused(message), code)
        return judge(
            response,
            now=handover.now,
            code=code,
            message_id=id_of(data.get("id")) if isinstance(data, dict) else "",
            table=TABLE,
        )

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://developers.telnyx.com/api/billing/get-user-balance"""
        return HttpRequest("GET", f"{self._settings.base_url}/v2/balance", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _receipts(settings: TelnyxSettings, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    """The reader of the account's receipts, where its public key is known. Raises ValueError, led by a key."""
    return None if config.public_key is None else TelnyxReceipts(public_key_of(config.public_key))


KIND: Final = Kind(
    settings=TelnyxSettings,
    make=http_provider("telnyx", Telnyx),
    channels=(Channel.SMS, Channel.MMS),
    summary="Sends SMS and MMS by Telnyx.",
    receipts=ReceiptSupport(keys=("public_key",), make=_receipts, in_address=True),
)

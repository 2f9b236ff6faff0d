"""Plivo: SMS and MMS by its Message API.

https://www.plivo.com/docs/messaging/api/messages
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
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
from postwire.providers.http.verdicts import Meaning, account, id_of, judge, rejected, result
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.providers.receipts.plivo import PlivoReceipts
from postwire.providers.receipts.signatures import secrets_of
from postwire.providers.sms.encoding import SmsEncoding, encoding_of
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not, without_plus

MAX_MEDIA: Final = 10
MAX_GSM: Final = 1_600
MAX_UNICODE: Final = 737
"""Characters of a text, by the page above."""

SHORTEST_EXPIRY: Final = 5
LONGEST_EXPIRY: Final = 10_799
"""Seconds that `message_expiry` may be, of waiting at Plivo:
https://support.plivo.com/hc/en-us/articles/14814454609561-Message-Expiry."""

_ACCOUNT: Final = re.compile("(?:MA|SA)[A-Z0-9]{18}")

INVALID_NUMBER: Final = rejected("the number is not valid")
NO_CREDIT: Final = account("there is not enough credit")


@dataclass(frozen=True, kw_only=True)
class PlivoSettings(SmsSettings, HttpSettings):
    """Keys of the kind."""

    auth_id: str = setting(help="The account, which begins with MA, or a subaccount, which begins with SA.")
    auth_token: str = setting(help="Its token.", secret=True)
    powerpack_uuid: str | None = setting(None, help="A Powerpack, which chooses a number where there is no sender.")
    base_url: Annotated[str, ORIGIN] = setting("https://api.plivo.com", help="Where the API is.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        if not _ACCOUNT.fullmatch(self.auth_id):
            raise ValueError("auth_id: must be MA or SA and 18 letters or digits, as the console shows it")
        if self.powerpack_uuid is not None and self.sender is not None:
            raise ValueError("powerpack_uuid: is never used beside sender, take one of them out")


class Plivo:
    """See `HttpVendor`."""

    def __init__(self, settings: PlivoSettings) -> None:
        self._settings = settings
        self._account_url = f"{settings.base_url}/v1/Account/{settings.auth_id}"
        user = b64encode(f"{settings.auth_id}:{settings.auth_token}".encode()).decode()
        self._headers = {"Authorization": f"Basic {user}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content = message.content
        if isinstance(content, Mms):
            if any(media.data for media in content.media):
                return FieldViolation("message.mms.media", "must be at an address, for Plivo: it takes no bytes")
            if len(content.media) > MAX_MEDIA:
                return FieldViolation("message.mms.media", f"must be at most {MAX_MEDIA}, for Plivo")
        elif isinstance(content, Sms) and _is_too_long(content.body):
            most = f"{MAX_GSM} characters, or {MAX_UNICODE} where one is not in the GSM alphabet"
            return FieldViolation("message.sms.body", f"must be at most {most}, for Plivo")
        return why_not(self._settings, message, has_sender=self._settings.powerpack_uuid is not None)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content = message.content
        assert isinstance(content, Sms | Mms)
        value: dict[str, Any] = {"dst": without_plus(content.to), "type": message.channel.value}
        if sender := sender_of(self._settings, content):
            value["src"] = without_plus(sender)
        else:
            value["powerpack_uuid"] = self._settings.powerpack_uuid
        if content.body:
            value["text"] = content.body
        if isinstance(content, Mms):
            value["media_urls"] = [media.url for media in content.media]
        if handover.validity:
            value["message_expiry"] = min(max(handover.validity, SHORTEST_EXPIRY), LONGEST_EXPIRY)
        if handover.callback_url:
            value |= {"url": handover.callback_url, "method": "POST"}
        return json_request("POST", f"{self._account_url}/Message/", value, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. A refusal has no code: what it is shows in its words alone."""
        answer = response.fields()
        if 200 <= response.status < 300:
            ids = answer.get("message_uuid")
            message_id = id_of(ids[0]) if isinstance(ids, list) and ids else ""
            return judge(response, now=handover.now, message_id=message_id)
        if 400 <= response.status < 500 and (meaning := _meaning(message, answer.get("error"))):
            return result(meaning, str(response.status))
        return judge(response, now=handover.now)

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://www.plivo.com/docs/account/api/account"""
        return HttpRequest("GET", f"{self._account_url}/", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _is_too_long(body: str) -> bool:
    if encoding_of(body) is SmsEncoding.GSM_7BIT:
        return len(body) > MAX_GSM
    return len(body.encode("utf-16-be", "surrogatepass")) // 2 > MAX_UNICODE


def _meaning(message: OutboundMessage, prose: object) -> Meaning | None:
    """What a refusal means by its words, of which nothing is kept; None where they are others.

    "'1111111' is not a valid phone number." and "invalid phone numbers." are of the recipient, unless the sender is
    quoted (https://github.com/plivo/plivo-node/issues/222 and /pull/215); "Insufficient Credit" is explained at
    https://support.plivo.com/support/solutions/articles/17000088423.
    """
    content = message.content
    if not isinstance(prose, str) or not isinstance(content, Sms | Mms):
        return None
    words = prose.lower()
    number = without_plus(content.to)
    # With the mark in front of it, since that of the sender may end like it.
    quoted = (f"'{plus}{number}' is not a valid phone number" in words for plus in ("", "+"))
    if words.startswith("invalid phone numbers") or any(quoted):
        return INVALID_NUMBER
    return NO_CREDIT if "insufficient credit" in words else None


def _receipts(settings: PlivoSettings, config: ProviderReceiptsConfig) -> ReceiptReader:
    """The reader of the account's receipts, by its token, and by the one before."""
    return PlivoReceipts(secrets_of(settings.auth_token, config.previous_secret))


KIND: Final = Kind(
    settings=PlivoSettings,
    make=http_provider("plivo", Plivo),
    channels=(Channel.SMS, Channel.MMS),
    summary="Sends SMS and MMS by Plivo.",
    receipts=ReceiptSupport(keys=("previous_secret",), make=_receipts, in_address=True),
)

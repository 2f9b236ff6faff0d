"""Twilio: SMS and MMS by its Messages resource.

https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Mms, OutboundMessage, Sms
from postwire.core.outcome import DispatchResult
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, form_request
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
from postwire.providers.receipts.signatures import secrets_of
from postwire.providers.receipts.twilio import TwilioReceipts
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not

MAX_MEDIA: Final = 10
LONGEST_VALIDITY: Final = 36_000
"""Seconds, the most that `ValidityPeriod` takes."""

TABLE: Final[Table] = MappingProxyType(
    {
        # Each is described at https://www.twilio.com/docs/api/errors/CODE.
        "20429": throttled(),
        "21611": throttled("the queue of this sender is full"),
        "14107": throttled("the sender sends too fast"),
        "21211": rejected("the number is not valid"),
        "21214": rejected("the number cannot be reached"),
        "21217": rejected("the number is not valid"),
        "21265": rejected("the number cannot be a short code"),
        "21610": opted_out("the recipient has opted out of this sender"),
        "21614": rejected("the number cannot receive SMS"),
        "21617": rejected("the body is too long"),
        "21619": rejected("there is neither a body nor media"),
        "21620": rejected("an address of media is not valid"),
        "21623": rejected("there are too many media"),
        "21408": not_here("the account is not enabled for the recipient's country"),
        "21608": not_here("the account, on trial, may send to verified numbers only"),
        "21612": not_here("there is no way from this sender to the number"),
        "21635": not_here("the number is a landline"),
        "10001": account("the account is not active"),
        "20003": account("the account or the key is not accepted"),
        "20005": account("the account is not active"),
        "20404": account("there is no such account"),
        "21603": account("a sender is required"),
        "21701": account("the messaging service does not exist"),
        "21703": account("the messaging service has no number"),
        "21704": account("the messaging service has no number"),
        "21705": account("the messaging service does not exist"),
    }
)

SENDER_REFUSED: Final = frozenset({"21606", "21659", "21660"})
"""The sender cannot send messages, is not a number of Twilio's, is not one of this account."""

_ACCOUNT: Final = re.compile("AC[0-9a-f]{32}")
_SERVICE: Final = re.compile("MG[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class TwilioSettings(SmsSettings, HttpSettings):
    """Keys of the kind."""

    account_sid: str = setting(help="The account, which begins with AC.")
    auth_token: str | None = setting(None, help="Its token.", secret=True)
    api_key: str | None = setting(None, help="An API key, which begins with SK, in place of the token.", secret=True)
    api_secret: str | None = setting(None, help="The API key's secret.", secret=True)
    messaging_service_sid: str | None = setting(None, help="A messaging service, which begins with MG, as the sender.")
    base_url: Annotated[str, ORIGIN] = setting("https://api.twilio.com", help="Where the API is.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        if not _ACCOUNT.fullmatch(self.account_sid):
            raise ValueError("account_sid: must be AC and 32 hexadecimal digits, as the console shows it")
        if self.messaging_service_sid is not None and not _SERVICE.fullmatch(self.messaging_service_sid):
            raise ValueError("messaging_service_sid: must be MG and 32 hexadecimal digits, as the console shows it")
        if (self.api_key is None) != (self.api_secret is None):
            raise ValueError("api_key, api_secret: one is of no use without the other")
        if self.auth_token is None and self.api_key is None:
            raise ValueError("auth_token: is missing, set it, or api_key and api_secret")


class Twilio:
    """See `HttpVendor`."""

    def __init__(self, settings: TwilioSettings) -> None:
        self._settings = settings
        self._account_url = f"{settings.base_url}/2010-04-01/Accounts/{settings.account_sid}"
        user, password = settings.api_key or settings.account_sid, settings.api_secret or settings.auth_token
        self._headers = {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content = message.content
        if isinstance(content, Mms):
            if any(media.data for media in content.media):
                return FieldViolation("message.mms.media", "must be at an address, for Twilio: it takes no bytes")
            if len(content.media) > MAX_MEDIA:
                return FieldViolation("message.mms.media", f"must be at most {MAX_MEDIA}, for Twilio")
        return why_not(self._settings, message, has_sender=self._settings.messaging_service_sid is not None)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content = message.content
        assert isinstance(content, Sms | Mms)
        fields = [("To", content.to)]
        if content.body:
            fields.append(("Body", content.body))
        if sender := sender_of(self._settings, content):
            fields.append(("From", sender))
        else:
            fields.append(("MessagingServiceSid", self._settings.messaging_service_sid or ""))
        if isinstance(content, Mms):
            fields += [("MediaUrl", media.url) for media in content.media]
        if handover.validity:
            fields.append(("ValidityPeriod", str(min(handover.validity, LONGEST_VALIDITY))))
        if handover.callback_url:
            # Twilio tries again where it cannot connect, or has no good answer: five times, on any failure.
            # https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
            fields.append(("StatusCallback", f"{handover.callback_url}#rc=5&rp=all"))
        return form_request(f"{self._account_url}/Messages.json", fields, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        answer = response.fields()
        is_refused = response.status >= 400
        code = code_of(answer.get("code")) if is_refused else ""
        if code in SENDER_REFUSED:
            return result(sender_refused(message), code)
        return judge(
            response,
            now=handover.now,
            code=code,
            message_id="" if is_refused else id_of(answer.get("sid")),
            table=TABLE,
        )

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`."""
        return HttpRequest("GET", f"{self._account_url}.json", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _receipts(settings: TwilioSettings, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    """The reader of the account's receipts, by its token, which there may be beside an API key; or by a shared key.

    Raises ValueError, led by a key.
    """
    if settings.auth_token is None and config.secret is None:
        if config.previous_secret is not None:
            raise ValueError("secret: is missing, beside previous_secret, and so is auth_token")
        return None
    return TwilioReceipts(
        tokens=secrets_of(settings.auth_token, config.previous_secret),
        shared_keys=secrets_of(config.secret, config.previous_secret),
    )


KIND: Final = Kind(
    settings=TwilioSettings,
    make=http_provider("twilio", Twilio),
    channels=(Channel.SMS, Channel.MMS),
    summary="Sends SMS and MMS by Twilio.",
    receipts=ReceiptSupport(keys=("secret", "previous_secret"), make=_receipts, in_address=True),
)

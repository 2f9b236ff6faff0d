"""Sinch: SMS and MMS by its SMS API, which is also known as XMS.

https://developers.sinch.com/docs/sms/api-reference/sms/batches
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    rejected,
    result,
    sender_refused,
)
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.providers.receipts.signatures import secrets_of
from postwire.providers.receipts.sinch import SinchReceipts
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not

LONGEST_VALIDITY: Final = 3 * 24 * 3600
"""Seconds after which a message expires in any case, and what `expire_at` may be at most."""

TABLE: Final[Table] = MappingProxyType(
    {
        # https://developers.sinch.com/docs/sms/api-reference/status-codes
        # The first three do not say which field is meant, which may be the sender of the configuration.
        "syntax_invalid_json": not_here("the request is not what the API takes"),
        "syntax_invalid_parameter_format": not_here("a field of the request is not valid"),
        "syntax_constraint_violation": not_here("the request does not keep to a limit of the API"),
        "illegal_number_type": rejected("the type of the number cannot be reached in this region"),
        "blocked_account": account("the account is blocked, maybe for want of credit"),
    }
)

SENDER_REFUSED: Final = frozenset({"unknown_campaign"})
"""The campaign, which in the US belongs to a sender, is none of this sender's."""

_PLAN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PARAMETER: Final = re.compile(r"\$\{([A-Za-z0-9._-]{1,16})\}")


@dataclass(frozen=True, kw_only=True)
class SinchSettings(SmsSettings, HttpSettings):
    """Keys of the kind."""

    service_plan_id: str = setting(help="The service plan.")
    api_token: str = setting(help="Its token.", secret=True)
    base_url: Annotated[str, ORIGIN] = setting(
        "https://us.sms.api.sinch.com", help="Where the API is: that of the region which the service plan is of."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        if not _PLAN.fullmatch(self.service_plan_id):
            raise ValueError("service_plan_id: must be letters, digits, _ and -, as the dashboard shows it")


class Sinch:
    """See `HttpVendor`."""

    def __init__(self, settings: SinchSettings) -> None:
        self._settings = settings
        self._url = f"{settings.base_url}/xms/v1/{settings.service_plan_id}"
        self._headers = {"Authorization": f"Bearer {settings.api_token}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content = message.content
        if isinstance(content, Mms):
            if any(media.data for media in content.media):
                return FieldViolation("message.mms.media", "must be at an address, for Sinch: it takes no bytes")
            if len(content.media) != 1:
                return FieldViolation("message.mms.media", "must be exactly one, for Sinch")
        return why_not(self._settings, message)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content = message.content
        assert isinstance(content, Sms | Mms)
        value: dict[str, Any] = {
            "to": [content.to],
            "from": sender_of(self._settings, content) or "",
            "client_reference": handover.reference or handover.message_id,
        }
        if isinstance(content, Mms):
            value["type"] = "mt_media"
            value["body"] = _media_body(content)
        else:
            value["type"] = "mt_text"
            value["body"] = content.body
        if parameters := _as_they_are(content.body):
            value["parameters"] = parameters
        if handover.validity and handover.validity < LONGEST_VALIDITY:
            value["expire_at"] = _time(handover.deadline)
        if handover.callback_url:
            # Of each step, so that the first one says that a message is there whose answer has been lost.
            value["delivery_report"] = "per_recipient"
            value["callback_url"] = handover.callback_url
        return json_request("POST", f"{self._url}/batches", value, self._headers)

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
            message_id="" if is_refused else id_of(answer.get("id")),
            table=TABLE,
        )

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://developers.sinch.com/docs/sms/api-reference/sms/groups/listgroups"""
        return HttpRequest("GET", f"{self._url}/groups?page_size=1", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _media_body(content: Mms) -> dict[str, str]:
    """https://developers.sinch.com/docs/sms/api-reference/sms/batches/sendsms: one address, and a text beside it."""
    body = {"url": content.media[0].url} if content.media else {}
    return body | {"message": content.body} if content.body else body


def _as_they_are(body: str) -> dict[str, dict[str, str]]:
    """What each `${name}` of a text stands for, which is itself: Sinch replaces them, and refuses one that it does not
    know. https://developers.sinch.com/docs/sms/resources/message-info/message-parameterization"""
    return {name: {"default": f"${{{name}}}"} for name in _PARAMETER.findall(body)}


def _time(at: int) -> str:
    """A time, in µs since the epoch, as Sinch writes it."""
    found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _receipts(settings: SinchSettings, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    """The reader of the service plan's receipts, where their secret is known. Raises ValueError, led by a key."""
    if config.secret is None:
        if config.previous_secret is not None:
            raise ValueError("secret: is missing, beside previous_secret")
        return None
    return SinchReceipts(secrets_of(config.secret, config.previous_secret))


KIND: Final = Kind(
    settings=SinchSettings,
    make=http_provider("sinch", Sinch),
    channels=(Channel.SMS, Channel.MMS),
    summary="Sends SMS and MMS by Sinch.",
    receipts=ReceiptSupport(keys=("secret", "previous_secret"), make=_receipts, in_address=True),
)

"""Infobip: SMS and MMS by its Messages endpoints.

https://www.infobip.com/docs/api/channels/sms/outbound-sms/send-message/send-sms-messages
https://www.infobip.com/docs/api/channels/mms/send-mms/send-mms-messages
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
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
    failed,
    id_of,
    judge,
    not_here,
    rejected,
    result,
    sender_refused,
)
from postwire.providers.receipts import infobip as receipts
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not, without_plus

MAX_MMS_TEXT: Final = 1_600
"""Characters, by the description of REJECTED_MESSAGE_TEXT_TOO_LONG on the page below."""
LONGEST_VALIDITY: Final = 172_800
"""Seconds, the 48 hours that `validityPeriod` is cut to."""

TAKEN_GROUPS: Final = frozenset({"OK", "PENDING", "DELIVERED"})
REFUSED_GROUPS: Final = frozenset({"UNDELIVERABLE", "REJECTED"})
"""Groups of statuses. What is refused is answered with 200 as well. What is `EXPIRED` may be at the operator's."""

TABLE: Final[Table] = MappingProxyType(
    {
        # https://www.infobip.com/docs/essentials/api-essentials/response-status-and-error-codes: general status codes
        "REJECTED_PREFIX_MISSING": rejected("the number is not valid"),
        "REJECTED_DESTINATION": rejected("the number is not valid"),
        "MISSING_TO": rejected("the number is missing"),
        "REJECTED_DND": rejected("the recipient has asked not to be disturbed"),
        "REJECTED_DESTINATION_BLOCKLISTED": rejected("the recipient is on a blocklist"),
        "REJECTED_MESSAGE_TOO_LONG": rejected("the body is too long"),
        "SIGNALS_BLOCKED": rejected("the message is taken for fraud"),
        "REJECTED_NETWORK": not_here("the account may not send to the recipient's network"),
        "REJECTED_DESTINATION_NOT_REGISTERED": not_here("the account, on trial, may send to one number only"),
        "REJECTED_FLOODING_FILTER": not_here("the recipient has had too many messages within the hour"),
        "REJECTED_SYSTEM_ERROR": failed("an error within Infobip"),
        "REJECTED_NOT_ENOUGH_CREDITS": account("there is not enough credit"),
        "REJECTED_PREPAID_PACKAGE_EXPIRED": account("the credit is past its time"),
        "REJECTED_ROUTE_NOT_AVAILABLE": account("the account is not set up to send messages"),
        # The same, MMS status codes
        "REJECTED_MESSAGE_TEXT_TOO_LONG": rejected("the body is too long"),
        "REJECTED_INVALID_NOTIFY_URL": account("the callback address is not valid"),
    }
)

SENDER_REFUSED: Final = frozenset({"REJECTED_SOURCE", "REJECTED_SENDER"})
"""The sender is not registered for the account, or on its blocklist."""


@dataclass(frozen=True, kw_only=True)
class InfobipSettings(SmsSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="An API key, which may send messages.", secret=True)
    base_url: Annotated[str, ORIGIN] = setting(help="Where the API is for the account: https://xxxxx.api.infobip.com.")


class Infobip:
    """See `HttpVendor`."""

    def __init__(self, settings: InfobipSettings) -> None:
        self._settings = settings
        self._headers = {"Authorization": f"App {settings.api_key}", "Accept": "application/json"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content = message.content
        if isinstance(content, Mms):
            if any(media.data for media in content.media):
                return FieldViolation("message.mms.media", "must be at an address, for Infobip: it takes no bytes")
            if len(content.body) > MAX_MMS_TEXT:
                return FieldViolation("message.mms.body", f"must be at most {MAX_MMS_TEXT} characters, for Infobip")
        return why_not(self._settings, message)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content, settings = message.content, self._settings
        assert isinstance(content, Sms | Mms)
        one: dict[str, Any] = {
            "sender": without_plus(sender_of(settings, content) or ""),
            "destinations": [{"to": without_plus(content.to)}],
            "content": {"text": content.body} if isinstance(content, Sms) else {"messageSegments": _segments(content)},
        }
        if handover.validity:
            validity = min(handover.validity, LONGEST_VALIDITY)
            one["options"] = {"validityPeriod": {"amount": validity, "timeUnit": "SECONDS"}}
        webhooks: dict[str, Any] = {}
        if handover.callback_url:
            webhooks |= {"delivery": {"url": handover.callback_url}, "contentType": "application/json"}
        if handover.reference:
            webhooks[receipts.REFERENCE] = handover.reference
        if webhooks:
            one["webhooks"] = webhooks
        path = "/sms/3/messages" if isinstance(content, Sms) else "/mms/2/messages"
        return json_request("POST", f"{settings.base_url}{path}", {"messages": [one]}, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. However many parts a text has, there is one answer."""
        answer = response.fields()
        if not 200 <= response.status < 300:
            return judge(response, now=handover.now, code=_error_code(answer))
        one = _first(answer.get("messages"))
        status = _object(one.get("status"))
        group, name = code_of(status.get("groupName")), code_of(status.get("name"))
        is_taken = group in TAKEN_GROUPS
        if group in REFUSED_GROUPS or (name in TABLE and not is_taken):
            if name in SENDER_REFUSED:
                return result(sender_refused(message), name)
            meaning = TABLE.get(name) or not_here("Infobip refuses the message, for a reason not known to be final")
            return result(meaning, name or group)
        message_id = id_of(one.get("messageId")) if is_taken else ""
        return judge(response, now=handover.now, code=name, message_id=message_id, taken=is_taken)

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://www.infobip.com/docs/api/platform/account-management/get-account-balance"""
        return HttpRequest("GET", f"{self._settings.base_url}/account/1/balance", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`. A key that may do no more than send is known there, and refused: as good."""
        return ProviderHealth(ok=True) if response.status == 403 else health_by_status(response)


def _segments(content: Mms) -> list[dict[str, str]]:
    """What an MMS consists of: its text first."""
    found = [{"type": "TEXT", "text": content.body}] if content.body else []
    for media in content.media:
        link = {"type": "LINK", "contentType": media.content_type, "contentUrl": media.url}
        found.append({name: text for name, text in link.items() if text})
    return found


def _error_code(answer: Mapping[str, Any]) -> str:
    """The code of an answer that is none of 2xx, in the form of today's endpoints or in that of earlier ones."""
    exception = _object(_object(answer.get("requestError")).get("serviceException"))
    return code_of(answer.get("errorCode")) or code_of(exception.get("messageId"))


def _first(value: Any) -> Mapping[str, Any]:
    return _object(value[0]) if isinstance(value, list) and value else {}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


KIND: Final = Kind(
    settings=InfobipSettings,
    make=http_provider("infobip", Infobip),
    channels=(Channel.SMS, Channel.MMS),
    summary="Sends SMS and MMS by Infobip.",
    receipts=receipts.SUPPORT,
)

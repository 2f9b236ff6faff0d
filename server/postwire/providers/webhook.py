"""Webhook: each message is posted to an endpoint of the user's own, as JSON, and signed as Standard Webhooks asks."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import WEB_ADDRESS
from postwire.config.types import Duration
from postwire.core import standard_webhooks
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, Mms, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, Signing
from postwire.providers.http.vendor import HttpSettings, health_of_any_answer, http_provider
from postwire.providers.http.verdicts import code_of, id_of, judge, rejected, result
from postwire.providers.pieces import Base64, json_body
from postwire.providers.receipts import webhook as receipts

_FINAL: Final = (400, 409, 413, 422)
"""What an endpoint answers to a message that it will never take, if it names a reason."""


@dataclass(frozen=True, kw_only=True)
class WebhookSettings(HttpSettings):
    """Keys of the kind."""

    url: Annotated[str, WEB_ADDRESS] = setting(help="Where messages are posted to.")
    secret: str = setting(help="What they are signed with: base64, with or without whsec_ before it.", secret=True)
    dedup_window: Duration = setting(
        0.0, help="For how long the endpoint takes a message with the same webhook-id only once."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        standard_webhooks.key_of(self.secret)
        HttpSettings.check(self)


class Webhook:
    """See `HttpVendor`."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._url = settings.url
        self._secret = settings.secret

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`: whatever it is."""
        return None

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`. `webhook-id` is the idempotency key."""
        seconds = handover.now // 1_000_000
        headers = {
            "Content-Type": "application/json",
            standard_webhooks.ID: handover.key,
            standard_webhooks.TIMESTAMP: str(seconds),
        }
        if handover.traceparent:
            headers["traceparent"] = handover.traceparent
        return HttpRequest(
            "POST", self._url, headers, json_body(_value(message, handover)), self._signing(handover.key, seconds)
        )

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. Any 2xx is taken; an object of JSON may have `id`, or `error_code`."""
        answer = response.fields()
        code = code_of(answer.get("error_code"))
        if code and response.status in _FINAL:
            return result(rejected("the endpoint will not take the message"), code)
        return judge(
            response, now=handover.now, code=code, message_id=id_of(answer.get("id")), taken=response.status < 300
        )

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`."""
        return HttpRequest("OPTIONS", self._url)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_of_any_answer(response)

    def _signing(self, key: str, seconds: int) -> Signing:
        def hasher() -> hmac.HMAC:
            return standard_webhooks.hasher(standard_webhooks.key_of(self._secret), key, seconds)

        def headers(digest: bytes) -> Mapping[str, str]:
            return {standard_webhooks.SIGNATURE: standard_webhooks.signature_of(digest)}

        return Signing(hasher, headers)


def _value(message: OutboundMessage, handover: Handover) -> dict[str, Any]:
    """A message in the names of the contract. What is empty is left out."""
    content = message.content
    value: dict[str, Any] = {"message_id": handover.message_id, "channel": message.channel.value}
    if isinstance(content, Email):
        addresses = content.recipients
        value |= {
            "to": content.to,
            "cc": content.cc,
            "bcc": content.bcc,
            "recipients": addresses if handover.positions is None else [addresses[at] for at in handover.positions],
            "subject": content.subject,
            "text": content.text,
            "html": content.html,
            "sender": content.sender,
            "reply_to": content.reply_to,
            "headers": dict(content.headers),
            "attachments": [
                {"file_name": one.file_name, "content_type": one.content_type, "data": Base64(one.data)}
                for one in content.attachments
            ],
        }
    else:
        value |= {"to": content.to, "body": content.body, "sender": content.sender}
    if isinstance(content, Mms):
        value["media"] = [
            {"url": one.url} if one.url else {"data": Base64(one.data), "content_type": one.content_type}
            for one in content.media
        ]
    value["labels"] = dict(message.labels)
    value |= {"reference": handover.reference, "callback_url": handover.callback_url}
    return {name: one for name, one in value.items() if one not in ("", {}, [], ())}


def _dedup_window(settings: WebhookSettings) -> float:
    return settings.dedup_window


KIND: Final = Kind(
    settings=WebhookSettings,
    make=http_provider("webhook", Webhook, dedup_window=_dedup_window),
    channels=tuple(Channel),
    summary="Posts messages to an endpoint of your own, signed.",
    receipts=receipts.SUPPORT,
)

"""Bird, which was MessageBird: SMS and MMS by its Channels API.

https://docs.bird.com/api/channels-api/supported-channels/programmable-sms/sending-sms-messages
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

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
from postwire.providers.http.verdicts import code_of, id_of, judge
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.providers.receipts.bird import BirdReceipts
from postwire.providers.receipts.signatures import secrets_of
from postwire.providers.sms.settings import SegmentSettings, too_long

MAX_MEDIA: Final = 10


@dataclass(frozen=True, kw_only=True)
class BirdSettings(SegmentSettings, HttpSettings):
    """Keys of the kind. Whom messages are from is the channel's to say: each is one number."""

    access_key: str = setting(help="An access key.", secret=True)
    workspace_id: str = setting(help="The workspace.")
    channel_id: str = setting(help="The channel, of the kind SMS, by which messages go.")
    sender: str | None = setting(None, help="The channel's number: messages that name another are for others.")
    base_url: Annotated[str, ORIGIN] = setting("https://api.bird.com", help="Where the API is.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        for name, value in (("workspace_id", self.workspace_id), ("channel_id", self.channel_id)):
            if not _is_uuid(value):
                raise ValueError(f"{name}: must be a UUID, as its settings show it")


class Bird:
    """See `HttpVendor`."""

    def __init__(self, settings: BirdSettings) -> None:
        self._settings = settings
        self._url = f"{settings.base_url}/workspaces/{settings.workspace_id}/channels/{settings.channel_id}"
        self._headers = {"Authorization": f"AccessKey {settings.access_key}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content = message.content
        assert isinstance(content, Sms | Mms)
        path = f"message.{message.channel.value}"
        if content.sender and content.sender != self._settings.sender:
            return FieldViolation(f"{path}.sender", "must be that of the provider's channel, for Bird")
        if isinstance(content, Mms):
            if any(media.data for media in content.media):
                return FieldViolation(f"{path}.media", "must be at an address, for Bird: it takes no bytes")
            if not 1 <= len(content.media) <= MAX_MEDIA:
                return FieldViolation(f"{path}.media", f"must be 1 to {MAX_MEDIA}, for Bird")
            if not all(_may_be_image(media.content_type) for media in content.media):
                return FieldViolation(f"{path}.media", "must be images, for Bird")
        return too_long(self._settings, message)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content = message.content
        assert isinstance(content, Sms | Mms)
        value = {
            "receiver": {"contacts": [{"identifierKey": "phonenumber", "identifierValue": content.to}]},
            "reference": handover.reference or handover.message_id,
            "body": _body(content),
        }
        return json_request("POST", f"{self._url}/messages", value, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. Bird takes a message before it looks at it: what is wrong with one, it reports."""
        answer = response.fields()
        is_refused = response.status >= 400
        return judge(
            response,
            now=handover.now,
            code=code_of(answer.get("code")) if is_refused else "",
            message_id="" if is_refused else id_of(answer.get("id")),
        )

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://docs.bird.com/api/channels-api/api-reference/channels-management"""
        return HttpRequest("GET", self._url, self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _body(content: Sms | Mms) -> dict[str, Any]:
    """https://docs.bird.com/api/channels-api/message-types"""
    if not isinstance(content, Mms) or not content.media:
        return {"type": "text", "text": {"text": content.body}}
    image: dict[str, Any] = {"images": [{"mediaUrl": media.url} for media in content.media]}
    if content.body:
        image["text"] = content.body
    return {"type": "image", "image": image}


def _may_be_image(content_type: str) -> bool:
    return not content_type or content_type.lower().startswith("image/")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _receipts(settings: BirdSettings, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    """The reader of the receipts, where the signing key of the webhooks is known. Raises ValueError, led by a key."""
    if config.secret is None:
        if config.previous_secret is not None:
            raise ValueError("secret: is missing, beside previous_secret")
        return None
    secrets = secrets_of(config.secret, config.previous_secret)
    return BirdReceipts(secrets, settings.channel_id, settings.sender or "")


KIND: Final = Kind(
    settings=BirdSettings,
    make=http_provider("bird", Bird),
    channels=(Channel.SMS, Channel.MMS),
    summary="Sends SMS and MMS by Bird, which was MessageBird.",
    receipts=ReceiptSupport(keys=("secret", "previous_secret"), make=_receipts),
)

"""Amazon SES: email as MIME, by version 2 of its API.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from postwire.config.bind import setting
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers.aws import COMMON, AwsService, AwsSettings, health_by_code
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse
from postwire.providers.http.vendor import http_provider
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
)
from postwire.providers.mail.mime import build
from postwire.providers.mail.settings import EmailSettings, Limits, envelope, why_not
from postwire.providers.pieces import Base64, Body, json_body
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.providers.receipts.ses import TAG, SesReceipts
from postwire.providers.receipts.sns import check_topics

LIMITS: Final = Limits(recipients=50, parts=True)

TABLE: Final[Table] = MappingProxyType(
    {
        **COMMON,
        # https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html#API_SendEmail_Errors
        "TooManyRequestsException": throttled(),
        "LimitExceededException": throttled("a limit of the account is reached"),
        "MessageRejected": rejected("the email is not valid, or its sender is not verified"),
        "AccountSuspendedException": account("the account may not send any more"),
        "SendingPausedException": account("sending is paused for the account or the configuration set"),
        "NotFoundException": account("the configuration set does not exist"),
    }
)

SENDER_REFUSED: Final = "MailFromDomainNotVerifiedException"


@dataclass(frozen=True, kw_only=True)
class SesSettings(EmailSettings, AwsSettings):
    """Keys of the kind."""

    configuration_set: str | None = setting(None, help="A configuration set.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        AwsSettings.check(self)
        EmailSettings.check(self)


class Ses:
    """See `HttpVendor`."""

    def __init__(self, settings: SesSettings) -> None:
        self._settings = settings
        self._service = AwsService(settings, endpoint="email", name="ses")
        self.prepare = self._service.prepare

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        return why_not(self._settings, LIMITS, message, positions)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`. Who is to get it is told apart from the MIME."""
        email, settings = message.content, self._settings
        assert isinstance(email, Email)
        value: dict[str, Any] = {
            "Destination": {"ToAddresses": envelope(email, handover.positions)},
            "Content": {"Raw": {"Data": Base64(self.mime(message, handover))}},
        }
        if settings.configuration_set is not None:
            value["ConfigurationSetName"] = settings.configuration_set
        if handover.reference:
            value["EmailTags"] = [{"Name": TAG, "Value": handover.reference}]
        url, headers = f"{self._service.base_url}/v2/email/outbound-emails", {"Content-Type": "application/json"}
        return HttpRequest("POST", url, headers, json_body(value), self._service.signing("POST", url, headers))

    def mime(self, message: OutboundMessage, handover: Handover) -> Body:
        """The email that stands in a request."""
        email, sender = message.content, self._settings.sender or ""
        assert isinstance(email, Email)
        return build(email, sender=sender, message_id=handover.message_id, created=handover.created).content

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        is_refused = response.status >= 400
        code = _code(response) if is_refused else ""
        if code == SENDER_REFUSED:
            return result(sender_refused(message), code)
        return judge(
            response,
            now=handover.now,
            code=code,
            message_id="" if is_refused else id_of(response.fields().get("MessageId")),
            table=TABLE,
        )

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html"""
        url = f"{self._service.base_url}/v2/email/account"
        return HttpRequest("GET", url, signing=self._service.signing("GET", url, {}))

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_code(response, _code(response), TABLE)


def _code(response: HttpResponse) -> str:
    """The error's code: in a header with more behind it, or in the body behind a name space."""
    answer = response.fields()
    found = response.headers.get("x-amzn-errortype") or answer.get("__type") or answer.get("code") or ""
    return code_of(str(found).partition(":")[0].rpartition("#")[2])


def _receipts(settings: SesSettings, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    """The reader of what comes by the topics that are configured. Raises ValueError, led by a key."""
    check_topics(config.topics)
    return SesReceipts(config.topics) if config.topics else None


KIND: Final = Kind(
    settings=SesSettings,
    make=http_provider("ses", Ses),
    channels=(Channel.EMAIL,),
    summary="Sends email by Amazon SES.",
    receipts=ReceiptSupport(keys=("topics",), make=_receipts),
)

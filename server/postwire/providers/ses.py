"""Amazon SES: email as MIME, by version 2 of its API.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html

botocore finds the credentials and signs. Its client is not used: it sends a request again by itself, and one email may
become several.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, Signing
from postwire.providers.http.vendor import HttpSettings, VendorNotReady, health_by_status, http_provider
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

# It logs what it signs, a session's token among it.
logging.getLogger("botocore.auth").setLevel(logging.WARNING)

LIMITS: Final = Limits(recipients=50, parts=True)

TABLE: Final[Table] = MappingProxyType(
    {
        # https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html#API_SendEmail_Errors
        "TooManyRequestsException": throttled(),
        "LimitExceededException": throttled("a limit of the account is reached"),
        "MessageRejected": rejected("the email is not valid, or its sender is not verified"),
        "AccountSuspendedException": account("the account may not send any more"),
        "SendingPausedException": account("sending is paused for the account or the configuration set"),
        "NotFoundException": account("the configuration set does not exist"),
        # https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html
        "ThrottlingException": throttled(),
        "AccessDeniedException": account("the key may not send"),
        "ExpiredTokenException": account("the session has expired"),
        "IncompleteSignature": account("the signature is not accepted"),
        "InvalidClientTokenId": account("the key is not accepted"),
        "SignatureDoesNotMatch": account("the secret is not accepted"),
        "UnrecognizedClientException": account("the key is not accepted"),
    }
)

SENDER_REFUSED: Final = "MailFromDomainNotVerifiedException"


@dataclass(frozen=True, kw_only=True)
class SesSettings(EmailSettings, HttpSettings):
    """Keys of the kind. Without a key of their own, credentials are where AWS's tools have them."""

    region: str = setting(help="The region, such as eu-west-1.")
    access_key_id: str | None = setting(None, help="An access key; by default, what AWS's tools would use.")
    secret_access_key: str | None = setting(None, help="Its secret.", secret=True)
    session_token: str | None = setting(None, help="The token of a session, where the key is temporary.", secret=True)
    configuration_set: str | None = setting(None, help="A configuration set.")
    base_url: Annotated[str, ORIGIN] | None = setting(
        None, help="Where the API is; by default, https://email.REGION.amazonaws.com."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]+", self.region):
            raise ValueError("region: is not a region such as eu-west-1")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id, secret_access_key: one is of no use without the other")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token: does nothing by itself, set access_key_id too")


class Ses:
    """See `HttpVendor`."""

    def __init__(self, settings: SesSettings) -> None:
        self._settings = settings
        self._base_url = settings.base_url or f"https://email.{settings.region}.amazonaws.com"
        self._frozen: Any = None
        self._credentials: Any = None
        self._preparing = asyncio.Lock()
        if settings.access_key_id is not None:
            self._frozen = Credentials(
                settings.access_key_id, settings.secret_access_key, settings.session_token
            ).get_frozen_credentials()

    async def prepare(self) -> None:
        """See `HttpVendor.prepare`: find the credentials, and again before they expire. That may read files, and ask
        services, so it is done in a thread.

        Raises:
            VendorNotReady: there are none.
        """
        if self._settings.access_key_id is not None:
            return
        if self._frozen is not None and not self._credentials.refresh_needed():
            return
        async with self._preparing:
            try:
                self._credentials, self._frozen = await asyncio.to_thread(_found, self._credentials)
            except LookupError:
                raise VendorNotReady("no AWS credentials were found") from None
            except Exception as error:  # botocore's are many
                raise VendorNotReady(f"AWS credentials cannot be had: {type(error).__name__}") from error

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
        url, headers = f"{self._base_url}/v2/email/outbound-emails", {"Content-Type": "application/json"}
        return HttpRequest("POST", url, headers, json_body(value), self._signing("POST", url, headers))

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
        url = f"{self._base_url}/v2/email/account"
        return HttpRequest("GET", url, signing=self._signing("GET", url, {}))

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        meaning = TABLE.get(_code(response))
        if meaning is not None and meaning.outcome is Outcome.MISCONFIGURED:
            return ProviderHealth(ok=False, detail=meaning.detail, misconfigured=True)
        return health_by_status(response)

    def _signing(self, method: str, url: str, headers: Mapping[str, str]) -> Signing:
        credentials, region = self._frozen, self._settings.region

        def signed(digest: bytes) -> Mapping[str, str]:
            request = AWSRequest(method, url, {**headers, "X-Amz-Content-SHA256": digest.hex()})
            SigV4Auth(credentials, "ses", region).add_auth(request)
            return dict(request.headers.items())

        return Signing(hashlib.sha256, signed)


def _found(credentials: Any) -> tuple[Any, Any]:
    """The credentials that AWS's tools would use, and what they are now."""
    import botocore.session  # by far the most of botocore, and needed by nobody who has set a key

    if credentials is None:
        credentials = botocore.session.Session().get_credentials()
    if credentials is None:
        raise LookupError
    if not hasattr(credentials, "refresh_needed"):
        credentials.refresh_needed = lambda: False
    return credentials, credentials.get_frozen_credentials()


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

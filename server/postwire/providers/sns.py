"""Amazon SNS: SMS by `Publish` to a phone number.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from postwire.config.bind import setting
from postwire.config.types import Number
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, OutboundMessage, Sms
from postwire.core.outcome import DispatchResult
from postwire.providers.aws import COMMON, AwsService, AwsSettings, health_by_code
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, form_request
from postwire.providers.http.vendor import http_provider
from postwire.providers.http.verdicts import Table, account, code_of, id_of, judge, throttled
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not

VERSION: Final = "2010-03-31"
MAX_CHARACTERS: Final = 1_600
"""Of a text, whatever its encoding: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html#API_Publish_RequestParameters"""

TABLE: Final[Table] = MappingProxyType(
    {
        **COMMON,
        # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html#API_Publish_Errors
        # `InvalidParameter` and `ParameterValueInvalid` are not here: they say so of a number, and of any number in a
        # region that sends no SMS.
        "AuthorizationError": account("the key may not send"),
        "InvalidSecurity": account("the signature is not accepted"),
        # https://docs.aws.amazon.com/sns/latest/api/API_GetSMSAttributes.html#API_GetSMSAttributes_Errors
        "Throttled": throttled(),
    }
)

_NUMBER: Final = re.compile(r"\+?[0-9]{5,14}")
_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9]{1,11}")
_SENDERS: Final = "must be a number of 5 to 14 digits, or 1 to 11 letters and digits with a letter among them"

_CODE: Final = re.compile(rb"<Code>([^<]*)</Code>")
_MESSAGE_ID: Final = re.compile(rb"<MessageId>([^<]*)</MessageId>")


@dataclass(frozen=True, kw_only=True)
class SnsSettings(SmsSettings, AwsSettings):
    """Keys of the kind."""

    sms_type: Literal["promotional", "transactional"] | None = setting(
        None, help="How messages are sent: cheaply, or reliably; by default, as the account says."
    )
    max_price: Annotated[float, Number("a price from 0.0001 to 1000 US dollars", 0.0001, 1000.0)] | None = setting(
        None, help="What a message may cost, in US dollars; SNS does not send what would cost more."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        AwsSettings.check(self)
        if self.sender is not None and not _is_sender(self.sender):
            raise ValueError(f"sender: {_SENDERS}")
        if not all(map(_is_sender, self.senders.values())):
            raise ValueError(f"senders: each {_SENDERS}")


class Sns:
    """See `HttpVendor`."""

    def __init__(self, settings: SnsSettings) -> None:
        self._settings = settings
        self._service = AwsService(settings, endpoint="sns", name="sns")
        self.prepare = self._service.prepare

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`. Where there is no sender, the account has one."""
        content = message.content
        assert isinstance(content, Sms)
        if content.sender and not _is_sender(content.sender):
            return FieldViolation("message.sms.sender", f"{_SENDERS}, for SNS")
        if len(content.body) > MAX_CHARACTERS:
            return FieldViolation("message.sms.body", f"must have at most {MAX_CHARACTERS} characters, for SNS")
        return why_not(self._settings, message, has_sender=True)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        content = message.content
        assert isinstance(content, Sms)
        fields = {"Action": "Publish", "Version": VERSION, "PhoneNumber": content.to, "Message": content.body}
        for at, (name, kind, value) in enumerate(self._attributes(content), start=1):
            entry = f"MessageAttributes.entry.{at}"
            fields |= {f"{entry}.Name": name, f"{entry}.Value.DataType": kind, f"{entry}.Value.StringValue": value}
        plain = form_request(f"{self._service.base_url}/", fields, {})
        signing = self._service.signing(plain.method, plain.url, plain.headers)
        return HttpRequest(plain.method, plain.url, plain.headers, plain.body, signing)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        is_refused = response.status >= 400
        return judge(
            response,
            now=handover.now,
            code=_code(response) if is_refused else "",
            message_id="" if is_refused else id_of(_text(_MESSAGE_ID, response)),
            table=TABLE,
        )

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://docs.aws.amazon.com/sns/latest/api/API_GetSMSAttributes.html"""
        query = urlencode({"Action": "GetSMSAttributes", "Version": VERSION})
        url = f"{self._service.base_url}/?{query}"
        return HttpRequest("GET", url, signing=self._service.signing("GET", url, {}))

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_code(response, _code(response), TABLE)

    def _attributes(self, content: Sms) -> list[tuple[str, str, str]]:
        """What is asked for beside the text: a name, the type of the value, and the value."""
        settings = self._settings
        found: list[tuple[str, str, str]] = []
        if sender := sender_of(settings, content):
            is_number = _NUMBER.fullmatch(sender) is not None
            name = "AWS.MM.SMS.OriginationNumber" if is_number else "AWS.SNS.SMS.SenderID"
            found.append((name, "String", sender))
        if settings.sms_type is not None:
            found.append(("AWS.SNS.SMS.SMSType", "String", settings.sms_type.capitalize()))
        if settings.max_price is not None:
            price = f"{Decimal(repr(settings.max_price)):f}"  # as it was given, and never with an exponent
            found.append(("AWS.SNS.SMS.MaxPrice", "Number", price))
        return found


def _is_sender(sender: str) -> bool:
    """Whether it may stand in `AWS.MM.SMS.OriginationNumber` or `AWS.SNS.SMS.SenderID`."""
    return bool(_NUMBER.fullmatch(sender) or _NAME.fullmatch(sender))


def _code(response: HttpResponse) -> str:
    return code_of(_text(_CODE, response))


def _text(pattern: re.Pattern[bytes], response: HttpResponse) -> str:
    """What stands in an element of an answer. Ids and codes have nothing that XML escapes, so that no parser of XML has
    to be given what a stranger may have written."""
    found = pattern.search(response.body) if response.complete else None
    return found[1].decode("ascii", "replace").strip() if found else ""


KIND: Final = Kind(
    settings=SnsSettings,
    make=http_provider("sns", Sns),
    channels=(Channel.SMS,),
    summary="Sends SMS by Amazon SNS.",
)

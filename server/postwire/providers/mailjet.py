"""Mailjet: email by its Send API v3.1.

https://dev.mailjet.com/email/guides/send-api-v31/
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, json_request
from postwire.providers.http.vendor import HttpSettings, health_by_status, http_provider
from postwire.providers.http.verdicts import (
    Meaning,
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
from postwire.providers.mail.mailboxes import Mailbox, parse_mailbox
from postwire.providers.mail.settings import EmailSettings, Limits, addresses_of, author_of, why_not
from postwire.providers.pieces import Base64
from postwire.providers.receipts import mailjet as receipts
from postwire.providers.receipts.payloads import list_in

LIMITS: Final = Limits(recipients=50, needs_text=True)
"""How many in all three lists: https://github.com/mailjet/api-documentation/issues/12"""

INVALID_ADDRESS: Final = "mj-0013"

TABLE: Final[Table] = MappingProxyType(
    {
        # https://dev.mailjet.com/email/guides/send-api-v31/#send-api-errors
        INVALID_ADDRESS: rejected("an address is not valid"),
        "mj-0001": account("the API key is suspended"),
        "mj-0015": account("the API key and the secret key are not accepted"),
    }
)

SENDER_REFUSED: Final = frozenset({"send-0006", "send-0007", "send-0008"})
"""The sender is not one of the account's, or is not confirmed: the same page."""

UNTOUCHED: Final = not_here("not taken, as an address of somebody else is not valid")
UNNAMED: Final = not_here("not taken, as an address is not valid, and not said whose")

FORBIDDEN: Final = frozenset(
    {
        # https://dev.mailjet.com/email/guides/send-api-v31/#add-email-headers, but for those that we refuse to all
        "authentication-results",
        "delivered-to",
        "domainkey-status",
        "list-id",
        "received-spf",
        "user-agent",
        "x-csa-complaints",
        "x-feedback-id",
        "x-mailer",
    }
)
STEERING: Final = "x-mailjet-"
"""How further headers begin that it refuses, or takes for orders: https://dev.mailjet.com/smtp-relay/custom-headers/"""

_LISTS: Final = ("To", "Cc", "Bcc")
_RECIPIENT: Final = re.compile(r"(To|Cc|Bcc)\[([0-9]{1,3})\](?:\..*)?")
"""A field that an error is about, where that is one recipient."""


@dataclass(frozen=True, kw_only=True)
class MailjetSettings(EmailSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="The API key, which is public.", secret=True)
    api_secret: str = setting(help="The secret key.", secret=True)
    base_url: Annotated[str, ORIGIN] = setting(
        "https://api.mailjet.com", help="Where the API is; https://api.us.mailjet.com for accounts in the US."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)
        if ":" in self.api_key:
            raise ValueError("api_key: has a colon, which no API key has; the secret key belongs in api_secret")


class Mailjet:
    """See `HttpVendor`."""

    def __init__(self, settings: MailjetSettings) -> None:
        self._settings = settings
        pair = f"{settings.api_key}:{settings.api_secret}".encode()
        self._headers = {"Authorization": f"Basic {b64encode(pair).decode()}"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        email = message.content
        assert isinstance(email, Email)
        for name in email.headers:
            if name.lower() in FORBIDDEN or name.lower().startswith(STEERING):
                return FieldViolation("message.email.headers", "has one that cannot be set, by this provider")
        return why_not(self._settings, LIMITS, message, positions)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        email = message.content
        assert isinstance(email, Email)
        value: dict[str, Any] = {
            "From": _mailbox(author_of(self._settings, email)),
            **{name: [{"Email": one} for one in addresses_of(listed)] for name, listed in _lists(email)},
            "Subject": email.subject,
            "TextPart": email.text,
            "HTMLPart": email.html,
            "Headers": dict(email.headers),
            "Attachments": [
                {
                    "Filename": one.file_name,
                    "ContentType": one.content_type or "application/octet-stream",
                    "Base64Content": Base64(one.data),
                }
                for one in email.attachments
            ],
            "CustomID": handover.reference,
            "EventPayload": handover.message_id,
        }
        if email.reply_to:
            value["ReplyTo"] = _mailbox(parse_mailbox(email.reply_to))
        value = {name: one for name, one in value.items() if one not in ("", [], {})}
        return json_request("POST", f"{self._settings.base_url}/v3.1/send", {"Messages": [value]}, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. What is said of the one message that was sent counts, whatever the status."""
        answers = list_in(response.fields(), "Messages")
        answer = answers[0] if answers and isinstance(answers[0], dict) else {}
        match answer.get("Status"):
            case "success":
                return _taken(message, answer)
            case "error":
                errors = [one for one in list_in(answer, "Errors") if isinstance(one, dict)]
                return _refused(message, response, handover, errors)
        code = "" if 200 <= response.status < 300 else code_of(response.fields().get("ErrorCode"))
        if code == INVALID_ADDRESS:
            return _for_some(message, [])
        return judge(response, now=handover.now, code=code, table=TABLE)

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://dev.mailjet.com/email/reference/sender-addresses-and-domains/sender/"""
        return HttpRequest("GET", f"{self._settings.base_url}/v3/REST/sender?Limit=1", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _mailbox(mailbox: Mailbox) -> dict[str, str]:
    return {"Email": mailbox.address} | ({"Name": mailbox.name} if mailbox.name else {})


def _lists(email: Email) -> Iterator[tuple[str, tuple[str, ...]]]:
    return zip(_LISTS, (email.to, email.cc, email.bcc), strict=True)


def _taken(message: OutboundMessage, answer: Mapping[str, Any]) -> DispatchResult:
    """The result where it was taken: each recipient has an id of his own."""
    email = message.content
    assert isinstance(email, Email)
    ids: list[str] = []
    reported: list[str] = []
    for name, listed in _lists(email):
        found = [_id_of(one) for one in list_in(answer, name)]
        reported += found
        # Where it lists others than it was given, nobody knows whose ids those are.
        ids += found if len(found) == len(listed) else [""] * len(listed)
    each = tuple(RecipientResult(Outcome.SUCCESS, provider_message_id=one) for one in ids)
    return DispatchResult(
        Outcome.SUCCESS,
        provider_message_id=next(filter(None, reported), ""),
        recipients=each if len(each) > 1 else (),
    )


def _id_of(recipient: object) -> str:
    found = id_of(recipient.get("MessageID")) if isinstance(recipient, dict) else ""
    return "" if found == "0" else found


def _refused(
    message: OutboundMessage, response: HttpResponse, handover: Handover, errors: list[dict[str, Any]]
) -> DispatchResult:
    """The result where nothing was taken: by the first error that is known."""
    codes = [code_of(one.get("ErrorCode")) for one in errors]
    at = next((at for at, code in enumerate(codes) if code in TABLE or code in SENDER_REFUSED), 0)
    error, code = (errors[at], codes[at]) if errors else ({}, "")
    if code in SENDER_REFUSED or (code == INVALID_ADDRESS and _is_about_sender(error)):
        return result(sender_refused(message), code)
    if code == INVALID_ADDRESS:
        return _for_some(message, errors)
    status = error.get("StatusCode")
    if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status < 600:
        status = max(response.status, 400)
    return judge(replace(response, status=status), now=handover.now, code=code, table=TABLE)


def _is_about_sender(error: Mapping[str, Any]) -> bool:
    return any(isinstance(one, str) and one.startswith("From") for one in list_in(error, "ErrorRelatedTo"))


def _for_some(message: OutboundMessage, errors: list[dict[str, Any]]) -> DispatchResult:
    """The result where the addresses of some recipients are not valid: nobody gets it, and the others may have it
    from another provider. So may all of several, where it is not said whose address that is."""
    email = message.content
    assert isinstance(email, Email)
    starts = {"To": 0, "Cc": len(email.to), "Bcc": len(email.to) + len(email.cc)}
    lengths = {name: len(listed) for name, listed in _lists(email)}
    invalid = {
        starts[found[1]] + int(found[2])
        for error in errors
        if error.get("ErrorCode") == INVALID_ADDRESS
        for one in list_in(error, "ErrorRelatedTo")
        if isinstance(one, str) and (found := _RECIPIENT.fullmatch(one)) and int(found[2]) < lengths[found[1]]
    }
    if len(invalid or email.recipients[:1]) == len(email.recipients):
        return result(TABLE[INVALID_ADDRESS], INVALID_ADDRESS)
    if not invalid:
        return result(UNNAMED, INVALID_ADDRESS)
    each = tuple(
        _result_of(TABLE[INVALID_ADDRESS] if at in invalid else UNTOUCHED) for at in range(len(email.recipients))
    )
    return DispatchResult(
        worst(one.outcome for one in each),
        error_code=INVALID_ADDRESS,
        detail=UNTOUCHED.detail,
        recipients=each,
        provider_fault=False,
    )


def _result_of(meaning: Meaning) -> RecipientResult:
    return RecipientResult(meaning.outcome, INVALID_ADDRESS, detail=meaning.detail)


KIND: Final = Kind(
    settings=MailjetSettings,
    make=http_provider("mailjet", Mailjet),
    channels=(Channel.EMAIL,),
    summary="Sends email by Mailjet.",
    receipts=receipts.SUPPORT,
)
